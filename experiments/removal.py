"""Measuring an image classifier's explanations by removing and inserting pixels.

Pixels are ranked by the mean magnitude of an attribution over channels. Removal
replaces the most salient first, insertion puts the most salient back first. Both are
compared with random orders of the *same* network: one that was trained on replaced
pixels has a flatter random curve as well.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

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
      much the explainer's order beats the random one on the same images, higher is
      better in both views), 'gap/.../zero' (the same with a gap of 0 for undefined
      images), 'completeness_error', 'undefined/<explainer or random>' (images that are
      left out: without a ranking, or with a prediction that is none) and
      'undefined/completeness_error'. Arrays: 'curve/<view>/<fill>/<explainer or
      random>' [F], 'curve/<view>/<fill>/<explainer>/random' [F] of the random orders on
      the images that the explainer ranks, 'rows/gap/<view>/<fill>/<explainer>' [B],
      'maps/<explainer>' [S, H, W] of the target's logit, 'inputs', 'labels'.
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
        explained, error, unclear = explain(variables, inputs, labels, explain_key)
        scores = {name: ops.mean_magnitude(a) for name, a in explained.items()}
        draws = [
            ops.random_rank(inputs, key=jax.random.fold_in(order_key, draw))
            for draw in range(protocol.num_draws)
        ]
        shown = inputs[: protocol.num_shown], labels[: protocol.num_shown]
        arrays = _shown(explain_shown(variables, *shown, explain_key)[0], *shown)
        by_chance: dict[str, np.ndarray] = {}
        by_score: dict[str, dict[str, np.ndarray]] = {name: {} for name in scores}
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
            chance = {"removal": removed[:, :-1], "insertion": removed[:, :0:-1]}
            for view in VIEWS:
                place = f"{view}/{fill_name}"
                by_chance[place] = chance[view]
                for name, score in scores.items():
                    rows = curve(score, view=view, fractions=FRACTIONS)
                    by_score[name][place] = rows
        numbers, curves = compare(by_score, by_chance)
        numbers["completeness_error"] = float(error)
        numbers["undefined/completeness_error"] = float(unclear)
        return numbers, {**arrays, **curves}

    return measure


def compare(
    by_score: Mapping[str, Mapping[str, np.ndarray]],
    by_chance: Mapping[str, np.ndarray],
) -> Measured:
    """Areas and gaps; both sides of a gap are of the same images.

    An image that is undefined anywhere, in an explainer's curves or in those of the
    random orders, is left out of every curve and gap of that explainer.

    Args:
      by_score: {explainer: {place: correctness [B, F]}}, NaN where undefined.
      by_chance: {place: correctness [B, F]}, means over random orders.

    Returns:
      The numbers '<place>/...', 'gap/...' and 'undefined/...' and the arrays
      'curve/...' and 'rows/gap/...' of `make_measurement`.
    """
    numbers: dict[str, float] = {}
    arrays: dict[str, np.ndarray] = {}
    usual = _defined(by_chance)
    numbers["undefined/random"] = float(np.sum(~usual))
    for place, chance in by_chance.items():
        numbers[f"{place}/random"], curve = _mean_curve(chance[usual])
        arrays[f"curve/{place}/random"] = curve
    for name, places in by_score.items():
        defined = usual & _defined(places)
        numbers[f"undefined/{name}"] = float(np.sum(~defined))
        for place, correct in places.items():
            area, curve = _mean_curve(correct[defined])
            chance_area, chance_curve = _mean_curve(by_chance[place][defined])
            sign = 1.0 if place.startswith("removal") else -1.0
            gap = sign * (chance_area - area)
            share = float(np.mean(defined))
            numbers[f"{place}/{name}"] = area
            numbers[f"gap/{place}/{name}"] = gap
            # A map that orders nothing beats no random order.
            numbers[f"gap/{place}/{name}/zero"] = gap * share if share else 0.0
            arrays[f"curve/{place}/{name}"] = curve
            arrays[f"curve/{place}/{name}/random"] = chance_curve
            difference = sign * (by_chance[place] - correct)
            gaps = np.where(defined, np.asarray(_area(difference)), np.nan)
            arrays[f"rows/gap/{place}/{name}"] = gaps
    return numbers, arrays


def _explain(
    apply_fn: ApplyFn,
    protocol: Protocol,
    variables: tuple[PyTree, PyTree],
    inputs: Array,
    labels: Array,
    key: Array,
) -> tuple[dict[str, Array], Array, Array]:
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
    unclear = jnp.isnan(gap) | jnp.isnan(change)
    total = lambda values: jnp.sum(jnp.where(unclear, 0.0, jnp.abs(values)))
    return explained, total(gap) / total(change), jnp.sum(unclear)


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


def _defined(places: Mapping[str, np.ndarray]) -> np.ndarray:
    """The images whose curves are defined everywhere, bool [B]."""
    return ~np.any([np.isnan(rows).any(axis=1) for rows in places.values()], axis=0)


def _mean_curve(rows: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean of the rows, NaN of none, and the area under it."""
    empty = np.full(rows.shape[1:], np.nan, rows.dtype)
    curve = rows.mean(axis=0) if len(rows) else empty
    return float(_area(curve)), curve


def _area(values: np.ndarray) -> Array:
    return metrics.area_under_curve(jnp.asarray(values), fractions=FRACTIONS)


def _shown(
    explained: dict[str, Array], inputs: Array, labels: Array
) -> dict[str, np.ndarray]:
    maps = {
        f"maps/{name}": np.asarray(ops.signed_channel_mean(a)[..., 0])
        for name, a in explained.items()
    }
    return {**maps, "inputs": np.asarray(inputs), "labels": np.asarray(labels)}
