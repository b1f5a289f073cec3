"""What can be measured of a drawn shape: holes, stroke width, extent and place.

A shape is a mask [H, W], True on its pixels; all functions take N of them. Of an empty
mask nothing is measured: counts and sizes are 0, what would be a quotient is NaN.
"""

import numpy as np
from scipy import ndimage


def count_holes(masks: np.ndarray, *, min_area: int = 1) -> np.ndarray:
    """How many parts of the background a shape closes in.

    Pixels of a shape touch also at corners, those of the background at sides alone, so
    that a ring drawn with diagonal steps is closed. What lies around the mask is
    background: a part at the border is no hole.

    Args:
      masks: bool [N, H, W].
      min_area: pixels; smaller parts, gaps of a wide pen, are not counted.

    Returns:
      int32 [N].

    Raises:
      ValueError: if the masks are not such, or `min_area` is less than 1.
    """
    _check(masks)
    if min_area < 1:
        raise ValueError(f"`min_area` (={min_area}) must be at least 1.")
    counts = np.zeros(len(masks), np.int32)
    for row, mask in enumerate(np.pad(masks, ((0, 0), (1, 1), (1, 1)))):
        parts, _ = ndimage.label(~mask)
        areas = np.bincount(parts[~mask])[1:]
        counts[row] = np.sum(areas >= min_area) - (areas[parts[0, 0] - 1] >= min_area)
    return counts


def stroke_width(masks: np.ndarray) -> np.ndarray:
    """The mean width of the strokes, twice the area over the perimeter.

    2 A / P, with the area A in pixels and the perimeter P in sides of pixels between
    shape and background or the border of the image. A straight stroke of width w and
    length l has 2 w l / (2 w + 2 l), which is w but for its ends; a slanted one less,
    since its sides are stairs.

    Args:
      masks: bool [N, H, W].

    Returns:
      float32 [N], in pixels; NaN for an empty mask.

    Raises:
      ValueError: if the masks are not such.
    """
    _check(masks)
    area = np.sum(masks, axis=(1, 2))
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    sides = [np.sum(np.diff(padded, axis=axis), axis=(1, 2)) for axis in (1, 2)]
    perimeter = np.where(area > 0, sides[0] + sides[1], 1)
    return np.where(area > 0, 2 * area / perimeter, np.nan).astype(np.float32)


def extent(masks: np.ndarray) -> np.ndarray:
    """Height and width of the smallest box around a shape.

    Args:
      masks: bool [N, H, W].

    Returns:
      int32 [N, 2], in pixels; 0 for an empty mask.

    Raises:
      ValueError: if the masks are not such.
    """
    _check(masks)
    sizes = []
    for axis in (2, 1):
        line = masks.any(axis=axis)
        last = line.shape[1] - np.argmax(line[:, ::-1], axis=1)
        sizes.append(np.where(line.any(axis=1), last - np.argmax(line, axis=1), 0))
    return np.stack(sizes, axis=1).astype(np.int32)


def position_thirds(masks: np.ndarray, *, margin: int = 0) -> np.ndarray:
    """In which third of the image the middle of a shape lies, downwards and across.

    The middle is the mean of its pixels' own, i + 1/2. The thirds are those of what is
    left of the image without `margin` on each side, where the middle of a large shape
    cannot lie; a middle within the margin belongs to the third beside it.

    Args:
      masks: bool [N, H, W].
      margin: pixels at each side, less than half of the image.

    Returns:
      int32 [N, 2] of 0 (upper, left), 1 and 2; -1 for an empty mask.

    Raises:
      ValueError: if the masks are not such, or the margin leaves nothing.
    """
    _check(masks)
    if not 0 <= 2 * margin < min(masks.shape[1:]):
        raise ValueError(
            f"`margin` (={margin}) must be at least 0 and less than half of "
            f"{masks.shape[1:]}."
        )
    area = np.sum(masks, axis=(1, 2))
    thirds = np.full((len(masks), 2), -1, np.int32)
    for axis, size in enumerate(masks.shape[1:]):
        along = np.sum(masks, axis=2 - axis) @ (np.arange(size) + 0.5)
        middle = along / np.maximum(area, 1)
        third = np.floor(3 * (middle - margin) / (size - 2 * margin))
        thirds[:, axis] = np.where(area > 0, np.clip(third, 0, 2), -1)
    return thirds


def _check(masks: np.ndarray) -> None:
    if masks.ndim != 3 or masks.dtype != bool:
        raise ValueError(
            f"`masks` ({masks.dtype} {masks.shape}) must be bool [N, H, W]."
        )
