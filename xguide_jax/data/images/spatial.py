"""Known moves of one image and of all that is annotated on it: each moves both.

What is annotation in space is recognised by name and shape, as `shapes` has it:
'boxes' hold `(x0, y0, x1, y1)` in pixels, half open; 'region', 'strokes' and the like,
and other arrays that begin with `[H, W]`, are maps. Everything else (a group, a token
mark) is left alone. After each move the boxes that covered a region cover the moved
one, pixel by pixel. Maps of another shape than their image are refused, never moved by
halves.
"""

import functools
from collections.abc import Callable, Mapping

import numpy as np

from xguide_jax.data.images import annotations as masks
from xguide_jax.data.images import pixel_means, shapes

Annotations = dict[str, np.ndarray]
Example = tuple[np.ndarray, Annotations]


def flip_horizontally(
    inputs: np.ndarray, annotations: Mapping[str, np.ndarray]
) -> Example:
    """An image and its annotations mirrored left and right.

    Coordinates of boxes are rounded up to whole pixels first. That leaves the pixels
    they cover as they are, and without it a box that ends within a pixel would cover
    others after the flip. Of what lies on whole pixels this is its own inverse.

    Args:
      inputs: [H, W, channels].
      annotations: {name: array} of this one example.

    Returns:
      inputs and annotations, shapes and dtypes unchanged.

    Raises:
      ValueError: if an annotation does not fit the image, or a box its own dtype.
    """
    shapes.check_example(inputs, annotations)
    width = inputs.shape[1]

    def flip_boxes(boxes: np.ndarray) -> np.ndarray:
        x0, y0, x1, y1 = np.moveaxis(np.ceil(boxes.astype(np.float64)), -1, 0)
        return shapes.held(np.stack([width - x1, y0, width - x0, y1], -1), boxes.dtype)

    def flip_map(values: np.ndarray) -> np.ndarray:
        return values[:, ::-1]

    return flip_map(inputs), _in_space(annotations, inputs, flip_map, flip_boxes)


def shift(
    inputs: np.ndarray,
    annotations: Mapping[str, np.ndarray],
    *,
    dy: int,
    dx: int,
    pad_value: float = 0.0,
) -> Example:
    """An image and its annotations moved down by `dy` and right by `dx` pixels.

    Maps are filled with 0 (nothing is annotated outside the image) and boxes are cut at
    the border. A box of which no pixel is left becomes 0 and, in 'boxes_valid', False;
    'region_valid' becomes False when neither 'region' nor, where there is no region,
    any box is left.

    Args:
      inputs: [H, W, channels].
      annotations: {name: array} of this one example.
      dy: pixels downwards, negative upwards, less than H in size.
      dx: pixels to the right, negative to the left, less than W in size.
      pad_value: what comes into the inputs from outside the image.

    Returns:
      inputs and annotations, shapes and dtypes unchanged.

    Raises:
      ValueError: if nothing of the image would be left, the dtype of the inputs cannot
        hold `pad_value`, an annotation does not fit the image, or a box its own dtype.
    """
    shapes.check_example(inputs, annotations)
    height, width = inputs.shape[:2]
    for name, pixels, size in (("dy", dy, height), ("dx", dx, width)):
        if not abs(pixels) < size:
            raise ValueError(
                f"`{name}` (={pixels}) must lie in {1 - size} .. {size - 1} for an "
                f"image of {(height, width)}."
            )
    if inputs.dtype.kind in "iub" and not shapes.can_hold(inputs.dtype, pad_value):
        raise ValueError(f"`pad_value` (={pad_value}) must fit {inputs.dtype} inputs.")

    def shift_boxes(boxes: np.ndarray) -> np.ndarray:
        limits = np.array([width, height, width, height])
        # Cut first: what a box holds outside the image must not be moved into it.
        moved = np.clip(boxes, 0, limits) + np.array([dx, dy, dx, dy])
        moved = np.clip(moved, 0, limits)
        kept = _covers_a_pixel(moved)[..., None]
        return shapes.held(np.where(kept, moved, 0), boxes.dtype)

    def shift_map(values: np.ndarray) -> np.ndarray:
        return _shift_map(values, dy, dx, 0)

    moved = _in_space(annotations, inputs, shift_map, shift_boxes)
    return _shift_map(inputs, dy, dx, pad_value), _still_valid(moved)


