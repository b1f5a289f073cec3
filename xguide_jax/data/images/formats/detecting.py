"""Which format a file or folder of annotations has, by what is in it."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

from xguide_jax.data.images import image_files
from xguide_jax.data.images.formats import (
    box_csv,
    class_folders,
    coco,
    cvat,
    labelme,
    locating,
    parsing,
    record,
    voc,
    yolo,
)

Path = str | os.PathLike[str]

# Of a whole folder; the others are one file each.
_FOLDERS: dict[str, Callable[[Any, Any], record.AnnotatedImages]] = {
    "VOC": voc.read_voc,
    "YOLO": yolo.read_yolo,
    "LabelMe": labelme.read_labelme,
}
_FILES: dict[str, Callable[[Any, Any], record.AnnotatedImages]] = {
    "COCO": coco.read_coco,
    "CVAT": cvat.read_cvat,
    "a table of boxes": box_csv.read_box_csv,
}
_SUFFIXES = (".json", ".xml", ".txt", ".csv")


def read_annotations(path: Path, images: Path | None = None) -> record.AnnotatedImages:
    """Annotated images of whichever format is found in a file or folder.

    By content, whatever the names:

    * json with 'images', 'annotations' and 'categories' is COCO, with 'shapes' LabelMe;
    * XML of `<annotation>` is VOC, of `<annotations>` CVAT;
    * text whose first line is a whole number and four or more others is YOLO;
    * csv with the columns of `read_box_csv` is that;
    * folders of images, where nothing else is found, are classes.

    Each is read as its own function reads it without options: `read_voc` from pixel 1,
    `read_yolo` with the names it finds. Masks have to be told which value is which
    class, so they are named and not read: `read_mask_files`.

    Args:
      path: a file, or a folder that may hold the images as well.
      images: the folder of the images; None for `path`, or the folder it lies in.

    Returns:
      The images and their problems.

    Raises:
      FileNotFoundError: if there is no such file or folder.
      ImportError: if pillow is not installed.
      ValueError: if none or several of the formats fit, naming them; or as the one that
        fits.
    """
    top = parsing.existing(path)
    folder = (top if top.is_dir() else top.parent) if images is None else images
    found: dict[str, list[pathlib.Path]] = {}
    for suffix in _SUFFIXES if top.is_dir() else (top.suffix.lower(),):
        for file in parsing.files_below(top, suffix).values():
            kind = _kind(file, alone=top.is_file())
            if kind is not None:
                found.setdefault(kind, []).append(file)
    shown = {kind: [file.name for file in files[:3]] for kind, files in found.items()}
    if len(found) > 1:
        raise ValueError(f"{top} must be of one format, not of several: {shown}.")
    for kind, files in found.items():
        if kind in _FOLDERS:
            return _FOLDERS[kind](top, folder)
        if len(files) > 1:
            raise ValueError(
                f"{top} holds several files of {kind}, {shown[kind]}: name one."
            )
        return _FILES[kind](files[0], folder)
    if top.is_dir() and images is None and _is_class_folders(top):
        return class_folders.read_class_folders(top)
    if top.is_dir() and _is_masks(top):
        raise ValueError(
            f"{top} holds masks; `read_mask_files` has to be told which value of a "
            "pixel is which class."
        )
    known = [*_FOLDERS, *_FILES, "class folders"]
    raise ValueError(f"{top} must be of one of the formats {known}; none fits.")


def _kind(file: pathlib.Path, *, alone: bool) -> str | None:
    """The format of one file; if it is the only one, what is wrong with it is told."""
    try:
        if file.suffix.lower() == ".json":
            return _json_kind(parsing.json_content(file))
        if file.suffix.lower() == ".xml":
            tag = parsing.xml_root(file).tag
            return {"annotation": "VOC", "annotations": "CVAT"}.get(tag)
        with open(file, encoding="utf-8-sig") as lines:
            line = next((line for line in lines if line.strip()), "")
    except ValueError:
        if alone:
            raise
        return None
    if file.suffix.lower() == ".csv":
        cells = {cell.strip(' "\r\n') for cell in line.split(",")}
        return "a table of boxes" if cells >= set(box_csv.COLUMNS) else None
    return "YOLO" if _is_yolo(line.split()) else None


def _json_kind(content: Any) -> str | None:
    keys = set(content) if isinstance(content, dict) else set()
    if keys >= {"images", "annotations", "categories"}:
        return "COCO"
    return "LabelMe" if "shapes" in keys else None


def _is_yolo(words: list[str]) -> bool:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(numbers) >= 5 and numbers[0].is_integer()


def _is_class_folders(top: pathlib.Path) -> bool:
    """Whether all images lie in folders, as those of a class do."""
    names = locating.folder_of(top).by_name
    return bool(names) and all("/" in name for name in names)


def _is_masks(top: pathlib.Path) -> bool:
    """Whether the first of the images there is one that `read_mask` reads."""
    paths = parsing.files_below(top, ".png").values()
    try:
        return bool([image_files.read_mask(path) for path in list(paths)[:1]])
    except ValueError:
        return False
