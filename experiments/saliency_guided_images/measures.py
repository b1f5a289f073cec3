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
from xguide_jax import attributions, evaluation, ops
from xguide_jax.types import (
    ApplyFn,
    Array,
    FillFn,
    Forward,
    PRNGKey,
    ScoreFn,
    TrainState,
)

FRACTIONS = tuple(np.round(np.arange(0.0, 0.95, 0.1), 1).tolist())
EXPLAINERS = ("gradient", "smooth_grad", "integrated_gradients")
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


class Integrated(NamedTuple):
    """Integrated gradients and what they should add up to.

    Attributes:
      maps: float [B, H, W, C].
      gap: float [B], the completeness gap.
      change: float [B], f(x) − f(b).
    """

    maps: Array
    gap: Array
    change: Array


class Protocol(NamedTuple):
    """How explanations are made and tested.

    Attributes:
      score_fn: what is explained.
      fills: {name: fill}; one that training used and one that it did not.
      baseline: value of the image that integrated gradients start from.
      sigma: standard deviation of SmoothGrad's noise, in input units.
      num_points: points of integrated gradients, samples of SmoothGrad.
      num_draws: random orders.
      batch_size: images explained and predicted at once.
      num_shown: images whose maps are kept for the figures.
    """

    score_fn: ScoreFn
    fills: dict[str, FillFn]
    baseline: float
    sigma: float
    num_points: int
    num_draws: int
    batch_size: int
    num_shown: int = 8


def make_measurement(
    apply_fn: ApplyFn, protocol: Protocol
) -> Callable[[TrainState, Array, Array, Array], Explained]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      protocol: how to explain and test.

    Returns:
      `(state, inputs [B, H, W, C], labels [B], key) -> (completeness, removal,
      {explainer: maps [S, H, W] of the first images})`.
    """
    explain = evaluation.make_explain(
        apply_fn, explain_fns(protocol), batch_size=protocol.batch_size
    )
    # A log-probability has no slope left where the network is sure of its answer: maps
    # that are looked at, on one scale for all networks, are of the logit.
    of_logit = explain_fns(protocol._replace(score_fn=attributions.target_logit))
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
            {name: ops.mean_magnitude(m) for name, m in maps_of(explained).items()},
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
        looked_at = maps_of(explain_shown(*variables, *shown, key=explain_key))
        signed = lambda m: np.asarray(ops.signed_channel_mean(m)[..., 0])
        return completeness, found, {n: signed(m) for n, m in looked_at.items()}

    return measure


def explain_fns(protocol: Protocol) -> dict[str, evaluation.ExplainFn]:
    """The explainers of a protocol.

    Args:
      protocol: how to explain.

    Returns:
      {explainer: function for `evaluation.make_explain`}; all give [B, H, W, C] but
      integrated gradients, which give an `Integrated`.
    """
    gradient = functools.partial(
        attributions.input_gradient, score_fn=protocol.score_fn
    )

    def smooth(forward: Forward, inputs: Array, labels: Array, keys: PRNGKey) -> Array:
        return attributions.smooth_grad(
            gradient, lambda x: forward(x).logits, inputs, labels,
            key=keys, sigma=protocol.sigma, num_samples=protocol.num_points,
        )  # fmt: skip

    def integrate(
        forward: Forward, inputs: Array, labels: Array, keys: PRNGKey
    ) -> Integrated:
        del keys
        predict = lambda x: forward(x).logits
        baselines = jnp.full_like(inputs, protocol.baseline)
        maps = attributions.integrated_gradients(
            predict, inputs, labels,
            baselines=baselines, num_points=protocol.num_points,
            score_fn=protocol.score_fn,
        )  # fmt: skip
        gap = attributions.completeness_gap(
            predict, inputs, labels, maps,
            baselines=baselines, score_fn=protocol.score_fn,
        )  # fmt: skip
        return Integrated(maps, gap, jnp.sum(maps, axis=(1, 2, 3)) - gap)

    return {
        "gradient": evaluation.of_inputs(gradient),
        "integrated_gradients": integrate,
        "smooth_grad": smooth,
    }


def maps_of(explained: dict[str, Array | Integrated]) -> dict[str, Array]:
    """The maps alone.

    Args:
      explained: what `evaluation.make_explain` gave.

    Returns:
      {explainer: [N, H, W, C]}.
    """
    return {
        name: made.maps if isinstance(made, Integrated) else made
        for name, made in explained.items()
    }
