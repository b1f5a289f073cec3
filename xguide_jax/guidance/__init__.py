"""Guidance terms: one method of the literature a file.

A builder takes hyper-parameters and returns a `types.GuidanceTerm`; a training
objective is a plain dict of them. What is constant in a method is decided here.
"""

from xguide_jax.guidance.base import every_k_steps, no_variables, scale, stateless
from xguide_jax.guidance.localisation import frozen_grad_cam, localisation
from xguide_jax.guidance.published import (
    right_for_right_reasons_published,
    saliency_guided_published,
    summed,
)
from xguide_jax.guidance.region_consistency import (
    other_backgrounds,
    region_consistency,
    replaced_background_loss,
)
from xguide_jax.guidance.region_contrast import region_contrastive
from xguide_jax.guidance.right_reasons import right_for_right_reasons
from xguide_jax.guidance.robust_guided import (
    gradia,
    haics,
    res_gaussian,
    res_learned,
)
from xguide_jax.guidance.robust_published import (
    haics_published,
    res_gaussian_published,
    res_learned_published,
)
from xguide_jax.guidance.saliency_guided import saliency_guided

__all__ = (
    "every_k_steps",
    "frozen_grad_cam",
    "gradia",
    "haics",
    "haics_published",
    "localisation",
    "no_variables",
    "other_backgrounds",
    "region_consistency",
    "region_contrastive",
    "replaced_background_loss",
    "res_gaussian",
    "res_gaussian_published",
    "res_learned",
    "res_learned_published",
    "right_for_right_reasons",
    "right_for_right_reasons_published",
    "saliency_guided",
    "saliency_guided_published",
    "scale",
    "stateless",
    "summed",
)
