"""Masks in image files, a class a value, one file an image."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from xguide_jax.data.images import image_files
from xguide_jax.data.images.formats import gathering, locating, parsing, record

_BACKGROUND = 0


def read_mask_files(
    folder: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    class_of_value: Mapping[int, str],
    void: int | Sequence[int] = (),
) -> record.AnnotatedImages:
    """Images with the masks of PNG files, whose values are classes.

    The mask 'a/b.png' belongs to the image 'a/b' of any suffix. The numbers of a
    palette are the values, not its colours. All pixels of one class are one object; a
    value that is neither a class nor void is outside, and, unless it is 0, listed as a
    problem. The size of the mask tells how it fits (`upright_of`).

    Args:
      folder: of the masks, '.png'.
      images: the folder of the images, another one.
      class_of_value: {value: class}; a class may have several. Of masks of 0 and 255,
        `{255: 'cat'}`.
      void: the values of what is evidence neither way, 255 in VOC.

    Returns:
      The images by the names of the masks, and their problems. The classes are in the
      order of `class_of_value`.

    Raises:
      FileNotFoundError: if a folder is missing.
      ImportError: if pillow is not installed.
      ValueError: naming the file, if a mask cannot be read or is one of colours; if
        there is no class, or a value is a class and void.
    """
    unsaid = set(np.atleast_1d(void).tolist())
    both = unsaid & set(class_of_value)
    if both or not class_of_value:
        raise ValueError(
            f"`class_of_value` (={dict(class_of_value)}) must name a class, and none "
            f"of `void` (={void})."
        )
    values_of: dict[str, list[int]] = {}
    for value, class_name in class_of_value.items():
        values_of.setdefault(class_name, []).append(value)
    wrong: list[record.Problem] = []
    entries = [
        _entry(path, name, values_of, unsaid, wrong)
        for name, path in parsing.files_below(folder, ".png").items()
    ]
    return gathering.gather(
        entries,
        locating.folder_of(images),
        draw=lambda content, size: (None, content),
        class_names=tuple(values_of),
        problems=wrong,
    )


def _entry(
    path: pathlib.Path,
    name: str,
    values_of: Mapping[str, Sequence[int]],
    unsaid: set[int],
    wrong: list[record.Problem],
) -> gathering.Entry:
    """A mask as its classes and what is void; other values are listed in `wrong`."""
    labels = image_files.read_mask(path, upright=False)
    found = set(np.unique(labels).tolist())
    known = {value for values in values_of.values() for value in values}
    for value in sorted(found - {_BACKGROUND} - unsaid - known):
        text = f"its value is none of the {len(known)} classes, nor void"
        wrong.append(record.Problem(name, f"value {value}", text))
    objects = [
        gathering.Written(class_name, class_name, _inside(path, found, values))
        for class_name, values in values_of.items()
        if found & set(values)
    ]
    if found & unsaid:
        content = _inside(path, found, unsaid)
        objects.append(gathering.Written("void", None, content, void=True))
    height, width = labels.shape
    stem = pathlib.PurePosixPath(name).with_suffix("").as_posix()
    return gathering.Entry(name, "the mask", "", (height, width), tuple(objects), stem)


def _inside(
    path: pathlib.Path, found: set[int], values: Sequence[int] | set[int]
) -> record.MaskPixels:
    return record.MaskPixels(path, tuple(sorted(found & set(values))))
