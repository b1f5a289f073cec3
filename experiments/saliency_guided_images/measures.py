"""Measuring an image classifier's explanations by removing and inserting pixels.

Pixels are ranked by the mean magnitude of an attribution over channels. Removal
replaces the most salient first, insertion puts the most salient back first. Both are
compared with random orders of the *same* network: one that was trained on replaced
pixels has a flatter random curve as well.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.running import predicting
from experiments.saliency_guided_images import explaining
from xguide_jax import attributions, data, evaluation, ops
from xguide_jax.types import ApplyFn, Array, TrainState

FRACTIONS = tuple(np.round(np.arange(0.0, 0.95, 0.1), 1).tolist())
VIEWS = evaluation.Views._fields


class Shown(NamedTuple):
    """What the figures show, of the first images.

    Attributes:
      inputs: [S, H, W, C].
      labels: what the images show, in words.
      maps: {explainer: [S, H, W]} of the target's logit.
    """

    inputs: np.ndarray
    labels: list[str]
    maps: dict[str, np.ndarray]


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      test_accuracy: on the whole test part.
      validation_accuracy: on the whole validation part.
      completeness: of integrated gradients.
      removal: both views of every explainer with every fill, beside chance.
      shown: what the figures show.
    """

    test_accuracy: float
    validation_accuracy: float
    completeness: evaluation.Completeness
    removal: evaluation.Removal
    shown: Shown


Explained = tuple[evaluation.Completeness, evaluation.Removal, dict[str, np.ndarray]]


def make_measurement(
    apply_fn: ApplyFn,
    protocol: explaining.Protocol,
    accuracy: Callable[[TrainState, data.Dataset], float],
) -> Callable[[TrainState, data.Dataset, data.Dataset, int], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      protocol: how to explain and test; the first `batch_size` images of the test part
        are explained.
      accuracy: of `predicting.make_accuracy`.

    Returns:
      `(state, test part, validation part, seed) -> Measured`.
    """
    explain = make_explained(apply_fn, protocol)

    def measure(
        state: TrainState, test: data.Dataset, validation: data.Dataset, seed: int
    ) -> Measured:
        inputs = jnp.asarray(test.inputs[: protocol.batch_size])
        labels = jnp.asarray(test.labels[: protocol.batch_size])
        completeness, removal, maps = explain(
            state, inputs, labels, jax.random.key(seed)
        )
        count = len(next(iter(maps.values())))
        words = [test.class_names[label] for label in test.labels[:count]]
        return Measured(
            test_accuracy=accuracy(state, test),
            validation_accuracy=accuracy(state, validation),
            completeness=completeness,
            removal=removal,
            shown=Shown(test.inputs[:count], words, maps),
        )

    return measure


def make_explained(
    apply_fn: ApplyFn, protocol: explaining.Protocol
) -> Callable[[TrainState, Array, Array, Array], Explained]:
    """What explanations of one trained network are worth.

    Args:
      apply_fn: the network.
      protocol: how to explain and test.

    Returns:
      `(state, inputs [B, H, W, C], labels [B], key) -> (completeness, removal,
      {explainer: maps [S, H, W] of the first images})`.
    """
    explain = evaluation.make_explain(
        apply_fn, explaining.explain_fns(protocol), batch_size=protocol.batch_size
    )
    # A log-probability has no slope left where the network is sure of its answer: maps
    # that are looked at, on one scale for all networks, are of the logit.
    of_logit = explaining.explain_fns(
        protocol._replace(score_fn=attributions.target_logit)
    )
    explain_shown = evaluation.make_explain(
        apply_fn, of_logit, batch_size=protocol.num_shown
    )
    # The network alone is compiled: a whole curve holds it once a fraction.
    predict = predicting.make_predict(apply_fn)

    def measure(
        state: TrainState, inputs: Array, labels: Array, key: Array
    ) -> Explained:
        variables = (state.params["model"], state.model_state)
        explain_key, order_key, fill_key = jax.random.split(key, 3)
        explained = explain(*variables, inputs, labels, key=explain_key)
        found = evaluation.measure_removal(
            functools.partial(predict, state),
            inputs,
            labels,
            {
                name: ops.mean_magnitude(m)
                for name, m in explaining.maps_of(explained).items()
            },
            orders=evaluation.random_orders(
                inputs, key=order_key, num_orders=protocol.num_draws
            ),
            fills=protocol.fills,
            fractions=FRACTIONS,
            key=fill_key,
            batch_size=protocol.batch_size,
        )
        integrated = explained["integrated_gradients"]
        completeness = evaluation.completeness_of(integrated.gap, integrated.change)
        shown = inputs[: protocol.num_shown], labels[: protocol.num_shown]
        looked_at = explaining.maps_of(
            explain_shown(*variables, *shown, key=explain_key)
        )
        signed = lambda m: np.asarray(ops.signed_channel_mean(m)[..., 0])
        return completeness, found, {n: signed(m) for n, m in looked_at.items()}

    return measure
