"""Pascal VOC's XML, one file an image."""

import functools
import os
import pathlib
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import numpy as np

from xguide_jax.data.images import box_formats
from xguide_jax.data.images.formats import gathering, locating, parsing, record

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    first: int = 1,
    inclusive: bool = True,
    class_names: Sequence[str] | None = None,
) -> record.AnnotatedImages:
    """Images with the boxes of Pascal VOC's XML files.

    * A file belongs to the image of its 'filename'; where there is none of that name,
      to the image of its own name, since 'filename' is often left over from elsewhere.
    * 'bndbox' is the first and the last pixel, counted from 1, in VOC's own data. Many
      tools write the same XML and count from 0, or mean the end: `boxes_from_voc`.
    * 'size' tells how the boxes fit (`upright_of`); missing or 0, it says nothing.
    * Objects that are 'difficult' or 'truncated' are objects. Parts are not read.

    Args:
      folder: of the XML files, or one such file.
      images: the folder of the images.
      first: the number of the first pixel.
      inclusive: whether the last pixel belongs to the box.
      class_names: the known classes in order; None for all that are in the files,
        sorted: the same only where all files are.

    Returns:
      The images by the names of the XML files, and their problems: what could not be
      found or drawn.

    Raises:
      FileNotFoundError: if a folder is missing.
      ImportError: if pillow is not installed.
      ValueError: naming file and place, if a file is no XML, has a DTD, is of another
        form, or has a box that begins at 0 where the first pixel is 1.

    Source: Everingham et al., "The PASCAL Visual Object Classes Challenge 2012
      (VOC2012) Development Kit", section 4, "Annotation".
    """
    entries = [
        _entry(parsing.xml_root(path), name, first)
        for name, path in parsing.files_below(folder, ".xml").items()
    ]
    draw = functools.partial(_draw, first=first, inclusive=inclusive)
    return gathering.gather(
        entries, locating.folder_of(images), draw=draw, class_names=class_names
    )


def _draw(
    content: tuple[float, ...] | None,
    size: gathering.Size,
    *,
    first: int,
    inclusive: bool,
) -> gathering.Drawing:
    del size  # boxes are in pixels already
    if content is None:
        raise ValueError("it has no 'bndbox'")
    return box_formats.boxes_from_voc(
        np.array(content), first=first, inclusive=inclusive
    ), None


def _entry(root: ElementTree.Element, name: str, first: int) -> gathering.Entry:
    if root.tag != "annotation":
        raise ValueError(f"{name}: <{root.tag}> must be VOC's <annotation>.")
    size = parsing.size(
        root.findtext("size/height"), root.findtext("size/width"), f"{name}, size"
    )
    objects = []
    for n, one in enumerate(root.findall("object")):
        place, sides = f"object[{n}]", one.find("bndbox")
        class_name = (one.findtext("name") or "").strip()
        if not class_name:
            raise ValueError(f"{name}, {place}: 'name' must be there.")
        box = None
        if sides is not None:
            where = f"{name}, {place}"
            box = tuple(parsing.number(sides.findtext(s), where, s) for s in _SIDES)
            if 0 <= min(box[:2]) < first:
                raise ValueError(
                    f"{where}: its box {box} begins before pixel {first}, the first; "
                    "if these files count from 0, all boxes need `first=0`."
                )
        objects.append(gathering.Written(place, class_name, box))
    stem = pathlib.PurePosixPath(name).with_suffix("").as_posix()
    written = (root.findtext("filename") or "").strip()
    return gathering.Entry(name, "filename", written, size, tuple(objects), stem)
