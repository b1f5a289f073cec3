"""Measuring an image classifier's explanations by removing and inserting pixels.

Pixels are ranked by the mean magnitude of an attribution over channels. Removal
replaces the most salient first, insertion puts the most salient back first. Both are
compared with random orders of the *same* network: one that was trained on replaced
pixels has a flatter random curve as well.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import arms
from xguide_jax import attributions, metrics, ops
from xguide_jax.types import (
    ApplyFn,
    Array,
    FillFn,
    PredictFn,
    PyTree,
    ScoreFn,
    TrainState,
)

FRACTIONS = tuple(np.round(np.arange(0.0, 0.95, 0.1), 1).tolist())
EXPLAINERS = ("gradient", "smooth_grad", "integrated_gradients")
VIEWS = {"removal": metrics.removal_curve, "insertion": metrics.insertion_curve}

Measured = tuple[dict[str, float], dict[str, np.ndarray]]


class Protocol(NamedTuple):
    """How explanations are made and tested.

    Attributes:
      score_fn: what is explained.
      fills: {name: fill}; one that training used and one that it did not.
      baseline: value of the image that integrated gradients start from.
      sigma: standard deviation of SmoothGrad's noise, in input units.
      num_points: points of integrated gradients, samples of SmoothGrad.
      num_draws: random orders.
      num_shown: images whose maps are kept for the figures.
    """

    score_fn: ScoreFn
    fills: dict[str, FillFn]
    baseline: float
    sigma: float
    num_points: int
    num_draws: int
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
      much the explainer's order beats the random one, higher is better in both views),
      'completeness_error', 'undefined/<explainer>' (images without a ranking). Arrays:
      'curve/<view>/<fill>/<explainer>' [F], 'maps/<explainer>' [S, H, W] of the
      target's logit, 'inputs', 'labels'.
    """
    explain = jax.jit(functools.partial(_explain, apply_fn, protocol))
    # A log-probability has no slope left where the network is sure of its answer: maps
    # that are looked at, on one scale for all networks, are of the logit.
    of_logit = protocol._replace(score_fn=attributions.target_logit)
    explain_shown = jax.jit(functools.partial(_explain, apply_fn, of_logit))
    # The network alone is compiled: a whole curve holds it once a fraction.
    predict = arms.make_predict(apply_fn)

    def measure(
        state: TrainState, inputs: Array, labels: Array, key: Array
    ) -> Measured:
        variables = (state.params["model"], state.model_state)
        explain_key, order_key, fill_key = jax.random.split(key, 3)
        explained, error = explain(variables, inputs, labels, explain_key)
        scores = {name: ops.mean_magnitude(a) for name, a in explained.items()}
        draws = [
            ops.random_rank(inputs, key=jax.random.fold_in(order_key, draw))
            for draw in range(protocol.num_draws)
        ]
        numbers: dict[str, float] = {"completeness_error": float(error)}
        shown = inputs[: protocol.num_shown], labels[: protocol.num_shown]
        arrays = _shown(explain_shown(variables, *shown, explain_key)[0], *shown)
        for fill_name, fill in protocol.fills.items():
            curve = functools.partial(
                _curve, functools.partial(predict, state), inputs, labels,
                key=fill_key, fill=fill,
            )  # fmt: skip
            every = (*FRACTIONS, 1.0)
            removed = np.mean(
                [curve(s, view="removal", fractions=every) for s in draws], axis=0
            )
            # What is left of a random order is a random order: inserting a part is
            # removing the rest (to a pixel, since counts are rounded down), and needs
            # no passes of its own.
            by_chance = {"removal": removed[:, :-1], "insertion": removed[:, :0:-1]}
            for view in VIEWS:
                place = f"{view}/{fill_name}"
                _record(numbers, arrays, f"{place}/random", by_chance[view])
                for name, score in scores.items():
                    correct = curve(score, view=view, fractions=FRACTIONS)
                    _record(numbers, arrays, f"{place}/{name}", correct)
                    numbers[f"undefined/{name}"] = float(np.isnan(correct[:, 0]).sum())
                    gain = numbers[f"{place}/random"] - numbers[f"{place}/{name}"]
                    sign = 1.0 if view == "removal" else -1.0
                    numbers[f"gap/{place}/{name}"] = sign * gain
        return numbers, arrays

    return measure


def _explain(
    apply_fn: ApplyFn,
    protocol: Protocol,
    variables: tuple[PyTree, PyTree],
    inputs: Array,
    labels: Array,
    key: Array,
) -> tuple[dict[str, Array], Array]:
    predict = lambda x: apply_fn(*variables, x, train=False)[0].logits
    gradient = functools.partial(
        attributions.input_gradient, score_fn=protocol.score_fn
    )
    baselines = jnp.full_like(inputs, protocol.baseline)
    explained = {
        "gradient": gradient(predict, inputs, labels),
        "smooth_grad": attributions.smooth_grad(
            gradient, predict, inputs, labels,
            key=key, sigma=protocol.sigma, num_samples=protocol.num_points,
        ),
        "integrated_gradients": attributions.integrated_gradients(
            predict, inputs, labels,
            baselines=baselines, num_steps=protocol.num_points,
            score_fn=protocol.score_fn,
        ),
    }  # fmt: skip
    integrated = explained["integrated_gradients"]
    gap = attributions.completeness_gap(
        predict, inputs, labels, integrated,
        baselines=baselines, score_fn=protocol.score_fn,
    )  # fmt: skip
    # |Σ attributions − (f(x) − f(x'))| as a fraction of the mean |f(x) − f(x')|.
    change = jnp.sum(integrated, axis=(1, 2, 3)) - gap
    return explained, jnp.mean(jnp.abs(gap)) / jnp.mean(jnp.abs(change))


def _curve(
    predict_fn: PredictFn,
    inputs: Array,
    labels: Array,
    scores: Array,
    *,
    key: Array,
    view: str,
    fill: FillFn,
    fractions: tuple[float, ...],
) -> np.ndarray:
    correct = VIEWS[view](
        predict_fn, inputs, labels, scores, fractions=fractions, fill=fill, key=key
    )
    return np.asarray(correct)


def _record(
    numbers: dict[str, float], arrays: dict[str, Any], place: str, correct: np.ndarray
) -> None:
    mean = np.nanmean(correct, axis=0)
    numbers[place] = float(
        metrics.area_under_curve(jnp.asarray(mean), fractions=FRACTIONS)
    )
    arrays[f"curve/{place}"] = mean


def _shown(
    explained: dict[str, Array], inputs: Array, labels: Array
) -> dict[str, np.ndarray]:
    maps = {
        f"maps/{name}": np.asarray(ops.signed_channel_mean(a)[..., 0])
        for name, a in explained.items()
    }
    return {**maps, "inputs": np.asarray(inputs), "labels": np.asarray(labels)}
