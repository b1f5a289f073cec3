"""The arms: a network, the same before training, and one guided on its Grad-CAM."""

import functools

import optax

from experiments.digits import textured
from experiments.running import arms
from xguide_jax import attributions, guidance, losses
from xguide_jax.types import Terms

GRAMMAR = arms.Grammar(
    unguided=("trained", "untrained"),
    terms=("energy_cam",),
    weight_of=lambda term, annotation: 45.0,  # the pilot's of region guidance
    annotation="boxes",
    check_annotation=textured.check_annotation,
)


def terms_of(arm: arms.Arm, *, num_steps: int) -> Terms:
    """The guidance of an arm, its weight growing over a tenth of the steps.

    Args:
      arm: as it was read.
      num_steps: of the whole training.

    Returns:
      {name: term}; {} for the arms without guidance.
    """
    if arm.weight is None:
        return {}
    cam = functools.partial(
        attributions.signed_grad_cam, score_fn=attributions.centred_logit
    )
    term = guidance.localisation(
        loss=losses.leaky_energy,
        explain=guidance.explain(cam, layer="features", explain_in="train"),
    )
    weight = optax.linear_schedule(0.0, arm.weight, max(num_steps // 10, 1))
    return {"guidance": guidance.scale(term, weight)}
