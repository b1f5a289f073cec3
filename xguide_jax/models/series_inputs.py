"""What every network of series does: read steps and features, pool states, classify."""

from collections.abc import Callable, Mapping
from typing import Literal

import chex
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax.models import overriding, pooling
from xguide_jax.types import Array, ModelOutput, PyTree

SeriesPooling = Literal["last", "mean"]
_POOLINGS = ("last", "mean")

Expose = Callable[[str, Array], Array]


def classify_series(
    inputs: PyTree,
    overrides: Mapping[str, Array] | None,
    *,
    encode: Callable[[Array, Array, Expose], Array],
    pooling_: SeriesPooling,
    num_classes: int,
    dropout: nn.Dropout,
) -> ModelOutput:
    """Logits of a series by its states, inside the `__call__` of a network.

    What padding holds, a NaN too, is replaced by 0 before the network sees it, and a
    replacement of 'series' is treated alike: no logit depends on it, and the gradient
    there is exactly 0.

    Args:
      inputs: {'series' float [B, T, F], 'mask' bool [B, T]}, the mask False on padding.
      overrides: activations by name that replace those of the network.
      encode: (series, mask, expose) -> states [B, T, H], those of padding of no effect
        on others; `expose(name, activation)` names one of its own.
      pooling_: 'last', the state of the last step that is no padding; 'mean', over the
        mask. Both are 0 of a row that is padding only.
      num_classes: C.
      dropout: of the pooled state.

    Returns:
      Logits [B, C]; 'series' [B, T, F] and 'hidden' [B, T, H] are exposed.

    Raises:
      ValueError: for another pooling, or if the inputs have other names.
      AssertionError: if they have other shapes or types.
    """
    if pooling_ not in _POOLINGS:
        raise ValueError(f"`pooling` (={pooling_!r}) must be one of {_POOLINGS}.")
    series, mask = _checked(inputs)
    exposed: dict[str, Array] = {}

    def expose(name: str, activation: Array) -> Array:
        exposed[name] = overriding.override(name, activation, overrides)
        return exposed[name]

    # Once for what is exposed, once for what may replace it.
    cleared = lambda values: jnp.where(mask[..., None], values, 0.0)
    series = cleared(expose("series", cleared(series)))
    hidden = expose("hidden", encode(series, mask, expose))
    hidden = cleared(hidden)
    if pooling_ == "last":
        after = jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1]
        last = mask & (after == 1)
        state = jnp.einsum("bt,bth->bh", last.astype(hidden.dtype), hidden)
    else:
        state = pooling.pooled("mean", hidden, mask, expose)
    logits = nn.Dense(num_classes, name="classifier")(dropout(state))
    return ModelOutput(logits, exposed)


def _checked(inputs: PyTree) -> tuple[Array, Array]:
    names = {"series", "mask"}
    if not isinstance(inputs, Mapping) or set(inputs) != names:
        present = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs)
        raise ValueError(f"`inputs` ({present}) must be a dict of {sorted(names)}.")
    series, mask = inputs["series"], inputs["mask"]
    chex.assert_rank([series, mask], [3, 2])
    chex.assert_equal_shape_prefix([series, mask], 2)
    chex.assert_type([series, mask], [float, bool])
    return series, mask
