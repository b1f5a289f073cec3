"""The terms of attention supervision, and the arms that there are."""

from collections.abc import Callable

from experiments.running import arms
from experiments.texts import networks
from xguide_jax import guidance, losses
from xguide_jax.types import GuidanceTerm, Terms

HEADS = (1, 2, 3)  # of the published command
TOP = "attention_top"  # the extra layer
RATIONALE, PERMUTED = "rationale", "permuted"
# The published weights, 1, 1, 0.01 and 1.4 of a sum over batches of 8 texts.
WEIGHTS = {"heads": 8.0, "all_heads": 8.0, "divergence": 0.08, "layer": 11.2}
UNGUIDED, UNGUIDED_LAYER = "unguided", "unguided_layer"
ARMS = (
    UNGUIDED, "heads", "heads@permuted", "all_heads", "all_heads@permuted",
    "divergence", "divergence@permuted",
    UNGUIDED_LAYER, "layer", "layer@permuted",
)  # fmt: skip


def _check_annotation(name: str) -> None:
    if name not in (RATIONALE, PERMUTED):
        raise ValueError(f"annotation {name!r} is none of {[RATIONALE, PERMUTED]}.")


GRAMMAR = arms.Grammar(
    unguided=(UNGUIDED, UNGUIDED_LAYER),
    terms=tuple(WEIGHTS),
    weight_of=lambda term, annotation: WEIGHTS[term],
    annotation=RATIONALE,
    check_annotation=_check_annotation,
)


def has_extra_layer(arm: arms.Arm) -> bool:
    """Whether an arm's network pools by the extra attention layer.

    Args:
      arm: as it was read.

    Returns:
      True for the arms of the layer, the unguided one among them.
    """
    return arm.term in ("layer", UNGUIDED_LAYER)


def supervised_heads(arm: arms.Arm) -> tuple[int, ...] | None:
    """The heads that an arm supervises apart from others.

    Args:
      arm: as it was read.

    Returns:
      Their numbers; None where there are no others.
    """
    return HEADS if arm.term == "heads" else None


def reference_of(arm: arms.Arm) -> str:
    """The arm without guidance whose network is the same.

    Args:
      arm: as it was read.

    Returns:
      Its name.
    """
    return UNGUIDED_LAYER if has_extra_layer(arm) else UNGUIDED


def terms_of(arm: arms.Arm, network: networks.Network) -> Terms:
    """The guidance of an arm.

    Args:
      arm: as it was read.
      network: its encoder.

    Returns:
      {name: term}; {} for an unguided arm.
    """
    if arm.weight is None:
        return {}
    permuted = arm.annotation == PERMUTED
    supervised: dict[str, Callable[[], GuidanceTerm]] = {
        "heads": lambda: guidance.attention_guided(
            layer=network.last_attention, heads=HEADS,
            divergence=losses.attention_supervision, permuted=permuted,
        ),
        "all_heads": lambda: guidance.attention_guided(
            layer=network.last_attention, heads=None,
            divergence=losses.attention_supervision, permuted=permuted,
        ),
        "divergence": lambda: guidance.attention_guided(
            layer=network.last_attention, heads=None,
            divergence=losses.attention_divergence, permuted=permuted,
        ),
        "layer": lambda: guidance.attention_guided(
            layer=TOP, heads=None,
            divergence=losses.attention_supervision, permuted=permuted,
        ),
    }  # fmt: skip
    return {"guidance": guidance.scale(supervised[arm.term](), arm.weight)}
