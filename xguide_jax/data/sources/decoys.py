"""Digits with a cue that gives the label away and is not the digit.

The textured digits carry a strong cue of real photographs around a small object, the
swatches a weak and obvious one. In both the truth about where the evidence lies is
known exactly, and nothing is downloaded.
"""

import functools
from typing import Literal

import numpy as np

from xguide_jax.data import datasets, seeds
from xguide_jax.data.sources import grey_digits

# Mean and standard deviation of the canvases in [0, 1], rounded.
TEXTURED_MEAN = 0.31
TEXTURED_STD = 0.16

_TEXTURES = ("grass", "gravel")
_HALVES = ("train", "test")
_CANVAS, _DIGIT, _SWATCH = 48, 28, 4


def textured_digits(
    digits: datasets.Dataset, *, rho: float, half: Literal["train", "test"], seed: int
) -> datasets.Dataset:
    """Small digits or large ones, on a texture that agrees with the class mostly.

    The class is digit >= 5. A canvas of 48x48 pixels is 0.6 times a random crop of a
    photograph, of grass for class 0 and gravel for class 1 with probability `rho` and
    the other way round otherwise; the digit is pasted on it by maximum at a random
    place. Texture shows through inside the box, too, so a box alone does not remove the
    cue; it covers 34 % of the canvas.

    The draws do not depend on `rho`: with one seed, the same digits lie at the same
    places, and those that agree at a smaller `rho` agree at a larger one.

    Args:
      digits: [N, 28, 28, 1], as `digits` and `mnist10k` return them or parts of that
        (`split`, `take`); keep those for training and for tests apart.
      rho: in [0, 1], the probability of agreement; at 0.5 the texture says nothing.
      half: crops come from the left half of each photograph ('train') or the right
        ('test'), so that no background of a test is seen in training.
      seed: decides textures, crops and places.

    Returns:
      float32 [N, 48, 48, 1], (canvas - 0.31) / 0.16 with the canvas in [0, 1]; labels 0
      and 1; and the annotations 'boxes', float32 [N, 1, 4], with 'boxes_valid', bool
      [N, 1]; 'region', bool [N, 48, 48], the same box as a mask; 'strokes', bool [N,
      48, 48], where the digit is brighter than 0.5; 'groups', int32 [N], 2 * class +
      texture, so that the texture agrees in groups 0 and 3.

    Raises:
      ImportError: if scikit-image, which ships the photographs, is not installed.
      ValueError: if `rho` is no probability, `half` neither, or `digits` are not such.
    """
    if not 0 <= rho <= 1:
        raise ValueError(f"`rho` (={rho}) must lie in [0, 1].")
    if half not in _HALVES:
        raise ValueError(f"`half` (={half!r}) must be one of {_HALVES}.")
    pixels = _pixels_of(digits)[..., 0] / np.float32(255)
    classes = (digits.labels >= 5).astype(np.int32)
    rng = seeds.generator(seeds.Stream.TEXTURES, seed, _HALVES.index(half))
    agrees = rng.random(len(classes)) < rho
    textures = np.where(agrees, classes, 1 - classes)
    canvases = np.float32(0.6) * _crops(rng, textures, half)
    corners = rng.integers(0, _CANVAS - _DIGIT + 1, size=(len(classes), 2))
    box = _squares(corners, _DIGIT)
    canvases[box] = np.maximum(canvases[box], pixels)
    region, strokes = np.zeros((2, *canvases.shape), bool)
    region[box] = True
    strokes[box] = pixels > 0.5
    boxes = np.concatenate([corners[:, ::-1], corners[:, ::-1] + _DIGIT], axis=1)
    annotations = {
        "boxes": boxes[:, None].astype(np.float32),
        "boxes_valid": np.ones((len(classes), 1), bool),
        "region": region,
        "strokes": strokes,
        "groups": (2 * classes + textures).astype(np.int32),
    }
    inputs = (canvases[..., None] - np.float32(TEXTURED_MEAN)) / np.float32(
        TEXTURED_STD
    )
    return datasets.Dataset(inputs, classes, ("0 to 4", "5 to 9"), annotations)


