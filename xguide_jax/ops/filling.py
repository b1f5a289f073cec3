"""Replacement values for masked parts of an input, and the replacement itself.

A fill is `(key or keys [B], inputs [B, ...]) -> values`, shaped and typed like the
inputs; hyper-parameters are bound with `functools.partial`. Noise belongs to examples:
that of example i is a function of its own key and its own values, so it does not depend
on the batch around it, nor on how many devices share the batch.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.ops import precision
from xguide_jax.types import Array, FillFn, PRNGKey


def example_keys(key: PRNGKey, batch_size: int) -> PRNGKey:
    """One key an example: `fold_in(key, i)`, or the keys as given.

    Args:
      key: typed key [], split by the example's index, or typed keys [B], returned as
        they are.
      batch_size: B, the number of examples.

    Returns:
      typed keys [B].

    Raises:
      ValueError: if the key is not typed, if it is neither [] nor [B], or if it is of
        an rbg kind, whose draws under `vmap` depend on the other examples' keys.
    """
    if not isinstance(key, jax.Array):
        raise ValueError(
            f"`key` (={key!r}) must be a typed key, `jax.random.key(seed)`."
        )
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise ValueError(
            "`key` must be a typed key, `jax.random.key(seed)`; "
            f"got {key.dtype} {list(key.shape)}."
        )
    kind = str(jax.random.key_impl(key))
    if "rbg" in kind:
        raise ValueError(
            f"`key` (of kind {kind}) must be a threefry key, since rbg draws depend on "
            "the rest of the batch: `jax.random.key(seed, impl='threefry2x32')`."
        )
    if key.shape not in ((), (batch_size,)):
        raise ValueError(
            f"`key` (shaped {list(key.shape)}) must be one key [] or one key an "
            f"example [{batch_size}]."
        )
    if key.shape:
        return key
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(batch_size))


def per_example(fill: Callable[[PRNGKey, Array], Array]) -> FillFn:
    """A fill of one example, lifted to batches.

    Args:
      fill: `(key [], example [...]) -> values [...]`.

    Returns:
      `(key or keys [B], inputs [B, ...]) -> values [B, ...]`.

    Raises:
      ValueError: (when called) as `example_keys`.
      AssertionError: (when called) if `fill` changes the shape or the dtype.
    """

    def batch_fill(key: PRNGKey, inputs: Array) -> Array:
        values = jax.vmap(fill)(example_keys(key, inputs.shape[0]), inputs)
        chex.assert_equal_shape([values, inputs])
        chex.assert_type(values, inputs.dtype)
        return values

    return batch_fill


def uniform_range_fill(
    key: PRNGKey,
    inputs: Array,
    *,
    axes: int | Sequence[int],
    where: Array | None = None,
) -> Array:
    """Uniform noise between each example's own extremes.

    value = low + u (high − low), u ~ U[0, 1) independent for every entry, low and high
    the extremes of the example over `axes`. Gradients reach the extremes of the inputs.

    Args:
      key: typed key [] or keys [B].
      inputs: float [B, ...].
      axes: the axes that share a range, the batch axis not among them: of [B, H, W, C],
        (1, 2) is a range for each image and channel, (1, 2, 3) one for each image.
      where: bool, broadcast to the inputs: the entries whose range it is, so that the
        zeros of padding are in none; all if None. Without an entry the fill is 0.

    Returns:
      float, shaped and typed like `inputs`.

    Raises:
      AssertionError: if the inputs are not float.
      ValueError: if `axes` is empty, names the batch axis or one that is not there, or
        as `example_keys`.

    Source: Ismail, Corrada Bravo, Feizi, "Improving Deep Learning Interpretability by
      Saliency Guided Training", NeurIPS 2021. Their published code takes one range for
      each image on MNIST, and one for each image and channel on colour images.
    """
    chex.assert_type(inputs, float)
    axes = _checked_axes(axes, inputs.ndim)
    keys = example_keys(key, inputs.shape[0])
    wide = precision.at_least_float32(inputs)
    if where is None:
        low = jnp.min(wide, axis=axes, keepdims=True)
        high = jnp.max(wide, axis=axes, keepdims=True)
    else:
        chex.assert_type(where, bool)
        where = jnp.broadcast_to(where, inputs.shape)
        low, high = _range_where(wide, axes, where)
    draw = jax.vmap(lambda key: jax.random.uniform(key, inputs.shape[1:], wide.dtype))
    # No rounding passes the range: draws are at most 1 − ulp.
    return (low + draw(keys) * (high - low)).astype(inputs.dtype)


def uniform_data_range_fill(
    key: PRNGKey, inputs: Array, *, low: float | Array, high: float | Array
) -> Array:
    """Uniform noise between given extremes, such as those of a data set.

    value = low + u (high − low), u ~ U[0, 1) independent for every entry. No gradient
    to the inputs.

    Args:
      key: typed key [] or keys [B].
      inputs: float [B, ...], of which only shape and dtype are used.
      low: a number, or an array broadcast to the inputs (one a feature, [F]).
      high: as `low`, at least that.

    Returns:
      float, shaped and typed like `inputs`.

    Raises:
      AssertionError: if the inputs are not float.
      ValueError: if `low` is above `high` or one is not finite, where they are known;
        and as `example_keys`.
    """
    chex.assert_type(inputs, float)
    if not any(isinstance(bound, jax.core.Tracer) for bound in (low, high)):
        span = np.asarray(high, np.float64) - np.asarray(low, np.float64)
        if not np.all((span >= 0) & np.isfinite(span)):
            raise ValueError(
                f"`low` (={low}) must be at most `high` (={high}), both finite."
            )
    keys = example_keys(key, inputs.shape[0])
    dtype = precision.at_least_float32(inputs).dtype
    low, high = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
    draw = jax.vmap(lambda key: jax.random.uniform(key, inputs.shape[1:], dtype))
    values = low + draw(keys) * (high - low)
    chex.assert_equal_shape([values, inputs])
    return values.astype(inputs.dtype)


def mean_fill(key: PRNGKey, inputs: Array, *, axes: int | Sequence[int]) -> Array:
    """Each example's own mean over `axes`; differentiable in the inputs.

    Args:
      key: not used, any key.
      inputs: float [B, ...].
      axes: the axes that share a mean, the batch axis not among them: (1, 2) of
        [B, H, W, C] is a mean for each image and channel.

    Returns:
      float, shaped and typed like `inputs`; summed in float32 or wider.

    Raises:
      AssertionError: if the inputs are not float.
      ValueError: if `axes` is empty, names the batch axis or one that is not there.

    Source: the mean masking of the code published with Ismail, Corrada Bravo, Feizi,
      NeurIPS 2021 (each image and channel).
    """
    del key  # deterministic
    chex.assert_type(inputs, float)
    axes = _checked_axes(axes, inputs.ndim)
    mean = jnp.mean(precision.at_least_float32(inputs), axis=axes, keepdims=True)
    return jnp.broadcast_to(mean.astype(inputs.dtype), inputs.shape)


def constant_fill(key: PRNGKey, inputs: Array, *, value: float | Array) -> Array:
    """The same value everywhere; no gradient to the inputs.

    Args:
      key: not used, any key.
      inputs: [B, ...].
      value: a scalar, or an array broadcast to the inputs (one value a channel, [C]);
        whole numbers within their range where the inputs are whole numbers (token ids,
        bytes).

    Returns:
      shaped and typed like `inputs`.

    Raises:
      ValueError: if `value` does not broadcast to the inputs' shape, or is no number of
        a whole dtype; a traced value must then be of a whole dtype itself.
    """
    del key  # deterministic
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        _check_whole(value, inputs.dtype)
    return jnp.broadcast_to(jnp.asarray(value).astype(inputs.dtype), inputs.shape)


def replace(inputs: Array, mask: Array, values: Array) -> Array:
    """The inputs with `values` where the mask is True, and untouched elsewhere.

    Entries outside the mask keep their very bits. Gradients flow into `values` inside
    the mask only, and into `inputs` outside it only.

    Args:
      inputs: [B, ...].
      mask: bool, of the inputs' rank and broadcast to their shape ([B, H, W, 1] masks
        all channels of [B, H, W, C]).
      values: shaped and typed like `inputs`, e.g. by a fill.

    Returns:
      shaped and typed like `inputs`.

    Raises:
      AssertionError: if the ranks, shapes or dtypes differ from the above.
    """
    chex.assert_type(mask, bool)
    chex.assert_type(values, inputs.dtype)
    chex.assert_equal_rank([inputs, mask])
    chex.assert_equal_shape([inputs, values])
    chex.assert_is_broadcastable(mask.shape, inputs.shape)
    return jnp.where(mask, values, inputs)


def _range_where(
    values: Array, axes: tuple[int, ...], where: Array
) -> tuple[Array, Array]:
    """The extremes of the entries that `where` names; 0 and 0 where there is none."""
    some = jnp.any(where, axis=axes, keepdims=True)
    low, high = (
        reduce(jnp.where(where, values, bound), axis=axes, keepdims=True)
        for reduce, bound in ((jnp.min, jnp.inf), (jnp.max, -jnp.inf))
    )
    return jnp.where(some, low, 0.0), jnp.where(some, high, 0.0)


def _checked_axes(axes: int | Sequence[int], rank: int) -> tuple[int, ...]:
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    checked = tuple(axis + rank if axis < 0 else axis for axis in given)
    if not checked or not all(0 < axis < rank for axis in checked):
        raise ValueError(
            f"`axes` (={given}) must name axes from 1 to {rank - 1} of the inputs: "
            "axis 0 is the batch, and examples do not share values."
        )
    return checked


def _check_whole(value: float | Array, dtype: np.dtype) -> None:
    """Refuses what a conversion to a whole dtype would cut off or wrap around."""
    if isinstance(value, jax.core.Tracer):
        fits = not jnp.issubdtype(value.dtype, jnp.floating)
    else:
        exact = np.asarray(value)
        with np.errstate(invalid="ignore"):
            fits = np.array_equal(exact.astype(dtype).astype(np.float64), exact)
    if not fits:
        raise ValueError(f"`value` (={value}) must be numbers of the inputs' {dtype}.")
