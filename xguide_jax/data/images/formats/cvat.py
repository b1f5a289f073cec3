"""CVAT's XML, "CVAT for images 1.1", one file of many images."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

import numpy as np

from xguide_jax.data.images import coco_format, polygons
from xguide_jax.data.images.formats import gathering, locating, parsing, record

_BOX = ("xtl", "ytl", "xbr", "ybr")
_MASK = ("left", "top", "width", "height")


def read_cvat(
    file: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
) -> record.AnnotatedImages:
    """Images with the boxes, outlines and masks of a CVAT file.

    * `<box>` is a box, or an outline where it is turned ('rotation', degrees clockwise
      about its centre); `<polygon>` an outline; `<mask>` run lengths along the rows of
      its own rectangle, by turns outside and inside.
    * `<tag>` is the class of the whole image; an image with tags of several classes has
      none.
    * `<ellipse>`, `<points>`, `<polyline>`, `<cuboid>` and `<skeleton>` are listed as
      problems.
    * 'width' and 'height' tell how the coordinates fit (`upright_of`).

    Args:
      file: the XML.
      images: the folder that the images' 'name' is below.
      class_names: the known classes in order; None for the labels of the task, as the
        file lists them, or where it lists none, all that are drawn, sorted.

    Returns:
      The images in the order of the file, and their problems.

    Raises:
      FileNotFoundError: if the file or the folder is missing.
      ImportError: if pillow is not installed.
      ValueError: naming file and place, if it is no XML, has a DTD, or is of another
        form, as CVAT's files for videos are.

    Source: "CVAT for images", docs.cvat.ai.
    """
    root, name = parsing.xml_root(file), os.path.basename(file)
    if root.tag != "annotations" or root.find("track") is not None:
        raise ValueError(f"{name} must be <annotations> of images, without <track>.")
    listed = [one.text or "" for one in root.findall("meta//labels/label/name")]
    if class_names is None and listed:
        class_names = tuple(dict.fromkeys(listed))
    entries = [_entry(one, n, name) for n, one in enumerate(root.findall("image"))]
    return gathering.gather(
        entries, locating.folder_of(images), draw=_draw, class_names=class_names
    )


def _draw(content: Any, size: gathering.Size) -> gathering.Drawing:
    kind, numbers, code = content
    if kind == "polygon":
        return None, (polygons.polygon_from_cvat(code),)
    if kind == "mask":
        return None, coco_format.rle_from_mask(_mask(numbers, code, size))
    if kind != "box":
        raise ValueError(f"a {kind} is no box, polygon or mask")
    *corners, degrees = numbers
    box = np.array(corners, np.float32)
    if not degrees % 360:
        return box, None
    if np.any(box[:2] >= box[2:]):
        raise ValueError(f"its box {box.tolist()} must have an area")
    x0, y0, x1, y1 = corners
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    around = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) - centre
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    # Clockwise on a screen, where y grows downwards.
    return None, (around @ np.array([[cos, sin], [-sin, cos]]) + centre,)


def _mask(numbers: Sequence[float], code: str, size: gathering.Size) -> np.ndarray:
    left, top, width, height = (int(number) for number in numbers)
    if numbers != (left, top, width, height) or height > size[0] or width > size[1]:
        raise ValueError("its mask must be whole pixels, no more than its image has")
    try:
        counts = np.array([int(count) for count in code.split(",")])
    except ValueError as error:
        raise ValueError("its 'rle' must be whole numbers") from error
    if min(width, height) < 1 or np.any(counts < 0) or counts.sum() != width * height:
        raise ValueError(f"its 'rle' must sum to its {width} * {height} pixels")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    mask = np.zeros(size, bool)
    rows, columns = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
    seen = mask[rows, columns]
    down, right = max(-top, 0), max(-left, 0)
    seen[:] = inside[down : down + seen.shape[0], right : right + seen.shape[1]]
    if not mask.any():
        raise ValueError("its mask covers no pixel of the image")
    return mask


def _entry(image: ElementTree.Element, n: int, name: str) -> gathering.Entry:
    place, where = f"image[{n}]", f"{name}, image[{n}]"
    written = image.get("name")
    if not written:
        raise ValueError(f"{where}: 'name' must be there.")
    tags, objects = set(), []
    for k, one in enumerate(image):
        inner = f"{where}, {one.tag}[{k}]"
        label = one.get("label")
        if not label:
            raise ValueError(f"{inner}: 'label' must be there.")
        if one.tag == "tag":
            tags.add(label)
            continue
        numbers: tuple[float, ...] = ()
        if one.tag == "box":
            numbers = tuple(parsing.number(one.get(s), inner, s) for s in _BOX)
            turned = parsing.number(one.get("rotation", "0"), inner, "rotation")
            numbers = (*numbers, turned)
        elif one.tag == "mask":
            numbers = tuple(parsing.number(one.get(s), inner, s) for s in _MASK)
        code = one.get("points") or one.get("rle") or ""
        written_one = (one.tag, numbers, code)
        objects.append(
            gathering.Written(f"{place}, {one.tag}[{k}]", label, written_one)
        )
    return gathering.Entry(
        name,
        place,
        written,
        parsing.size(image.get("height"), image.get("width"), where),
        tuple(objects),
        classes=tuple(sorted(tags)),
    )