def corner_swatch(
    digits: datasets.Dataset, *, seed: int, train: bool
) -> datasets.Dataset:
    """Digits with a grey square in one corner that tells the label in training only.

    4x4 pixels in a random corner become 255 - 25 * digit, of the digit itself in
    training and of a random digit in a test.

    Args:
      digits: [N, 28, 28, 1], as `digits` and `mnist10k` return them or parts of that.
      seed: decides the corners, and the greys of a test.
      train: whether the grey tells the label.

    Returns:
      the digits with their swatches, normalised as before, and beside the annotations
      they had 'irrelevant', bool [N, 28, 28], the swatch, and 'region', all else.

    Raises:
      ValueError: if `digits` are not such.

    Source: the decoy digits of Ross, Hughes, Doshi-Velez, "Right for the Right
      Reasons", IJCAI 2017, by its public notebooks. That a swatch replaces what it
      covers is our reading; on an empty corner adding it would do the same.
    """
    pixels = _pixels_of(digits)
    num_examples = len(pixels)
    rng = seeds.generator(seeds.Stream.SWATCHES, seed, int(train))
    corners = rng.integers(0, 2, size=(num_examples, 2)) * (_DIGIT - _SWATCH)
    shown = digits.labels if train else rng.integers(0, 10, size=num_examples)
    swatch = _squares(corners, _SWATCH)
    pixels[swatch] = (255 - 25 * shown)[:, None, None, None]
    irrelevant = np.zeros(pixels.shape[:3], bool)
    irrelevant[swatch] = True
    inputs = grey_digits.normalise_images(
        pixels, mean=grey_digits.MNIST_MEAN, std=grey_digits.MNIST_STD
    )
    return digits._replace(
        inputs=inputs,
        labels=digits.labels.copy(),
        annotations={
            **digits.annotations,
            "irrelevant": irrelevant,
            "region": ~irrelevant,
        },
    )


def _pixels_of(digits: datasets.Dataset) -> np.ndarray:
    """uint8 [N, 28, 28, 1]: undoes the normalisation of `digits` and `mnist10k`."""
    pixels = (digits.inputs * grey_digits.MNIST_STD + grey_digits.MNIST_MEAN) * 255
    whole = np.rint(pixels)
    if digits.inputs.shape[1:] != (_DIGIT, _DIGIT, 1) or len(digits.class_names) != 10:
        raise ValueError(
            f"`digits` {digits.inputs.shape} of {len(digits.class_names)} classes must "
            f"be [N, {_DIGIT}, {_DIGIT}, 1] of 10."
        )
    if not np.all((np.abs(pixels - whole) < 0.01) & (whole >= 0) & (whole <= 255)):
        raise ValueError(
            "`digits` must be normalised as `digits()` and `mnist10k` do it: (pixel / "
            f"255 - {grey_digits.MNIST_MEAN}) / {grey_digits.MNIST_STD}."
        )
    return whole.astype(np.uint8)


def _squares(corners: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """The index of one square in each array [H, W], by its top left corners [N, 2]."""
    rows, columns = (corners[:, axis, None] + np.arange(size) for axis in range(2))
    return np.arange(len(corners))[:, None, None], rows[:, :, None], columns[:, None]


def _crops(rng: np.random.Generator, textures: np.ndarray, half: str) -> np.ndarray:
    """float32 [N, 48, 48] in [0, 1], each out of its texture's half."""
    halves = _photographs()[half]
    windows = np.lib.stride_tricks.sliding_window_view(
        halves, (_CANVAS, _CANVAS), axis=(1, 2)
    )
    tops = rng.integers(0, windows.shape[1], size=len(textures))
    lefts = rng.integers(0, windows.shape[2], size=len(textures))
    return windows[textures, tops, lefts] / np.float32(255)


@functools.cache
def _photographs() -> dict[str, np.ndarray]:
    """uint8 [texture, 512, 256] of each half."""
    try:
        from skimage import data
    except ImportError as error:
        raise ImportError(
            "`textured_digits` uses photographs that scikit-image ships: install "
            "scikit-image, or xguide_jax[experiments]."
        ) from error
    whole = np.stack([getattr(data, texture)() for texture in _TEXTURES])
    left, right = np.split(whole, 2, axis=2)
    return {"train": left, "test": right}
