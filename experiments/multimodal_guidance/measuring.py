"""What is measured: accuracy, where the network looks, and what it writes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.digits import accuracy, explaining, localising, showing
from experiments.multimodal_guidance import sources, telling, terms
from experiments.running import arms, predicting
from xguide_jax import data, evaluation
from xguide_jax.types import ApplyFn, TrainState


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      accuracies: by group and on average.
      macro_f1: of the balanced test.
      localisation: {explainer: where its maps point}.
      told: what its texts are worth; None for a network that writes none.
      shown: what the figures show.
      texts: the first text of people of each image shown.
    """

    accuracies: accuracy.Accuracies
    macro_f1: float
    localisation: dict[str, localising.Localisation]
    told: telling.Told | None
    shown: showing.Shown
    texts: list[str]


def make_measurement(
    apply_fn: ApplyFn, *, layer: terms.Layer, num_evaluated: int, num_points: int
) -> Callable[[TrainState, sources.Parts, arms.Arm], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      layer: that is explained.
      num_evaluated: balanced test images that are explained and told of, and half as
        many of the validation part, by which the threshold of the IoU is chosen.
      num_points: of integrated gradients.

    Returns:
      `(state, parts, arm) -> Measured`.
    """
    logits = predicting.make_predict(apply_fn)
    look = telling.make_look(apply_fn)
    explain = explaining.make_explain(
        apply_fn, num_evaluated=num_evaluated, num_points=num_points
    )

    def measure(state: TrainState, parts: sources.Parts, arm: arms.Arm) -> Measured:
        predict = lambda x: evaluation.top_class(logits(state, x))
        balanced = parts.digits.balanced
        few = data.take(balanced, np.arange(num_evaluated))
        held_out = data.take(parts.digits.validation, np.arange(num_evaluated // 2))
        maps, tuning = explaining.explain_both(explain, state, few, held_out)
        references = parts.references[:num_evaluated]
        told = None
        if name := terms.telling_of(arm):
            told = telling.tell(
                terms.text_head(parts.tokenizer.get_vocab_size(), layer),
                state.params["guidance"][name], look(state, few.inputs), few,
                uniform=name == "text", tokenizer=parts.tokenizer,
                references=references,
            )  # fmt: skip
        return Measured(
            accuracies=accuracy.accuracies(predict, parts.digits),
            macro_f1=evaluation.macro_f1(
                predict(balanced.inputs), balanced.labels, num_classes=2
            ),
            localisation={
                name: localising.localisation(maps[name], few, (tuning[name], held_out))
                for name in explaining.EXPLAINERS
            },
            told=told,
            shown=showing.shown(few, few.annotations["region"], maps),
            texts=[texts[0] for texts in references[: showing.NUM_SHOWN]],
        )

    return measure
