"""Where an explainer's maps of textured digits point: energy, and IoU with the box."""

from typing import NamedTuple

import numpy as np

from xguide_jax import data, evaluation
from xguide_jax.types import Array

THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())


class Localisation(NamedTuple):
    """Where one explainer's maps point.

    Attributes:
      box: energy in the box.
      strokes: energy on the digit.
      iou: with the box, at `threshold`.
      threshold: the best one of held-out maps; NaN where none of them has an IoU.
      validation: mean energy in the box of the held-out maps.
    """

    box: evaluation.Summary
    strokes: evaluation.Summary
    iou: evaluation.Summary
    threshold: float
    validation: float


def localisation(
    maps: Array, test: data.Dataset, held_out: tuple[Array, data.Dataset]
) -> Localisation:
    """Where one explainer's maps point.

    Args:
      maps: [N, h, w] of the test images.
      test: images and annotations.
      held_out: (maps, images) on which the threshold of the IoU is chosen.

    Returns:
      The numbers; without a threshold the IoU is undefined.
    """
    region, strokes = test.annotations["region"], test.annotations["strokes"]
    tuning_maps, tuning_region = held_out[0], held_out[1].annotations["region"]
    energy = lambda m, r: evaluation.summarise(evaluation.energy_in_region(m, r))
    found = evaluation.iou_at_held_out_threshold(
        maps, region, held_out=(tuning_maps, tuning_region), thresholds=THRESHOLDS
    )
    return Localisation(
        box=energy(maps, region),
        strokes=energy(maps, strokes),
        iou=evaluation.summarise(found.iou),
        threshold=found.threshold,
        validation=energy(tuning_maps, tuning_region).mean,
    )
