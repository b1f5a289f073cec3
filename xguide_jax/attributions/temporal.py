"""Rescaling of any map of a series by which steps and cells it depends on."""

import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.attributions import perturbing
from xguide_jax.ops import reducing
from xguide_jax.types import Array, Explainer, PredictFn


def temporal_rescaling(
    explainer: Explainer,
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    baselines: Array | float,
    loop: reducing.Loop = "auto",
) -> Array:
    """How much a map changes without a step, times how much without one of its cells.

    A_tf = Σ |R(x) − R(x_{t:=b})| · Σ |R(x) − R(x_{tf:=b})|, R the map of the explainer,
    sums over its cells: time and features are judged apart and then multiplied, for
    networks whose gradients mix them up. A map of the gradients of an affine function
    is constant, and so rescaled to 0.

    1 + T + T F explanations, one at a time; on a CPU compile time grows with them,
    unless `loop` is 'compiled', which suits networks without convolutions. As
    differentiable as the explainer, but where a difference is 0.

    Args:
      explainer: (predict_fn, inputs, targets) -> attributions [B, T, F], such as
        `functools.partial(input_gradient, score_fn=target_logit)`.
      predict_fn: inputs [B, T, F] -> logits [B, C].
      inputs: float [B, T, F].
      targets: integer [B], the classes explained.
      baselines: b, broadcastable to the inputs.
      loop: 'auto', 'unrolled' or 'compiled', as `ops.barriered_sum`.

    Returns:
      float32 or wider [B, T, F], at least 0, in squared units of the map; 0 at steps
      that the network does not read.

    Raises:
      AssertionError: if the batch sizes differ.
      ValueError: if the inputs have another rank, or the baselines do not broadcast.

    Source: Ismail, Gunady, Corrada Bravo, Feizi, "Benchmarking Deep Learning
      Interpretability in Time Series Predictions", NeurIPS 2020, Algorithm 1, from
      memory; there cells of steps below a threshold are 0 and save their passes, which
      in a compiled program none of them would.
    """
    if inputs.ndim != 3:
        raise ValueError(f"`inputs` of shape {inputs.shape} must be [B, T, F].")
    baselines = perturbing.checked_baselines(inputs, targets, baselines)
    _, num_steps, num_features = inputs.shape
    plain = ops.at_least_float32(explainer(predict_fn, inputs, targets))

    def changes(width: int) -> Array:
        """Of each run of so many cells, in reading order: [B, T F / width]."""
        count = num_steps * num_features // width
        runs = np.arange(num_steps * num_features).reshape(inputs.shape[1:]) // width

        def without(values: Array, numbers: Array) -> Array:
            covered = jnp.asarray(runs) == numbers[0]
            masked = jnp.where(covered, baselines, values)
            maps = ops.at_least_float32(explainer(predict_fn, masked, targets))
            change = jnp.sum(jnp.abs(maps - plain), axis=(1, 2))
            own = jnp.arange(count) == numbers[0]
            return change[:, None] * own.astype(change.dtype)

        part = reducing.traced_once(without, inputs)
        return ops.barriered_sum(part, inputs, count=count, loop=loop)

    by_step = changes(num_features)[..., None]
    return by_step * changes(1).reshape(inputs.shape)
