"""The terms of robust explanation supervision, and the arms that there are."""

import functools
from collections.abc import Callable

from experiments.robust_explanations import annotating
from experiments.running import arms
from xguide_jax import attributions, guidance
from xguide_jax.types import GuidanceTerm, ScoreFn, Terms

TERMS: dict[str, Callable[..., GuidanceTerm]] = {
    "gradia": guidance.gradia,
    "haics": guidance.haics,
    "res_gaussian": functools.partial(guidance.res_gaussian, slack=0.1),
    # From 48 pixels to 12 cells.
    "res_learned": functools.partial(
        guidance.res_learned, slack=0.1, kernel_size=8, stride=4
    ),
}
# Of the pilot; see the results.
WEIGHTS = {"gradia": 1.0, "haics": 3.0, "res_gaussian": 0.1, "res_learned": 0.3}
SCORES: dict[str, ScoreFn] = {
    "logit": attributions.target_logit,
    "centred_logit": attributions.centred_logit,
}
ARMS = (
    "unguided",
    *(f"{term}@{noise}" for noise in (*annotating.NOISE, "other") for term in TERMS),
)
GRAMMAR = arms.Grammar(
    unguided=("unguided",),
    terms=tuple(TERMS),
    weight_of=lambda term, annotation: WEIGHTS[term],
    check_annotation=annotating.check_noise,
)


def terms_of(arm: arms.Arm, explained: str) -> Terms:
    """The guidance of an arm.

    Args:
      arm: as it was read.
      explained: what Grad-CAM explains, a name in `SCORES`.

    Returns:
      {name: term}; {} for the unguided arm.
    """
    if arm.weight is None:
        return {}
    # Without dropout and batch norm both modes are one function, and in train mode the
    # clean pass gives the features.
    cam = guidance.normalised_cam(score_fn=SCORES[explained], explain_in="train")
    term = TERMS[arm.term](explain=cam)
    return {"guidance": guidance.scale(term, arm.weight)}
