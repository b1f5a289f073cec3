"""Divisions, norms and logarithms with finite gradients, and sums right across devices.

`axis_name` is the mapped axis that shares the batch, None where one device holds it
all; every device then returns the same value.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.ops import precision
from xguide_jax.types import Array, Batch, PyTree

Loop = Literal["auto", "compiled", "unrolled"]

# The logarithm's value at 0 in the binary cross-entropy of common frameworks.
_SMALLEST_LOG = -100.0


def safe_divide(numerator: Array, denominator: Array) -> Array:
    """Quotient that is 0, with zero gradients, where the denominator is 0.

    Its derivative is computed as (dn − q dd) / d with q = n / d, which overflows only
    where 1 / d does; the usual n / d² is NaN already at n = 0, |d| < 1e-19 in float32.

    Args:
      numerator: float [...].
      denominator: float, of the same dtype, broadcast against the numerator.

    Returns:
      float, of the broadcast shape and the same dtype.

    Raises:
      AssertionError: if the arguments are not float.
    """
    chex.assert_type([numerator, denominator], float)
    return _safe_divide(numerator, denominator)


@jax.custom_jvp
def _safe_divide(numerator: Array, denominator: Array) -> Array:
    zero = denominator == 0
    return jnp.where(zero, 0.0, numerator / jnp.where(zero, 1.0, denominator))


@_safe_divide.defjvp
def _safe_divide_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (numerator, denominator), (d_numerator, d_denominator) = primals, tangents
    quotient = _safe_divide(numerator, denominator)
    change = d_numerator - quotient * d_denominator
    return quotient, _safe_divide(change, denominator)


def safe_norm(vectors: Array, *, axis: int | tuple[int, ...]) -> Array:
    """Euclidean norm whose gradient is 0, not NaN, at the zero vector.

    sqrt(Σ x²), in float32 or wider; its gradient is x / |x|. Entries whose squares
    underflow (below 1e-19 in float32) count as 0.

    Args:
      vectors: float [...].
      axis: the axis or axes summed over, which disappear.

    Returns:
      float, at least 0.

    Raises:
      AssertionError: if the vectors are not float.
    """
    chex.assert_type(vectors, float)
    squares = jnp.sum(jnp.square(precision.at_least_float32(vectors)), axis=axis)
    zero = squares == 0
    # The root has an infinite slope at 0. With the outer `where` alone its gradient
    # would be 0 * inf = NaN, so an inner one keeps 0 out of the root: JAX's "double
    # where", docs.jax.dev/en/latest/faq.html#gradients-contain-nan-where-using-where.
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squares)))


def clamped_log(values: Array) -> Array:
    """Natural logarithm that is at least −100, as binary cross-entropy has it.

    max(log x, −100), and −100 at 0 and below, where the gradient is 0.

    Args:
      values: float [...], probabilities.

    Returns:
      float, of the same shape and dtype.

    Raises:
      AssertionError: if the values are not float.
    """
    chex.assert_type(values, float)
    positive = values > 0
    # The logarithm must not see a 0, or its infinite slope meets the zero of `where`.
    logs = jnp.log(jnp.where(positive, values, 1.0))
    return jnp.where(positive, jnp.maximum(logs, _SMALLEST_LOG), _SMALLEST_LOG)


def axis_sum(tree: PyTree, axis_name: str | None) -> PyTree:
    """Sum of every leaf over the devices of a mapped axis; the tree itself for None.

    Under `pmap` its transpose is a sum as well, so a gradient through it comes out
    summed over the devices: of a loss that every device computes in full, average the
    gradients over the axis; of shares that add up to the loss, sum them.

    Args:
      tree: arrays, one share a device.
      axis_name: the mapped axis, or None.

    Returns:
      the tree of sums, equal on all devices.
    """
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def weighted_mean(
    values: Array, weights: Array, *, axis_name: str | None = None
) -> Array:
    """Weighted mean over the examples of all devices.

    Σ w v / Σ w, in float32 or wider; 0, with zero gradients, if all weights are 0. The
    value of an example with weight 0 is not looked at and may be NaN. For gradients
    across devices see `axis_sum`.

    Args:
      values: float [B], this device's examples.
      weights: float [B], at least 0; 0 leaves the example out.
      axis_name: the mapped axis that shares the batch, or None.

    Returns:
      float [], equal on all devices.

    Raises:
      AssertionError: if the shapes differ or are not rank 1, or a dtype is not float.
    """
    chex.assert_rank([values, weights], 1)
    chex.assert_equal_shape([values, weights])
    chex.assert_type([values, weights], float)
    values, weights = (
        precision.at_least_float32(values),
        precision.at_least_float32(weights),
    )
    weighted = weights * jnp.where(weights == 0, 0.0, values)
    total, weight = axis_sum((jnp.sum(weighted), jnp.sum(weights)), axis_name)
    return safe_divide(total, weight)


def batch_size(batch: Batch) -> int:
    """How many examples a batch holds.

    `len(batch['inputs'])` of inputs that are a dict is the number of its keys.

    Args:
      batch: with 'inputs', an array [B, ...] or a pytree of such arrays.

    Returns:
      B.

    Raises:
      ValueError: if the leaves of the inputs disagree, or there are none, naming their
        shapes.
      KeyError: for a batch without inputs.
    """
    leaves = jax.tree_util.tree_leaves_with_path(batch["inputs"])
    shapes = {f"inputs{jax.tree_util.keystr(k)}": np.shape(leaf) for k, leaf in leaves}
    sizes = {shape[:1] for shape in shapes.values()}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(f"every leaf of the inputs must be [B, ...]; got {shapes}.")
    ((size,),) = sizes
    return size


def barriered_sum(
    part: Callable[[Array, Any], Array],
    values: Array,
    *,
    count: int,
    chunk_size: int = 1,
    loop: Loop = "auto",
) -> Array:
    """A sum of many parts, chunk after chunk, in the memory of one chunk.

    Σ part(values, numbers), numbers the chunks of 0 to count − 1 in order.

    On a CPU the loop is unrolled, since a convolution's gradient in a compiled loop is
    many times slower there; compile time grows with `count / chunk_size`. Between
    chunks stands an optimisation barrier: without it XLA sees that no chunk needs
    another, runs all at once and holds the memory of all. On accelerators the loop is
    compiled once, whatever the count. Which it is, is decided when the function is
    traced, for the default backend; say so by `loop` where it runs elsewhere.

    Two exceptions to the memory of one chunk: a parameter gradient keeps every chunk
    alive; and JAX 0.10 on a CPU needs
    `XLA_FLAGS=--xla_cpu_enable_concurrency_optimized_scheduler=false`, since it drops
    the barriers before it schedules. Differentiable again; jvp and vmap work.

    Args:
      part: (values, numbers) -> the sum of the parts of these numbers. It must read
        `values` as it is given them: by that it waits for the chunk before. `numbers`
        is an array of NumPy where the loop is unrolled, and traced where it is
        compiled.
      values: what all parts read, [...].
      count: how many parts, at least 1; static.
      chunk_size: how many at once, at least 1; static.
      loop: 'unrolled', 'compiled', or 'auto', the first on a CPU and else the second.

    Returns:
      shaped like what `part` returns.

    Raises:
      ValueError: for another `loop`.
    """
    if loop not in get_args(Loop):
        raise ValueError(f"`loop` (={loop!r}) must be one of {get_args(Loop)}.")
    # Not `lax.platform_dependent`: it traces both loops, and its gradient keeps what
    # either of them needs.
    if loop == "auto":
        loop = "unrolled" if jax.default_backend() == "cpu" else "compiled"
    total: Array | float = 0.0
    done = 0
    if loop == "compiled" and count >= 2 * chunk_size:
        done = count - count % chunk_size
        total = _scanned_sum(part, values, np.arange(done).reshape(-1, chunk_size))
    for start in range(done, count, chunk_size):
        total += part(values, np.arange(start, min(start + chunk_size, count)))
        # The next chunk reads `values`, so it cannot start before this one has ended.
        total, values = jax.lax.optimization_barrier((total, values))
    return jnp.asarray(total)


def traced_once(part: Callable[[Array, Any], Array], values: Array) -> Any:
    """A part for `barriered_sum` that an unrolled loop traces once a size of chunk.

    Else it would trace every chunk anew, for longer than they are all compiled. Outside
    of any transformation the part stays as it is: there it would be compiled anew in
    every call.

    Args:
      part: (values, numbers) -> the sum of the parts of these numbers, which may be
        traced.
      values: what is given to `barriered_sum`.

    Returns:
      The part, or what `jax.jit` makes of it.
    """
    return jax.jit(part) if isinstance(values, jax.core.Tracer) else part


def _scanned_sum(
    part: Callable[[Array, Any], Array],
    values: Array,
    chunks: np.ndarray,
) -> Array:
    """The sum of the parts of all chunks, [number, size], by a compiled loop."""

    def step(total: Array, numbers: Array) -> tuple[Array, None]:
        return total + part(values, numbers), None

    shape = jax.eval_shape(part, values, jnp.asarray(chunks[0]))
    total, _ = jax.lax.scan(
        step, jnp.zeros(shape.shape, shape.dtype), jnp.asarray(chunks)
    )
    return total


def example_indices(batch_size: int, *, axis_name: str | None = None) -> Array:
    """Places of this device's examples in the whole batch.

    axis_index · B + i for i < B: what is drawn for an example by its place does not
    depend on how many devices share the batch.

    Args:
      batch_size: B, the number of examples on each device.
      axis_name: the mapped axis that shares the batch, or None.

    Returns:
      int32 [B].
    """
    indices = jnp.arange(batch_size, dtype=jnp.int32)
    if axis_name is None:
        return indices
    return indices + jax.lax.axis_index(axis_name) * batch_size
