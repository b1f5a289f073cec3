"""Guidance terms: one method of the literature a file.

A builder takes hyper-parameters and returns a `types.GuidanceTerm`; a training
objective is a plain dict of them. What is constant in a method is decided here.
"""

from xguide_jax.guidance.base import every_k_steps, no_variables, scale, stateless
from xguide_jax.guidance.saliency_guided import saliency_guided

__all__ = ("every_k_steps", "no_variables", "saliency_guided", "scale", "stateless")
