"""The terms that photographs are guided by, and the arms that there are."""

import functools
from collections.abc import Callable

import optax

from experiments.guide_photographs import networks
from experiments.running import arms
from xguide_jax import attributions, guidance, losses
from xguide_jax.types import GuidanceTerm, Terms

UNGUIDED = "unguided"
TERMS = (
    "energy",
    "region_consistency",
    "swapped",
    "right_reasons",
    "region_contrast",
)
CONTROL = "random"
_WARMUP = 0.3


def _check_annotation(how: str) -> None:
    if how not in ("boxes", CONTROL):
        raise ValueError(f"annotation {how!r} is none of boxes and {CONTROL}.")


GRAMMAR = arms.Grammar(
    unguided=(UNGUIDED,),
    terms=TERMS,
    annotation="boxes",
    check_annotation=_check_annotation,
)


def every_arm(
    unguided: tuple[arms.Arm, ...], terms: tuple[str, ...], weights: tuple[float, ...]
) -> tuple[arms.Arm, ...]:
    """Every term with boxes and with random ones, at every weight.

    Args:
      unguided: the arms without a term, or named one by one.
      terms: names.
      weights: that are tried of each.

    Returns:
      All arms, each once; an arm and its control have the same budget.

    Raises:
      ValueError: for a term that there is not, or no weight.
    """
    if not weights:
        raise ValueError("`term_weights` (=()) must hold at least one weight.")
    texts = [
        f"{term}={weight_text(weight)}{at}"
        for term in terms
        for at in ("", f"@{CONTROL}")
        for weight in weights
    ]
    read = arms.read_arms(texts, GRAMMAR) if texts else ()
    known = {arm.text for arm in unguided}
    return (*unguided, *(arm for arm in read if arm.text not in known))


def weight_text(weight: float) -> str:
    """A weight as arms are named by it: short, and read again the same number.

    Args:
      weight: of a term.

    Returns:
      '3' of 3.0; as many digits as it takes, so that no two weights share an arm.
    """
    short = f"{weight:g}"  # six digits
    return short if float(short) == weight else repr(weight)


def check_terms(names: tuple[str, ...], *, is_cut_at_layer: bool) -> None:
    """Refuses terms that could not act.

    Args:
      names: of the terms.
      is_cut_at_layer: whether the layer that is explained is held.

    Raises:
      ValueError: for the contrast of features that nothing moves.
    """
    if is_cut_at_layer and "region_contrast" in names:
        raise ValueError(
            "`terms` holds 'region_contrast', which moves features, and `freeze` holds "
            "them: let blocks be trained, or leave it out."
        )


def terms_of(arm: arms.Arm, network: networks.Network, *, num_steps: int) -> Terms:
    """The guidance of an arm, its weight growing linearly over the first 30 %.

    Args:
      arm: as it was read.
      network: that is guided.
      num_steps: of the whole training.

    Returns:
      {name: term}; {} without guidance.
    """
    if arm.weight is None:
        return {}
    growing = optax.linear_schedule(0.0, arm.weight, max(int(_WARMUP * num_steps), 1))
    return {"guidance": guidance.scale(_term(arm.term, network), growing)}


def _term(name: str, network: networks.Network) -> GuidanceTerm:
    swap = functools.partial(
        _swap, layer=network.replaced,
        # Of pixels there are no parts.
        inside_share=0.0 if network.replaced is None else 0.5,
    )  # fmt: skip
    explain = guidance.explain(
        functools.partial(
            attributions.signed_grad_cam, score_fn=attributions.centred_logit
        ),
        layer=network.layer,
        explain_in="train",
    )
    made: dict[str, Callable[[], GuidanceTerm]] = {
        "energy": lambda: guidance.localisation(
            loss=losses.leaky_energy, explain=explain
        ),
        "region_consistency": lambda: swap(guidance.region_consistency),
        "swapped": lambda: swap(guidance.replaced_background_loss),
        "right_reasons": lambda: guidance.right_for_right_reasons(
            explain=guidance.explain(
                functools.partial(
                    attributions.input_gradient,
                    score_fn=attributions.target_log_probability,
                ),
                layer=network.replaced,
                explain_in="train",
            )
        ),
        "region_contrast": lambda: guidance.region_contrastive(
            loss=functools.partial(losses.region_contrastive, temperature=0.2),
            layer=network.layer,
        ),
    }
    return made[name]()


def _swap(
    term: Callable[..., GuidanceTerm], *, layer: str | None, inside_share: float
) -> GuidanceTerm:
    return term(fill=guidance.other_backgrounds, layer=layer, inside_share=inside_share)
