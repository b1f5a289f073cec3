"""Exact selection of the k lowest or highest scores of each example, as a mask.

Scores [B, ...] are ranked within each example, all axes but `B` together (n scores),
and exactly k of them are True. Nothing is sorted: the k-th score is found bit by bit on
an unsigned integer that orders like the score (one compare-and-count pass a bit), and
the place of the last tied score in the same way. No gradient flows: masks are bool.
"""

import math
import operator
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.types import Array


def bottom_k_mask(
    scores: Array, k: int | Array, *, where: Array | None = None
) -> Array:
    """Mask of the k lowest scores of each example.

    True at exactly min(k, number of valid scores) places. Ties go to the lowest flat
    index, −0 and 0 tie, and infinities are ordinary scores. NaN is refused where it can
    be seen, that is outside `jit` or in a constant inside; in a traced array, NaN ranks
    behind every other score, so it is never preferred. The check waits for the scores
    to be computed.

    Args:
      scores: float (or integer) [B, ...]; rank bfloat16 activations in float32 where
        ties matter.
      k: how many to select, an int in [0, n] or an integer array [] or [B], which is
        clipped to the number of valid scores. With the int 0 the mask does not depend
        on the scores, and `jit` leaves out what computes them.
      where: bool, of the scores' rank and broadcast to their shape: the valid places.
        Others are never selected. Default: all are valid.

    Returns:
      bool, shaped like `scores`.

    Raises:
      ValueError: if k is negative, or an int above n, or if a valid score is NaN.
      AssertionError: if the ranks or dtypes differ from the above.

    Source: the mask M_k(I, X) of Ismail, Corrada Bravo, Feizi, "Improving Deep Learning
      Interpretability by Saliency Guided Training", NeurIPS 2021, Algorithm 1.
    """
    return _mask(_bottom, scores, k, where)


def top_k_mask(scores: Array, k: int | Array, *, where: Array | None = None) -> Array:
    """Mask of the k highest scores of each example.

    As `bottom_k_mask`, from the other end: ties still go to the lowest flat index, and
    traced NaN still ranks behind every other score.

    Args:
      scores: float (or integer) [B, ...].
      k: how many to select, an int in [0, n] or an integer array [] or [B], which is
        clipped to the number of valid scores.
      where: bool, of the scores' rank and broadcast to their shape: the valid places.

    Returns:
      bool, shaped like `scores`.

    Raises:
      ValueError: if k is negative, or an int above n, or if a valid score is NaN.
      AssertionError: if the ranks or dtypes differ from the above.
    """
    return _mask(_top, scores, k, where)


def _mask(
    select: Callable[..., Array], scores: Array, k: int | Array, where: Array | None
) -> Array:
    # Under `jit`, scores that nothing depends on are not computed.
    if isinstance(k, int) and k == 0:
        return jnp.zeros_like(_checked(scores, k, where)[0], bool)
    return select(*_checked(scores, k, where))


@jax.jit
def _bottom(scores: Array, k: Array, where: Array | None) -> Array:
    return _lowest(_nan_last(_ascending_keys(scores), scores), k, where)


@jax.jit
def _top(scores: Array, k: Array, where: Array | None) -> Array:
    return _lowest(_nan_last(~_ascending_keys(scores), scores), k, where)


def _checked(
    scores: Array, k: int | Array, where: Array | None
) -> tuple[Array, Array, Array | None]:
    scores = _concrete(scores)
    if scores.ndim == 0:
        raise ValueError("`scores` must have a batch axis, [B, ...]; its shape is ().")
    if where is not None:
        where = _concrete(where)
        chex.assert_type(where, bool)
        chex.assert_equal_rank([scores, where])
    _refuse_nan(scores, where)
    if where is not None:
        where = jnp.broadcast_to(where, scores.shape)
    return scores, _checked_k(k, scores.shape), where


def _concrete(array: Array) -> Array:
    """On the device, with values that can be looked at unless it is traced already.

    Under `jit`, `jnp.asarray` of a NumPy array is a tracer.
    """
    if isinstance(array, jax.Array):
        return array
    with jax.ensure_compile_time_eval():
        return jnp.asarray(array)


def _checked_k(k: int | Array, shape: tuple[int, ...]) -> Array:
    num_scores = math.prod(shape[1:])
    if not isinstance(k, (jax.Array, np.ndarray)):
        k = operator.index(k)
        if not 0 <= k <= num_scores:
            raise ValueError(
                f"`k` (={k}) must lie in [0, n], n = {num_scores} scores an example."
            )
        return jnp.full(shape[:1], k, jnp.int32)
    k = _concrete(k)
    chex.assert_rank(k, {0, 1})
    chex.assert_type(k, int)
    if not isinstance(k, jax.core.Tracer) and np.any(np.asarray(k) < 0):
        raise ValueError(f"`k` (={k}) must not be negative.")
    return jnp.broadcast_to(k.astype(jnp.int32), shape[:1])


