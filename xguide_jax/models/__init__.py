"""Reference networks, and adapters that turn a Flax network into an `ApplyFn`.

The only package that knows a network library. Every network returns a `ModelOutput`
and lets each activation it exposes be replaced by name through `overrides`.
"""

from xguide_jax.models.adapters import init_linen, linen_apply_fn, nnx_apply_fn
from xguide_jax.models.convolutional import SaliencyGuidedCNN, SmallCNN
from xguide_jax.models.overriding import override
from xguide_jax.models.weights import load_weights

__all__ = (
    "SaliencyGuidedCNN",
    "SmallCNN",
    "init_linen",
    "linen_apply_fn",
    "load_weights",
    "nnx_apply_fn",
    "override",
)
