"""From masks as people store them to what guidance terms read.

A mask on disk holds 0 and 255, or the number of a class at each pixel, often with a
number for void: the seam around an object, or what nobody looked at. A term reads 0
and 1, or the signs -1, 0 and 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class LabelledRegion(NamedTuple):
    """One mask in the two forms that terms read; a batch takes one of them.

    Attributes:
      region: bool [..., H, W], True inside. Void is not inside: a term that reads
        'region' counts it as background.
      annotations: int8 [..., H, W], 1 inside, -1 outside and 0, nothing said, where
        void. A mask with nothing inside is 0 everywhere: where the class is not in the
        picture, no pixel is evidence against it, and terms leave the example out.
    """

    region: np.ndarray
    annotations: np.ndarray


def region_from_labels(
    mask: np.ndarray,
    *,
    inside: int | Sequence[int],
    void: int | Sequence[int] = (),
    outside: int | Sequence[int] | None = None,
) -> LabelledRegion:
    """A mask of 0 and 255, of class numbers, or with void, as a region and as signs.

    Of a PNG of 0 and 255, `inside=255, outside=0`; of VOC's segmentations, the number
    of the class with `void=255`. `annotations` keep void apart: terms that take signs
    (`guidance.gradia`, `haics`, `res_gaussian` ...) say nothing about those pixels.
    Terms that take 'region' cannot: put `region` there, or `annotations >= 0` to count
    void as inside, so that losses of what lies outside leave it alone.

    Args:
      mask: whole numbers or bool [H, W] or [N, H, W], not colours: a mask that is read
        as RGB has lost its numbers (`read_mask` keeps them).
      inside: the labels, one or several, of what is evidence.
      void: the labels of what nobody says anything about.
      outside: all other labels; None for whatever else there is. Naming them finds what
        a lossy file left between 0 and 255.

    Returns:
      region and annotations, shaped like `mask`.

    Raises:
      ValueError: if the mask is not of whole numbers, a label is given twice or cannot
        occur in the mask's dtype, there is no `inside`, or `outside` is given and a
        pixel holds something else, naming value and place.

    Example:
      >>> mask = np.array([[0, 255, 15], [0, 15, 3]], np.uint8)
      >>> region, signs = region_from_labels(mask, inside=15, void=255)
      >>> region.astype(int).tolist()
      [[0, 0, 1], [0, 1, 0]]
      >>> signs.tolist()
      [[-1, 0, 1], [-1, 1, -1]]
    """
    mask = np.asarray(mask)
    if mask.ndim not in (2, 3) or mask.dtype.kind not in "biu":
        raise ValueError(
            f"`mask` ({mask.dtype} {mask.shape}) must be whole numbers [H, W] or [N, "
            "H, W]."
        )
    labels = {
        "inside": np.atleast_1d(inside).tolist(),
        "void": np.atleast_1d(void).tolist(),
        "outside": [] if outside is None else np.atleast_1d(outside).tolist(),
    }
    _check_labels(labels, mask.dtype)
    is_inside, is_void, is_outside = (np.isin(mask, labels[k]) for k in labels)
    other = ~(is_inside | is_void | is_outside)
    if outside is not None and other.any():
        place = tuple(np.argwhere(other)[0].tolist())
        raise ValueError(
            f"`mask`{list(place)} (={mask[place]}) must be one of {labels}; a file "
            "that is compressed with losses, such as JPEG, changes labels."
        )
    annotations = np.where(is_inside, 1, np.where(is_void, 0, -1))
    annotations *= is_inside.any(axis=(-2, -1), keepdims=True)
    return LabelledRegion(is_inside, annotations.astype(np.int8))


def _check_labels(labels: dict[str, list[int]], dtype: np.dtype) -> None:
    if not labels["inside"]:
        raise ValueError("`inside` (=()) must name a label.")
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    seen: dict[int, str] = {}
    for name, numbers in labels.items():
        for number in numbers:
            if number != int(number) or not limits[0] <= number <= limits[1]:
                raise ValueError(f"`{name}` (={number}) cannot occur in {dtype}.")
            if number in seen:
                raise ValueError(
                    f"`{name}` (={number}) must not be in `{seen[number]}`, too."
                )
            seen[number] = name
