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

from experiments import arms
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

Measured = tuple[dict[str, float], dict[str, np.ndarray]]


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
) -> Callable[[TrainState, Array, Array, Array], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      protocol: how to explain and test.

    Returns:
      `(state, inputs [B, H, W, C], labels [B], key) -> (numbers, arrays)`. Numbers:
      '<view>/<fill>/<explainer or random>' (areas under mean curves), 'gap/...' (by how
      much the explainer's order beats the random one on the same images, higher is
      better in both views), 'gap/.../zero' (the same with a gap of 0 for undefined
      images), 'completeness_error', 'undefined/<explainer or random>' (images that are
      left out: without a ranking, or with a prediction that is none) and
      'undefined/completeness_error'. Arrays: 'curve/<view>/<fill>/<explainer or
      random>' [F], 'curve/<view>/<fill>/<explainer>/random' [F] of the random orders on
      the images that the explainer ranks, 'rows/gap/<view>/<fill>/<explainer>' [B],
      'maps/<explainer>' [S, H, W] of the target's logit, 'inputs', 'labels'.
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
    predict = arms.make_predict(apply_fn)

    def measure(
        state: TrainState, inputs: Array, labels: Array, key: Array
    ) -> Measured:
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
        numbers, curves = keyed(found)
        integrated = explained["integrated_gradients"]
        completeness = evaluation.completeness_of(integrated.gap, integrated.change)
        numbers["completeness_error"] = completeness.error
        numbers["undefined/completeness_error"] = float(
            completeness.num_values - completeness.num_defined
        )
        shown = inputs[: protocol.num_shown], labels[: protocol.num_shown]
        looked_at = maps_of(explain_shown(*variables, *shown, key=explain_key))
        return numbers, {**_shown(looked_at, *shown), **curves}

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
            baselines=baselines, num_steps=protocol.num_points,
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


def keyed(removal: evaluation.Removal) -> Measured:
    """A `Removal` under the keys that the report reads.

    Args:
      removal: of one network.

    Returns:
      The numbers '<place>/...', 'gap/...' and 'undefined/...' and the arrays
      'curve/...' and 'rows/gap/...' of `make_measurement`.
    """
    numbers: dict[str, float] = {"undefined/random": float(removal.num_undefined)}
    arrays: dict[str, np.ndarray] = {}
    for fill, chance in removal.chance.items():
        for view in VIEWS:
            numbers[f"{view}/{fill}/random"] = getattr(chance, view).area
            arrays[f"curve/{view}/{fill}/random"] = getattr(chance, view).curve
    for name, fills in removal.maps.items():
        for fill, views in fills.items():
            for view in VIEWS:
                found: evaluation.AgainstChance = getattr(views, view)
                place = f"{view}/{fill}"
                numbers[f"undefined/{name}"] = float(found.gap.num_undefined)
                numbers[f"{place}/{name}"] = found.area
                numbers[f"gap/{place}/{name}"] = found.gap.mean
                numbers[f"gap/{place}/{name}/zero"] = found.gap.mean_or_zero
                arrays[f"curve/{place}/{name}"] = found.curve
                arrays[f"curve/{place}/{name}/random"] = found.chance.curve
                arrays[f"rows/gap/{place}/{name}"] = found.rows
    return numbers, arrays


def _shown(
    explained: dict[str, Array], inputs: Array, labels: Array
) -> dict[str, np.ndarray]:
    maps = {
        f"maps/{name}": np.asarray(ops.signed_channel_mean(a)[..., 0])
        for name, a in explained.items()
    }
    return {**maps, "inputs": np.asarray(inputs), "labels": np.asarray(labels)}
