"""LabelMe's json, one file an image."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from xguide_jax.data.images.formats import gathering, locating, parsing, record


def read_labelme(
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
) -> record.AnnotatedImages:
    """Images with the outlines and rectangles of LabelMe's json files.

    * A file belongs to the image of its 'imagePath', a name below the folder of images;
      where there is none of that name, to the image of its own name. LabelMe writes
      '../photos/a.jpg' if the json lies beside the photographs: a path with '..' starts
      from the folder of its json, and must lead into that of the images.
    * A 'polygon' is an outline; a 'rectangle' two opposite corners, a box and the same
      as an outline. Circles, points, lines and masks are listed as problems.
    * LabelMe shows photographs upright, so no size, or one that fits both ways, is that
      of the upright image.
    * The copy of the image in the file ('imageData') is not read.

    Args:
      folder: of the json files, or one such file.
      images: the folder of the images.
      class_names: the known classes in order; None for all labels in the files, sorted.

    Returns:
      The images by the names of the json files, and their problems.

    Raises:
      FileNotFoundError: if a folder is missing.
      ImportError: if pillow is not installed.
      ValueError: naming file and place, if a file is no json or of another form.
    """
    entries = [
        _entry(parsing.json_content(path), name, path.parent)
        for name, path in parsing.files_below(folder, ".json").items()
    ]
    return gathering.gather(
        entries,
        locating.folder_of(images),
        draw=_draw,
        class_names=class_names,
        turning=True,
    )


def _draw(content: tuple[str, Any], size: gathering.Size) -> gathering.Drawing:
    del size  # points are in pixels already
    kind, points = content
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = np.sort(np.array(points), axis=0)
        box = np.array([x0, y0, x1, y1], np.float32)
        return box, (np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]),)
    if kind == "polygon":
        return None, (gathering.corners_of(points),)
    raise ValueError(f"a {kind} of {len(points)} points is no polygon or rectangle")


def _entry(content: Any, name: str, beside: pathlib.Path) -> gathering.Entry:
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list):
        raise ValueError(f"{name}: 'shapes' must be a list.")
    objects = []
    for n, one in enumerate(shapes):
        place, where = f"shapes[{n}]", f"{name}, shapes[{n}]"
        if not isinstance(one, dict) or not isinstance(one.get("label"), str):
            raise ValueError(f"{where} must have 'label', a text.")
        kind, points = one.get("shape_type") or "polygon", one.get("points")
        if not isinstance(points, list) or not all(
            isinstance(point, list) and len(point) == 2 for point in points
        ):
            raise ValueError(f"{where}: 'points' must be a list of pairs.")
        corners = [tuple(parsing.number(v, where, "points") for v in p) for p in points]
        objects.append(gathering.Written(place, one["label"], (kind, corners)))
    size = parsing.size(content.get("imageHeight"), content.get("imageWidth"), name)
    written = content.get("imagePath") or ""
    if not isinstance(written, str):
        raise ValueError(f"{name}: 'imagePath' must be text.")
    stem = pathlib.PurePosixPath(name).with_suffix("").as_posix()
    return gathering.Entry(
        name, "imagePath", written, size, tuple(objects), stem, beside=beside
    )
