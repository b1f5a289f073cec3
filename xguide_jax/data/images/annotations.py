"""What happens to annotations before a model sees them, and annotators one simulates.

Masks are `[N, H, W]`, non-zero inside. The truth is always kept beside what a simulated
annotator delivers, so that guidance sees the one and metrics use the other.
"""

import functools
from typing import NamedTuple

import numpy as np

from xguide_jax.data import seeds
from xguide_jax.data.images import shapes


class SimulatedAnnotations(NamedTuple):
    """What an imperfect annotator delivers, beside the truth.

    Attributes:
      region: [N, H, W], the masks as delivered.
      region_valid: bool [N], False where no mask was delivered or none of it is left.
      true_region: [N, H, W], the masks as they should be.
    """

    region: np.ndarray
    region_valid: np.ndarray
    true_region: np.ndarray


def corrupt_masks(
    rng: np.random.Generator,
    masks: np.ndarray,
    *,
    shift: int = 0,
    dilate: int = 0,
    erode: int = 0,
    drop: float = 0.0,
) -> SimulatedAnnotations:
    """Masks as a hurried annotator draws them: misplaced, too wide or tight, or absent.

    Each mask is moved by whole pixels, uniform in -shift .. shift in each direction,
    then grown by a radius uniform in -erode .. dilate (negative shrinks), in a square
    neighbourhood, then withheld with probability `drop`.

    Args:
      rng: where the errors come from.
      masks: [N, H, W] in [0, 1], non-zero inside.
      shift: the largest displacement in pixels.
      dilate: the largest growth on each side in pixels.
      erode: the largest loss on each side in pixels; the image border does not erode.
      drop: in [0, 1], the probability that a mask is not delivered.

    Returns:
      The delivered masks (0 and 1, dtype of `masks`; 0 where not delivered), which of
      them are valid, and a copy of the truth.

    Raises:
      ValueError: if a number of pixels is negative, `drop` no probability, or `masks`
        are not [N, H, W] or hold what is neither 0, 1 nor a share between.
    """
    if masks.ndim != 3:
        raise ValueError(f"`masks` of shape {masks.shape} must be [N, H, W].")
    if not np.all((masks >= 0) & (masks <= 1)):
        raise ValueError(
            "`masks` must lie in [0, 1], for the truth is kept as it is; "
            "`data.region_from_labels` makes that of labels and of 0 and 255."
        )
    for name, pixels in {"shift": shift, "dilate": dilate, "erode": erode}.items():
        if pixels < 0:
            raise ValueError(f"`{name}` (={pixels}) must be at least 0 pixels.")
    _check_fraction("drop", drop)
    num_masks = len(masks)
    moves = rng.integers(-shift, shift + 1, size=(num_masks, 2))
    radii = rng.integers(-erode, dilate + 1, size=num_masks)
    delivered = rng.random(num_masks) >= drop
    noisy = np.zeros(masks.shape, bool)
    for i in np.flatnonzero(delivered):
        noisy[i] = _grow(_move(masks[i] != 0, moves[i]), int(radii[i]))
    left = np.any(noisy, axis=(1, 2))
    return SimulatedAnnotations(noisy.astype(masks.dtype), left, masks.copy())


def dilate_boxes(
    boxes: np.ndarray, *, fraction: float, shape: tuple[int, int]
) -> np.ndarray:
    """Boxes with a margin on each side, as a careless annotator would draw them.

    The margin is floor(fraction * width) pixels left and right, floor(fraction *
    height) above and below, so a fraction of 0.5 doubles both; then boxes are clipped.

    Args:
      boxes: [..., 4], `(x0, y0, x1, y1)` in pixels.
      fraction: at least 0.
      shape: `(H, W)` of the image.

    Returns:
      [..., 4], the dtype of `boxes`; empty boxes (padding) stay empty.

    Raises:
      ValueError: if `fraction` is negative, a box is inverted or not finite, or its
        dtype cannot hold the result.

    Source: Rao et al., "Studying How to Efficiently and Effectively Guide Models with
      Explanations", ICCV 2023, and its public code, which clips at W - 1 and H - 1;
      here the last row and column can be covered.
    """
    height, width = shape
    _check_boxes(boxes)
    signed = _signed(boxes)
    margin = _margins(signed, fraction)
    wider = np.concatenate([signed[..., :2] - margin, signed[..., 2:] + margin], -1)
    limits = np.array([width, height, width, height])
    return shapes.held(np.clip(wider, 0, limits), boxes.dtype)


