"""What readers of annotated photographs return, whichever tool wrote the files.

An image may hold objects of several classes: a step that explains one of them takes
`region_of` that class. Masks are made when they are asked for, since thousands of
photographs of full size would not fit in memory.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from xguide_jax.data.images import annotations, coco_format, image_files, polygons


class MaskPixels(NamedTuple):
    """An outline that is the pixels of some values in a mask file.

    Attributes:
      path: of the file, one channel of labels.
      values: which of them are inside.
    """

    path: pathlib.Path
    values: tuple[int, ...]


Outline = tuple[np.ndarray, ...] | Mapping[str, Any] | MaskPixels


class Object(NamedTuple):
    """One thing in an image that somebody drew a box around, or its outline.

    Attributes:
      label: the index of its class; -1 of void pixels.
      box: float32 [4], `(x0, y0, x1, y1)` in pixels, half open and within the image;
        None where nobody drew one.
      outline: finer than the box: polygons, each [V, 2] in pixels, which are joined, a
        COCO run-length code, or pixels of a mask file; None where there is only a box.
    """

    label: int
    box: np.ndarray | None
    outline: Outline | None = None


class Annotated(NamedTuple):
    """One image and what is drawn on it.

    Attributes:
      name: of the file below the folder of images, in Unicode's composed form (NFC).
      path: where it lies; None if only the annotations are at hand.
      label: the class of the image. What a file says of the whole image counts, else
        the one class of all of its objects; -1 where there is none or are several.
      size: `(H, W)` in which the objects are drawn, of the image as `upright` says.
      objects: what is evidence, in the order of the file.
      void: what is evidence neither way: COCO's crowds, and void pixels of masks. They
        have no part in `region_of` and `classes_of`.
      upright: as `upright_of` returns it.
      source: of images that belong together in one split, such as those of one patient.
    """

    name: str
    path: pathlib.Path | None
    label: int
    size: tuple[int, int] | None
    objects: tuple[Object, ...] = ()
    void: tuple[Object, ...] = ()
    upright: bool = False
    source: str | None = None


class Problem(NamedTuple):
    """What was left out, and why.

    Attributes:
      file: the name of the file that says it.
      place: where in it.
      what: is wrong.
    """

    file: str
    place: str
    what: str


class AnnotatedImages(NamedTuple):
    """All images of a data set that can be used, and what could not.

    Attributes:
      images: in the order of the file, or by name where each has a file of its own.
      class_names: what labels are indices of.
      problems: every object or image that was left out.
      num_clipped: how many boxes reached beyond their image and were cut at its border.
      left_out: (name, why) of each image that an annotation names or belongs to, and
        that could not be used. `problems` has it by its annotation.
      unnamed: images below the folder that no annotation names, sorted. They are not
        opened: one of them may be no image at all.
    """

    images: tuple[Annotated, ...]
    class_names: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    num_clipped: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    unnamed: tuple[str, ...] = ()


def classes_of(annotated: Annotated) -> tuple[int, ...]:
    """The labels that an image has objects of, ascending.

    Any of them can be the positive class of a step, with `region_of` that class.

    Args:
      annotated: an image.

    Returns:
      Each label once; none where no object is drawn, whatever the image's own label.
    """
    return tuple(sorted({one.label for one in annotated.objects}))


def region_of(annotated: Annotated, label: int) -> np.ndarray:
    """The pixels of all objects of one class in an image.

    Args:
      annotated: an image, with its size.
      label: the index of a class.

    Returns:
      bool [H, W] for the image as `upright_of` has it decoded; nothing inside where no
      such object is drawn.

    Raises:
      ValueError: if the image has no size, or as `object_mask`.
    """
    if annotated.size is None:
        raise ValueError(f"`annotated` ({annotated.name}) must have a size, (H, W).")
    region = np.zeros(annotated.size, bool)
    for one in annotated.objects:
        if one.label == label:
            region |= object_mask(one, annotated.size)
    return region


def object_mask(one: Object, shape: tuple[int, int]) -> np.ndarray:
    """The pixels of one object: of its outline, or else of its box.

    Args:
      one: an object.
      shape: `(H, W)` of the image.

    Returns:
      bool [H, W].

    Raises:
      ImportError: if it is in a mask file and pillow is not installed.
      ValueError: if it has neither, or a mask of another shape.
    """
    if isinstance(one.outline, MaskPixels):
        labels = image_files.read_mask(one.outline.path, upright=False)
        if labels.shape != tuple(shape):
            raise ValueError(
                f"{one.outline.path} {labels.shape} must have the shape of its image, "
                f"{tuple(shape)}."
            )
        return np.isin(labels, one.outline.values)
    if isinstance(one.outline, Mapping):
        return coco_format.mask_from_coco(one.outline, shape=shape)
    if one.outline is not None:
        return polygons.mask_from_polygons(one.outline, shape=shape)
    if one.box is None:
        raise ValueError("`one` must have a box or an outline.")
    valid = np.ones((1, 1), bool)
    return annotations.box_masks(one.box[None, None], valid, shape=shape)[0]


def upright_of(annotated: Annotated) -> bool:
    """Whether to decode an image upright, `read_image(path, upright=...)`.

    A camera that was held sideways writes its pixels as they came and a note, EXIF, how
    to turn them. Boxes fit the pixels as they came unless the recorded size is that of
    the turned image and not of the other. Where a file records no size, or a square, or
    the image is upside down, no size can tell: they are taken to fit the pixels as they
    came. Only LabelMe is known to turn, so there no size or one that fits both means
    upright.

    Args:
      annotated: an image.

    Returns:
      True if the annotations fit the turned image.
    """
    return annotated.upright
