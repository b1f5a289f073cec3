"""Conformance checks of functions and networks; a network and a batch."""

from xguide_jax.testing.apply_fns import check_apply_fn
from xguide_jax.testing.explainers import check_explainer
from xguide_jax.testing.metrics import check_metric
from xguide_jax.testing.networks import example_batch, smooth_network
from xguide_jax.testing.terms import check_guidance_term
from xguide_jax.testing.tokens import attention_network, token_batch, token_network

__all__ = (
    "attention_network",
    "check_apply_fn",
    "check_explainer",
    "check_guidance_term",
    "check_metric",
    "example_batch",
    "smooth_network",
    "token_batch",
    "token_network",
)
