"""Path attributions: a difference of scores shared out along a straight line.

Here `x` is an input, `b` its baseline, `f` the score, and the path is
`b + a (x − b)` for `a` in [0, 1]. The baseline is part of the explanation and decides
what the attributions add up to, f(x) − f(b); therefore it has no default.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import deprecating, ops
from xguide_jax.attributions import gradients
from xguide_jax.ops import checking, reducing
from xguide_jax.types import Array, PredictFn, ScoreFn


@deprecating.old_keywords(
    ("num_steps",),
    instead="num_points",
    lift=lambda num_steps: {"num_points": num_steps},
)
def integrated_gradients(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    baselines: Array | float,
    num_points: int,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
    loop: reducing.Loop = "auto",
) -> Array:
    """Attributions that add up to the score's change from a baseline to the input.

    A_i = (x_i − b_i) · 1/N Σ_{s=0}^{N−1} g_i(b + a_s (x − b)), a_s = (s + ½) / N, the
    midpoint rule for the path integral of the gradient g. The sum over i tends to
    f(x) − f(b) as N grows; `completeness_gap` measures what is missing.

    `predict_fn` sees arrays shaped and typed like `inputs` only: the points of a chunk
    come by `vmap`, and are placed in float32 or wider before they are rounded. Memory
    grows with `chunk_size`, with the exceptions named at `ops.barriered_sum`; on a CPU
    compile time grows with `num_points / chunk_size`, on accelerators with nothing.
    Differentiable again, in the inputs, the baselines and the parameters; jvp and vmap
    work.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      baselines: float, broadcastable to the shape of `inputs`, in the same units.
      num_points: N, how many points on the path, at least 1; static.
      score_fn: (logits, targets) -> [B]; see `scores`.
      chunk_size: points evaluated at once, at least 1. None is 1, which needs the
        least memory; an accelerator that one batch does not fill wants more.
      loop: 'unrolled', 'compiled', or 'auto', the first on a CPU and else the second;
        see `ops.barriered_sum`. On a CPU 'compiled' is for many points of a network
        without convolutions.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score; 0 wherever
      input and baseline agree.

    Raises:
      AssertionError: as `input_gradient`.
      ValueError: if `num_points` or `chunk_size` is less than 1 or traced, for another
        `loop`, or if the baselines do not broadcast to the inputs or are the inputs
        themselves.

    Source: Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML
      2017; here with the midpoint rule. On ReLU networks the error falls like 1/N, and
      the left end of each step, a common default, is the worst choice.
    """
    num_points = checking.checked_count("num_points", num_points)
    chunk_size = checking.checked_count(
        "chunk_size", 1 if chunk_size is None else chunk_size
    )
    if baselines is inputs:
        raise ValueError(
            "`baselines` must not be the inputs themselves: the map of an input that "
            "is its own baseline is 0 everywhere."
        )
    baselines = ops.at_least_float32(broadcast_baselines(baselines, inputs))
    gradient = functools.partial(
        gradients.input_gradient, predict_fn, targets=targets, score_fn=score_fn
    )
    positions = (np.arange(num_points) + 0.5) / num_points

    def gradient_at(values: Array, position: Array) -> Array:
        point = baselines + position * (values - baselines)
        return ops.at_least_float32(gradient(point.astype(inputs.dtype)))

    def chunk_sum(values: Array, numbers: Array | np.ndarray) -> Array:
        values = ops.at_least_float32(values)
        # In a compiled loop the numbers are traced and index an array of JAX.
        unrolled = isinstance(numbers, np.ndarray)
        table = positions if unrolled else jnp.asarray(positions, values.dtype)
        chunk_positions = jnp.asarray(table[numbers], values.dtype)
        if len(numbers) == 1:
            return gradient_at(values, chunk_positions[0])
        at_each = jax.vmap(gradient_at, in_axes=(None, 0))
        return jnp.sum(at_each(values, chunk_positions), axis=0)

    total = ops.barriered_sum(
        reducing.traced_once(chunk_sum, inputs),
        inputs,
        count=num_points,
        chunk_size=chunk_size,
        loop=loop,
    )
    mean_gradient = jnp.asarray(total / num_points, baselines.dtype)
    return (ops.at_least_float32(inputs) - baselines) * mean_gradient


def broadcast_baselines(baselines: Array | float, inputs: Array) -> Array:
    """The baselines in the shape and dtype of the inputs.

    Args:
      baselines: float, broadcastable to the shape of `inputs`.
      inputs: float [B, ...].

    Returns:
      Like `inputs`.

    Raises:
      ValueError: if the baselines do not broadcast to the inputs.
    """
    shape = np.shape(baselines)
    try:
        fits = np.broadcast_shapes(shape, inputs.shape) == inputs.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`baselines` (of shape {shape}) must broadcast to the shape of `inputs`, "
            f"{inputs.shape}."
        )
    return jnp.broadcast_to(jnp.asarray(baselines, inputs.dtype), inputs.shape)
