"""The explainers of the main job, and the protocol by which they are compared."""

import functools
from typing import NamedTuple

import jax.numpy as jnp

from xguide_jax import attributions, data, evaluation, ops
from xguide_jax.types import Array, FillFn, Forward, PRNGKey, ScoreFn

EXPLAINERS = ("gradient", "smooth_grad", "integrated_gradients")


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


def protocol_of(
    dataset: data.Dataset, *, num_points: int, num_draws: int, batch_size: int
) -> Protocol:
    """The protocol of the main job on a data set.

    Args:
      dataset: of which the channels and the range of values are used.
      num_points: points of integrated gradients, samples of SmoothGrad.
      num_draws: random orders.
      batch_size: images explained and predicted at once.

    Returns:
      A `Protocol`.
    """
    black, white = float(dataset.inputs.min()), float(dataset.inputs.max())
    # As published: log-probabilities on digits, logits on colour images.
    grey = dataset.inputs.shape[-1] == 1
    return Protocol(
        score_fn=(
            attributions.target_log_probability if grey else attributions.target_logit
        ),
        # Training filled with the uniform noise, never with black.
        fills={
            "uniform": functools.partial(ops.uniform_range_fill, axes=(1, 2)),
            "black": functools.partial(ops.constant_fill, value=black),
        },
        baseline=black,
        sigma=0.15 * (white - black),
        num_points=num_points,
        num_draws=num_draws,
        batch_size=batch_size,
    )


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