def _refuse_nan(scores: Array, where: Array | None) -> None:
    if isinstance(scores, jax.core.Tracer) or isinstance(where, jax.core.Tracer):
        return
    # Constants of a jitted function are looked at now, while it is traced; an operation
    # on them would otherwise join the trace and have no value.
    with jax.ensure_compile_time_eval():
        nan = _isnan(scores)
        if where is not None:
            nan &= jnp.broadcast_to(where, scores.shape)
        rows = jnp.any(nan, axis=range(1, scores.ndim))
        found = bool(jnp.any(rows))
    if found:
        raise ValueError(
            f"`scores` must not be NaN; it is in rows {np.flatnonzero(rows).tolist()}."
        )


def _ascending_keys(scores: Array) -> Array:
    """Unsigned integers as wide as the scores, in the scores' order.

    Only bits are looked at: a float comparison may flush subnormal numbers to zero.
    """
    bits_type = jnp.dtype(f"uint{8 * scores.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(scores, bits_type)
    sign = jnp.array(1 << (8 * scores.dtype.itemsize - 1), bits_type)
    if jnp.issubdtype(scores.dtype, jnp.unsignedinteger):
        return bits
    if jnp.issubdtype(scores.dtype, jnp.signedinteger):
        return bits ^ sign
    chex.assert_type(scores, float)
    bits = jnp.where(bits == sign, 0, bits)  # −0 ties with 0
    return jnp.where(bits >= sign, ~bits, bits | sign)


def _isnan(scores: Array) -> Array:
    return scores != scores  # of any dtype, where jnp.isnan takes floats only


def _nan_last(keys: Array, scores: Array) -> Array:
    return jnp.where(_isnan(scores), _largest(keys), keys)


def _largest(keys: Array) -> Array:
    return jnp.array(jnp.iinfo(keys.dtype).max, keys.dtype)


def _lowest(keys: Array, k: Array, where: Array | None) -> Array:
    """True at the min(k, valid) lowest keys of each example, ties by lowest index."""
    shape = keys.shape
    num_keys = math.prod(shape[1:])
    keys = keys.reshape(shape[0], num_keys)
    k = jnp.clip(k, 0, num_keys)[:, None]
    if where is not None:
        where = where.reshape(keys.shape)
        k = jnp.minimum(k, _count(where))
        keys = jnp.where(where, keys, _largest(keys))

    # The largest threshold with fewer than k keys below it is the k-th lowest key.
    def raise_threshold(i: Array, threshold: Array) -> Array:
        bit = jnp.array(num_bits - 1 - i, keys.dtype)
        higher = threshold | (jnp.ones_like(threshold) << bit)
        return jnp.where(_count(keys < higher) < k, higher, threshold)

    num_bits = 8 * keys.dtype.itemsize
    # XLA gives a pass inside a loop only one thread of a CPU. Unrolled passes take four
    # times as long to compile, so small scores stay in loops.
    unroll = keys.size >= 2**17
    zero = jnp.zeros_like(keys[:, :1])
    threshold = jax.lax.fori_loop(0, num_bits, raise_threshold, zero, unroll=unroll)

    below, tied = keys < threshold, keys == threshold
    if where is not None:
        tied &= where  # a valid key may equal the one that stands for invalid
    # The largest end with no more ties before it than are still wanted.
    wanted = k - _count(below)
    index = jax.lax.broadcasted_iota(jnp.int32, keys.shape, 1)

    def move_end(i: Array, end: Array) -> Array:
        later = end | (1 << (num_keys.bit_length() - 1 - i))
        return jnp.where(_count(tied & (index < later)) <= wanted, later, end)

    end = jnp.zeros_like(wanted)
    end = jax.lax.fori_loop(0, num_keys.bit_length(), move_end, end, unroll=unroll)
    return (below | (tied & (index < end))).reshape(shape)


def _count(mask: Array) -> Array:
    """Number of True of each row: bool [B, n] -> int32 [B, 1]."""
    num_rows, num_columns = mask.shape
    # Sums of at most 127 fit int8, of which a vector register holds four times as many:
    # 2-3 times faster on a CPU than adding int32 from the start.
    parts = max(size for size in range(1, 128) if num_columns % size == 0)
    mask = mask.reshape(num_rows, parts, num_columns // parts)
    partial = jnp.sum(mask, axis=1, dtype=jnp.int8)
    return jnp.sum(partial, axis=1, keepdims=True, dtype=jnp.int32)
