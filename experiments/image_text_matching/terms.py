"""The terms of image-text matching, and the arms that there are.

The matching is a term and the task loss 0. Each image is told from all images of the
batch, those of other devices too, and a task loss, a function of one device's output
and batch, does not know the axis that they share; a term reads it from its context.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from experiments.image_text_matching import annotating
from experiments.region_guidance import pilot
from experiments.running import arms
from xguide_jax import guidance, losses, ops
from xguide_jax.types import Array, Batch, GuidanceTerm, ModelOutput, StepContext, Terms

UNGUIDED, UNNAMED, CONTRAST = "unguided", "unnamed", "region_contrast"
# Chosen before anything was trained here, by a rule that sees no test: what the pilot
# of region guidance chose on its validation part for true boxes, for random ones too.
CHOSEN = pilot.CHOSEN[CONTRAST]
GRAMMAR = arms.Grammar(
    unguided=(UNGUIDED, UNNAMED),
    terms=(CONTRAST,),
    weight_of=lambda term, annotation: CHOSEN.weight,
    annotation="regions",
    check_annotation=annotating.check_annotation,
)
ARMS = (UNGUIDED, CONTRAST, f"{CONTRAST}@random")


def terms_of(arm: arms.Arm, *, num_steps: int) -> Terms:
    """The matching, and the guidance of an arm.

    Args:
      arm: as it was read.
      num_steps: of the whole training; the weight grows over the first tenth.

    Returns:
      {name: term}.
    """
    if arm.weight is None:
        return {"matching": matching()}
    steps = max(int(CHOSEN.warmup * num_steps), 1)
    contrast = guidance.region_contrastive(
        loss=functools.partial(losses.region_contrastive, temperature=0.2)
    )
    weight = optax.linear_schedule(0.0, arm.weight, steps)
    return {"matching": matching(), "guidance": guidance.scale(contrast, weight)}


def no_task_loss(output: ModelOutput, batch: Batch) -> Array:
    """The task loss beside a matching that is a term.

    Args:
      output: of the network, whose logits are float [B, 1].
      batch: unused.

    Returns:
      Zeros [B].
    """
    del batch
    return jnp.zeros_like(output.logits[:, 0])


def matching() -> GuidanceTerm:
    """Finding an image's text among those of the batch, and a text's image.

    ½ (l(v, t) + l(t, v)), l = `losses.info_nce` at the network's own temperature, v and
    t its vectors of the batch of all devices. Texts of the same tokens are no negatives
    of each other, nor is padding. Gradients flow into both towers and the temperature.

    Returns:
      A term without parameters or state, for a `models.TwoTower` whose inputs have
      'tokens' and 'mask', [B, T].
    """

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        inputs, found = context.batch["inputs"], context.output.intermediates
        counted = guidance.present(context.batch)
        own = (
            found["image_vectors"],
            found["text_vectors"],
            jnp.where(inputs["mask"], inputs["tokens"], -1),
            counted,
        )
        rows = ops.example_indices(len(counted), axis_name=context.axis_name)
        everyone = own
        if context.axis_name is not None:
            everyone = jax.lax.all_gather(own, context.axis_name, tiled=True)
        images, texts, tokens, _ = own
        all_images, all_texts, all_tokens, all_counted = everyone
        same = jnp.all(tokens[:, None] == all_tokens, axis=-1)
        cost = functools.partial(
            losses.info_nce, positives=rows, temperature=found["temperature"][0],
            negatives=all_counted & ~same,
        )  # fmt: skip
        loss = (cost(images, all_texts) + cost(texts, all_images)) / 2
        metrics = {"temperature": found["temperature"].astype(loss.dtype)}
        return loss, jnp.ones_like(loss), metrics

    return guidance.stateless(loss_fn)
