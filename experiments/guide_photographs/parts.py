"""Photographs for one seed: what is trained on, selected on and tested on."""

from typing import NamedTuple

import numpy as np

from experiments.guide_photographs.photographs import Photographs
from experiments.guide_photographs.table import PARTS
from experiments.running import flags
from xguide_jax import data

_SHARES = (0.7, 0.1, 0.2)


class Rows(NamedTuple):
    """The photographs of each part, int [n] in the order of all.

    Attributes:
      train: trained on.
      validation: what selection sees.
      test: what is reported.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(found: Photographs, *, seed: int) -> Rows:
    """The parts that the table says, or else 70, 10 and 20 % of the sources by chance.

    Args:
      found: all photographs.
      seed: of the chance; where the table says all parts it decides nothing.

    Returns:
      The rows of each part.

    Raises:
      RefusedError: if the table says parts of some photographs alone, or a part has not
        two photographs of each class, or none with a region.
    """
    told = np.array(found.parts)
    if np.any(told == "") and np.any(told != ""):
        name = found.names[int(np.flatnonzero(told == "")[0])]
        raise flags.RefusedError(
            f"the table must say the 'split' of all photographs or of none; {name} has "
            "none."
        )
    if np.all(told == ""):
        told = _drawn(found.sources, seed)
    rows = Rows(*(np.flatnonzero(told == part) for part in PARTS))
    for part, chosen in zip(PARTS, rows, strict=True):
        counts = np.bincount(found.labels[chosen], minlength=len(found.class_names))
        if np.any(counts < 2):
            of_class = dict(zip(found.class_names, counts.tolist(), strict=True))
            raise flags.RefusedError(
                f"the part {part!r} of seed {seed} must have two photographs of each "
                f"class, not {of_class}."
            )
        if not found.regions[chosen].any():
            raise flags.RefusedError(
                f"the part {part!r} of seed {seed} must have a photograph in which "
                "something is drawn."
            )
    return rows


def _drawn(sources: tuple[str, ...], seed: int) -> np.ndarray:
    """The part of each photograph, sources as a whole."""
    names = sorted(set(sources))
    order = data.generator(data.Stream.SOURCES, seed).permutation(len(names))
    ends = np.floor(np.cumsum(_SHARES) * len(names) + 1e-6).astype(int)
    part_of = {
        names[place]: PARTS[int(np.searchsorted(ends, rank, side="right"))]
        for rank, place in enumerate(order)
    }
    return np.array([part_of[source] for source in sources])
