"""COCO's annotations: run lengths, outlines and crowds, as masks.

A run-length code (RLE) counts pixels down the columns, left to right, by turns outside
and inside, beginning outside: {'size': [3, 4], 'counts': [4, 2, 6]} is 3 pixels high, 4
wide, and has rows 1 and 2 of column 1 inside. 'counts' may be text, too, in which each
count, less the one before the last, is written in base 32.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xguide_jax.data.images import label_masks, polygons

# A character carries 5 bits, whether more follow, and begins at '0'.
_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48


def mask_from_rle(rle: Mapping[str, Any]) -> np.ndarray:
    """The mask that a run-length code stands for.

    Args:
      rle: with 'size', [H, W], and 'counts', whole numbers or COCO's text or bytes.

    Returns:
      bool [H, W].

    Raises:
      ValueError: if something is missing, a count is negative, or the counts are not
        those of H W pixels.
    """
    try:
        height, width = (int(size) for size in rle["size"])
        code = rle["counts"]
        code = code.decode("ascii") if isinstance(code, bytes) else code
        counts = _counts(code) if isinstance(code, str) else np.asarray(code)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            "an RLE must have 'size', [H, W], and 'counts', numbers or text "
            f"({error!r})."
        ) from error
    if counts.ndim != 1 or (counts.size and counts.dtype.kind not in "iu"):
        raise ValueError(f"'counts' ({counts.dtype}) must be whole numbers.")
    if np.any(counts < 0) or np.sum(counts, dtype=object) != height * width:
        raise ValueError(
            f"'counts' must be at least 0 and sum to {height} * {width} pixels, not "
            f"{np.sum(counts, dtype=object)}."
        )
    runs = np.arange(len(counts)) % 2 == 1
    return np.repeat(runs, counts.astype(int)).reshape(width, height).T.copy()


def rle_from_mask(mask: np.ndarray, *, compressed: bool = True) -> dict[str, Any]:
    """The run-length code of a mask: `mask_from_rle` undoes it.

    Args:
      mask: [H, W], non-zero inside.
      compressed: whether 'counts' are COCO's text, or whole numbers.

    Returns:
      {'size': [H, W], 'counts': ...}, which json can write.

    Raises:
      ValueError: if the mask has another number of axes.
    """
    if mask.ndim != 2:
        raise ValueError(f"`mask` of shape {mask.shape} must be [H, W].")
    down = np.concatenate([[False], np.ravel(mask.T != 0)])
    changes = np.flatnonzero(down[1:] != down[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    code = _text(counts) if compressed else counts
    return {"size": list(mask.shape), "counts": code}


def mask_from_coco(segmentation: Any, *, shape: tuple[int, int]) -> np.ndarray:
    """The mask of one 'segmentation', whichever of its forms it has.

    Args:
      segmentation: an RLE, compressed or not, or a list of flat outlines, which are
        joined (`mask_from_polygons` says which pixels are inside).
      shape: `(H, W)` of the image.

    Returns:
      bool [H, W].

    Raises:
      ValueError: if it is empty or of another form, or an RLE of another size.
    """
    if isinstance(segmentation, Mapping):
        mask = mask_from_rle(segmentation)
        if mask.shape != tuple(shape):
            raise ValueError(
                f"the RLE of size {mask.shape} must have the image's, {tuple(shape)}."
            )
        return mask
    is_list = isinstance(segmentation, Sequence) and not isinstance(segmentation, str)
    if not is_list or not len(segmentation):
        raise ValueError("a segmentation must be an RLE or a list of outlines.")
    return polygons.mask_from_polygons(segmentation, shape=shape)


def region_from_coco(
    annotations: Sequence[Mapping[str, Any]],
    *,
    inside: int | Sequence[int],
    shape: tuple[int, int],
) -> label_masks.LabelledRegion:
    """Where the objects of some categories are in one image, and where nobody knows.

    A crowd ('iscrowd' 1) is a rough mask of many objects and of what is between them:
    no evidence either way. It is void, as in `region_from_labels`, where no object of
    its own lies on it; crowds of other categories are outside.

    Args:
      annotations: all of one image, each with 'segmentation' and 'category_id', and
        with 'iscrowd' where it is one.
      inside: the 'category_id's, one or several; COCO's have gaps, and other files may
        count from 0.
      shape: `(H, W)` of the image, which stands in the list of images.

    Returns:
      region and annotations [H, W], as `region_from_labels`; without any object inside
      both say nothing.

    Raises:
      ValueError: naming the annotation, if it is of another form, or another image.
    """
    categories = np.atleast_1d(inside).tolist()
    labels = np.zeros(shape, np.uint8)
    first = annotations[0].get("image_id") if annotations else None
    for crowd in (1, 0):  # objects of their own lie over crowds
        for number, one in enumerate(annotations):
            name = f"annotations[{number}] (id {one.get('id')})"
            flag = one.get("iscrowd", 0)
            if "category_id" not in one or flag not in (0, 1):
                raise ValueError(
                    f"{name} must have 'category_id' and 'iscrowd' 0 or 1."
                )
            if one.get("image_id") != first:
                raise ValueError(f"{name} must be of the image of the first, {first}.")
            if one["category_id"] not in categories or flag != crowd:
                continue
            try:
                mask = mask_from_coco(one.get("segmentation"), shape=shape)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            labels[mask] = 2 if crowd else 1
    return label_masks.region_from_labels(labels, inside=1, void=2)


def _counts(code: str) -> np.ndarray:
    counts: list[int] = []
    number = shift = 0
    for character in code:
        bits = ord(character) - _FIRST
        if not 0 <= bits < 2 * _MORE:
            raise ValueError(f"{character!r} is no part of a count")
        number |= (bits % _MORE) << shift
        shift += _BITS
        if bits & _MORE:
            continue
        if bits & _SIGN:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("the text ends within a count")
    return np.array(counts, np.int64)


def _text(counts: list[int]) -> str:
    code = []
    for place, count in enumerate(counts):
        number = count - (counts[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits = number % _MORE
            number >>= _BITS
            more = number != (-1 if bits & _SIGN else 0)
            code.append(chr(_FIRST + bits + more * _MORE))
    return "".join(code)
