"""Where maps point, beside a region in pixels; the threshold is not of the test."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import metrics, ops
from xguide_jax.evaluation import summary
from xguide_jax.types import Array


class ThresholdedIoU(NamedTuple):
    """The IoU at a threshold that other maps have chosen.

    Attributes:
      iou: float [N], NaN where undefined; everywhere where there is no threshold.
      threshold: NaN where no held-out map has an IoU to choose by.
    """

    iou: np.ndarray
    threshold: float


@jax.jit
def energy_in_region(maps: Array, region: Array) -> Array:
    """The energy pointing game of maps of any size.

    `metrics.energy_pointing_game` with the region on the grid of the maps, each cell
    the share of it that is covered.

    Args:
      maps: float [N, h, w], raw attributions.
      region: float or bool [N, H, W], 1 on the evidence.

    Returns:
      float [N] in [0, 1]; NaN without positive attribution or with an empty region.

    Raises:
      AssertionError: if the numbers of maps and regions differ or a rank is not 3.
    """
    return metrics.energy_pointing_game(maps, _at_size_of(maps, region))


def iou_at_held_out_threshold(
    maps: Array,
    region: Array | np.ndarray,
    *,
    held_out: tuple[Array, Array | np.ndarray],
    thresholds: Sequence[float],
) -> ThresholdedIoU:
    """The IoU at the threshold that is best on held-out maps.

    t* = argmax_t mean_i IoU(held-out map i, t), the lowest of equal ones, over the maps
    where it is defined. A threshold chosen on the test itself favours the explainer
    whose IoU depends on it most.

    Args:
      maps: float [N, h, w], raw attributions.
      region: float or bool [N, H, W]; a cell of a map counts as inside where more than
        half of it is covered.
      held_out: (maps [M, h, w], region [M, H, W]) of other examples, by the same
        explainer.
      thresholds: candidates in [0, 1], at least one.

    Returns:
      A `ThresholdedIoU`, on the host.

    Raises:
      ValueError: if there is no threshold, or one lies outside [0, 1].
      AssertionError: if the numbers of maps and regions differ or a rank is not 3.
    """
    if not thresholds or not all(0 <= t <= 1 for t in thresholds):
        raise ValueError(
            f"`thresholds` (={tuple(thresholds)}) must lie in [0, 1], at least one."
        )
    candidates = jnp.asarray(thresholds, jnp.float32)
    scores = [
        summary.summarise(values).mean
        for values in np.asarray(_overlaps(*held_out, candidates))
    ]
    if np.isnan(scores).any():  # a map has an IoU at all thresholds or at none
        return ThresholdedIoU(np.full(len(maps), np.nan, np.float32), float("nan"))
    best = int(np.argmax(scores))
    (overlaps,) = np.asarray(_overlaps(maps, region, candidates[best : best + 1]))
    return ThresholdedIoU(overlaps, float(thresholds[best]))


@jax.jit
def _overlaps(maps: Array, region: Array, thresholds: Array) -> Array:
    """The IoU at each of the thresholds, [T, N]."""
    region = _at_size_of(maps, region)
    at = lambda threshold: metrics.iou(maps, region, threshold=threshold)
    return jax.vmap(at)(thresholds)


def _at_size_of(maps: Array, region: Array) -> Array:
    """The region on the grid of the maps, the share of each cell that it covers."""
    _, h, w = maps.shape
    return ops.area_resize(region.astype(jnp.float32), shape=(h, w))
