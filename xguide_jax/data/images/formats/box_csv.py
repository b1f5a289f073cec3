"""A table of boxes, a row each."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from xguide_jax.data.images.formats import gathering, locating, parsing, record
from xguide_jax.data.text.readers import rows

SIDES = ("x0", "y0", "x1", "y1")
COLUMNS = ("image", "label", *SIDES)


def read_box_csv(
    file: str | os.PathLike[str],
    images: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
) -> record.AnnotatedImages:
    """Images with the boxes of a table, and their classes.

    The columns `image`, its file; `label`, a class; `x0`, `y0`, `x1`, `y1`, a box in
    pixels, half open; and `source`, if there is one, what belongs together in a split.
    An image has as many rows as boxes. A row without a box, its four cells empty, says
    that the whole image is of its class. No size is recorded: boxes fit the pixels as
    they are stored.

    An image with rows of two sources, or two rows that say another class of the whole,
    is in conflict with itself: it is left out, and listed as a problem.

    Args:
      file: csv in UTF-8, with commas and a header.
      images: the folder that `image` is below.
      class_names: the known classes in order; None for all in the file, sorted.

    Returns:
      The images in the order of the file, and their problems.

    Raises:
      FileNotFoundError: if the file or the folder is missing.
      ImportError: if pillow is not installed.
      ValueError: naming file and line, if a column is missing, or a cell is empty or no
        number.
    """
    name = os.path.basename(file)
    by_image: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for where, row in rows.table_rows(parsing.existing(file), COLUMNS):
        if not row["image"].strip() or not row["label"].strip():
            raise ValueError(f"{where}: 'image' and 'label' must not be empty.")
        image = locating.composed(row["image"].strip())
        by_image.setdefault(image, []).append((where, row))
    entries, wrong, left_out = [], [], {}
    for image, of_image in by_image.items():
        entry = _entry(name, of_image)
        if isinstance(entry, record.Problem):
            wrong.append(entry)
            left_out[image] = entry.what
        else:
            entries.append(entry)
    return gathering.gather(
        entries,
        locating.folder_of(images),
        draw=_draw,
        class_names=class_names,
        problems=wrong,
        left_out=left_out,
    )


def _draw(content: Any, size: gathering.Size) -> gathering.Drawing:
    del size  # boxes are in pixels already
    return np.array(content, np.float32), None


def _entry(
    name: str, of_image: list[tuple[str, dict[str, str]]]
) -> gathering.Entry | record.Problem:
    objects, whole, sources = [], set(), set()
    for where, row in of_image:
        place, label = where.removeprefix(f"{name}, "), row["label"].strip()
        sources.add((row.get("source") or "").strip())
        cells = [row[side].strip() for side in SIDES]
        if not any(cells):
            whole.add(label)
            continue
        box = tuple(
            parsing.number(cell, where, side)
            for cell, side in zip(cells, SIDES, strict=True)
        )
        objects.append(gathering.Written(place, label, box))
    first = of_image[0][0].removeprefix(f"{name}, ")
    image = of_image[0][1]["image"].strip()
    for what, several in {"sources": sources, "classes": whole}.items():
        if len(several) > 1:
            text = f"{image} must not be of several {what}, {sorted(several)}"
            return record.Problem(name, first, text)
    return gathering.Entry(
        name,
        first,
        image,
        None,
        tuple(objects),
        classes=tuple(whole),
        source=sources.pop() or None,
    )
