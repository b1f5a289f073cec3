"""The terms of attention supervision, and the arms that there are."""

import functools
from collections.abc import Callable

from experiments.running import arms
from experiments.texts import networks
from xguide_jax import guidance, losses
from xguide_jax.types import GuidanceTerm, Terms

HEADS = (1, 2, 3)  # of the published command
TOP = "attention_top"  # the extra layer
RATIONALE, PERMUTED = "rationale", "permuted"
# The published weights, 1, 1, 0.01 and 1.4 of a sum over batches of 8 texts. Here they
# are of a mean over all texts, in which those without marks count as 0.
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


def heads_apart(arm: arms.Arm) -> tuple[int, ...] | None:
    """The heads that are looked at apart, of every arm whose layer has heads.

    Args:
      arm: as it was read.

    Returns:
      Those that 'heads' supervises; None for the extra layer.
    """
    return None if has_extra_layer(arm) else HEADS


def reference_of(arm: arms.Arm) -> str:
    """The arm without guidance whose network is the same.

    Args:
      arm: as it was read.

    Returns:
      Its name.
    """
    return UNGUIDED_LAYER if has_extra_layer(arm) else UNGUIDED


def terms_of(arm: arms.Arm, network: networks.Network, *, coverage: float) -> Terms:
    """The guidance of an arm.

    Args:
      arm: as it was read.
      network: its encoder.
      coverage: the share of the training texts that have marks. An objective divides by
        the texts with marks, and the weight is that of a mean over all of them.

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
            divergence=functools.partial(losses.attention_divergence, epsilon=1e-4),
            permuted=permuted,
        ),
        "layer": lambda: guidance.attention_guided(
            layer=TOP, heads=None,
            divergence=losses.attention_supervision, permuted=permuted,
        ),
    }  # fmt: skip
    return {"guidance": guidance.scale(supervised[arm.term](), arm.weight * coverage)}
