"""Segments: the parts of an input that are switched on and off together.

Pixels, patches, superpixels, time steps or tokens, as an integer array that broadcasts
to the inputs: the number of its segment at every feature, 0 to S − 1, or −1 for what is
never perturbed (padding, special tokens). A coalition says which segments are on,
bool [S]; a segment that is off has the values of the baseline.

What is found for a segment is shared out evenly over its features, so that a map adds
up to what its segments do, as the maps of every complete explainer here. LIME's and
Captum's pictures show the whole value on every feature: `segment_sums` gives it back.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array


def grid_segments(
    shape: tuple[int, ...], patch: tuple[int, ...]
) -> tuple[np.ndarray, int]:
    """Segments that are the patches of a grid.

    `grid_segments((H, W, C), (8, 8))` are patches of all channels, `(1, 1)` pixels,
    `(1, 1, 1)` single numbers; `grid_segments((T, D), (1,))` are tokens. Patches are
    numbered in row-major order; those at the far end are cut where they do not fit.

    Args:
      shape: of one example, without the batch axis.
      patch: the size of a patch along the first axes of `shape`; others stay together.

    Returns:
      int32 of the rank of `shape`, 1 along the axes that `patch` does not name; and the
      number of segments.

    Raises:
      ValueError: if `patch` has more axes than `shape`, none, or a size below 1.
    """
    patch = checked_sizes("patch", patch, shape)
    counts = tuple(-(-n // p) for n, p in zip(shape, patch, strict=False))
    places = [np.arange(n) // p for n, p in zip(shape, patch, strict=False)]
    numbers = np.ravel_multi_index(np.meshgrid(*places, indexing="ij"), counts)
    numbers = numbers.reshape(numbers.shape + (1,) * (len(shape) - len(patch)))
    return numbers.astype(np.int32), math.prod(counts)


def segment_sums(attributions: Array, segments: Array, num_segments: int) -> Array:
    """What a map holds on each segment, Σ_{i in j} A_i.

    The value of a segment as LIME, Captum and SHAP print it. It works for the map of
    any explainer. Linear; gradients flow into the attributions.

    Args:
      attributions: float [B, ...].
      segments: integer, broadcastable to the attributions; −1 belongs to none.
      num_segments: S, static.

    Returns:
      float [B, S], float32 or wider; 0 for a segment without features.

    Raises:
      ValueError: as `checked_segments`.
    """
    segments, num_segments = checked_segments(
        segments, num_segments, attributions.shape
    )
    values = ops.at_least_float32(attributions)
    segments = jnp.broadcast_to(segments, values.shape)
    # A bin behind the last takes what belongs to none.
    bins = jnp.where(segments < 0, num_segments, segments)
    add = lambda v, s: jnp.zeros(num_segments + 1, v.dtype).at[s].add(v, mode="drop")
    return jax.vmap(add)(values, bins)[:, :num_segments]


def checked_segments(
    segments: Array, num_segments: int, shape: tuple[int, ...]
) -> tuple[Array, int]:
    """The segments with the rank of the inputs, and how many there are.

    Args:
      segments: integer, broadcastable to `shape`.
      num_segments: S, at least 1; static.
      shape: of the inputs, [B, ...].

    Returns:
      int32 [B or 1, ...]; S, as an int.

    Raises:
      ValueError: if they are no integers, do not broadcast, or a number is not in
        [-1, S); nothing traced is looked at.
    """
    num_segments = checking.checked_count("num_segments", num_segments)
    found = np.shape(segments)
    try:
        fits = np.broadcast_shapes(found, shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`segments` (of shape {found}) must broadcast to the shape of the inputs, "
            f"{tuple(shape)}."
        )
    if not jnp.issubdtype(jnp.result_type(segments), jnp.integer):
        kind = jnp.result_type(segments)
        raise ValueError(f"`segments` ({kind}) must be integers.")
    if not isinstance(segments, jax.core.Tracer):
        values = np.asarray(segments)
        wrong = (values < -1) | (values >= num_segments)
        if np.any(wrong):
            raise ValueError(
                f"`segments` (one is {values[wrong][0]}) must lie in [-1, "
                f"`num_segments`), here {num_segments}."
            )
    padded = (1,) * (len(shape) - len(found)) + found
    return jnp.asarray(segments).astype(jnp.int32).reshape(padded), num_segments


def switch(inputs: Array, baselines: Array, segments: Array, coalition: Array) -> Array:
    """The inputs where their segment is on, the baselines where it is off.

    Args:
      inputs: [B, ...].
      baselines: like `inputs`.
      segments: int32 [B or 1, ...], by `checked_segments`.
      coalition: bool [B or 1, S].

    Returns:
      Like `inputs`.
    """
    on = (segments < 0) | _look_up(coalition, segments)
    return jnp.where(on, inputs, baselines)


def share_out(values: Array, segments: Array, shape: tuple[int, ...]) -> Array:
    """A map of the segments' values, each spread evenly over its features.

    Args:
      values: float [B, S].
      segments: int32 [B or 1, ...], by `checked_segments`.
      shape: of the map.

    Returns:
      float; 0 where the segment is −1, NaN where it is out of range.
    """
    num_segments = values.shape[1]
    alike = math.prod(shape[1:]) // math.prod(segments.shape[1:])
    ones = jnp.full(segments.shape, alike, values.dtype)
    sizes = segment_sums(ones, segments, num_segments)
    shares = _look_up(values / jnp.maximum(sizes, 1), segments)
    shares = jnp.where(segments < num_segments, shares, jnp.nan)
    return jnp.broadcast_to(jnp.where(segments < 0, 0.0, shares), shape)


def checked_sizes(
    name: str, sizes: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Sizes along the first axes of an example.

    Args:
      name: of the argument.
      sizes: one a leading axis.
      shape: of an example.

    Returns:
      them.

    Raises:
      ValueError: if there are none, more than axes, or one is below 1.
    """
    sizes = tuple(sizes)
    if not 1 <= len(sizes) <= len(shape) or min(sizes) < 1:
        raise ValueError(
            f"`{name}` (={sizes}) must be 1 to {len(shape)} positive numbers, one for "
            f"each of the first axes of an example, {tuple(shape)}."
        )
    return sizes


def _look_up(table: Array, segments: Array) -> Array:
    """The entry of its segment at every feature: [B or 1, S] -> [B or 1, ...]."""
    rows = max(len(table), len(segments))
    table = jnp.broadcast_to(table, (rows, *table.shape[1:]))
    segments = jnp.broadcast_to(segments, (rows, *segments.shape[1:]))
    return jax.vmap(lambda row, places: row[jnp.maximum(places, 0)])(table, segments)
