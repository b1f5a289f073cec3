"""Metrics of models and of explanations: pure functions, one value an example.

A metric takes arrays `[B, ...]` and returns float `[B]`, or a curve `[B, F]` over F
fractions. It never reduces over the batch. Where it is undefined it is NaN, never a
plausible 0 or 1, so that a report can count what it leaves out.
"""

from xguide_jax.metrics.attacks import (
    correct_under,
    fgsm,
    gaussian_noise,
    pgd_l2,
    pgd_linf,
)
from xguide_jax.metrics.axiomatic import input_invariance, non_sensitivity
from xguide_jax.metrics.both_orders import RemovalAndInsertion, removal_and_insertion
from xguide_jax.metrics.complexity import effective_number_of_features, entropy, gini
from xguide_jax.metrics.erasure import comprehensiveness, sufficiency
from xguide_jax.metrics.faithfulness import (
    area_under_curve,
    insertion_curve,
    removal_curve,
)
from xguide_jax.metrics.groups import (
    bias_amplification_attribute_to_task,
    bias_amplification_task_to_attribute,
    group_accuracy,
    group_mean,
    group_undefined,
    worst_group,
)
from xguide_jax.metrics.infidelity import gaussian_perturbation, infidelity
from xguide_jax.metrics.localisation import (
    average_precision,
    energy_pointing_game,
    pointing_game,
    relevance_mass_accuracy,
    relevance_rank_accuracy,
)
from xguide_jax.metrics.mass import MassCurves, mass_precision_recall
from xguide_jax.metrics.overlap import explanation_precision_recall, iou
from xguide_jax.metrics.parity import (
    GroupGap,
    demographic_parity_gap,
    equalised_odds_gap,
)
from xguide_jax.metrics.patterns import (
    cosine_similarity,
    rank_correlation,
    structural_similarity,
    top_k_intersection,
)
from xguide_jax.metrics.randomisation import (
    cascading_randomisation,
    independent_randomisation,
    random_logit,
    randomise_parameters,
    shuffle_parameters,
)
from xguide_jax.metrics.rationale import (
    Agreement,
    attention_share,
    span_agreement,
    token_agreement,
    token_iou,
    top_k_agreement,
)
from xguide_jax.metrics.retrieval import recall_at_k, retrieval_rank
from xguide_jax.metrics.road import road_curve
from xguide_jax.metrics.robustness import local_lipschitz, max_sensitivity
from xguide_jax.metrics.sensitivity_n import sensitivity_n
from xguide_jax.metrics.text import (
    Bleu,
    cider_d,
    corpus_bleu,
    distinct_n,
    label_mention,
    meteor_exact,
    rouge_l,
    words_of,
)

__all__ = (
    "Agreement",
    "Bleu",
    "GroupGap",
    "MassCurves",
    "RemovalAndInsertion",
    "area_under_curve",
    "attention_share",
    "average_precision",
    "bias_amplification_attribute_to_task",
    "bias_amplification_task_to_attribute",
    "cascading_randomisation",
    "cider_d",
    "comprehensiveness",
    "corpus_bleu",
    "correct_under",
    "cosine_similarity",
    "demographic_parity_gap",
    "distinct_n",
    "effective_number_of_features",
    "energy_pointing_game",
    "entropy",
    "equalised_odds_gap",
    "explanation_precision_recall",
    "fgsm",
    "gaussian_noise",
    "gaussian_perturbation",
    "gini",
    "group_accuracy",
    "group_mean",
    "group_undefined",
    "independent_randomisation",
    "infidelity",
    "input_invariance",
    "insertion_curve",
    "iou",
    "label_mention",
    "local_lipschitz",
    "mass_precision_recall",
    "max_sensitivity",
    "meteor_exact",
    "non_sensitivity",
    "pgd_l2",
    "pgd_linf",
    "pointing_game",
    "random_logit",
    "randomise_parameters",
    "rank_correlation",
    "recall_at_k",
    "relevance_mass_accuracy",
    "relevance_rank_accuracy",
    "removal_and_insertion",
    "removal_curve",
    "retrieval_rank",
    "road_curve",
    "rouge_l",
    "sensitivity_n",
    "shuffle_parameters",
    "span_agreement",
    "structural_similarity",
    "sufficiency",
    "token_agreement",
    "token_iou",
    "top_k_agreement",
    "top_k_intersection",
    "words_of",
    "worst_group",
)
