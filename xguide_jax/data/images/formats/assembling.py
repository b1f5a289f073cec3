"""Annotated images as the arrays of a data set, all of one size."""

from collections.abc import Sequence

import numpy as np

from xguide_jax.data.images import annotations, spatial
from xguide_jax.data.images.formats import record


def class_regions(
    images: Sequence[record.Annotated], *, shape: tuple[int, int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One class an image: which, and where the objects of that class are.

    Images are stretched to `shape`; a cell is in the region if any pixel under it is.

    Args:
      images: N of them, as a reader returns them, each with a label.
      shape: `(h, w)` of the inputs.

    Returns:
      (labels, int32 [N]; {'region': bool [N, h, w], 'region_valid': bool [N], False
      where no object of the class is drawn}).

    Raises:
      ValueError: for an image without a label, of which objects of several classes or
        none are drawn; or one with objects and no size.

    Example:
      A folder of photographs, beside them what is drawn on them::

        found = data.read_annotations("photos")
        images = [one for one in found.images if one.label >= 0]
        labels, known = data.class_regions(images, shape=(224, 224))
        dataset = data.Dataset(np.arange(len(labels)), labels, found.class_names, known)
    """
    regions = np.zeros((len(images), *shape), bool)
    for row, one in enumerate(images):
        if one.label < 0:
            raise ValueError(
                f"{one.name} must have a label: its objects are of the classes "
                f"{list(record.classes_of(one))}."
            )
        if one.label in record.classes_of(one):
            region = record.region_of(one, one.label)
            regions[row] = annotations.resize_mask(region, shape=shape)
    labels = np.array([one.label for one in images], np.int32)
    return labels, {"region": regions, "region_valid": regions.any(axis=(1, 2))}


def class_boxes(
    images: Sequence[record.Annotated], *, num_classes: int, shape: tuple[int, int]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Several classes an image: which it shows, and the boxes of each.

    For `choose_targets`, which explains one positive class of an image in each step, by
    the boxes of that class. An object without a box has the smallest around its
    outline. Images are stretched to `shape`, and a box with them, as by `resize`.

    Args:
      images: N of them, as a reader returns them.
      num_classes: C.
      shape: `(h, w)` of the inputs.

    Returns:
      (labels, int32 multi-hot [N, C], 1 where an object of the class is drawn;
      {'boxes': float32 [N, boxes, 4], 'boxes_valid': bool [N, boxes], 'boxes_class':
      int32 [N, boxes]}).

    Raises:
      ValueError: if an image has objects and no size, or an object another class.

    Example:
      Photographs with all that is drawn in them::

        found = data.read_coco("boxes.json", "photos")
        labels, known = data.class_boxes(
            found.images, num_classes=len(found.class_names), shape=(224, 224))
        rows = np.arange(len(labels))
        dataset = data.Dataset(rows, labels, found.class_names, known)
    """
    labels = np.zeros((len(images), num_classes), np.int32)
    of_image = []
    for row, one in enumerate(images):
        classes = np.array([o.label for o in one.objects], np.int32)
        if np.any((classes < 0) | (classes >= num_classes)):
            raise ValueError(
                f"{one.name} has objects of the classes {sorted(set(classes.tolist()))}"
                f", which must lie in 0 .. {num_classes - 1}."
            )
        labels[row, classes] = 1
        of_image.append((stretched_boxes(one, one.objects, shape=shape), classes))
    most = max([1, *(len(classes) for _, classes in of_image)])
    known = {
        "boxes": np.zeros((len(images), most, 4), np.float32),
        "boxes_valid": np.zeros((len(images), most), bool),
        "boxes_class": np.zeros((len(images), most), np.int32),
    }
    for row, (boxes, classes) in enumerate(of_image):
        known["boxes"][row, : len(boxes)] = boxes
        known["boxes_valid"][row, : len(boxes)] = boxes[:, 0] < boxes[:, 2]
        known["boxes_class"][row, : len(boxes)] = classes
    return labels, known


def stretched_boxes(
    one: record.Annotated, objects: Sequence[record.Object], *, shape: tuple[int, int]
) -> np.ndarray:
    """The boxes of some objects of an image that is stretched to another size.

    Args:
      one: the image, with its size.
      objects: of it.
      shape: `(h, w)`.

    Returns:
      float32 [objects, 4], `(x0, y0, x1, y1)`, the cells that the boxes touch; 0 for an
      outline without a pixel.

    Raises:
      ValueError: if the image has objects and no size.
    """
    if not objects:
        return np.zeros((0, 4), np.float32)
    if one.size is None:
        raise ValueError(f"{one.name} must have a size, (H, W).")
    boxes = np.stack(
        [
            around_mask(record.object_mask(each, one.size))
            if each.box is None
            else each.box
            for each in objects
        ]
    )
    # Of the image the size alone is looked at.
    blank = np.zeros((*one.size, 0), np.uint8)
    known = {"boxes": boxes.astype(np.float32)}
    return spatial.resize(blank, known, shape=shape)[1]["boxes"]


def around_mask(mask: np.ndarray) -> np.ndarray:
    """The smallest box around a mask.

    Args:
      mask: bool [H, W].

    Returns:
      float32 [4], `(x0, y0, x1, y1)`; 0 for an empty mask.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros(4, np.float32)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
