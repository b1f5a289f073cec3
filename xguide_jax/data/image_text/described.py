"""Images with texts of people, one row an image, however many texts it has.

A row for each pair of image and text would put one image on both sides of a random
split, and what is then called a test measures memory.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.data import datasets


class Described(NamedTuple):
    """A data set, and beside each of its images what people wrote of it.

    Attributes:
      dataset: N images with their labels, maps and other annotations.
      texts: of each image its texts, as many as it has; () where nobody wrote any.
      ids: of each image what it is known by; rows of one image share theirs.
    """

    dataset: datasets.Dataset
    texts: tuple[tuple[str, ...], ...]
    ids: tuple[str, ...]


def take_described(described: Described, indices: np.ndarray) -> Described:
    """The images at `indices`, in that order, with their texts.

    Args:
      described: N images.
      indices: int [K] in 0 .. N - 1, or bool [N].

    Returns:
      A part that shares no memory with `described`.

    Raises:
      IndexError: as `take`.
    """
    rows = np.arange(len(described.ids))[np.asarray(indices)]
    return Described(
        datasets.take(described.dataset, indices),
        tuple(described.texts[row] for row in rows.tolist()),
        tuple(described.ids[row] for row in rows.tolist()),
    )


def split_images(
    described: Described, *, seed: int, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> tuple[Described, ...]:
    """Parts that share no image, by a seeded permutation of the images' ids.

    As `split`, with ids in place of rows: all rows of one id lie in one part, and which
    part that is does not depend on the order of the rows.

    Args:
      described: N images.
      seed: decides the permutation, together with the ids.
      fractions: the share of each part in the ids.

    Returns:
      One part for each fraction, its rows in the order they had.

    Raises:
      ValueError: if the fractions are negative, no numbers, or do not sum to 1.
    """
    names = sorted(set(described.ids))
    places = datasets.Dataset(
        np.arange(len(names)), np.zeros(len(names), np.int32), ("any",)
    )
    parts = datasets.split(places, seed=seed, fractions=fractions)
    part_of = {
        names[place]: number
        for number, part in enumerate(parts)
        for place in part.inputs.tolist()
    }
    rows = np.array([part_of[name] for name in described.ids], int)
    return tuple(take_described(described, rows == n) for n in range(len(parts)))
