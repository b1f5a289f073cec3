"""What is measured: accuracy, faithfulness of token maps, recovery of the evidence."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.running import predicting
from experiments.texts import explaining, judging, networks, showing, sources
from xguide_jax import data, evaluation
from xguide_jax.types import TrainState


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      accuracies: {test: share of right answers}.
      validation: the same of the validation part.
      plausibility: {test: {explainer: agreement with the marks}}.
      erasure: {test: {explainer: {removal: beside random orders}}}.
      shown: what the report shows.
    """

    accuracies: dict[str, float]
    validation: float
    plausibility: dict[str, dict[str, judging.Plausibility]]
    erasure: dict[str, dict[str, dict[str, evaluation.Erasure]]]
    shown: showing.Shown


def make_measurement(
    network: networks.Network,
    parts: sources.Parts,
    *,
    num_evaluated: int,
    num_points: int,
    num_draws: int,
) -> Callable[[TrainState, int], Measured]:
    """The measurement of one trained network.

    Args:
      network: its encoder.
      parts: of the seed.
      num_evaluated: texts of each test that are explained.
      num_points: of integrated gradients.
      num_draws: random orders that a map is compared with.

    Returns:
      `(state, seed) -> Measured`.
    """
    explain = explaining.make_explain(
        network, layer=network.last_attention, num_points=num_points
    )
    # The network alone is compiled: a test holds it many times.
    predict = predicting.make_predict(network.apply_fn)
    logits_of = predicting.make_predict_rows(network.apply_fn, batch_size=128)

    def measure(state: TrainState, seed: int) -> Measured:
        accuracy = lambda part: float(
            np.mean(evaluation.top_class(logits_of(state, part.inputs)) == part.labels)
        )
        few = {
            name: data.take(test, np.arange(min(num_evaluated, len(test.labels))))
            for name, test in parts.tests.items()
        }
        maps = {name: explain(state, texts) for name, texts in few.items()}
        first = next(iter(few))
        erasure = functools.partial(
            judging.erasure,
            functools.partial(predict, state),
            mask_id=parts.tokenizer.token_to_id("[MASK]"),
            num_draws=num_draws,
            seed=seed,
        )
        return Measured(
            accuracies={name: accuracy(test) for name, test in parts.tests.items()},
            validation=accuracy(parts.validation),
            plausibility={
                name: judging.plausibility(maps[name], texts)
                for name, texts in few.items()
            },
            erasure={name: erasure(maps[name], texts) for name, texts in few.items()},
            shown=showing.shown(
                few[first],
                parts,
                maps[first],
                evaluation.top_class(logits_of(state, few[first].inputs)),
            ),
        )

    return measure
