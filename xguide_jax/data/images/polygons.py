"""Outlines as annotation tools write them, as masks.

One rule for all: a pixel is inside where its centre is, pixel (row i, column j) having
its centre at x = j + 1/2, y = i + 1/2, by the even-odd rule. A centre on a border
counts where the border is a left or upper one, so that outlines that share a border
share no pixel and leave none out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mask_from_polygons(
    polygons: Sequence[Any], *, shape: tuple[int, int]
) -> np.ndarray:
    """The pixels inside of any of the outlines.

    Several outlines are a union, as COCO means them, parts of one object that something
    hides in the middle; only an outline that crosses itself has holes, where it goes
    round an even number of times. Which corner comes first, and which way round, does
    not matter. What lies outside the image is cut off. (`pycocotools` rounds corners to
    a finer grid first; its masks differ by single pixels along the border.)

    Args:
      polygons: each [V, 2], (x, y) in pixels from the upper left corner of the image,
        or flat, `x0, y0, x1, y1 ...`, as COCO has them; V >= 3.
      shape: `(H, W)` of the image.

    Returns:
      bool [H, W].

    Raises:
      ValueError: naming the outline, if it has fewer than three corners or half of one,
        or is not finite; or if all corners are fractions of the image.

    Example:
      The corners (1, 0), (3, 0), (3, 3), (1, 3) hold columns 1 and 2 of rows 0 to 2.
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"`shape` (={shape}) must be two positive numbers, (H, W).")
    outlines = [_corners(polygon, n) for n, polygon in enumerate(polygons)]
    if outlines:
        corners = np.concatenate(outlines)
        whole = np.all(corners == np.rint(corners))
        if not whole and np.all((corners >= 0) & (corners <= 1)) and max(shape) > 1:
            raise ValueError(
                "`polygons` must be in pixels; all corners lie in [0, 1] and look like "
                "fractions of the image: multiply by its width and height."
            )
    inside = np.zeros(shape, bool)
    for outline in outlines:
        inside |= _filled(outline, shape)
    return inside


def mask_from_labelme(
    record: Mapping[str, Any], *, labels: Sequence[str] | None = None
) -> np.ndarray:
    """The pixels of what was outlined in LabelMe under one of some labels.

    LabelMe shows photographs upright, so this is the mask of the image as `read_image`
    reads it.

    Args:
      record: the json file's content, with 'imageHeight', 'imageWidth' and 'shapes',
        each with 'label', 'points' and 'shape_type': 'polygon', or 'rectangle' of two
        opposite corners.
      labels: which of the shapes; None for all.

    Returns:
      bool [H, W]; nothing inside where no shape has such a label.

    Raises:
      ValueError: if the record is of another form, or a shape with such a label is of
        another type: points and lines have no inside.
    """
    polygons = []
    try:
        shape = int(record["imageHeight"]), int(record["imageWidth"])
        for drawn in record["shapes"]:
            if labels is not None and drawn["label"] not in labels:
                continue
            kind, points = drawn.get("shape_type", "polygon"), drawn["points"]
            if kind not in ("polygon", "rectangle"):
                raise ValueError(f"a shape of the type {kind!r} is no polygon")
            if kind == "rectangle":
                (x0, y0), (x1, y1) = points
                points = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
            polygons.append(points)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "`record` must have 'imageHeight', 'imageWidth' and 'shapes' of polygons "
            f"and rectangles, as LabelMe writes them ({error!r})."
        ) from error
    return mask_from_polygons(polygons, shape=shape)


def polygon_from_cvat(points: str) -> np.ndarray:
    """The corners of an outline as CVAT writes them, "x,y;x,y;x,y".

    Args:
      points: the attribute `points` of a `<polygon>`.

    Returns:
      float64 [V, 2], for `mask_from_polygons`.

    Raises:
      ValueError: if the text is something else.
    """
    try:
        return _corners([tuple(map(float, p.split(","))) for p in points.split(";")], 0)
    except ValueError as error:
        shown = json.dumps(points)[:60]
        raise ValueError(f"`points` (={shown}) must be 'x,y;x,y;x,y'.") from error


def _corners(polygon: Any, number: int) -> np.ndarray:
    """float64 [V, 2]."""
    rule = f"`polygons`[{number}] must be at least three corners [V, 2], or flat [2 V]"
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{rule} ({error}).") from error
    if corners.ndim == 1 and corners.size % 2 == 0:
        corners = corners.reshape(-1, 2)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ValueError(f"{rule}, not {np.shape(polygon)}.")
    if not np.all(np.isfinite(corners)):
        raise ValueError(f"{rule}, and finite.")
    return corners


def _filled(outline: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The even-odd rule: how many borders lie to the right of each centre."""
    height, width = shape
    ends = np.stack([outline, np.roll(outline, -1, axis=0)])
    # From its upper end, so that a border is the same number from both of its sides.
    order = np.lexsort((ends[..., 0], ends[..., 1]), axis=0)
    (x0, y0), (x1, y1) = np.moveaxis(
        np.take_along_axis(ends, order[..., None], axis=0), -1, 1
    )[..., None]
    centres = np.arange(height) + 0.5
    crossing = (y0 <= centres) & (centres < y1)
    slope = np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=y1 > y0)
    at = x0 + (centres - y0) * slope
    # Of a border at x the centres j + 1/2 < x lie on the left: so many columns.
    on_its_left = np.clip(np.ceil(at - 0.5), 0, width).astype(int)
    borders = np.zeros((height, width + 1), int)
    edge, row = np.nonzero(crossing)
    np.add.at(borders, (row, on_its_left[edge, row]), 1)
    to_the_right = np.cumsum(borders[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return to_the_right % 2 == 1
