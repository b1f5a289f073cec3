"""Conformance checks for explainers and terms, and a network and batch for them."""

from xguide_jax.testing.checks import check_explainer, check_guidance_term
from xguide_jax.testing.networks import example_batch, smooth_network

__all__ = (
    "check_explainer",
    "check_guidance_term",
    "example_batch",
    "smooth_network",
)
