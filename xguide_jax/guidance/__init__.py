"""Guidance terms: one method of the literature a file.

A builder takes hyper-parameters and returns a `types.GuidanceTerm`; a training
objective is a plain dict of them. What is constant in a method is decided here.

Terms that read a map take `explain`, which says which map and where: `explain` makes
it of any explainer at any layer. What a batch holds they read by `region_of`,
`annotations_of`, `targets_of` and `present`, and of sequences by `evidence_of`,
`marks_of` and `counted_of`; terms of your own can do the same.
Texts are read by `text_of`, and images with texts are guided by `textual_explanation`,
`image_text_alignment` and `distribution_consistency`, each usable alone; the map that
people drew is there, as everywhere, compared by `localisation`.
`published` has the presets of published code.
"""

from xguide_jax import deprecating
from xguide_jax.guidance.attention_guided import attention_guided, random_heads
from xguide_jax.guidance.base import (
    every_k_steps,
    no_variables,
    scale,
    stateless,
    summed,
)
from xguide_jax.guidance.distribution_consistency import (
    distribution_consistency,
    map_set_consistency,
)
from xguide_jax.guidance.explaining import explain, frozen_grad_cam, normalised_cam
from xguide_jax.guidance.image_text_alignment import image_text_alignment
from xguide_jax.guidance.localisation import localisation
from xguide_jax.guidance.map_losses import CountedLoss, counted_loss
from xguide_jax.guidance.map_prior import (
    MAP_STATISTICS,
    MapPrior,
    map_prior,
    map_statistics,
)
from xguide_jax.guidance.pseudo_maps import pseudo_maps
from xguide_jax.guidance.published import (
    attention_guided_published,
    haics_published,
    res_gaussian_published,
    res_learned_published,
    right_for_right_reasons_published,
    saliency_guided_published,
)
from xguide_jax.guidance.reading import (
    annotations_of,
    boxes_of,
    present,
    region_of,
    targets_of,
)
from xguide_jax.guidance.region_consistency import (
    region_consistency,
    replaced_background_loss,
)
from xguide_jax.guidance.region_contrast import region_contrastive
from xguide_jax.guidance.region_fills import RegionFill, other_backgrounds, region_fill
from xguide_jax.guidance.right_reasons import right_for_right_reasons
from xguide_jax.guidance.robust_guided import gradia, haics, res_gaussian, res_learned
from xguide_jax.guidance.saliency import saliency_distribution
from xguide_jax.guidance.saliency_guided import saliency_guided
from xguide_jax.guidance.sequences import counted_of, evidence_of, marks_of
from xguide_jax.guidance.text_encoder import TextEncoder, mean_embedding
from xguide_jax.guidance.texts import text_of
from xguide_jax.guidance.textual_explanation import textual_explanation, textual_prefix

__all__ = (
    "MAP_STATISTICS",
    "CountedLoss",
    "MapPrior",
    "RegionFill",
    "TextEncoder",
    "annotations_of",
    "attention_guided",
    "attention_guided_published",
    "boxes_of",
    "counted_loss",
    "counted_of",
    "distribution_consistency",
    "every_k_steps",
    "evidence_of",
    "explain",
    "frozen_grad_cam",
    "gradia",
    "haics",
    "haics_published",
    "image_text_alignment",
    "localisation",
    "map_prior",
    "map_set_consistency",
    "map_statistics",
    "marks_of",
    "mean_embedding",
    "no_variables",
    "normalised_cam",
    "other_backgrounds",
    "present",
    "pseudo_maps",
    "random_heads",
    "region_consistency",
    "region_contrastive",
    "region_fill",
    "region_of",
    "replaced_background_loss",
    "res_gaussian",
    "res_gaussian_published",
    "res_learned",
    "res_learned_published",
    "right_for_right_reasons",
    "right_for_right_reasons_published",
    "saliency_distribution",
    "saliency_guided",
    "saliency_guided_published",
    "scale",
    "stateless",
    "summed",
    "targets_of",
    "text_of",
    "textual_explanation",
    "textual_prefix",
)

__getattr__ = deprecating.old_names(__name__)
