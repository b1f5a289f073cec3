"""Region contrast: features of the evidence against those of the rest of an image.

`m` is the annotated region at the resolution of a feature map `F` [B, h, w, K], a share
in [0, 1] for each cell. Our definition after an unverified survey description; no paper
was found behind it.
"""

import inspect
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from xguide_jax import deprecating, ops
from xguide_jax.guidance import base, explaining, reading
from xguide_jax.types import Array, Batch, GuidanceTerm, StepContext

# (object, background, anchor), float [B, K] each, -> [B].
ContrastLoss = Callable[..., Array]

# Resizing may leave 0.99999994 in a cell that the region covers. Without this least
# share of a feature map, the 6e-8 beside it would count as a background.
_SMALLEST_SHARE = 1e-6


def region_contrastive(
    *,
    loss: ContrastLoss,
    layer: str = "features",
    per_box: bool = False,
    anchor: Literal["image", "balanced"] = "image",
    anchor_grad: bool = True,
    whole_batch: bool | None = None,
) -> GuidanceTerm:
    """The anchor's features nearer to the region's than to the background's.

    l = loss(f_o, f_b, f) with f_o = Σ m F / Σ m, f_b = Σ (1 − m) F / Σ (1 − m) and
    f = mean(F), all from the clean pass: no further forward pass. With `per_box`, l is
    the mean of that over the boxes of an example, whose background is what is outside
    of all of them. No gradient through m. An example whose region or background is
    empty has weight 0, loss 0 and gradient 0.

    f is a mixture of both regions, so that this is an objective of area and norm as
    much as of content: for orthogonal f_o and f_b, s⁺ > s⁻ exactly if a |f_o| >
    (1 − a) |f_b|, a the share of the region. A small region begins with a large loss,
    a background without features is a trivial optimum, and nothing makes the
    *direction* of f_b uninformative. `anchor='balanced'` takes the area out.

    Args:
      loss: (f_o, f_b, f), float [B, K] each -> [B]; e.g. `functools.partial(
        losses.region_contrastive, temperature=0.2)`, or with
        `region_contrastive_triplet` and `margin`.
      layer: an activation that the network exposes, float [B, h, w, K].
      per_box: contrast each box by itself; needs 'boxes' and 'boxes_valid'.
      anchor: 'image' is f above, what global average pooling shows the classifier;
        'balanced' is (f_o + f_b) / 2.
      anchor_grad: False holds the anchor constant: same value, other gradient.
      whole_batch: True for a loss that compares examples with each other, such as
        `losses.region_contrastive_batch`: it then sees those of all devices and, by a
        keyword `where`, bool [B], which of them have a region. None, for one release,
        asks whether the loss has such a keyword, with a warning.

    Returns:
      A term with no parameters or state that needs 'region', or 'boxes' with
      'boxes_valid'.

    Raises:
      ValueError: for an unknown `anchor`, or what `loss` refuses; in the first step,
        for features of one cell, or whose aspect is not that of the image.

    Source: our definition after an unverified survey description ("FairBox"), of which
      no paper was found; not by Rao et al.
    """
    if anchor not in ("image", "balanced"):
        raise ValueError(f"`anchor` (={anchor!r}) must be 'image' or 'balanced'.")
    # A loss refuses its hyper-parameters when called: now, not in the first step.
    jax.eval_shape(loss, *[jax.ShapeDtypeStruct((1, 1), jnp.float32)] * 3)
    if whole_batch is None:
        whole_batch = "where" in inspect.signature(loss).parameters
        if whole_batch:
            deprecating.warn(
                "that `loss` takes `where` is no longer read from its signature: give "
                "`whole_batch=True` as well"
            )

    def loss_fn(context: StepContext) -> tuple[Array, Array]:
        features = ops.at_least_float32(context.output.intermediates[layer])
        _, h, w, _ = features.shape
        explaining.check_cells((len(features), h, w), layer=layer)
        inside, outside, valid = _masks(context.batch, (h, w), per_box)
        contrast = _whole_batch(loss, valid, context) if whole_batch else loss
        background = ops.masked_pool(features, outside)
        image = jnp.mean(features, axis=(1, 2))

        def compare(mask: Array) -> Array:
            region = ops.masked_pool(features, mask)
            middle = image if anchor == "image" else (region + background) / 2
            if not anchor_grad:
                middle = jax.lax.stop_gradient(middle)
            return contrast(region, background, middle)

        counts = _is_large(inside).astype(features.dtype)  # [N, B]
        values = jnp.sum(counts * jax.vmap(compare)(inside), axis=0)
        values = ops.safe_divide(values, jnp.sum(counts, axis=0))
        values = reading.spoil(values, outside)
        return jnp.where(valid, values, 0.0), valid.astype(values.dtype)

    return base.stateless(loss_fn)


def _masks(
    batch: Batch, shape: tuple[int, int], per_box: bool
) -> tuple[Array, Array, Array]:
    """Regions [N, B, h, w], the common background [B, h, w], bool [B] where both are.

    Without `per_box` N is 1 and the region is the union.
    """
    if per_box:
        boxes, counted = reading.boxes_of(batch)
        batch = {name: leaf for name, leaf in batch.items() if name != "region"}
    union, valid = reading.region_of(batch)
    maps = union[None]
    if per_box:
        _, height, width = union.shape
        rasterise = lambda box, valid: ops.rasterise_boxes(
            box[:, None], valid[:, None], shape=(height, width)
        )
        maps = jax.vmap(rasterise, in_axes=1)(boxes, counted)
    resize = lambda maps: reading.on_cells(jax.lax.stop_gradient(maps), shape=shape)
    inside, outside = jax.vmap(resize)(maps), 1 - resize(union)
    outside = jnp.where(outside <= _SMALLEST_SHARE, 0.0, outside)
    parted = _is_large(outside) & jnp.any(_is_large(inside), axis=0)
    return inside, outside, valid & (parted | reading.refused(union))


def _is_large(masks: Array) -> Array:
    return jnp.mean(masks, axis=(-2, -1)) > _SMALLEST_SHARE


def _whole_batch(
    loss: ContrastLoss, valid: Array, context: StepContext
) -> ContrastLoss:
    """The loss on the vectors of all devices, of which it returns this device's."""
    valid &= reading.present(context.batch)
    rows = ops.example_indices(len(valid), axis_name=context.axis_name)

    def contrast(*vectors: Array) -> Array:
        where = valid
        if context.axis_name is not None:
            vectors, where = jax.lax.all_gather(
                (vectors, where), context.axis_name, tiled=True
            )
        return loss(*vectors, where=where)[rows]

    return contrast