def dilate_mask(mask: np.ndarray, boxes: np.ndarray, *, fraction: float) -> np.ndarray:
    """A mask with the margins of the boxes that it lies in.

    What of the mask lies in a box grows, in a rectangle, by as much as `dilate_boxes`
    adds to that box; the rest stays. So the mask of the boxes becomes the mask of the
    dilated boxes.

    Args:
      mask: [H, W], above 0 inside.
      boxes: [boxes, 4], `(x0, y0, x1, y1)` in pixels.
      fraction: at least 0.

    Returns:
      [H, W], the dtype of `mask`; what was inside keeps its value, and what comes in
      has the largest.

    Raises:
      ValueError: if `fraction` is negative, or as `box_masks`.
    """
    grown = np.zeros(mask.shape, bool)
    margins = _margins(_signed(boxes), fraction)
    each = box_masks(boxes[:, None], np.ones((len(boxes), 1), bool), shape=mask.shape)
    for box, (dx, dy) in zip(each, margins, strict=True):
        near_rows, near_columns = (
            np.abs(np.subtract.outer(np.arange(size), np.arange(size))) <= margin
            for size, margin in zip(mask.shape, (dy, dx), strict=True)
        )
        inside = (box & (mask > 0)).astype(np.float32)
        grown |= near_rows @ inside @ near_columns > 0
    return np.where(grown & (mask <= 0), mask.max(), mask)


def keep_fraction(num_examples: int, *, fraction: float, seed: int) -> np.ndarray:
    """Which examples are annotated when annotation is scarce.

    Exactly floor(fraction * N + 1e-6) of them, and nested: with one seed, the examples
    of a smaller fraction are among those of a larger one.

    Args:
      num_examples: N.
      fraction: in [0, 1].
      seed: decides the order in which examples are annotated.

    Returns:
      bool [N], to be joined with `region_valid` by `&`.

    Raises:
      ValueError: if `fraction` lies outside [0, 1].
    """
    _check_fraction("fraction", fraction)
    rng = seeds.generator(seeds.Stream.ANNOTATED, seed)
    kept = np.zeros(num_examples, bool)
    num_kept = int(fraction * num_examples + 1e-6)
    kept[rng.permutation(num_examples)[:num_kept]] = True
    return kept


def box_masks(
    boxes: np.ndarray, valid: np.ndarray, *, shape: tuple[int, int]
) -> np.ndarray:
    """The pixels that any valid box of an image covers, without JAX.

    Pixel i is covered where x0 <= i < x1, and likewise for y, as `ops.rasterise_boxes`
    has it.

    Args:
      boxes: [N, boxes, 4], `(x0, y0, x1, y1)` in pixels.
      valid: bool [N, boxes]; the other boxes may hold anything.
      shape: `(H, W)`.

    Returns:
      bool [N, H, W].

    Raises:
      ValueError: if the shapes are others, `valid` is not bool, or a valid box is
        inverted (x1 < x0 or y1 < y0) or not finite.
    """
    if boxes.ndim != 3 or boxes.shape[-1] != 4 or valid.shape != boxes.shape[:2]:
        raise ValueError(
            f"`boxes` {boxes.shape} and `valid` {valid.shape} must be [N, boxes, 4] "
            "and [N, boxes]."
        )
    if valid.dtype != bool:
        raise ValueError(f"`valid` ({valid.dtype}) must be bool.")
    _check_boxes(boxes, valid)
    x0, y0, x1, y1 = np.moveaxis(boxes[..., None], -2, 0)
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    in_rows = (y0 <= rows) & (rows < y1) & valid[..., None]
    in_columns = (x0 <= columns) & (columns < x1)
    return np.einsum("nbh,nbw->nhw", in_rows, in_columns)


