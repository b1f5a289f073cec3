"""A number of many examples: its mean, and the rows that comparisons pair."""

from typing import NamedTuple

import numpy as np

from xguide_jax import evaluation
from xguide_jax.types import Array


class Scored(NamedTuple):
    """One number of many examples.

    Attributes:
      summary: over the examples.
      rows: float [N], NaN where undefined.
    """

    summary: evaluation.Summary
    rows: np.ndarray


def scored(values: Array | np.ndarray) -> Scored:
    """The record of some values.

    Args:
      values: float [N], NaN where undefined.

    Returns:
      A `Scored`.
    """
    rows = np.asarray(values)
    return Scored(evaluation.summarise(rows), rows)
