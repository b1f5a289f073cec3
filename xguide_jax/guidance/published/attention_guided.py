"""Attention supervised by rationales as published; see `differences.md`."""

import functools
from collections.abc import Sequence
from typing import Literal

from xguide_jax import losses
from xguide_jax.guidance import base
from xguide_jax.guidance.attention_guided import attention_guided
from xguide_jax.types import GuidanceTerm

# The weights of the published commands.
_WEIGHTS = {"heads": 1.0, "extra_layer": 1.4, "divergence": 0.01}


def attention_guided_published(
    *,
    variant: Literal["heads", "extra_layer", "divergence"],
    layer: str,
    heads: Sequence[int] | None = None,
) -> GuidanceTerm:
    """Attention supervision with the choices of the published code.

    λ times the *sum* over the annotated examples of a batch, beside a mean
    cross-entropy: the weight beside the task grows with the batch, which was of 8.

    Args:
      variant: 'heads' supervises some heads of a layer, λ = 1; 'extra_layer' an
        attention of its own behind the network, λ = 1.4; 'divergence' is the baseline
        after Pruthi et al., the KL divergence of the mean over all heads, λ = 0.01.
      layer: the last layer of attention, 'attention_11' of twelve; or [B, T] of the
        extra layer.
      heads: of 'heads', (1, 2, 3) in the published command; None for all, which is the
        default of the published code, and all that the other two have.

    Returns:
      A term like `attention_guided`.

    Raises:
      ValueError: for an unknown `variant`, for heads of a variant that takes all, and
        as `attention_guided`.

    Source: the published code of Stacey, Belinkov, Rei, AAAI 2022.
    """
    if variant not in _WEIGHTS:
        raise ValueError(f"`variant` (={variant!r}) must be one of {list(_WEIGHTS)}.")
    if variant != "heads" and heads is not None:
        raise ValueError(
            f"`heads` (={heads!r}) must be None with `variant` (={variant!r}), which "
            "has none to choose."
        )
    divergence = (
        functools.partial(losses.attention_divergence, epsilon=1e-4)
        if variant == "divergence"
        else losses.attention_supervision
    )
    term = attention_guided(layer=layer, heads=heads, divergence=divergence)
    return base.scale(base.summed(term), _WEIGHTS[variant])
