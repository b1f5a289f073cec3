"""Described digits for one seed: images, maps and texts, and what an arm sees of them.

Digits on photographs of grass and gravel, as in region guidance, and with each three
texts made of what is measured of the digit. All parts have all annotations; an arm is
given a share of the maps, or those of other images.
"""

import re
from typing import Any, NamedTuple

from experiments.digits import textured
from xguide_jax import data

# [BOS], the longest text of these digits, and [EOS].
LENGTH = 32
SHUFFLED = ("shuffled-maps", "shuffled-texts")
_TEXTS = ("texts", "texts_mask", "texts_valid")


class Parts(NamedTuple):
    """The parts of one seed.

    Attributes:
      digits: data sets with 'region', 'strokes', 'groups' and the texts as tokens.
      tokenizer: of the words of the training part.
      references: of each image of the balanced test its texts.
    """

    digits: textured.Parts
    tokenizer: Any
    references: tuple[tuple[str, ...], ...]


def make_parts(source: data.Dataset, *, rho: float, seed: int, size: int) -> Parts:
    """All parts of one seed; no digit is in two of them.

    Args:
      source: digits.
      rho: how often texture and class agree in training and validation.
      seed: of split, textures and places.
      size: pixels a side; the images are made with 48.

    Returns:
      `Parts`: 70, 10 and 20 % of the digits.
    """
    train, validation, test = data.split(source, seed=seed, fractions=(0.7, 0.1, 0.2))
    described = (
        _described(train, rho, half="train", seed=2 * seed),
        _described(validation, rho, half="train", seed=2 * seed + 1),
        _described(test, textured.CORRELATION, half="test", seed=2 * seed),
        _described(test, 0.5, half="test", seed=2 * seed),
    )
    tokenizer = data.reference_tokenizer(described[0].texts)
    return Parts(
        textured.Parts(*(_encoded(part, tokenizer, size) for part in described)),
        tokenizer,
        references=described[-1].texts,
    )


def check_annotation(how: str) -> None:
    """Refuses an annotation that `annotated` does not know, before anything is trained.

    Args:
      how: as for `annotated`.

    Raises:
      ValueError: for another, or a percentage outside [0, 100].
    """
    percent, control = _read(how)
    if not 0 <= percent <= 100 or control not in (None, *SHUFFLED):
        raise ValueError(
            f"annotation {how!r} is none of N and N-{', N-'.join(SHUFFLED)}, N in 0 .. "
            "100 the percentage of images with a map."
        )


def percent_of(how: str | None) -> float:
    """The percentage of images with a map.

    Args:
      how: as for `annotated`; None where nothing guides.

    Returns:
      In [0, 100].
    """
    return 0.0 if how is None else _read(how)[0]


def annotated(dataset: data.Dataset, how: str, *, seed: int) -> data.Dataset:
    """What an arm is guided by, and no other.

    Args:
      dataset: with all annotations.
      how: 'N', so many per cent of the images have a map, and all have texts;
        'N-shuffled-maps', those maps are of other images; 'N-shuffled-texts', the texts
        are.
      seed: of what is random.

    Returns:
      The same images with 'region', 'region_valid' and the texts alone.

    Raises:
      ValueError: for another `how`.
    """
    check_annotation(how)
    percent, control = _read(how)
    known = dataset.annotations
    count = len(dataset.labels)
    others = data.generator(data.Stream.CONTROL, seed).permutation(count)
    region, texts = known["region"], {name: known[name] for name in _TEXTS}
    if control == "shuffled-maps":
        region = region[others]
    if control == "shuffled-texts":
        texts = {name: values[others] for name, values in texts.items()}
    valid = data.keep_fraction(count, fraction=percent / 100, seed=seed)
    maps = {"region": region & valid[:, None, None], "region_valid": valid}
    return dataset._replace(annotations={**maps, **texts})


def _read(how: str) -> tuple[float, str | None]:
    """(the percentage, -1 for no number; the control, None for none)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:-(.*))?", how)
    return (float(found[1]), found[2]) if found else (-1.0, None)


def _described(
    digits: data.Dataset, rho: float, *, half: Any, seed: int
) -> data.Described:
    return data.described_digits(
        digits, rho=rho, half=half, map_rate=1.0, text_rate=1.0, seed=seed
    )


def _encoded(part: data.Described, tokenizer: Any, size: int) -> data.Dataset:
    dataset, counts = data.encode_described(part, tokenizer, length=LENGTH)
    if counts.truncated:
        raise AssertionError(f"{counts.truncated} texts are longer than {LENGTH}.")
    maps = {name: dataset.annotations[name] for name in ("region", "strokes")}
    small = textured.resized(dataset._replace(annotations=maps), size)
    return small._replace(annotations={**dataset.annotations, **small.annotations})
