"""Losses on explanations: pure functions of arrays, one value an example.

A loss takes arrays `[B, ...]` and returns float `[B]`. It never reduces over the batch,
never logs and never holds an argument constant: who composes decides that. Those of
`distribution` compare whole sets, and return one number a batch.
"""

from xguide_jax import deprecating
from xguide_jax.losses.attention import attention_divergence, attention_supervision
from xguide_jax.losses.consistency import (
    bernoulli_consistency,
    kl_consistency,
    squared_consistency,
)
from xguide_jax.losses.contrastive import (
    region_contrastive,
    region_contrastive_batch,
    region_contrastive_triplet,
)
from xguide_jax.losses.distribution import (
    kl_to_prior,
    maximum_mean_discrepancy,
    moment_distance,
    sliced_wasserstein,
)
from xguide_jax.losses.localisation import (
    energy,
    leaky_energy,
    masked_cross_entropy,
    outside_energy,
    pixel_cross_entropy,
    region_l1,
)
from xguide_jax.losses.multimodal import info_nce, token_negative_log_likelihood
from xguide_jax.losses.right_reasons import right_for_right_reasons
from xguide_jax.losses.robust import robust_error, robust_explanation

__all__ = (
    "attention_divergence",
    "attention_supervision",
    "bernoulli_consistency",
    "energy",
    "info_nce",
    "kl_consistency",
    "kl_to_prior",
    "leaky_energy",
    "masked_cross_entropy",
    "maximum_mean_discrepancy",
    "moment_distance",
    "outside_energy",
    "pixel_cross_entropy",
    "region_contrastive",
    "region_contrastive_batch",
    "region_contrastive_triplet",
    "region_l1",
    "right_for_right_reasons",
    "robust_error",
    "robust_explanation",
    "sliced_wasserstein",
    "squared_consistency",
    "token_negative_log_likelihood",
)

__getattr__ = deprecating.old_names(__name__)
