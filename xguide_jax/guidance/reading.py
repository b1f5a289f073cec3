"""Annotations as guidance terms read them out of a batch; yours can do the same.

Every reader returns the annotation, on the pixels of the image, and which examples
carry one. Rows that carry none hold zeros, so that what is computed from them is
finite; their loss is left out by a weight of 0.

An annotation that has not the image's shape is refused. So are values that are none
(a mask of 0 and 255, an inverted box), where they are known; inside `jit` such a row
is NaN and counts as annotated, so that its loss is NaN, the step is skipped, and its
term named.
"""

from collections.abc import Callable

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.guidance import validity
from xguide_jax.ops import checking
from xguide_jax.types import Array, Batch


def region_of(batch: Batch) -> tuple[Array, Array]:
    """Where the evidence of each example lies, as a mask.

    Args:
      batch: with 'region', bool or float [B, H, W] in [0, 1] on the pixels of 'inputs',
        or coarse: on cells of as many rows of pixels as columns, which stand for all of
        these; or else with what `boxes_of` takes, whose union is taken. 'region_valid',
        bool [B], is optional.

    Returns:
      float [B, H, W]; bool [B], True where the example is annotated: `region_valid` and
      a region that is not empty.

    Raises:
      ValueError: if the batch has neither, naming what it has; if the region is neither
        of the image's shape nor coarse; for values that are refused.
      AssertionError: if the shapes differ from the above.
    """
    if "region" in batch:
        is_good, check = checking.is_share, checking.check_shares
        return _read("region", batch, is_good=is_good, check=check)
    if not {"boxes", "boxes_valid"} <= batch.keys():
        raise validity.missing(("'region'", "'boxes' with 'boxes_valid'"), batch)
    boxes, counted = boxes_of(batch)
    if getattr(batch["inputs"], "ndim", 0) < 3:
        raise ValueError(
            "boxes are of images: batch['inputs'] must be [B, H, W, C] here; give the "
            "'region' [B, H, W] itself."
        )
    _, height, width, *_ = batch["inputs"].shape
    region = ops.rasterise_boxes(boxes, counted, shape=(height, width))
    x0, y0, x1, y1 = jnp.moveaxis(ops.at_least_float32(boxes), -1, 0)
    good = (x0 <= x1) & (y0 <= y1) & jnp.isfinite(x0 + y0 + x1 + y1)
    return validity.with_validity(
        validity.spoilt(region, jnp.all(good | ~counted, axis=1)), batch
    )


def boxes_of(batch: Batch) -> tuple[Array, Array]:
    """The boxes of each example, and which of them count.

    Args:
      batch: with 'boxes' [B, N, 4] and 'boxes_valid', bool [B, N]. With 'boxes_class',
        integer [B, N], only the boxes of the class that is explained count, see
        `targets_of`.

    Returns:
      'boxes'; bool [B, N].

    Raises:
      ValueError: as `targets_of`.
      AssertionError: if the shapes or dtypes differ from the above.
      KeyError: for a missing entry.
    """
    boxes, counted = batch["boxes"], batch["boxes_valid"]
    chex.assert_type(counted, bool)
    if "boxes_class" in batch:
        classes = batch["boxes_class"]
        chex.assert_shape(classes, counted.shape)
        chex.assert_type(classes, int)
        counted = counted & (classes == targets_of(batch)[:, None])
    return boxes, counted


def annotations_of(batch: Batch) -> tuple[Array, Array]:
    """What an annotator said about each pixel: evidence, not evidence, or nothing.

    Args:
      batch: with 'annotations', int or float [B, H, W] of 1, -1 and 0, on pixels or
        coarse as a region, or else what `region_of` takes, whose pixels inside are 1
        and outside 0.

    Returns:
      float [B, H, W]; bool [B], True where the example is annotated: `region_valid`,
      where there is one, and a pixel that is not 0.

    Raises:
      ValueError: if the batch has none of them, naming what it has; and as `region_of`.
      AssertionError: if the shapes differ from the above.
    """
    if "annotations" in batch:
        is_good, check = checking.is_sign, checking.check_signs
        return _read("annotations", batch, is_good=is_good, check=check)
    if "region" in batch or {"boxes", "boxes_valid"} <= batch.keys():
        return region_of(batch)
    raise validity.missing(
        ("'annotations'", "'region'", "'boxes' with 'boxes_valid'"), batch
    )


def targets_of(batch: Batch) -> Array:
    """The class of each example that is explained.

    Args:
      batch: with 'targets' [B] or, where the class that is explained is the label, with
        'labels' [B].

    Returns:
      integer [B].

    Raises:
      ValueError: if the batch has neither, or has multi-hot 'labels' [B, C] alone.
    """
    if "targets" in batch:
        return batch["targets"]
    if "labels" not in batch:
        raise validity.missing(("'targets'", "'labels'"), batch)
    labels = batch["labels"]
    if labels.ndim != 1:
        raise ValueError(
            f"`labels` of shape {labels.shape} are not one class an example: give the "
            "one that is explained as 'targets' [B]."
        )
    return labels


