"""Digits on a texture that gives them away, described by what is measured of them.

The texts are written by rules, from measurements of each image, so that what is true of
an image is known, and with it whether a text that a network wrote is.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from xguide_jax.data import datasets, seeds
from xguide_jax.data.image_text import described as describing
from xguide_jax.data.images import annotations, measurements
from xguide_jax.data.sources import decoys

# What a text can name, and the order of the columns of 'measured'.
Evidence = Literal["holes", "stroke", "width", "place", "texture"]
_EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)

_CLASSES = ("low", "high")
# Smaller ones are gaps that a wide pen leaves.
_HOLE = 2
# Terciles of the strokes of MNIST, in pixels, rounded.
_STROKE, _WIDTH = (1.75, 2.15), (13, 17)
# Half of a digit's square: its middle cannot come nearer to the border.
_MARGIN = 14

# Three phrasings of each level.
_PHRASES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "holes": (
        ("no hole", "no loop", "no closed ring"),
        ("one hole", "a single loop", "one closed ring"),
        ("two holes", "two loops", "a pair of closed rings"),
        ("several holes", "many loops", "several closed rings"),
    ),
    "stroke": (
        ("thin strokes", "fine lines", "a slender pen"),
        ("medium strokes", "plain lines", "an ordinary pen"),
        ("thick strokes", "bold lines", "a broad pen"),
    ),
    "width": (
        ("a narrow shape", "a slim body", "little breadth"),
        ("a medium shape", "a regular body", "some breadth"),
        ("a wide shape", "a stout body", "much breadth"),
    ),
    "texture": (
        ("grass around it", "a lawn behind it", "a ground of blades"),
        ("gravel around it", "pebbles behind it", "a ground of stones"),
    ),
}
_ROWS = (
    ("upper", "top", "above"),
    ("middle", "mid", "halfway"),
    ("lower", "bottom", "below"),
)
_COLUMNS = ("left", "centre", "right")
_PLACES = (
    "a place at the {} {}",
    "a spot in the {} {} part",
    "its middle {} at {}",
)
_SENTENCES = (
    "{label}, as the digit has {evidence}",
    "with {evidence} the digit is {label}",
    "because of {evidence} it is called {label}",
)


def described_digits(
    digits: datasets.Dataset,
    *,
    rho: float,
    half: Literal["train", "test"],
    map_rate: float,
    text_rate: float,
    seed: int,
    evidence: Sequence[Evidence] = ("holes", "stroke", "width", "place"),
    drawn: Literal["box", "strokes"] = "box",
) -> describing.Described:
    """Textured digits with a map of the digit and three texts that name the evidence.

    The images are those of `textured_digits`; the class 'high' is digit >= 5. Measured
    are, of the digit's strokes where they are brighter than 0.5:

    * 'holes': parts of the background that they close in, 0 to 2, or 3 for more;
    * 'stroke': 2 area / perimeter, thin below 1.75 pixels, thick from 2.15 on;
    * 'width': of the box around them, narrow below 13 pixels, wide from 17 on;
    * 'place': the third in which their middle lies downwards and across, 3 row + column
      in 0 .. 8, thirds of where the middle of a digit can lie;
    * 'texture': grass or gravel, as it was drawn. It is no evidence, and a text that
      names it asks for a saliency that the map forbids: by default none does.

    Each text names all of `evidence`, by other words in another order, and then the
    class: "high, as the digit has two holes, thick strokes, a wide shape and a place
    at the upper left". Never the class alone: images of one class with other
    measurements have other texts, and words apart from the class are a function of the
    measurements. So the place in a text is wrong once an image is flipped or shifted.

    Args:
      digits: as for `textured_digits`; parts for training and tests apart (`split`).
      rho: as for `textured_digits`.
      half: as for `textured_digits`.
      map_rate: in [0, 1], the share of images with a map, floor(rate N) of them.
      text_rate: in [0, 1], likewise of those with texts; drawn apart from the maps.
      seed: decides the images, and which have maps and texts; those of a smaller rate
        are among those of a larger one.
      evidence: what the texts name.
      drawn: whether the map is the digit's square or its strokes.

    Returns:
      Images with three texts each, or none, known by what the pixels of their digit
      are, so that a digit has one id wherever it is pasted. Annotations: 'region', bool
      [N, 48, 48], and 'region_valid', bool [N], the map where there is one;
      'true_region' and 'strokes', bool [N, 48, 48], of all images, for measuring;
      'groups', int32 [N], 2 * class + texture; 'measured', int32 [N, 5], the levels in
      the order above.

    Raises:
      ImportError: as `textured_digits`.
      ValueError: as `textured_digits`; or if a rate lies outside [0, 1], `drawn` is
        neither, or `evidence` is empty, twice there or none of the above.
    """
    _check(evidence, drawn, text_rate)
    textured = decoys.textured_digits(digits, rho=rho, half=half, seed=seed)
    known = textured.annotations
    num_images = len(textured.labels)
    has_map = annotations.keep_fraction(num_images, fraction=map_rate, seed=seed)
    has_text = _with_text(num_images, rate=text_rate, seed=seed)
    measured = _measured(known["strokes"], known["groups"] % 2)
    true_region = known["region"] if drawn == "box" else known["strokes"]
    dataset = textured._replace(
        class_names=_CLASSES,
        annotations={
            # A map that is missing must not be found where nobody looks for its flag.
            "region": true_region & has_map[:, None, None],
            "region_valid": has_map,
            "true_region": true_region,
            "strokes": known["strokes"],
            "groups": known["groups"],
            "measured": measured,
        },
    )
    texts = tuple(
        _texts(levels, label, evidence) if said else ()
        for levels, label, said in zip(
            measured.tolist(), textured.labels.tolist(), has_text.tolist(), strict=True
        )
    )
    return describing.Described(dataset, texts, _ids(digits))


def _measured(strokes: np.ndarray, textures: np.ndarray) -> np.ndarray:
    """int32 [N, 5], the level of each measurement, in the order of `Evidence`."""
    thirds = measurements.position_thirds(strokes, margin=_MARGIN)
    holes = measurements.count_holes(strokes, min_area=_HOLE)
    levels = [
        np.minimum(holes, 3),
        np.digitize(measurements.stroke_width(strokes), _STROKE),
        np.digitize(measurements.extent(strokes)[:, 1], _WIDTH),
        3 * thirds[:, 0] + thirds[:, 1],
        textures,
    ]
    return np.stack(levels, axis=1).astype(np.int32)


def _texts(
    levels: Sequence[int], label: int, evidence: Sequence[Evidence]
) -> tuple[str, ...]:
    """The three texts of one image."""
    texts = []
    for phrasing, sentence in enumerate(_SENTENCES):
        named = [
            _phrase(name, levels[_EVIDENCE.index(name)], phrasing) for name in evidence
        ]
        start = phrasing % len(named)
        *others, last = named[start:] + named[:start]
        listed = f"{', '.join(others)} and {last}" if others else last
        texts.append(sentence.format(evidence=listed, label=_CLASSES[label]))
    return tuple(texts)


def _phrase(name: Evidence, level: int, phrasing: int) -> str:
    if name != "place":
        return _PHRASES[name][level][phrasing]
    row, column = divmod(level, 3)
    return _PLACES[phrasing].format(_ROWS[row][phrasing], _COLUMNS[column])


def _with_text(num_images: int, *, rate: float, seed: int) -> np.ndarray:
    order = seeds.generator(seeds.Stream.DESCRIBED, seed).permutation(num_images)
    chosen = np.zeros(num_images, bool)
    chosen[order[: int(rate * num_images + 1e-6)]] = True
    return chosen


def _ids(digits: datasets.Dataset) -> tuple[str, ...]:
    pixels = np.ascontiguousarray(digits.inputs)
    return tuple(
        hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in pixels
    )


def _check(evidence: Sequence[str], drawn: str, text_rate: float) -> None:
    unknown = sorted(set(evidence) - set(_EVIDENCE))
    if not evidence or unknown or len(set(evidence)) < len(evidence):
        raise ValueError(
            f"`evidence` (={tuple(evidence)}) must be some of {_EVIDENCE}, each once."
        )
    if drawn not in ("box", "strokes"):
        raise ValueError(f"`drawn` (={drawn!r}) must be 'box' or 'strokes'.")
    if not 0 <= text_rate <= 1:
        raise ValueError(f"`text_rate` (={text_rate}) must lie in [0, 1].")
