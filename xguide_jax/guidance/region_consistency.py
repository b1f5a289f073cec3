"""Region consistency: what is predicted must not depend on what is outside a region.

The outside of the annotated region is replaced, by noise or by what surrounds other
objects, and the network predicts again. Region consistency asks for the same answer
there, its competitor for the label. Neither computes an attribution: both together are
the competitor of the terms that do, on the same annotation. Ours.
"""

import inspect
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from xguide_jax import attributions, losses, ops
from xguide_jax.guidance import annotated, base
from xguide_jax.types import (
    Array,
    Batch,
    GuidanceTerm,
    ModelOutput,
    PRNGKey,
    StepContext,
    TaskLoss,
)

# What a fill may ask for by keyword, beside its key and the inputs.
_KNOWN = ("axis_name", "present", "region")


def region_consistency(
    *,
    fill: Callable[..., Array],
    consistency: Callable[[Array, Array], Array] = losses.kl_consistency,
) -> GuidanceTerm:
    """Distance of the prediction on an image from that with its outside replaced.

    l = KL(softmax f(x) || softmax f(x̃)), x̃ = x on the region and `fill` elsewhere.
    Region and fill are constants; gradients flow through both predictions. x̃ is
    predicted in train mode with a dropout draw of its own. Images without a region go
    through that pass unchanged, with weight 0; and so do those of which nothing is
    replaced, because the region covers them, because `other_backgrounds` found no other
    image, or because they hold there what is filled in.

    Args:
      fill: (keys [B], inputs [B, H, W, C]) -> replacement values, e.g.
        `functools.partial(ops.uniform_range_fill, axes=(1, 2))`. One that also has the
        keywords `region`, `present` or `axis_name` gets those: `other_backgrounds`.
      consistency: (logits of x, logits of x̃) -> [B], 0 for equal predictions; the KL
        divergence of softmax heads by default.

    Returns:
      A term with no parameters or state that needs 'inputs' and 'region', or 'boxes'
      with 'boxes_valid'. A pixel belongs to the region if its value there is above 0.

    Source: ours.
    """
    return _on_replaced(
        fill,
        lambda context, output: consistency(context.output.logits, output.logits),
    )


def _cross_entropy(output: ModelOutput, batch: Batch) -> Array:
    return -attributions.target_log_probability(output.logits, batch["labels"])


def replaced_background_loss(
    *, fill: Callable[..., Array], task_loss: TaskLoss = _cross_entropy
) -> GuidanceTerm:
    """The task on images whose outside is replaced: augmentation by the annotation.

    l = task_loss(f(x̃), batch) with x̃ as in `region_consistency`, which asks for the
    answer that x gets where this term asks for the label; that alone separates the two.
    Neither computes an attribution. Terms that do have both for competitors: all use
    the same annotation.

    Args:
      fill: as in `region_consistency`.
      task_loss: (output, batch) -> [B]; the cross-entropy with integer 'labels' by
        default.

    Returns:
      A term with no parameters or state that needs what `region_consistency` does, and
      what the task loss does; weights are as there.

    Source: ours, after the common background-swap augmentation.
    """
    return _on_replaced(fill, lambda context, output: task_loss(output, context.batch))


def other_backgrounds(
    key: PRNGKey,
    inputs: Array,
    *,
    region: Array,
    present: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """For each image, another annotated image of the batch without its object.

    That image's own region is filled by the mean of its background, each channel by
    itself, so that no other object comes in. The partner is drawn uniformly from the
    others that have both a region and a background, among the examples of all devices;
    never the image itself. Where there is no other, the image keeps its own background.
    The draw depends on the example's key and on who is annotated, never on how many
    devices share the batch.

    Args:
      key: typed key [] or keys [B].
      inputs: float [B, H, W, C].
      region: float or bool [B, H, W], above 0 on the object; empty where unknown.
      present: bool [B], False for padding, which lends nothing; all if None.
      axis_name: the mapped axis that shares the batch, or None. Then `key` must be one
        key an example.

    Returns:
      float, shaped and typed like `inputs`.

    Raises:
      AssertionError: if the shapes differ from the above.
      ValueError: as `ops.example_keys`.
    """
    chex.assert_rank([inputs, region], [4, 3])
    chex.assert_equal_shape_prefix([inputs, region], 3)
    inside = region > 0
    mean = ops.masked_pool(inputs, ~inside).astype(inputs.dtype)
    lent = ops.replace(
        inputs,
        inside[..., None],
        jnp.broadcast_to(mean[:, None, None], inputs.shape),
    )
    lends = jnp.any(inside, axis=(1, 2)) & ~jnp.all(inside, axis=(1, 2))
    if present is not None:
        lends &= present
    own = ops.example_indices(len(inputs), axis_name=axis_name)
    if axis_name is not None:
        lent, lends = jax.lax.all_gather((lent, lends), axis_name, tiled=True)

    # Lenders are numbered in the order of the batch, and a partner is so many ahead of
    # the lender that is the image itself or comes before it: 1 to n - 1, or 1 to n for
    # an image that lends nothing, of which that lender is a partner too.
    mine, lenders = lends[own], jnp.argsort(~lends, stable=True)
    count = jnp.sum(lends, dtype=jnp.int32)
    number = jnp.cumsum(lends, dtype=jnp.int32)[own] - 1
    last = jnp.where(mine, jnp.maximum(count, 2), count + 1)
    ahead = jax.vmap(lambda key, last: jax.random.randint(key, (), 1, last, jnp.int32))(
        ops.example_keys(key, len(inputs)), last
    )
    found = lent[lenders[(number + ahead) % jnp.maximum(count, 1)]]
    others = (count > mine.astype(jnp.int32))[:, None, None, None]
    return jnp.where(others, found, lent[own])


def _on_replaced(
    fill: Callable[..., Array], loss: Callable[[StepContext, ModelOutput], Array]
) -> GuidanceTerm:
    """The term of a loss on the train-mode pass over the images with outside filled."""
    wanted = [name for name in _KNOWN if name in inspect.signature(fill).parameters]

    def loss_fn(context: StepContext) -> tuple[Array, Array]:
        inputs = context.batch["inputs"]
        region, valid = annotated.region_of(context.batch)
        chex.assert_equal_shape_prefix([inputs, region], 3)
        known = {
            "axis_name": context.axis_name,
            "present": annotated.present(context.batch),
            "region": region,
        }
        fill_key, dropout_key = jax.vmap(jax.random.split, out_axes=1)(context.key)
        values = fill(fill_key, inputs, **{name: known[name] for name in wanted})
        # Rows without a region stay as they are: batch norm sees them too.
        outside = (region <= 0) & valid[:, None, None]
        replaced = ops.replace(inputs, outside[..., None], values)
        output = context.forward(
            jax.lax.stop_gradient(replaced), train=True, key=dropout_key[0]
        )
        values = annotated.spoil(loss(context, output), region)
        # Of an image that stays as it is nothing is asked, and means must not count it.
        valid &= annotated.refused(region) | jnp.any(replaced != inputs, axis=(1, 2, 3))
        return jnp.where(valid, values, 0.0), valid.astype(values.dtype)

    return base.stateless(loss_fn)
