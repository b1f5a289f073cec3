"""Occlusion: how much the score falls where a window of the input is covered."""

import math

import jax.numpy as jnp
import numpy as np

from xguide_jax.attributions import perturbing, segments
from xguide_jax.types import Array, PredictFn, ScoreFn


def occlusion(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    baselines: Array | float,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
) -> Array:
    """Mean fall of the score over the windows that cover a feature.

    A_i = 1/|W_i| Σ_{w in W_i} f(x) − f(x with w := b), W_i the windows that hold i.
    Windows begin at multiples of the stride, up to the first that reaches the end of an
    axis; that one is cut at the border where it sticks out, so it covers less than the
    others. Every feature is covered. The sum of the map is no target: windows overlap,
    and each writes its whole fall on every feature it covers.

    1 + N forwards of the batch, N = Π (⌈(size − window) / stride⌉ + 1), and no gradient
    of the network, in the memory of `chunk_size` of them. On a CPU compile time grows
    with the number of chunks; that and two exceptions are told at `ops.barriered_sum`.
    Differentiable in the inputs, the baselines and the parameters.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float or integer (token ids) [B, ...].
      targets: integer [B], the classes explained.
      window: its size along the first axes after `B`; axes that are not named are
        covered whole. (3, 3) covers all channels of [B, H, W, C], (3, 3, 1) each by
        itself.
      strides: the step along each axis of `window`, at most the window's size.
      baselines: broadcastable to the shape of `inputs`, in the same units.
      score_fn: (logits, targets) -> [B]; see `scores`.
      chunk_size: windows evaluated at once, at least 1; None is 1.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score.

    Raises:
      AssertionError: if the batch sizes differ or the score is not one number an
        example.
      ValueError: if `window` does not fit the inputs, `strides` does not fit `window`,
        the baselines do not broadcast to the inputs, or `chunk_size` is less than 1.

    Source: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV
      2014; windows, borders and the mean over them as Captum's `Occlusion`, which
      divides by the number of covering windows as well.
    """
    baselines = perturbing.checked_baselines(inputs, targets, baselines)
    covers = _covers(window, strides, inputs.shape[1:])
    grid = tuple(len(cover) for cover in covers)

    def cover_one(values: Array, number: Array) -> Array:
        covered = jnp.ones((1,) * values.ndim, bool)
        places = jnp.unravel_index(number, grid)
        for axis, (cover, place) in enumerate(zip(covers, places, strict=True), 1):
            row = jnp.asarray(cover)[place]
            covered &= row.reshape((-1,) + (1,) * (values.ndim - axis - 1))
        return jnp.where(covered, baselines, values)

    perturbed = perturbing.perturbed_scores(
        predict_fn, inputs, targets, cover_one,
        count=math.prod(grid), chunk_size=chunk_size, score_fn=score_fn,
    )  # fmt: skip
    score = perturbing.score_at(predict_fn, inputs, targets, score_fn)
    falls = (score - perturbed).reshape(*grid, -1)
    # Each step sums over the windows of one axis and puts its features last.
    for cover in covers:
        share = jnp.asarray(cover / np.sum(cover, axis=0), falls.dtype)
        falls = jnp.tensordot(falls, share, axes=(0, 0), precision="highest")
    trailing = (1,) * (inputs.ndim - falls.ndim)
    return jnp.broadcast_to(falls.reshape(falls.shape + trailing), inputs.shape)


def _covers(
    window: tuple[int, ...], strides: tuple[int, ...], shape: tuple[int, ...]
) -> list[np.ndarray]:
    """For each axis, which features each window covers: bool [windows, size]."""
    window = segments.checked_sizes("window", window, shape)
    strides = segments.checked_sizes("strides", strides, shape)
    shape = tuple(shape)[: len(window)]
    if any(w > n for w, n in zip(window, shape, strict=True)):
        raise ValueError(
            f"`window` (={window}) must not be larger than the inputs, {shape}."
        )
    if len(strides) != len(window):
        raise ValueError(
            f"`strides` (={strides}) must name the axes of `window` (={window})."
        )
    if any(s > w for s, w in zip(strides, window, strict=True)):
        raise ValueError(
            f"`strides` (={strides}) must be at most `window` (={window}): no window "
            "would cover the features between."
        )
    covers = []
    for size, width, stride in zip(shape, window, strides, strict=True):
        starts = np.arange(-(-(size - width) // stride) + 1)[:, None] * stride
        places = np.arange(size)
        covers.append((places >= starts) & (places < starts + width))
    return covers
