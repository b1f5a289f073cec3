"""Conformance checks for explainers and terms, and a network and batch for them."""

from xguide_jax.testing.explainers import check_explainer
from xguide_jax.testing.networks import example_batch, smooth_network
from xguide_jax.testing.terms import check_guidance_term

__all__ = (
    "check_explainer",
    "check_guidance_term",
    "example_batch",
    "smooth_network",
)
