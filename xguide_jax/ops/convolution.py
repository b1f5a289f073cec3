"""Convolution and pooling whose second derivatives are fast on a CPU.

A convolution is one trilinear form <y, conv(x, w)> of an input x, a kernel w and a
cotangent y. Its three partial gradients, the convolution, the input gradient and the
weight gradient, are therefore the derivatives of one another. Each is given a custom
VJP that says so, which keeps every order of reverse-mode derivative within the three
kernels that XLA runs fast. Left to itself, automatic differentiation of the input
gradient arrives at a convolution that can be 25 times slower than the weight gradient
it equals.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from xguide_jax.ops import cpu_weight_gradients
from xguide_jax.types import Array


class ConvolutionSpec(NamedTuple):
    """What is static about a convolution, hashable."""

    window_strides: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]
    dimension_numbers: lax.ConvDimensionNumbers
    precision: Any


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """`jax.lax.conv_general_dilated` with fast second derivatives; pass it to Flax.

    out[b, i, j, o] = Σ_{u, v, c} lhs[b, s i + u − p, s j + v − p, c] rhs[u, v, c, o]
    with stride s and padding p, in any layout. Value and first gradients are lax's
    own, on a CPU up to rounding, where `cpu_weight_gradients` picks the form of one;
    gradients of gradients, to any order, reuse the same three kernels. Works
    under `jit`, `vmap` and `pmap`.

    A custom VJP forbids forward mode: `jax.jvp`, `jax.hessian` and `jax.linearize`
    raise a TypeError. So this is opt-in:
    `nn.Conv(..., conv_general_dilated=ops.conv_general_dilated)`.

    The rules hold for floating two-dimensional convolutions (inputs of rank 4) with
    one group and no dilation, at any strides and padding. Every other call goes to
    lax as it is, forward mode included.

    Args:
      lhs: float [B, H, W, C] in the layout that `dimension_numbers` names.
      rhs: float [h, w, C, O] in the layout that `dimension_numbers` names.
      window_strides: one stride a spatial axis.
      padding: 'SAME', 'VALID', 'SAME_LOWER' or (low, high) pixels a spatial axis.
      lhs_dilation: as lax takes it; other than ones falls back to lax.
      rhs_dilation: as lax takes it; other than ones falls back to lax.
      dimension_numbers: as lax takes it, e.g. ('NHWC', 'HWIO', 'NHWC'); None is
        ('NCHW', 'OIHW', 'NCHW').
      feature_group_count: other than 1 falls back to lax.
      batch_group_count: other than 1 falls back to lax.
      precision: as lax takes it, for derivatives too.
      preferred_element_type: other than None falls back to lax.
      out_sharding: other than None falls back to lax.

    Returns:
      float [B, H', W', O] in the layout that `dimension_numbers` names.
    """
    undilated = all(
        step == 1 for step in (*(lhs_dilation or ()), *(rhs_dilation or ()))
    )
    trilinear = (
        undilated
        and jnp.ndim(lhs) == jnp.ndim(rhs) == 4
        and feature_group_count == batch_group_count == 1
        and preferred_element_type is out_sharding is None
        and lhs.dtype == rhs.dtype
        and jnp.issubdtype(lhs.dtype, jnp.floating)
    )
    if not trilinear:
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            batch_group_count=batch_group_count,
            precision=precision,
            preferred_element_type=preferred_element_type,
            out_sharding=out_sharding,
        )
    spec = ConvolutionSpec(
        window_strides=tuple(window_strides),
        padding=padding
        if isinstance(padding, str)
        else tuple((low, high) for low, high in padding),
        dimension_numbers=lax.conv_dimension_numbers(
            lhs.shape, rhs.shape, dimension_numbers
        ),
        precision=precision,
    )
    return _convolve(lhs, rhs, spec)


def max_pool(inputs: Array, *, window: tuple[int, int]) -> Array:
    """Largest value of each cell of a grid of windows that do not overlap.

    out[b, i, j, k] = max over u < h, v < w of inputs[b, h i + u, w j + v, k], where
    rows and columns that fill no window are cropped ('VALID'). Equals Flax's
    `max_pool(inputs, window, strides=window)`, whose backward pass is some 20 times
    slower on a CPU. The gradient goes to the largest value; among equals it is split
    evenly, where Flax gives it all to one of them.

    Args:
      inputs: float [B, H, W, K].
      window: (h, w), pixels, 1 ≤ h ≤ H and 1 ≤ w ≤ W.

    Returns:
      float [B, H // h, W // w, K].

    Raises:
      AssertionError: if `inputs` is not rank 4.
      ValueError: if the window is empty or larger than the inputs.
    """
    chex.assert_rank(inputs, 4)
    batch, height, width, channels = inputs.shape
    if not (1 <= window[0] <= height and 1 <= window[1] <= width):
        raise ValueError(
            f"`window` (={window}) must lie between (1, 1) and the inputs' size "
            f"{(height, width)}."
        )
    rows, columns = height // window[0], width // window[1]
    cropped = inputs[:, : rows * window[0], : columns * window[1]]
    cells = cropped.reshape(batch, rows, window[0], columns, window[1], channels)
    return jnp.max(cells, axis=(2, 4))


def _lax_convolve(lhs: Array, rhs: Array, spec: ConvolutionSpec) -> Array:
    return lax.conv_general_dilated(lhs, rhs, **spec._asdict())


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(lhs: Array, rhs: Array, spec: ConvolutionSpec) -> Array:
    return _lax_convolve(lhs, rhs, spec)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _input_gradient(
    cotangent: Array, rhs: Array, spec: ConvolutionSpec, shape: tuple[int, ...]
) -> Array:
    """d<cotangent, conv(lhs, rhs)>/d lhs, for an lhs of the given shape."""
    lhs = jax.ShapeDtypeStruct(shape, rhs.dtype)
    transpose = jax.linear_transpose(lambda lhs: _lax_convolve(lhs, rhs, spec), lhs)
    return transpose(cotangent)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _weight_gradient(
    lhs: Array, cotangent: Array, spec: ConvolutionSpec, shape: tuple[int, ...]
) -> Array:
    """d<cotangent, conv(lhs, rhs)>/d rhs, for an rhs of the given shape."""
    form = functools.partial(_lax_weight_gradient, spec=spec, shape=shape)
    on_cpu = cpu_weight_gradients.form_of(lhs, cotangent, spec, shape, plain=form)
    return jax.lax.platform_dependent(lhs, cotangent, cpu=on_cpu, default=form)


def _lax_weight_gradient(
    lhs: Array, cotangent: Array, *, spec: ConvolutionSpec, shape: tuple[int, ...]
) -> Array:
    rhs = jax.ShapeDtypeStruct(shape, lhs.dtype)
    transpose = jax.linear_transpose(lambda rhs: _lax_convolve(lhs, rhs, spec), rhs)
    return transpose(cotangent)[0]


def _forward(bilinear: Callable[..., Array]) -> Callable[..., Any]:
    """The forward rule of a bilinear function, which saves both arguments."""
    return lambda first, second, *static: (
        bilinear(first, second, *static),
        (first, second),
    )


def _convolve_backward(
    spec: ConvolutionSpec, saved: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    lhs, rhs = saved
    return (
        _input_gradient(cotangent, rhs, spec, lhs.shape),
        _weight_gradient(lhs, cotangent, spec, rhs.shape),
    )


def _input_gradient_backward(
    spec: ConvolutionSpec,
    shape: tuple[int, ...],
    saved: tuple[Array, Array],
    lhs: Array,
) -> tuple[Array, Array]:
    # The cotangent of the input gradient takes the input's place in the form.
    del shape
    cotangent, rhs = saved
    return (
        _convolve(lhs, rhs, spec),
        _weight_gradient(lhs, cotangent, spec, rhs.shape),
    )


def _weight_gradient_backward(
    spec: ConvolutionSpec,
    shape: tuple[int, ...],
    saved: tuple[Array, Array],
    rhs: Array,
) -> tuple[Array, Array]:
    # The cotangent of the weight gradient takes the kernel's place in the form.
    del shape
    lhs, cotangent = saved
    return (
        _input_gradient(cotangent, rhs, spec, lhs.shape),
        _convolve(lhs, rhs, spec),
    )


_convolve.defvjp(_forward(_convolve), _convolve_backward)
_input_gradient.defvjp(_forward(_input_gradient), _input_gradient_backward)
_weight_gradient.defvjp(_forward(_weight_gradient), _weight_gradient_backward)
