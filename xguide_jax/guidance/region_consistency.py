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

from xguide_jax import attributions, deprecating, losses, ops
from xguide_jax.guidance import base, reading, region_fills
from xguide_jax.types import (
    Array,
    Batch,
    FillFn,
    GuidanceTerm,
    ModelOutput,
    StepContext,
    TaskLoss,
)

Fill = FillFn | region_fills.RegionFill


def region_consistency(
    *,
    fill: Fill,
    layer: str | None = None,
    inside_share: float = 0.0,
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
        `functools.partial(ops.uniform_range_fill, axes=(1, 2))`; or a fill that is
        given the region, `other_backgrounds` or one of yours by `region_fill`.
      layer: an activation [B, h, w, K] that is replaced outside in place of the image:
        x̃ is then the features of the clean pass, with gradients through those inside
        into the network before the layer. The input if None.
      inside_share: in [0, 1); a cell belongs to the region where more than this share
        of it does. Of the pixels of a mask it chooses nothing; of a coarse layer 0
        keeps every cell that the region touches.
      consistency: (logits of x, logits of x̃) -> [B], 0 for equal predictions; the KL
        divergence of softmax heads by default.

    Returns:
      A term with no parameters or state that needs 'inputs' and 'region', or 'boxes'
      with 'boxes_valid'.

    Raises:
      ValueError: for an `inside_share` outside [0, 1); in the first step, for a layer
        whose aspect is not that of the image.

    Source: ours.
    """
    return _on_replaced(
        fill,
        lambda context, output: consistency(context.output.logits, output.logits),
        layer=layer,
        inside_share=inside_share,
    )


def _cross_entropy(output: ModelOutput, batch: Batch) -> Array:
    return -attributions.target_log_probability(output.logits, batch["labels"])


def replaced_background_loss(
    *,
    fill: Fill,
    layer: str | None = None,
    inside_share: float = 0.0,
    task_loss: TaskLoss = _cross_entropy,
) -> GuidanceTerm:
    """The task on images whose outside is replaced: augmentation by the annotation.

    l = task_loss(f(x̃), batch) with x̃ as in `region_consistency`, which asks for the
    answer that x gets where this term asks for the label; that alone separates the two.
    Neither computes an attribution. Terms that do have both for competitors: all use
    the same annotation.

    Args:
      fill: as in `region_consistency`.
      layer: as in `region_consistency`.
      inside_share: as in `region_consistency`.
      task_loss: (output, batch) -> [B]; the cross-entropy with integer 'labels' by
        default.

    Returns:
      A term with no parameters or state that needs what `region_consistency` does, and
      what the task loss does; weights are as there.

    Raises:
      ValueError: as `region_consistency`.

    Source: ours, after the common background-swap augmentation.
    """
    return _on_replaced(
        fill,
        lambda context, output: task_loss(output, context.batch),
        layer=layer,
        inside_share=inside_share,
    )


def _on_replaced(
    fill: Fill | Callable[..., Array],
    loss: Callable[[StepContext, ModelOutput], Array],
    *,
    layer: str | None,
    inside_share: float,
) -> GuidanceTerm:
    """The term of a loss on the train-mode pass with what is outside filled."""
    reading.check_inside_share(inside_share)
    fill = _told_of_regions(fill)

    def loss_fn(context: StepContext) -> tuple[Array, Array]:
        region, valid = reading.region_of(context.batch)
        point, cells = context.batch["inputs"], region
        if layer is not None:
            point = context.output.intermediates[layer]
            _, h, w, _ = point.shape
            cells = reading.on_cells(region, shape=(h, w))
        chex.assert_equal_shape_prefix([point, cells], 3)
        inside = cells > inside_share
        fill_key, dropout_key = jax.vmap(jax.random.split, out_axes=1)(context.key)
        known = {}
        if isinstance(fill, region_fills.RegionFill):
            known = {
                "region": inside.astype(cells.dtype),
                "present": reading.present(context.batch),
                "axis_name": context.axis_name,
            }
        values = jax.lax.stop_gradient(fill(fill_key, point, **known))
        # Rows without a region stay as they are: batch norm sees them too.
        outside = (cells <= inside_share) & valid[:, None, None]
        replaced = ops.replace(point, outside[..., None], values)
        inputs, overrides = context.batch["inputs"], None
        if layer is None:
            inputs = jax.lax.stop_gradient(replaced)
        else:
            overrides = {layer: replaced}
        output = context.forward(
            inputs, train=True, overrides=overrides, key=dropout_key[0]
        )
        values = reading.spoil(loss(context, output), region)
        # Of an image that stays as it is nothing is asked, nor of one of which no cell
        # is inside; means must not count them.
        changed = jnp.any(replaced != point, axis=(1, 2, 3))
        asked = changed & jnp.any(inside, axis=(1, 2))
        valid &= reading.refused(region) | asked
        return jnp.where(valid, values, 0.0), valid.astype(values.dtype)

    return base.stateless(loss_fn)


def _told_of_regions(fill: Callable[..., Array]) -> Callable[..., Array]:
    """A fill that asks for the region in its signature alone, as was enough before."""
    if isinstance(fill, region_fills.RegionFill):
        return fill
    found = inspect.signature(fill).parameters
    if "region" not in found or found["region"].default is not inspect.Parameter.empty:
        return fill
    deprecating.warn(
        "`fill` takes `region`, which is no longer read from its signature: give "
        "`guidance.region_fill(fill)` instead",
        stacklevel=5,
    )
    names = [n for n in ("axis_name", "present", "region") if n in found]
    return region_fills.region_fill(
        lambda key, inputs, **known: fill(key, inputs, **{n: known[n] for n in names})
    )
