"""What a table says of photographs beside their annotations."""

import csv
import io
import pathlib
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from xguide_jax import data

PARTS = ("train", "validation", "test")
_COLUMNS = ("image", "label", "group", "source", "split")


class Told(NamedTuple):
    """What is known of one photograph.

    Attributes:
      label: its class.
      group: what accuracies are told apart by; '' for none.
      source: photographs of one source are never parted; '' for none.
      part: 'train', 'validation' or 'test'; '' where it is to be drawn.
    """

    label: int
    group: str
    source: str
    part: str


def read_table(path: pathlib.Path) -> dict[str, dict[str, str]]:
    """The rows of a csv file, by photograph.

    Columns are 'image', the file below the folder of photographs, and any of 'label',
    a class; 'group', such as the background, whose worst accuracy is reported;
    'source', such as a patient, whose photographs lie in one part; and 'split', one of
    train, validation and test.

    Args:
      path: csv in UTF-8 with a header.

    Returns:
      {image: {column: cell}}.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file and line, for other columns, a photograph that is listed
        twice, or another 'split'; naming the file, if it is no csv in UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
        return _rows_of(path.name, csv.DictReader(io.StringIO(text, newline="")))
    except (UnicodeError, csv.Error) as error:
        raise ValueError(f"{path.name} must be csv in UTF-8: {error}.") from error


def told_of(
    one: data.Annotated,
    rows: Mapping[str, Mapping[str, str]],
    class_names: tuple[str, ...],
) -> Told | data.Problem:
    """What the table and the annotations say of one photograph together.

    Args:
      one: the photograph.
      rows: of the table.
      class_names: of the annotations.

    Returns:
      A `Told`; a `Problem` if the photograph has no class, or one that has no name.
    """
    row = rows.get(one.name, {})
    label = one.label
    if named := row.get("label", ""):
        if named not in class_names:
            what = f"'label' (={named!r}) must be one of {class_names}"
            return data.Problem(one.name, "the table", what)
        label = class_names.index(named)
    if label < 0:
        several = [class_names[number] for number in data.classes_of(one)]
        what = (
            f"shows several classes, {several}: a column 'label' of the table says "
            "which it is of"
            if several
            else "has no class: nothing is drawn in it, and no table says one"
        )
        return data.Problem(one.name, "the annotations", what)
    return Told(
        label,
        row.get("group", ""),
        row.get("source", "") or one.source or "",
        row.get("split", ""),
    )


def _rows_of(name: str, reader: csv.DictReader) -> dict[str, dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    names = reader.fieldnames or ()
    if "image" not in names or set(names) - set(_COLUMNS):
        raise ValueError(
            f"{name}, line 1: the columns must be 'image' and some of "
            f"{_COLUMNS[1:]}, not {list(names)}."
        )
    for row in reader:
        place = f"{name}, line {reader.line_num}"
        cells = {column: (row[column] or "").strip() for column in names}
        image = unicodedata.normalize("NFC", cells.pop("image"))
        if not image or image in rows:
            raise ValueError(f"{place}: {image!r} must be named, and once.")
        if cells.get("split", "") not in ("", *PARTS):
            raise ValueError(
                f"{place}: 'split' (={cells['split']!r}) must be one of {PARTS}."
            )
        rows[image] = cells
    return rows
