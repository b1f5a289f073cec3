"""Which arrays lie on an image's pixels, and whether they fit the image they lie on.

NumPy stretches, broadcasts and indexes whatever it is given, so that a map of another
shape would belong to another image without a word. What lies in space is known by the
last word of its name (words are separated by '_'):

* 'region', 'strokes', 'annotations', 'irrelevant', 'mask', 'masks', 'map' and 'maps',
  so 'true_region' too, are maps, `[H, W, ...]` of their image;
* 'boxes', so 'true_boxes' too, are boxes `[boxes, 4]`, `(x0, y0, x1, y1)` in pixels; an
  array of fewer axes, such as the number 'num_boxes', is none.

An array of another name is a map if it begins with the image's `[H, W]`, and is left
alone otherwise: a group, a class, a token mark. 'texts' and 'texts_mask' [R, L] of an
example are about its references and never lie in space.
"""

from collections.abc import Mapping

import numpy as np

_DRAWN = frozenset(("region", "strokes", "annotations", "irrelevant"))
_MAPS = frozenset(("mask", "masks", "map", "maps"))
_TEXTS = frozenset(("texts", "texts_mask"))
# Fewer columns or channels than this say nothing about the order of axes.
_FEW, _MANY = 16, 32


def is_drawn(name: str) -> bool:
    """Whether an array says where evidence lies, by its name.

    Args:
      name: as in a batch, e.g. 'region' or 'true_region'; not so 'region_valid'.

    Returns:
      True for 'region', 'strokes', 'annotations', 'irrelevant' and names that end so.
    """
    return name.rpartition("_")[2] in _DRAWN


def is_map(name: str, array: np.ndarray) -> bool:
    """Whether an array has to be a map of its image, by its name.

    Args:
      name: as in a batch.
      array: of one example.

    Returns:
      True for what is drawn, and for a 'mask' or 'map' of two axes or more; one of
      fewer marks tokens.
    """
    is_mask = name.rpartition("_")[2] in _MAPS and array.ndim >= 2
    return (is_mask and name not in _TEXTS) or is_drawn(name)


def lies_on(name: str, array: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether an array lies on the pixels of an image, by its shape.

    Args:
      name: as in a batch.
      array: of one example.
      shape: (H, W, ...) of the image.

    Returns:
      True for what begins with the image's `[H, W]`, texts apart.
    """
    begins = array.ndim >= 2 and array.shape[:2] == tuple(shape[:2])
    return begins and name not in _TEXTS


def is_boxes(name: str, array: np.ndarray) -> bool:
    """Whether an array holds the boxes of one image.

    Args:
      name: as in a batch.
      array: of one example.

    Returns:
      True for 'boxes', and for names that end so if the array has two axes or more.
    """
    return name == "boxes" or (name.endswith("_boxes") and array.ndim >= 2)


def check_example(inputs: np.ndarray, annotations: Mapping[str, np.ndarray]) -> None:
    """Refuses annotations that are not of their image, and what is no `[H, W, C]`.

    An image is taken for `[channels, H, W]` where maps fit its last two axes and not
    its first two; and, whatever is annotated, where it has 1, 3 or 4 rows and as many
    columns as channels, at least 16, or 3 or 4 rows and at least 32 of both. Neither is
    an image with channels last: features of few rows and many channels have few
    columns, a series as an image of one row has another length than channels, and a
    line of a spectral camera has one row.

    Args:
      inputs: [H, W, channels].
      annotations: {name: array} of this one example.

    Raises:
      ValueError: naming both shapes, and for a map of another height and width the
        function that brings it to the image's.
    """
    if inputs.ndim != 3:
        raise ValueError(
            f"`inputs` of shape {inputs.shape} must be one image [H, W, channels]; a "
            "grey one is [H, W, 1]."
        )
    shape = inputs.shape[:2]
    for name, value in annotations.items():
        array = np.asarray(value)
        if is_boxes(name, array):
            if array.ndim != 2 or array.shape[-1] != 4:
                raise ValueError(
                    f"`{name}` of shape {array.shape} must be [boxes, 4] for one image."
                )
        elif is_map(name, array) and array.shape[:2] != shape:
            raise ValueError(_misfit(name, array.shape, inputs.shape))
    if _channels_first(inputs.shape):
        raise ValueError(
            f"`inputs` of shape {inputs.shape} must be [H, W, channels], and look like "
            "[channels, H, W]: np.moveaxis(inputs, 0, -1) puts the channels last."
        )


def can_hold(dtype: np.dtype, value: float) -> bool:
    """Whether a dtype of whole numbers has this one.

    Args:
      dtype: of kind 'b', 'i' or 'u'.
      value: any number.

    Returns:
      False for a fraction, NaN, infinity and what would wrap around.
    """
    if dtype.kind == "b":
        return value in (0, 1)
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max and value == np.rint(value))


def held(boxes: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Moved boxes in the dtype that they had.

    Args:
      boxes: [..., 4] in pixels of the image they were moved to.
      dtype: the one they had.

    Returns:
      [..., 4] of that dtype; what is negative becomes 0 where there is no sign, which
      covers the same pixels.

    Raises:
      ValueError: if a number is too large for the dtype, in which it would wrap around.
    """
    if dtype.kind not in "iu":
        return boxes.astype(dtype)
    limits = np.iinfo(dtype)
    if boxes.size and boxes.max() > limits.max:
        raise ValueError(
            f"`boxes` ({dtype}) must have a dtype that holds {boxes.max():.0f}, where "
            "they are moved to: give them as int32 or float32."
        )
    return (np.maximum(boxes, 0) if dtype.kind == "u" else boxes).astype(dtype)


def _misfit(name: str, shape: tuple[int, ...], image: tuple[int, ...]) -> str:
    rule = (
        f"`{name}` of shape {shape} must have the height and width of `inputs` "
        f"{image}, {image[:2]}"
    )
    if shape[:2] == image[1:]:
        return (
            f"{rule}: the image looks like [channels, H, W]; np.moveaxis(inputs, 0, "
            "-1) puts the channels last."
        )
    if shape[:2] == image[1::-1]:
        return f"{rule}: its height and width are swapped."
    return f"{rule}: `data.resize_mask` brings a mask of this image to another shape."


def _channels_first(shape: tuple[int, ...]) -> bool:
    rows, columns, channels = shape
    square = rows in (1, 3, 4) and columns == channels >= _FEW
    return square or (rows in (3, 4) and min(columns, channels) >= _MANY)
