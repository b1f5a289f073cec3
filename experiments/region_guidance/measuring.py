"""What is measured of a network on textured digits; integrated gradients judge."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.digits import accuracy, explaining, localising, showing, textured
from experiments.running import predicting
from xguide_jax import data, evaluation
from xguide_jax.types import ApplyFn, TrainState


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      accuracies: by group and on average.
      covered: accuracies with a part of the images covered.
      bias_amplification: texture to class.
      localisation: {explainer: where its maps point}.
      shown: what the figures show.
    """

    accuracies: accuracy.Accuracies
    covered: accuracy.Covered
    bias_amplification: float
    localisation: dict[str, localising.Localisation]
    shown: showing.Shown


def make_measurement(
    apply_fn: ApplyFn, *, num_evaluated: int, num_points: int
) -> Callable[[TrainState, textured.Parts, int], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      num_evaluated: balanced test images that are explained, and half as many of the
        validation part, by which the threshold of the IoU is chosen.
      num_points: of integrated gradients.

    Returns:
      `(state, parts, seed) -> Measured`.
    """
    logits = predicting.make_predict(apply_fn)
    explain = explaining.make_explain(
        apply_fn, num_evaluated=num_evaluated, num_points=num_points
    )

    def measure(state: TrainState, parts: textured.Parts, seed: int) -> Measured:
        predict = lambda x: evaluation.top_class(logits(state, x))
        few = data.take(parts.balanced, np.arange(num_evaluated))
        held_out = data.take(parts.validation, np.arange(num_evaluated // 2))
        maps, tuning = explaining.explain_both(explain, state, few, held_out)
        return Measured(
            accuracies=accuracy.accuracies(predict, parts),
            covered=accuracy.covered(predict, parts, seed),
            bias_amplification=accuracy.bias_amplification(
                predict, parts.in_distribution
            ),
            localisation={
                name: localising.localisation(maps[name], few, (tuning[name], held_out))
                for name in explaining.EXPLAINERS
            },
            shown=showing.shown(few, few.annotations["region"], maps),
        )

    return measure
