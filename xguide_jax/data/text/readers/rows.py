"""Rows of csv and of json lines, each with the place that an error names it by."""

import csv
import gzip
import io
import json
import os
import pathlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from xguide_jax.data import csv_fields
from xguide_jax.data.text import examples

Path = str | os.PathLike[str]


def refuse(message: str) -> None:
    """What happens to a malformed row where nothing else is asked for."""
    raise ValueError(message)


class Skipped(NamedTuple):
    """A row that is no example, and why."""

    reason: str


EMPTY = Skipped("an empty text")
NO_GOLD_LABEL = Skipped("no gold label")


def gather(
    rows: Iterable[tuple[str, examples.TextExample | Skipped]],
    class_names: Sequence[str],
) -> examples.Corpus:
    """A corpus of all rows that are examples, and how many are none.

    Raises:
      ValueError: if two have one id, naming both, or no row is an example.
    """
    kept: list[examples.TextExample] = []
    places: dict[str, str] = {}
    skipped: Counter[str] = Counter()
    for place, row in rows:
        if isinstance(row, Skipped):
            skipped[row.reason] += 1
            continue
        if row.id in places:
            raise ValueError(f"{place}: the id {row.id!r} is that of {places[row.id]}.")
        places[row.id] = place
        kept.append(row)
    if not kept:
        raise ValueError(f"none of the rows is an example; skipped: {dict(skipped)}.")
    return examples.Corpus(tuple(kept), tuple(class_names), dict(skipped))


def json_rows(
    path: Path,
    keys: Mapping[str, type | tuple[type, ...]],
    *,
    malformed: Callable[[str], None] = refuse,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of each line that is not blank.

    Args:
      path: UTF-8, packed with gzip where the name ends in '.gz'.
      keys: what every object must have, and of which type.
      malformed: takes what is wrong with a line, by file and line. If it returns, the
        line is left out.
    """
    for number, line in enumerate(_bytes(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{pathlib.Path(path).name}, line {number}"
        try:
            row = json.loads(line.decode("utf-8-sig"))
            if b"\\ud" in line.lower():
                # Half of a surrogate pair is a string that no tokenizer takes.
                json.dumps(row, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            malformed(f"{place} must be a json object ({error}).")
            continue
        wrong = _wrong(row, keys)
        if wrong:
            malformed(f"{place} {wrong}")
            continue
        yield place, row


def table_rows(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    quoted: bool = True,
    malformed: Callable[[str], None] = refuse,
) -> Iterator[tuple[str, dict[str, str]]]:
    """(place, {column: cell}) of each row under the header; cells are text as it is.

    Args:
      path: UTF-8, packed with gzip where the name ends in '.gz'.
      columns: those that must exist.
      delimiter: between the cells.
      quoted: whether a cell may stand between quotes, as in csv.
      malformed: takes what is wrong with a row, by file and the line it begins in. If
        it returns, the row is left out.

    Raises:
      ValueError: naming file and line, if a column is missing, or it is no csv at all.
    """
    name = pathlib.Path(path).name
    text = io.TextIOWrapper(io.BytesIO(_bytes(path)), "utf-8-sig", newline="")
    line = 1
    with csv_fields.long_fields():
        table = csv.reader(
            text,
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            header = next(table, [])
            missing = sorted(set(columns) - set(header))
            if missing or len(set(header)) < len(header):
                raise ValueError(
                    f"{name}, line 1 must name each column once, {missing} among them, "
                    f"with {delimiter!r} between; it has {str(header)[:200]}."
                )
            line = table.line_num + 1
            for cells in table:
                place, line = f"{name}, line {line}", table.line_num + 1
                if len(cells) != len(header):
                    malformed(
                        f"{place} has {len(cells)} cells, the header {len(header)}."
                    )
                    continue
                yield place, dict(zip(header, cells, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{name}, line {line} must be csv ({error}).") from error


def indexed(
    rows: Iterable[tuple[str, dict[str, Any]]], key: str
) -> dict[str, dict[str, Any]]:
    """Rows by a key.

    Raises:
      ValueError: if two have one, naming the second.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, row in rows:
        if row[key] in found:
            raise ValueError(f"{place}: {key!r} (={row[key]!r}) is there twice.")
        found[row[key]] = row
    return found


def label_of(name: str, class_names: Sequence[str], place: str, *, column: str) -> int:
    """The index of a class.

    Raises:
      ValueError: naming the place, if there is no such class.
    """
    if name not in class_names:
        raise ValueError(
            f"{place}: {column!r} (={name!r}) must be one of {tuple(class_names)}."
        )
    return list(class_names).index(name)


def read_text(path: Path) -> str:
    """A file of UTF-8 as it is, line ends apart.

    Raises:
      FileNotFoundError: if there is none, saying where to put it.
      ValueError: naming it, if it is not UTF-8.
    """
    try:
        return _bytes(path).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 ({error}).") from error


def _bytes(path: Path) -> bytes:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"put the file at {os.fspath(path)}; `templated_pairs` needs no file."
        )
    if os.fspath(path).endswith(".gz"):
        try:
            with gzip.open(path) as file:
                return file.read()
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} must be packed with gzip ({error}).") from error
    return pathlib.Path(path).read_bytes()


def _wrong(row: Any, keys: Mapping[str, type | tuple[type, ...]]) -> str:
    """What an object lacks, '' if it lacks nothing."""
    if not isinstance(row, dict):
        return f"must be a json object, not {str(row)[:40]!r}."
    for key, kind in keys.items():
        if key not in row:
            return f"must have {key!r}; it has {sorted(row)}."
        if not isinstance(row[key], kind):
            return f"must have {_kind(kind)} as {key!r}, not {str(row[key])[:40]!r}."
    return ""


def _kind(kind: type | tuple[type, ...]) -> str:
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(one.__name__ for one in kinds)
