"""Boxes as annotation tools write them, as the boxes of this package.

Here a box is `(x0, y0, x1, y1)` in pixels from the upper left corner of the image, half
open: pixel i is covered where x0 <= i < x1. Four numbers do not say which form they
have, and passed on as they stand they cover other pixels; so each form has a function.
"""

import numpy as np


def boxes_from_coco(boxes: np.ndarray) -> np.ndarray:
    """Boxes from corner and size: (x, y, w, h) becomes (x, y, x + w, y + h).

    Args:
      boxes: [..., 4] in pixels, as COCO's 'bbox'.

    Returns:
      float32 [..., 4].

    Raises:
      ValueError: naming the box, if a size is negative or a number is not finite.

    Example:
      (1, 0, 2, 3) covers columns 1 and 2 of rows 0 to 2: (1, 0, 3, 3).
    """
    numbers = _numbers(boxes)
    corner, size = numbers[..., :2], numbers[..., 2:]
    _refuse(np.any(size < 0, axis=-1), numbers, "have a size of at least 0")
    return np.concatenate([corner, corner + size], axis=-1).astype(np.float32)


def boxes_from_voc(
    boxes: np.ndarray, *, first: int = 1, inclusive: bool = True
) -> np.ndarray:
    """Boxes from the first and the last pixel, counted from 1.

    (xmin, ymin, xmax, ymax) becomes (xmin - 1, ymin - 1, xmax, ymax). Many tools write
    the same XML and count from 0, or mean the end and not the last pixel; no file says
    so.

    Args:
      boxes: [..., 4].
      first: the number of the first pixel, 1 in the data sets of VOC.
      inclusive: whether the last pixel belongs to the box, as in those.

    Returns:
      float32 [..., 4].

    Raises:
      ValueError: naming the box, if it begins before the first pixel, as one that is
        counted from 0 does, if it is inverted, or if a number is not finite.

    Example:
      (1, 1, 4, 3) is the whole of an image 3 pixels high and 4 wide: (0, 0, 4, 3).
    """
    numbers = _numbers(boxes)
    begins = np.all(numbers[..., :2] >= first, axis=-1)
    _refuse(~begins, numbers, f"begin at pixel {first} or behind it (see `first`)")
    _refuse_inverted(numbers)
    ends = numbers[..., 2:] - first + int(inclusive)
    return np.concatenate([numbers[..., :2] - first, ends], axis=-1).astype(np.float32)


def boxes_from_fractions(boxes: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """Boxes from fractions of the image: (x0 W, y0 H, x1 W, y1 H).

    Rounded to a thousandth of a pixel: fractions in float32 make 15.999999 of 16.

    Args:
      boxes: [..., 4], (x0, y0, x1, y1) in [0, 1].
      shape: `(H, W)` of the image.

    Returns:
      float32 [..., 4].

    Raises:
      ValueError: naming the box, if it is inverted or a number lies outside [0, 1], as
        one in pixels does.
    """
    numbers = _numbers(boxes)
    outside = ~np.all((numbers >= 0) & (numbers <= 1), axis=-1)
    _refuse(outside, numbers, "lie in [0, 1]")
    _refuse_inverted(numbers)
    height, width = shape
    scale = np.array([width, height, width, height])
    return np.round(numbers * scale, 3).astype(np.float32)


def boxes_from_yolo(boxes: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """Boxes from centre and size in fractions: x0 = (cx - w / 2) W, and so on.

    Rounded to a thousandth of a pixel, and cut at the border of the image, beyond which
    the rounding of text may lead.

    Args:
      boxes: [..., 4], (cx, cy, w, h) in [0, 1], without the class in front.
      shape: `(H, W)` of the image.

    Returns:
      float32 [..., 4].

    Raises:
      ValueError: naming the box, if a number lies outside [0, 1].
    """
    numbers = _numbers(boxes)
    outside = ~np.all((numbers >= 0) & (numbers <= 1), axis=-1)
    _refuse(outside, numbers, "lie in [0, 1]")
    centre, half = numbers[..., :2], numbers[..., 2:] / 2
    corners = np.concatenate([centre - half, centre + half], axis=-1)
    return boxes_from_fractions(np.clip(corners, 0, 1), shape=shape)


def _numbers(boxes: np.ndarray) -> np.ndarray:
    numbers = np.asarray(boxes, np.float64)
    if numbers.shape == (0,):  # an empty list: no box
        return np.zeros((0, 4))
    if numbers.ndim < 1 or numbers.shape[-1] != 4:
        raise ValueError(f"`boxes` of shape {numbers.shape} must be [..., 4].")
    _refuse(~np.all(np.isfinite(numbers), axis=-1), numbers, "be finite")
    return numbers


def _refuse_inverted(boxes: np.ndarray) -> None:
    inverted = np.any(boxes[..., :2] > boxes[..., 2:], axis=-1)
    _refuse(inverted, boxes, "have x0 <= x1 and y0 <= y1 (inverted)")


def _refuse(bad: np.ndarray, boxes: np.ndarray, rule: str) -> None:
    if np.any(bad):
        place = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(
            f"`boxes`{list(place)} (={boxes[place].tolist()}) must {rule}."
        )
