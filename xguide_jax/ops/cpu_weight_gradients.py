"""Which form of a convolution's weight gradient is fastest on a CPU.

XLA computes it as a convolution whose batch are the channels, and so turns both
operands around first. That is slow where they do not fit the cache. Two other forms of
the same sum are taken by the shapes alone, so that one program has one form:

  1x1 kernels: one matrix product of what the strides keep, 2 to 13 times as fast;
  large operands: the sum over the examples in up to eight parts, each turned around in
    the cache, 1.2 to 3 times as fast.

Measured with JAX 0.12 on two cores of 32 MB of shared cache; the table is in
`experiments/results/benchmarks.md`.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

from jax import lax

from xguide_jax.ops import precision
from xguide_jax.types import Array

Form = Callable[[Array, Array], Array]

_PART_BYTES = 4 * 2**20
_MAX_PARTS = 8
# Of both operands together, up to which they are left whole. Few channels are turned
# around in short runs, which is slow from the start.
_WHOLE_BYTES = 20 * 2**20
_WHOLE_BYTES_OF_FEW = 4 * 2**20
_FEW_CHANNELS = 32


def form_of(
    lhs: Array, cotangent: Array, spec: Any, shape: tuple[int, ...], *, plain: Form
) -> Form:
    """The form for operands of these shapes.

    Args:
      lhs: float [B, H, W, C] in the layout that `spec.dimension_numbers` names.
      cotangent: float [B, H', W', O].
      spec: a `ConvolutionSpec`.
      shape: of the kernel.
      plain: lax's own form.

    Returns:
      (lhs, cotangent) -> float of the given shape.
    """
    numbers = spec.dimension_numbers
    if all(shape[axis] == 1 for axis in numbers.rhs_spec[2:]) and _is_unpadded(spec):
        return lambda lhs, cotangent: _product(lhs, cotangent, spec, shape)
    count = num_parts(lhs, cotangent, channels=lhs.shape[numbers.lhs_spec[1]])
    batch = lhs.shape[numbers.lhs_spec[0]]
    if count == 1 or batch < count:
        return plain

    def in_parts(lhs: Array, cotangent: Array) -> Array:
        edges = [batch * number // count for number in range(count + 1)]
        parts = [
            plain(
                lax.slice_in_dim(lhs, *ends, axis=numbers.lhs_spec[0]),
                lax.slice_in_dim(cotangent, *ends, axis=numbers.out_spec[0]),
            )
            for ends in itertools.pairwise(edges)
        ]
        # A sum of rounded parts would be a coarser one.
        wide = map(precision.at_least_float32, parts)
        return functools.reduce(lax.add, wide).astype(lhs.dtype)

    return in_parts


def num_parts(lhs: Array, cotangent: Array, *, channels: int) -> int:
    """In how many parts the examples are taken.

    Args:
      lhs: float, of rank 4.
      cotangent: float, of rank 4.
      channels: C, of `lhs`.

    Returns:
      1 to 8.
    """
    size = sum(math.prod(a.shape) * a.dtype.itemsize for a in (lhs, cotangent))
    whole = _WHOLE_BYTES_OF_FEW if channels <= _FEW_CHANNELS else _WHOLE_BYTES
    return 1 if size <= whole else min(_MAX_PARTS, math.ceil(size / _PART_BYTES))


def _is_unpadded(spec: Any) -> bool:
    if isinstance(spec.padding, str):
        return True  # no kernel of one place is padded by name
    return all(edges == (0, 0) for edges in spec.padding)


def _product(lhs: Array, cotangent: Array, spec: Any, shape: tuple[int, ...]) -> Array:
    """Σ over examples and places of lhs · cotangent, channel by channel."""
    numbers = spec.dimension_numbers
    strides = [1] * 4
    for axis, stride in zip(numbers.lhs_spec[2:], spec.window_strides, strict=True):
        strides[axis] = stride
    kept = lax.slice(lhs, (0,) * 4, lhs.shape, strides)
    places = (0, 2, 3)  # in a spec: examples, and both directions in space
    product = lax.dot_general(
        kept, cotangent,
        (
            (
                [numbers.lhs_spec[each] for each in places],
                [numbers.out_spec[each] for each in places],
            ),
            ((), ()),
        ),
        precision=spec.precision,
    )  # fmt: skip
    out_axis, in_axis = numbers.rhs_spec[:2]
    return (product.T if out_axis < in_axis else product).reshape(shape)
