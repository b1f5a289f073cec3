"""Metrics of models and of explanations: pure functions, one value an example.

A metric takes arrays `[B, ...]` and returns float `[B]`, or a curve `[B, F]` over F
fractions. It never reduces over the batch. Where it is undefined it is NaN, never a
plausible 0 or 1, so that a report can count what it leaves out.
"""

from xguide_jax.metrics.faithfulness import (
    area_under_curve,
    insertion_curve,
    removal_curve,
)
from xguide_jax.metrics.groups import (
    bias_amplification_attribute_to_task,
    group_accuracy,
    group_undefined,
    worst_group,
)
from xguide_jax.metrics.localisation import (
    energy_pointing_game,
    explanation_precision_recall,
    iou,
    pointing_game,
)

__all__ = (
    "area_under_curve",
    "bias_amplification_attribute_to_task",
    "energy_pointing_game",
    "explanation_precision_recall",
    "group_accuracy",
    "group_undefined",
    "insertion_curve",
    "iou",
    "pointing_game",
    "removal_curve",
    "worst_group",
)