def resize_mask(mask: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """A mask on another grid, on which no annotated pixel is lost.

    A cell is inside when any pixel that overlaps it is (area resizing with the maximum
    in place of the mean), so masks of one pixel survive any shrinking. It errs on the
    side of the annotation: masks grow by up to one cell.

    Args:
      mask: [..., H, W], above 0 inside and 0 outside.
      shape: `(h, w)` of the new grid.

    Returns:
      [..., h, w] of 0 and 1, the dtype of `mask`.

    Raises:
      ValueError: if `shape` holds no cell, or the mask what is neither inside nor
        outside: a negative number (a sign, void) or NaN.
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"`shape` (={shape}) must be two positive numbers, (h, w).")
    if mask.ndim < 2 or not np.all(mask >= 0):
        raise ValueError(
            f"`mask` of shape {mask.shape} must be [..., H, W] and at least 0; "
            "`data.resize` keeps signs and `data.region_from_labels` leaves void out."
        )
    rows = _overlap(mask.shape[-2], shape[0])
    columns = _overlap(mask.shape[-1], shape[1])
    touching = rows @ (mask != 0).astype(np.float32) @ columns.T
    return (touching > 0).astype(mask.dtype)


def _margins(boxes: np.ndarray, fraction: float) -> np.ndarray:
    """[..., 2]: how much wider and higher a dilated box is on each side, in pixels."""
    if not 0 <= fraction < np.inf:
        raise ValueError(f"`fraction` (={fraction}) must be at least 0.")
    # 0.29 * 100 is 28.999...; the small number keeps what is whole.
    return np.floor(fraction * (boxes[..., 2:] - boxes[..., :2]) + 1e-6)


def _signed(boxes: np.ndarray) -> np.ndarray:
    """Boxes that can be subtracted: an unsigned 3 - 5 is 254."""
    return boxes if boxes.dtype.kind == "f" else boxes.astype(np.float64)


def _check_boxes(boxes: np.ndarray, valid: np.ndarray | None = None) -> None:
    used = np.ones(boxes.shape[:-1], bool) if valid is None else valid
    right = np.all(np.isfinite(boxes), axis=-1)
    right &= np.all(boxes[..., :2] <= boxes[..., 2:], axis=-1)
    if np.any(used & ~right):
        place = tuple(np.argwhere(used & ~right)[0].tolist())
        raise ValueError(
            f"`boxes`{list(place)} (={boxes[place].tolist()}) must be finite and have "
            "x0 <= x1 and y0 <= y1."
        )


@functools.lru_cache(maxsize=64)
def _overlap(size: int, cells: int) -> np.ndarray:
    """float32 [cells, size]: 1 where pixel and cell share more than a border."""
    # In units of 1 / (size * cells), where all borders are whole numbers.
    cell = np.arange(cells)[:, None] * size
    pixel = np.arange(size)[None, :] * cells
    overlapping = (cell < pixel + cells) & (pixel < cell + size)
    return overlapping.astype(np.float32)


def _move(mask: np.ndarray, by: np.ndarray) -> np.ndarray:
    margin = int(np.max(np.abs(by)))
    padded = np.pad(mask, margin)
    top, left = margin - by
    return padded[top : top + mask.shape[0], left : left + mask.shape[1]]


def _grow(mask: np.ndarray, radius: int) -> np.ndarray:
    if radius < 0:  # what is outside shrinks the mask by growing
        return ~_grow(~mask, -radius)
    size = 2 * radius + 1
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(mask, radius), (size, size)
    )
    return windows.any(axis=(-2, -1))


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"`{name}` (={value}) must lie in [0, 1].")
