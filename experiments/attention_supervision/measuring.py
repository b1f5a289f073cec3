"""What is measured: accuracy off the artefact, plausibility, where attention goes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attention_supervision import terms
from experiments.running import arms, predicting
from experiments.texts import explaining, judging, networks, showing, sources
from xguide_jax import data, evaluation, metrics
from xguide_jax.types import Array, PyTree, TrainState


class Attended(NamedTuple):
    """The share of the class token's attention by class of token, on average.

    Attributes:
      apart: of the heads that the arm 'heads' supervises, in every arm; or of the extra
        layer.
      others: of the other heads; {} where there are none.
    """

    apart: dict[str, float]
    others: dict[str, float]


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      accuracies: {test: share of right answers}.
      validation: the same of the validation part.
      probes: {'heuristic, gold': accuracy of two classes}; {} where there are none.
      plausibility: {test: {explainer: agreement with the marks}}.
      attended: on the test that is like training.
      shown: what the report shows.
    """

    accuracies: dict[str, float]
    validation: float
    probes: dict[str, float]
    plausibility: dict[str, dict[str, judging.Plausibility]]
    attended: Attended
    shown: showing.Shown


def make_measurement(
    network: networks.Network,
    parts: sources.Parts,
    arm: arms.Arm,
    *,
    num_evaluated: int,
    num_points: int,
) -> Callable[[TrainState], Measured]:
    """The measurement of one trained network.

    Args:
      network: its encoder.
      parts: of the seed.
      arm: which.
      num_evaluated: texts of each test that are explained.
      num_points: of integrated gradients.

    Returns:
      `state -> Measured`.
    """
    layer = terms.TOP if terms.has_extra_layer(arm) else network.last_attention
    explain = explaining.make_explain(network, layer=layer, num_points=num_points)
    attend = _make_attended(network, parts, layer, terms.heads_apart(arm))
    logits_of = predicting.make_predict_rows(network.apply_fn, batch_size=128)

    def measure(state: TrainState) -> Measured:
        logits = lambda part: logits_of(state, part.inputs)
        accuracy = lambda part: float(
            np.mean(evaluation.top_class(logits(part)) == part.labels)
        )
        few = {
            name: data.take(test, np.arange(min(num_evaluated, len(test.labels))))
            for name, test in parts.tests.items()
        }
        maps = {name: explain(state, texts) for name, texts in few.items()}
        first = next(iter(few))
        return Measured(
            accuracies={name: accuracy(test) for name, test in parts.tests.items()},
            validation=accuracy(parts.validation),
            probes=_by_heuristic(logits, parts),
            plausibility={
                name: judging.plausibility(maps[name], texts)
                for name, texts in few.items()
            },
            attended=attend(state, few[first]),
            shown=showing.shown(
                few[first], parts, maps[first], evaluation.top_class(logits(few[first]))
            ),
        )

    return measure


def _by_heuristic(
    logits: Callable[[data.Dataset], np.ndarray], parts: sources.Parts
) -> dict[str, float]:
    """Accuracy on the probes, by heuristic and by whether they are entailed."""
    if parts.probes is None:
        return {}
    known = parts.probes.annotations
    said = data.entailment_or_not(logits(parts.probes), parts.train.class_names)
    right = said == parts.probes.labels
    return {
        f"{heuristic}, {gold}": float(
            np.mean(right[(known["heuristic"] == h) & (known["gold"] == g)])
        )
        for h, heuristic in enumerate(sources.HEURISTICS)
        for g, gold in enumerate(sources.GOLD)
    }


def _make_attended(
    network: networks.Network,
    parts: sources.Parts,
    layer: str,
    heads: tuple[int, ...] | None,
) -> Callable[[TrainState, data.Dataset], Attended]:
    """Where the class token's attention goes, by class of token."""

    @jax.jit
    def read(params: PyTree, model_state: PyTree, inputs: PyTree) -> Array:
        output, _ = network.apply_fn(params, model_state, inputs, train=False)
        weights = output.intermediates[layer]
        # The extra layer has no heads, and is read as one.
        return weights[:, None] if weights.ndim == 2 else weights[:, :, 0]

    def attended(state: TrainState, texts: data.Dataset) -> Attended:
        weights = read(state.params["model"], state.model_state, texts.inputs)
        every = set(range(weights.shape[1]))
        apart = sorted(every if heads is None else heads)
        classes = data.token_classes(texts, parts.texts)

        def shares(of: list[int]) -> dict[str, float]:
            if not of:
                return {}
            return {
                name: evaluation.summarise(
                    metrics.attention_share(weights[:, np.array(of)], jnp.array(which))
                ).mean
                for name, which in classes.items()
            }

        return Attended(shares(apart), shares(sorted(every - {*apart})))

    return attended
