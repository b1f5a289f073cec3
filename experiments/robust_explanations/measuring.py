"""What is measured: how well maps agree with the true masks, beside the accuracy."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.digits import accuracy, explaining, showing, textured
from experiments.robust_explanations import annotating
from experiments.running import predicting
from experiments.running.scored import Scored, scored
from xguide_jax import data, evaluation, metrics, ops
from xguide_jax.types import ApplyFn, Array, ScoreFn, TrainState

THRESHOLD = 0.5


class Agreement(NamedTuple):
    """How well maps agree with the true masks.

    Attributes:
      iou: of Grad-CAM between its minimum and maximum, enlarged, above 0.5.
      precision: likewise.
      recall: likewise.
      f1: likewise.
      energy: the share of Grad-CAM's positive part on the mask.
      integrated: the same of integrated gradients, which no arm is trained on.
    """

    iou: Scored
    precision: Scored
    recall: Scored
    f1: Scored
    energy: Scored
    integrated: Scored


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      accuracies: by group and on average.
      agreement: with the true masks.
      validation_iou: on half as many validation images, for choosing weights.
      shown: what the figures show.
    """

    accuracies: accuracy.Accuracies
    agreement: Agreement
    validation_iou: float
    shown: showing.Shown


def make_measurement(
    apply_fn: ApplyFn, *, num_evaluated: int, num_points: int, score_fn: ScoreFn
) -> Callable[[TrainState, textured.Parts], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      num_evaluated: test images that are explained.
      num_points: of integrated gradients.
      score_fn: what is explained.

    Returns:
      `(state, parts) -> Measured`.
    """
    logits = predicting.make_predict(apply_fn)
    explain = explaining.make_explain(
        apply_fn, num_evaluated=num_evaluated, num_points=num_points, score_fn=score_fn
    )

    def measure(state: TrainState, parts: textured.Parts) -> Measured:
        few = data.take(parts.balanced, np.arange(num_evaluated))
        held_out = data.take(parts.validation, np.arange(num_evaluated // 2))
        maps, tuning = explaining.explain_both(explain, state, few, held_out)
        mask = jnp.asarray(annotating.true_masks(few))
        cam = between_extremes(maps["grad_cam"], mask)
        integrated = metrics.energy_pointing_game(maps["integrated_gradients"], mask)
        mask_held_out = jnp.asarray(annotating.true_masks(held_out))
        scaled = between_extremes(tuning["grad_cam"], mask_held_out)
        held_out_iou = agreement(scaled, mask_held_out)["iou"]
        return Measured(
            accuracies=accuracy.accuracies(
                lambda x: evaluation.top_class(logits(state, x)), parts
            ),
            agreement=Agreement(
                integrated=scored(integrated),
                **{name: scored(v) for name, v in agreement(cam, mask).items()},
            ),
            validation_iou=evaluation.summarise(held_out_iou).mean,
            shown=showing.shown(few, np.asarray(mask), {"grad_cam": cam}),
        )

    return measure


def between_extremes(cam: Array, mask: Array) -> Array:
    """Maps as large as the masks, each between its own minimum and maximum.

    Args:
      cam: [B, h, w].
      mask: [B, H, W].

    Returns:
      [B, H, W] in [0, 1]; 0 where a map is constant.
    """
    _, height, width = mask.shape
    return ops.min_max_normalise(ops.bilinear_resize(cam, shape=(height, width)))


def agreement(cam: Array, mask: Array) -> dict[str, Array]:
    """How well maps in [0, 1] agree with the true masks.

    Args:
      cam: [B, H, W].
      mask: bool [B, H, W].

    Returns:
      'precision', 'recall', 'f1', 'iou' and 'energy', [B] each, NaN where undefined.
    """
    signs = jnp.where(mask, 1.0, -1.0)
    precision, recall, f1 = metrics.explanation_precision_recall(
        cam, signs, threshold=THRESHOLD
    )
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "iou": metrics.iou(cam, mask, threshold=THRESHOLD),
        "energy": metrics.energy_pointing_game(cam, mask),
    }
