"""Regions of an image: from boxes to masks, to feature-map cells, to pooled features.

A region is a float mask `[B, H, W]`, 1 inside and 0 outside, or a share in [0, 1] after
resizing. Boxes are `(x0, y0, x1, y1)` in pixels and half open: pixel `i` is covered
exactly when `x0 <= i < x1`, so that a box over the whole image ends at `(W, H)`.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.ops import precision, reducing
from xguide_jax.types import Array


def rasterise_boxes(boxes: Array, valid: Array, shape: tuple[int, int]) -> Array:
    """The union of the valid boxes of each image, as a mask.

    mask[b, i, j] = 1 if y0 <= i < y1 and x0 <= j < x1 for a valid box of image b, else
    0. Overlaps and order do not matter; what lies outside the image is cut off. There
    is no gradient with respect to the boxes.

    Args:
      boxes: float or int [B, N, 4], `(x0, y0, x1, y1)` in pixels; fractions allowed.
      valid: bool [B, N]; entries that are not valid may hold anything.
      shape: `(H, W)` of the image in pixels.

    Returns:
      float [B, H, W] of 0 and 1; all 0 for an image without a box inside it.

    Raises:
      ValueError: if `shape` holds no pixel, `boxes` and `valid` are of other shapes or
        `valid` is not bool; or if a valid box is inverted (x1 < x0 or y1 < y0) or not
        finite. Boxes are looked at only outside of `jit`.
    """
    height, width = _checked_shape(shape)
    _check_boxes(boxes, valid)
    x0, y0, x1, y1 = jnp.moveaxis(precision.at_least_float32(boxes)[..., None], 2, 0)
    rows = jnp.arange(height, dtype=x0.dtype)
    columns = jnp.arange(width, dtype=x0.dtype)
    in_rows = (y0 <= rows) & (rows < y1) & valid[..., None]
    in_columns = (x0 <= columns) & (columns < x1)
    inside = in_rows[:, :, :, None] & in_columns[:, :, None, :]
    return jnp.any(inside, axis=1).astype(x0.dtype)


def clip_boxes(
    boxes: Array, valid: Array, *, shape: tuple[int, int]
) -> tuple[Array, Array, Array]:
    """Boxes cut to the image, and how many of them had to be.

    The mask of the clipped boxes is the mask of the boxes. A box that covers no pixel,
    because it lies outside or between two pixels, is an annotation no longer.

    Args:
      boxes: float or int [B, N, 4], `(x0, y0, x1, y1)` in pixels.
      valid: bool [B, N].
      shape: `(H, W)` of the image in pixels.

    Returns:
      boxes [B, N, 4] within [0, W] and [0, H], 0 where not valid, of the dtype they had
      (floats at least float32, for narrower ones have no 257); bool [B, N], valid and
      covering a pixel; int32 [B], the valid boxes that reached beyond the image.

    Raises:
      ValueError: as `rasterise_boxes`.
    """
    height, width = _checked_shape(shape)
    _check_boxes(boxes, valid)
    boxes = jnp.asarray(boxes)
    if jnp.issubdtype(boxes.dtype, jnp.floating):
        boxes = precision.at_least_float32(boxes)
    dtype = boxes.dtype
    if dtype.itemsize < 4:  # of whole numbers: in 8 bits a limit of 300 would be 44
        boxes = boxes.astype(jnp.int32)
    limits = jnp.asarray([width, height, width, height], boxes.dtype)
    clipped = jnp.clip(boxes, jnp.zeros_like(limits), limits)
    num_clipped = jnp.sum(valid & jnp.any(clipped != boxes, axis=-1), axis=-1)
    # Pixels ceil(x0) .. ceil(x1) - 1 are covered.
    x0, y0, x1, y1 = jnp.moveaxis(jnp.ceil(precision.at_least_float32(clipped)), -1, 0)
    covering = valid & (x0 < x1) & (y0 < y1)
    kept = jnp.where(covering[..., None], clipped, jnp.zeros_like(clipped))
    return kept.astype(dtype), covering, num_clipped.astype(jnp.int32)


def area_resize(maps: Array, *, shape: tuple[int, int]) -> Array:
    """Maps averaged onto a coarser grid: each cell is the mean over its own area.

    For a mask, a cell holds the share of it that is covered, so that small regions
    shrink but never vanish, as they do under nearest-neighbour resizing. Pixels that a
    cell border cuts count by the share inside. Linear; gradients flow.

    Args:
      maps: float, int or bool [B, H, W].
      shape: `(h, w)` of the coarser grid, at most `(H, W)`.

    Returns:
      float [B, h, w], float32 or wider; a mask of ones stays 1, up to one rounding
      below it.

    Raises:
      ValueError: if `shape` holds no cell or is larger than the maps in one direction.
    """
    chex.assert_rank(maps, 3)
    h, w = _checked_shape(shape)
    _, height, width = maps.shape
    if h > height or w > width:
        raise ValueError(
            f"`shape` (={shape}) must not exceed the shape of the maps, "
            f"{(height, width)}; use `bilinear_resize` to enlarge."
        )
    maps = precision.at_least_float32(maps)
    # Whole-number overlaps, divided once: sums of 0s and 1s are exact up to there.
    sums = jnp.einsum(
        "ip,bpq,jq->bij",
        jnp.asarray(_overlaps(height, h), maps.dtype),
        maps,
        jnp.asarray(_overlaps(width, w), maps.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )
    return sums / (height * width)


def bilinear_resize(maps: Array, *, shape: tuple[int, int]) -> Array:
    """Maps interpolated onto another grid, to lay a coarse map over its image.

    Cell centres are aligned (half-pixel centres) and borders repeat; when it shrinks,
    the kernel widens so that nothing is skipped. Linear; gradients flow.

    Args:
      maps: float, int or bool [B, H, W].
      shape: `(h, w)` of the new grid.

    Returns:
      float [B, h, w], float32 or wider, within the range of each map.

    Raises:
      ValueError: if `shape` holds no cell.
    """
    chex.assert_rank(maps, 3)
    new_shape = (maps.shape[0], *_checked_shape(shape))
    return jax.image.resize(precision.at_least_float32(maps), new_shape, "bilinear")


def blur(maps: Array) -> Array:
    """Maps smoothed by the separable kernel [1/4, 1/2, 1/4].

    The border is mirrored without repeating its own cell (reflect-101), so constant
    maps stay as they are. Linear; gradients flow.

    Args:
      maps: float, int or bool [B, H, W].

    Returns:
      float [B, H, W], float32 or wider.

    Source: the public code of RES (Gao et al., KDD 2022), imputation variant RES-G: an
      OpenCV Gaussian blur of size 3 with sigma 0, which selects this fixed kernel.
    """
    chex.assert_rank(maps, 3)
    maps = precision.at_least_float32(maps)
    padded = jnp.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4


def masked_pool(features: Array, mask: Array) -> Array:
    """The mean feature vector of a region.

    f = Σ_c m_c F_c / Σ_c m_c over the cells c. Gradients flow into both arguments; an
    empty mask gives zeros and a zero gradient.

    Args:
      features: float [B, h, w, K].
      mask: float or bool [B, h, w], the share of each cell that belongs to the region.

    Returns:
      float [B, K], float32 or wider.
    """
    chex.assert_rank([features, mask], [4, 3])
    chex.assert_equal_shape_prefix([features, mask], 3)
    features = precision.at_least_float32(features)
    mask = mask.astype(features.dtype)[..., None]
    total = jnp.sum(mask, axis=(1, 2))
    return reducing.safe_divide(jnp.sum(mask * features, axis=(1, 2)), total)


def _overlaps(size: int, cells: int) -> np.ndarray:
    """[cells, size]: how much of each pixel lies in each cell, in units of 1/cells."""
    cell = np.arange(cells)[:, None] * size
    pixel = np.arange(size)[None, :] * cells
    shared = np.minimum(cell + size, pixel + cells) - np.maximum(cell, pixel)
    return np.maximum(shared, 0)


def _checked_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"`shape` (={shape}) must be two positive numbers, (H, W).")
    return shape


def _check_boxes(boxes: Array, valid: Array) -> None:
    """Shapes always; values only where there are any, outside of a trace."""
    found, flags = np.shape(boxes), np.shape(valid)
    if len(found) != 3 or found[2] != 4 or flags != found[:2]:
        raise ValueError(
            f"`boxes` {found} and `valid` {flags} must be [B, N, 4] and [B, N]."
        )
    if valid.dtype != bool:
        raise ValueError(f"`valid` ({valid.dtype}) must be bool.")
    if isinstance(boxes, jax.core.Tracer) or isinstance(valid, jax.core.Tracer):
        return
    values, used = np.asarray(boxes), np.asarray(valid)
    x0, y0, x1, y1 = np.moveaxis(values.astype(np.float64), -1, 0)
    rules = (
        (~np.isfinite(x0 + y0 + x1 + y1), "be finite"),
        ((x1 < x0) | (y1 < y0), "have x0 <= x1 and y0 <= y1"),
    )
    for broken, rule in rules:
        if np.any(broken & used):
            row, box = np.argwhere(broken & used)[0]
            raise ValueError(
                f"`boxes`[{row}, {box}] (={values[row, box].tolist()}) must {rule}."
            )