def present(batch: Batch) -> Array:
    """Which examples are no padding: statistics of a batch count only those.

    Args:
      batch: with or without 'weight' [B].

    Returns:
      bool [B].
    """
    if "weight" in batch:
        return batch["weight"] > 0
    return jnp.ones(ops.batch_size(batch), bool)


def without_map(batch: Batch) -> Array:
    """Which examples have no annotated region: what is learned without one needs those.

    Args:
      batch: as `region_of` reads it, or with neither 'region' nor 'boxes', where nobody
        annotated anything.

    Returns:
      bool [B], padding included.
    """
    if "region" in batch or {"boxes", "boxes_valid"} <= batch.keys():
        return ~region_of(batch)[1]
    return jnp.ones(ops.batch_size(batch), bool)


def check_inside_share(inside_share: float) -> None:
    """Refuses a share that no cell can exceed.

    Args:
      inside_share: the share of a cell that must be marked before the cell is.

    Raises:
      ValueError: outside [0, 1).
    """
    if not 0 <= inside_share < 1:
        raise ValueError(f"`inside_share` (={inside_share}) must lie in [0, 1).")


def on_cells(maps: Array, *, shape: tuple[int, int]) -> Array:
    """What was annotated on pixels, averaged onto the cells of a feature map.

    Args:
      maps: float [B, H, W].
      shape: (h, w) of the map.

    Returns:
      float [B, h, w], see `ops.area_resize`.

    Raises:
      ValueError: as `check_aspect`.
    """
    check_aspect(maps.shape[1:], shape)
    return ops.area_resize(maps, shape=shape)


def check_aspect(image: tuple[int, ...], cells: tuple[int, int]) -> None:
    """Refuses a map that no one stride leads to from the image.

    With strides alike in both directions, and rounded in any way, a map has less than
    one cell more or less than H / s by W / s. One whose axes are swapped has not.

    Args:
      image: (H, W) in pixels.
      cells: (h, w) of the map.

    Raises:
      ValueError: for another aspect, or a map finer than the image.
    """
    largest = min(
        size / (count - 1) if count > 1 else float("inf")
        for size, count in zip(image, cells, strict=True)
    )
    smallest = max(s / (count + 1) for s, count in zip(image, cells, strict=True))
    finer = any(count > size for size, count in zip(image, cells, strict=True))
    if finer or smallest >= largest:
        raise ValueError(
            f"a map of {tuple(cells)} cells does not fit images of {tuple(image)} "
            "pixels: it must be coarser by the same stride in both directions. Are its "
            "axes swapped? A map that is stretched on purpose must be resized by its "
            "explainer."
        )


def spoil(values: Array, maps: Array) -> Array:
    """The values, NaN where the annotation was refused inside `jit`.

    For terms that ask where an annotation is above something: of NaN that is nowhere.

    Args:
      values: float [B].
      maps: float [B, ...], as read.

    Returns:
      float [B].
    """
    return jnp.where(refused(maps), jnp.nan, values)


def refused(maps: Array) -> Array:
    """Which rows were refused inside `jit`.

    Args:
      maps: float [B, ...], as read.

    Returns:
      bool [B].
    """
    return jnp.any(jnp.isnan(maps), axis=tuple(range(1, maps.ndim)))


def _read(
    name: str,
    batch: Batch,
    *,
    is_good: Callable[[Array], Array],
    check: Callable[..., None],
) -> tuple[Array, Array]:
    maps = batch[name]
    chex.assert_rank(maps, 3)
    check(f"batch['{name}']", maps, where=batch.get("region_valid"))
    maps = ops.at_least_float32(maps)
    maps = validity.spoilt(maps, jnp.all(is_good(maps), axis=(1, 2)))
    return validity.with_validity(_on_pixels(name, maps, batch), batch)


def _on_pixels(name: str, maps: Array, batch: Batch) -> Array:
    """The annotation of an image [B, H, W, C]; coarse cells become their pixels."""
    inputs = batch.get("inputs")
    # Inputs that are a dict say no size.
    if inputs is None or getattr(inputs, "ndim", 0) != 4:
        return maps
    if inputs.shape[1:3] == maps.shape[1:]:
        return maps
    (height, width), (h, w) = inputs.shape[1:3], maps.shape[1:]
    stride = height // h
    if stride < 1 or (h * stride, w * stride) != (height, width):
        raise ValueError(
            f"batch[{name!r}] of shape {maps.shape} does not fit batch['inputs'] of "
            f"shape {inputs.shape}, [B, H, W, C]: it must be [B, H, W], or coarser by "
            "a whole number of pixels, the same in both directions. "
            "`data.resize_mask` changes the size of a mask."
        )
    return jnp.repeat(jnp.repeat(maps, stride, axis=1), stride, axis=2)
