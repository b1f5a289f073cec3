"""The images of which a report on textured digits draws the maps."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from xguide_jax import data
from xguide_jax.types import Array

NUM_SHOWN = 6


class Shown(NamedTuple):
    """What the figures show, of the first images.

    Attributes:
      inputs: [S, H, W, C].
      region: bool [S, H, W], what is outlined.
      maps: {explainer: [S, h, w]}.
    """

    inputs: np.ndarray
    region: np.ndarray
    maps: dict[str, np.ndarray]


def shown(test: data.Dataset, region: np.ndarray, maps: Mapping[str, Array]) -> Shown:
    """The first images with their maps, for the figures.

    Args:
      test: images.
      region: bool [N, H, W], what is outlined.
      maps: {explainer: [N, h, w]}.

    Returns:
      Six of them.
    """
    first = slice(NUM_SHOWN)
    drawn = {name: np.asarray(m[first]) for name, m in maps.items()}
    return Shown(test.inputs[first], np.asarray(region[first]), drawn)
