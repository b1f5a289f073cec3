"""The terms of region guidance, by their names."""

import functools
from collections.abc import Callable

import optax

from experiments.digits import textured
from experiments.region_guidance import pilot
from experiments.running import arms
from xguide_jax import attributions, guidance, losses, ops
from xguide_jax.types import Array, GuidanceTerm, Terms

TERMS = tuple(name for name in pilot.CHOSEN if "@" not in name)
LIMITS = ("oracle", "blanked")
GRAMMAR = arms.Grammar(
    unguided=("unguided", *LIMITS),
    terms=TERMS,
    weight_of=lambda term, annotation: pilot.chosen_for(term, annotation).weight,
    annotation="boxes",
    check_annotation=textured.check_annotation,
)


def terms_of(arm: arms.Arm, *, warmup: float | None, num_steps: int) -> Terms:
    """The guidance of an arm, its weight growing linearly at first.

    Args:
      arm: as it was read.
      warmup: the flag: the fraction of the steps over which it grows.
      num_steps: of the whole training.

    Returns:
      {name: term}; {} for the arms without guidance.
    """
    if arm.weight is None:
        return {}
    steps = int(warmup_of(arm, warmup) * num_steps)
    weight = optax.linear_schedule(0.0, arm.weight, max(steps, 1))
    return {"guidance": guidance.scale(term_of(arm.term), weight)}


def warmup_of(arm: arms.Arm, given: float | None) -> float:
    """The fraction of the steps over which the weight of an arm grows.

    Args:
      arm: as it was read.
      given: the flag; None for the pilot's.

    Returns:
      A number in [0, 1]; 0 without guidance.
    """
    if arm.weight is None or arm.annotation is None:
        return 0.0
    chosen = pilot.chosen_for(arm.term, arm.annotation)
    return chosen.warmup if given is None else given


def term_of(name: str) -> GuidanceTerm:
    """The term of an arm, unweighted.

    Args:
      name: of the term.

    Returns:
      A term that needs 'region' and 'region_valid'.
    """
    kept = name.endswith(("_raw", "_published"))
    stem = name.removesuffix("_raw").removesuffix("_published")
    kind, _, place = stem.rpartition("_")
    cam = place == "cam"
    losses_of_maps: dict[str, Callable[[Array, Array], Array]] = {
        # The published form leaves maps blank, for good; the measures count them.
        "energy": losses.energy if kept or not cam else losses.leaky_energy,
        "l1": lambda m, r: losses.region_l1(ops.normalise_by_max(m), r),
        "ppce": lambda m, r: losses.pixel_cross_entropy(ops.normalise_by_max(m), r),
        "rrr_star": losses.outside_energy,
    }
    if kind in losses_of_maps:
        score_fn = attributions.centred_logit
        if name.endswith("_raw"):  # as published
            score_fn = attributions.target_logit
        explainer = attributions.signed_grad_cam if cam else attributions.input_gradient
        return guidance.localisation(
            loss=losses_of_maps[kind],
            explain=guidance.explain(
                functools.partial(explainer, score_fn=score_fn),
                layer="features" if cam else None,
                explain_in="train",
            ),
        )
    other: dict[str, Callable[[], GuidanceTerm]] = {
        "right_reasons": guidance.right_for_right_reasons,
        "region_contrast": lambda: guidance.region_contrastive(
            loss=functools.partial(losses.region_contrastive, temperature=0.2)
        ),
        "region_consistency": lambda: guidance.region_consistency(
            fill=guidance.other_backgrounds
        ),
        "swapped": lambda: guidance.replaced_background_loss(
            fill=guidance.other_backgrounds
        ),
    }
    return other[name]()
