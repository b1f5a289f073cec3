"""Images of one's own in a table, with texts and maps of what decides."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xguide_jax.data.image_text import assembling
from xguide_jax.data.image_text import described as describing
from xguide_jax.data.text.readers import rows as text_rows

_NEEDED = ("image", "label")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_described_images(
    path: str | pathlib.Path,
    *,
    class_names: Sequence[str],
    shape: tuple[int, int],
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> describing.Described:
    """A table of one's own: images, their classes, and texts and maps where there are.

    Columns of a csv, or keys of json lines; others are not read:

    * `image`, its file; `label`, one of the class names.
    * `texts`: a list `["two holes", "a thick pen"]`, in a cell of csv as the same json;
      or one text as it is. Empty, null or missing where nobody wrote any.
    * `map`, a '.npy' of numbers [H, W] or a grey image, of the image's size or coarse,
      larger where there is more evidence; empty, null or missing where nobody drew one.

    Paths are below the folder of the table. An image may have several rows, one a text,
    with one label and one map: it becomes one row with all of its texts, so that no
    split can take it apart. Maps are normalised one by one (`normalise_maps`), and an
    image without a map, or with a constant one, is not valid, its region 0.

    Args:
      path: '.csv', '.tsv' (tabs) or '.jsonl', UTF-8.
      class_names: what `label` can be, in the order of the classes.
      shape: `(H, W)` to which images and maps are stretched.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      As `read_exp_annotation`.

    Raises:
      ImportError: if pillow is not installed.
      FileNotFoundError: if a file is missing, naming it.
      ValueError: naming file, line and rule, if a row is malformed, a path is absolute
        or holds '..', or an image or map cannot be read.
    """
    file = pathlib.Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"put the file at {file}; `described_digits` needs no file."
        )
    rows = _rows(file, class_names)
    return assembling.described_images(
        file.parent, rows, class_names, shape=shape, mean=mean, std=std
    )


def _rows(
    file: pathlib.Path, class_names: Sequence[str]
) -> Iterator[assembling.ImageRow]:
    found: Iterator[tuple[str, Mapping[str, Any]]]
    if file.suffix == ".jsonl":
        found = text_rows.json_rows(file, dict.fromkeys(_NEEDED, str))
    elif file.suffix in _DELIMITERS:
        delimiter = _DELIMITERS[file.suffix]
        found = text_rows.table_rows(file, _NEEDED, delimiter=delimiter)
    else:
        kinds = (*_DELIMITERS, ".jsonl")
        raise ValueError(f"`path` (={str(file)!r}) must end in one of {kinds}.")
    for place, row in found:
        label = row["label"].strip()
        drawn = row.get("map") or ""
        if not isinstance(drawn, str):
            raise ValueError(f"{place}: 'map' must be a path, not {str(drawn)[:40]!r}.")
        yield assembling.ImageRow(
            place,
            assembling.inside(row["image"], place, column="image"),
            text_rows.label_of(label, class_names, place, column="label"),
            _texts(row.get("texts"), place),
            assembling.inside(drawn, place, column="map") if drawn else "",
        )


def _texts(cell: Any, place: str) -> tuple[str, ...]:
    """A list, the same as json, or one text."""
    texts = cell
    if isinstance(cell, str):
        texts = [cell]
        if cell.lstrip().startswith("["):
            try:
                texts = json.loads(cell)
            except (ValueError, RecursionError):
                texts = None
    elif cell is None:
        texts = []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f"{place}: 'texts' must be a text or a list of texts, not "
            f"{str(cell)[:40]!r}."
        )
    return tuple(text.strip() for text in texts if text.strip())