def resize(
    inputs: np.ndarray, annotations: Mapping[str, np.ndarray], *, shape: tuple[int, int]
) -> Example:
    """An image and its annotations stretched to another shape.

    A cell of the new image is the mean of the pixels under it, weighted by how much of
    each lies there. Maps become what `resize_mask` makes of them, so that no annotated
    pixel is lost; of signed maps each sign on its own, and a cell that both touch is 0.
    A box becomes the cells that its pixels touch, so it remains the box of its mask.

    Args:
      inputs: [H, W, channels].
      annotations: {name: array} of this one example; maps are [H, W] of 0 and 1, or of
        -1, 0 and 1, and boxes are cut at the border.
      shape: `(h, w)`.

    Returns:
      inputs [h, w, channels], rounded if they are whole numbers, and the annotations;
      dtypes unchanged.

    Raises:
      ValueError: if `shape` holds no cell, an annotation does not fit the image, a map
        holds anything else, or a box does not fit its own dtype.
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"`shape` (={shape}) must be two positive numbers, (h, w).")
    shapes.check_example(inputs, annotations)
    _check_signs(annotations, inputs)
    resized = _in_space(
        annotations,
        inputs,
        lambda values: _resize_map(values, shape),
        lambda boxes: _resize_boxes(boxes, inputs.shape[:2], shape),
    )
    if inputs.dtype == np.uint8:
        return pixel_means.pixel_means(inputs, shape=shape), _still_valid(resized)
    rows, columns = map(_shares, inputs.shape[:2], shape)
    means = np.tensordot(rows, columns @ inputs, axes=1)
    if inputs.dtype.kind in "iu":
        means = np.rint(means)
    return means.astype(inputs.dtype), _still_valid(resized)


def dilate(
    inputs: np.ndarray, annotations: Mapping[str, np.ndarray], *, fraction: float
) -> Example:
    """An image as it is, and its boxes and region with a margin on each side.

    'boxes' grow as by `dilate_boxes`. What of 'region' lies in a valid box grows by
    that box's margins, so the region of the boxes remains their region, and a drawn
    mask stays inside the boxes it was inside of. Without boxes, the smallest box around
    the region sets the margins. Everything else stays: strokes, signs and other maps,
    such as the true region, are not drawn as boxes.

    Args:
      inputs: [H, W, channels].
      annotations: {name: array} of this one example; 'region' [H, W], above 0 inside.
      fraction: of a box's width and height, at least 0; 0.5 doubles both.

    Returns:
      inputs, the same array, and annotations, shapes and dtypes unchanged; a box that
      covers no pixel of the image becomes 0 and, in 'boxes_valid', False.

    Raises:
      ValueError: if `fraction` is negative, or an annotation does not fit the image.

    Source: the dilated boxes of Rao et al., ICCV 2023; to masks the extension is ours.
    """
    shapes.check_example(inputs, annotations)
    shape = inputs.shape[:2]
    dilated = dict(annotations)
    region, boxes = dilated.get("region"), dilated.get("boxes")
    drawn = None if region is None else _around(region)
    if boxes is not None:
        # A margin must not bring in what was drawn outside the image.
        covers = _covers_a_pixel(np.clip(boxes, 0, [*shape[::-1], *shape[::-1]]))
        drawn = boxes[covers & dilated.get("boxes_valid", True)]
        # What is no box may hold anything, also what `dilate_boxes` refuses.
        inside = np.where(covers[..., None], boxes, 0).astype(boxes.dtype)
        dilated["boxes"] = masks.dilate_boxes(inside, fraction=fraction, shape=shape)
    if region is not None and drawn is not None:
        dilated["region"] = masks.dilate_mask(region, drawn, fraction=fraction)
    return inputs, _still_valid(dilated)


def _in_space(
    annotations: Mapping[str, np.ndarray],
    inputs: np.ndarray,
    move_map: Callable[[np.ndarray], np.ndarray],
    move_boxes: Callable[[np.ndarray], np.ndarray],
) -> Annotations:
    moved = {}
    for name, value in annotations.items():
        array = np.asarray(value)
        if shapes.is_boxes(name, array):
            moved[name] = move_boxes(array)
        elif shapes.lies_on(name, array, inputs.shape):
            moved[name] = move_map(array)
        else:
            moved[name] = array
    return moved


def _check_signs(annotations: Mapping[str, np.ndarray], inputs: np.ndarray) -> None:
    """Other values, such as 255, class numbers or shares, would silently become 1."""
    for name, value in annotations.items():
        array = np.asarray(value)
        if not shapes.lies_on(name, array, inputs.shape):
            continue
        other = array[(array != 0) & (np.abs(array) != 1)]
        if other.size and not shapes.is_boxes(name, array):
            raise ValueError(
                f"`{name}` (={other[0]}) must hold 0 and 1, or -1, 0 and 1, to be "
                "resized; `data.region_from_labels` makes that of labels."
            )


def _resize_map(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    in_front = np.moveaxis(values, (0, 1), (-2, -1))
    resized = masks.resize_mask(in_front > 0, shape=shape).astype(values.dtype)
    if values.dtype.kind in "if":  # others have no sign, and bool no minus
        resized -= masks.resize_mask(in_front < 0, shape=shape).astype(values.dtype)
    return np.moveaxis(resized, (-2, -1), (0, 1))


def _resize_boxes(
    boxes: np.ndarray, old: tuple[int, ...], new: tuple[int, int]
) -> np.ndarray:
    """From the whole pixels that are covered to the cells that those touch."""
    pixels = np.array([old[1], old[0]])
    cells = np.array([new[1], new[0]])
    corners = np.clip(np.ceil(boxes).reshape(*boxes.shape[:-1], 2, 2), 0, pixels)
    first, end = corners[..., 0, :] * cells, corners[..., 1, :] * cells
    resized = np.concatenate([first // pixels, -(-end // pixels)], axis=-1)
    kept = np.where(_covers_a_pixel(boxes)[..., None], resized, 0)
    return shapes.held(kept, boxes.dtype)


@functools.lru_cache(maxsize=64)
def _shares(size: int, cells: int) -> np.ndarray:
    """float64 [cells, size]: the share of each pixel in each cell's mean."""
    return pixel_means.overlaps(size, cells) / size


