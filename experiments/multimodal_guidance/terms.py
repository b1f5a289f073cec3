"""The terms of multimodal guidance, and the arms that there are."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from experiments.multimodal_guidance import sources
from experiments.region_guidance import pilot
from experiments.running import arms
from xguide_jax import attributions, guidance, losses, models
from xguide_jax.types import (
    Array,
    Explain,
    GuidanceTerm,
    PredictFn,
    StepContext,
    Terms,
)

UNGUIDED = "unguided"
# What the terms of an arm are, and their weights: of the map what the pilot of region
# guidance chose, of the others what the design began with; nothing was tuned.
PARTS = {
    "visual": ("visual",),
    "text": ("text",),
    "both": ("visual", "text"),
    "grounded": ("visual", "grounding"),
    "aligned": ("visual", "grounding", "alignment"),
    "distributed": ("visual", "grounding", "distribution"),
}
WEIGHTS = {
    "visual": pilot.CHOSEN["energy_cam"].weight,
    "text": 0.1,
    "grounding": 0.1,
    "alignment": 0.1,
    "distribution": 0.1,
}
# What tells a text; the parameters of its decoder are found under this name.
TELLING = ("text", "grounding")
ARMS = (
    UNGUIDED, "visual@100", "visual@10", "text@0", "both@10",
    "grounded@100", "grounded@10", "grounded@0", "aligned@10", "distributed@10",
    "visual@10-shuffled-maps", "grounded@0-shuffled-texts",
)  # fmt: skip
_WARMUP = 0.1


def _weight_of(term: str, annotation: str) -> float:
    del term, annotation
    return 1.0


GRAMMAR = arms.Grammar(
    unguided=(UNGUIDED,),
    terms=tuple(PARTS),
    weight_of=_weight_of,
    annotation="100",
    check_annotation=sources.check_annotation,
)


class Layer(NamedTuple):
    """The layer that is explained.

    Attributes:
      cells: (h, w).
      width: K.
    """

    cells: tuple[int, int]
    width: int


def text_head(vocabulary_size: int, layer: Layer) -> models.TextHead:
    """The decoder of texts.

    Args:
      vocabulary_size: V.
      layer: that is explained.

    Returns:
      A head of two layers.
    """
    height, width = layer.cells
    return models.linen_text_head(
        models.TextDecoder(
            vocabulary_size=vocabulary_size,
            num_layers=2,
            num_heads=4,
            width=64,
            hidden_width=128,
            # What is salient, the whole, and each cell stand before the text.
            num_positions=2 + height * width + sources.LENGTH,
        )
    )


def terms_of(
    arm: arms.Arm,
    *,
    layer: Layer,
    vocabulary_size: int,
    human_maps: Callable[[], tuple[Any, Any]],
    num_steps: int,
) -> Terms:
    """The guidance of an arm.

    Args:
      arm: as it was read; its weight multiplies that of every term.
      layer: that is explained.
      vocabulary_size: V.
      human_maps: () -> maps [N, H, W] of the training part and which of them there are.
      num_steps: of the whole training; all weights but the texts' grow over a tenth.

    Returns:
      {name: term}; {} for the unguided arm.
    """
    if arm.weight is None:
        return {}
    telling = functools.partial(
        guidance.textual_explanation,
        text_head(vocabulary_size, layer),
        feature_width=layer.width,
    )
    made: dict[str, Callable[[], GuidanceTerm]] = {
        "visual": lambda: guidance.localisation(
            loss=losses.leaky_energy, explain=saliency
        ),
        "text": lambda: telling(explain=uniform),
        "grounding": lambda: telling(explain=saliency),
        "alignment": lambda: guidance.image_text_alignment(
            guidance.mean_embedding(vocabulary_size=vocabulary_size, width=64),
            explain=saliency,
            feature_width=layer.width,
        ),
        "distribution": lambda: guidance.distribution_consistency(
            guidance.map_prior(*human_maps(), shape=layer.cells),
            explain=saliency,
            momentum=0.99,
        ),
    }
    return {
        name: guidance.scale(made[name](), _growing(name, arm.weight, num_steps))
        for name in PARTS[arm.term]
    }


def grad_cam(head_fn: PredictFn, features: Array, targets: Array) -> Array:
    """The map of every arm, in training and when a text is told.

    Args:
      head_fn: features -> logits [B, C].
      features: float [B, h, w, K].
      targets: int [B], the classes explained.

    Returns:
      float [B, h, w], signed, differentiable in everything.
    """
    return attributions.signed_grad_cam(
        head_fn, features, targets, score_fn=attributions.centred_logit
    )


def saliency(context: StepContext) -> Array:
    """The map of every arm: Grad-CAM of the label at the last features.

    Args:
      context: of the step.

    Returns:
      float [B, h, w], signed, differentiable in everything.
    """
    return _GRAD_CAM(context)


_GRAD_CAM: Explain = guidance.explain(grad_cam, layer="features", explain_in="train")


def uniform(context: StepContext) -> Array:
    """A map that says nothing.

    Args:
      context: of the step.

    Returns:
      Ones [B, h, w].
    """
    return jnp.ones(context.output.intermediates["features"].shape[:3])


def _growing(name: str, factor: float, num_steps: int) -> optax.Schedule:
    weight = factor * WEIGHTS[name]
    if name in TELLING:  # a decoder that is trained late says little
        return optax.constant_schedule(weight)
    return optax.linear_schedule(0.0, weight, max(int(_WARMUP * num_steps), 1))


def telling_of(arm: arms.Arm) -> str | None:
    """The term of an arm that writes.

    Args:
      arm: as it was read.

    Returns:
      Its name; None where nothing writes.
    """
    parts = PARTS.get(arm.term, ())
    return next((name for name in parts if name in TELLING), None)
