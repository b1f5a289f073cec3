"""YOLO's text files, one an image, with boxes or outlines in fractions."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from xguide_jax.data.images import box_formats
from xguide_jax.data.images.formats import gathering, locating, parsing, record

NAMES_FILE = "classes.txt"
_YAML = ("data.yaml", "dataset.yaml")


def read_yolo(
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
) -> record.AnnotatedImages:
    """Images with the boxes and outlines of YOLO's text files.

    A line is a box, `class cx cy w h`, or an outline, `class x0 y0 x1 y1 x2 y2 ...`,
    all but the class in fractions of the image. The file 'a/b.txt' belongs to the image
    'a/b' of any suffix. An empty file is an image without objects; an image without a
    file is not annotated and is left alone. No size is recorded: coordinates fit the
    pixels as they are stored.

    A class is a number; which, only a list of names says. Files of COCO's images may
    hold COCO's ids, which are others.

    Args:
      folder: of the text files.
      images: the folder of the images.
      class_names: names in the order of the numbers; None to read them from
        'classes.txt', a line each, or from `names` in 'data.yaml', in the folder or the
        one above it; the second needs pyyaml.

    Returns:
      The images by name, and their problems: a class without a name, numbers outside
      [0, 1], and what could not be found or drawn.

    Raises:
      FileNotFoundError: if a folder is missing.
      ImportError: if pillow is not installed, or pyyaml where it is needed.
      ValueError: naming file and line, if a line is of another form, as predictions,
        with a sixth number, are; or if there are no names.
    """
    top = parsing.existing(folder)
    names = _class_names(top) if class_names is None else tuple(class_names)
    wrong: list[record.Problem] = []
    entries = [
        _entry(path, name, names, wrong)
        for name, path in parsing.files_below(top, ".txt").items()
        if path.name != NAMES_FILE
    ]
    return gathering.gather(
        entries,
        locating.folder_of(images),
        draw=_draw,
        class_names=names,
        problems=wrong,
    )


def _draw(content: tuple[float, ...], size: gathering.Size) -> gathering.Drawing:
    numbers = np.array(content)
    if len(numbers) == 4:
        return box_formats.boxes_from_yolo(numbers, shape=size), None
    corners = gathering.corners_of(content)
    if np.any((corners < 0) | (corners > 1)):
        raise ValueError("its outline must lie in [0, 1]")
    return None, (corners * size[::-1],)


def _entry(
    path: pathlib.Path, name: str, names: Sequence[str], wrong: list[record.Problem]
) -> gathering.Entry:
    objects = []
    for n, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        place, where = f"line {n}", f"{name}, line {n}"
        label, *rest = (parsing.number(part, where, "number") for part in line.split())
        if label != int(label) or len(rest) < 4 or len(rest) % 2:
            raise ValueError(
                f"{where} must be a whole number, the class, and 4 numbers of a box or "
                "pairs of an outline."
            )
        if not 0 <= label < len(names):
            text = f"its class {int(label)} is none of the {len(names)} known"
            wrong.append(record.Problem(name, place, text))
            continue
        written = gathering.Written(place, names[int(label)], tuple(rest))
        objects.append(written)
    stem = pathlib.PurePosixPath(name).with_suffix("").as_posix()
    return gathering.Entry(name, "the file", "", None, tuple(objects), stem)


def _class_names(top: pathlib.Path) -> tuple[str, ...]:
    for folder in (top, top.parent):
        if (folder / NAMES_FILE).is_file():
            lines = _lines(folder / NAMES_FILE)
            return tuple(line.strip() for line in lines if line.strip())
        for name in _YAML:
            if (folder / name).is_file():
                return _yaml_names(folder / name)
    raise ValueError(
        f"`class_names` (=None) must be given: there is no {NAMES_FILE} or {_YAML[0]} "
        f"in {top} or above it."
    )


def _yaml_names(path: pathlib.Path) -> tuple[str, ...]:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f"reading {path.name} needs pyyaml: install it, or give `class_names`."
        ) from error
    try:
        content: Any = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name} must be YAML ({error}).") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and sorted(map(str, names)) == sorted(
        map(str, range(len(names)))
    ):
        numbered = {str(key): value for key, value in names.items()}
        names = [numbered[str(n)] for n in range(len(numbered))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{path.name}: 'names' must be a list, or numbered from 0.")
    return tuple(map(str, names))


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} must be text in UTF-8 ({error}).") from error