def _shift_map(values: np.ndarray, dy: int, dx: int, fill: float) -> np.ndarray:
    height, width = values.shape[:2]
    moved = np.full_like(values, fill)
    to = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
    source = (
        slice(max(-dy, 0), height + min(-dy, 0)),
        slice(max(-dx, 0), width + min(-dx, 0)),
    )
    moved[to] = values[source]
    return moved


def _covers_a_pixel(boxes: np.ndarray) -> np.ndarray:
    """Whether pixels ceil(x0) .. ceil(x1) - 1, and likewise for y, are any."""
    whole = np.ceil(boxes)
    return np.all(whole[..., :2] < whole[..., 2:], axis=-1)


def _around(region: np.ndarray) -> np.ndarray:
    """float64 [0 or 1, 4]: the smallest box around what is above 0."""
    rows, columns = np.nonzero(region > 0)
    if not len(rows):
        return np.zeros((0, 4))
    corner = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return np.array([corner], float)


def _still_valid(annotations: Annotations) -> Annotations:
    """Withdraws the validity of annotations of which nothing is left."""
    left = dict(annotations)
    boxes = left.get("boxes")
    if boxes is not None and "boxes_valid" in left:
        left["boxes_valid"] = left["boxes_valid"] & _covers_a_pixel(boxes)
    if "region_valid" in left:
        if "region" in left:
            anything = np.any(left["region"] != 0)
        elif boxes is not None:
            anything = np.any(left.get("boxes_valid", _covers_a_pixel(boxes)))
        else:
            return left
        left["region_valid"] = (left["region_valid"] * anything).astype(
            left["region_valid"].dtype
        )
    return left
