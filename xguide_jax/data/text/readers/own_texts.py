"""Texts of one's own in a table, with what in them decides."""

import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from xguide_jax.data.text import examples
from xguide_jax.data.text.readers import rows

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_COLUMNS = ("id", "text", "text_b", "label", "rationale", "rationale_b", "explanation")
_NEEDED = ("text", "label")
_NAMED = 5  # malformed rows in one message


class _MalformedError(ValueError):
    """What is wrong with a row, without its place."""


def read_texts(
    path: rows.Path,
    *,
    class_names: Sequence[str],
    malformed: Literal["refuse", "skip"] = "refuse",
) -> examples.Corpus:
    """A table of one's own: texts or pairs, their labels, and words that decide.

    Columns of a csv, or keys of json lines; other than these are not read:

    * `text`, and `text_b` where there are pairs.
    * `label`, one of the class names.
    * `rationale`, what in `text` is evidence: spans of characters, half-open,
      `[[0, 4], [10, 12]]`, or words, `["fine", "plot"]`; in a cell of csv as the same
      json, or words with blanks between. Every place of a word is marked, in any case
      of letters; in `text_b` as well unless `rationale_b` says otherwise. Empty or null
      means that nobody marked, `[]` that nothing is evidence.
    * `rationale_b`, the same of `text_b`.
    * `id`, or else the number of the line; `explanation`, free text.

    Rows with an empty text are skipped and counted, as are those without `text_b` in a
    file where others have one. Every other row that does not fit is malformed: another
    number of cells, no json, a label that is no class, a span outside of its text, a
    word that is not there, an id for the second time.

    Args:
      path: '.csv', '.tsv' (tabs) or '.jsonl', UTF-8, each also with '.gz'.
      class_names: what `label` can be, in the order of the classes.
      malformed: 'refuse' the file, naming every such row, or 'skip' and count them,
        with a warning that names them.

    Returns:
      A corpus.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if there are malformed rows, by file and line, the first five with
        what is wrong with them; if a column is missing, naming those that are there;
        or if no row is left.
    """
    if malformed not in ("refuse", "skip"):
        raise ValueError(
            f"`malformed` (={malformed!r}) must be one of ('refuse', 'skip')."
        )
    wrong: list[str] = []
    found: list[tuple[str, examples.TextExample | rows.Skipped]] = []
    seen: dict[str, str] = {}
    for place, row in _rows(path, wrong.append):
        try:
            example = _example(place, row, class_names)
            if isinstance(example, examples.TextExample):
                first = seen.setdefault(example.id, place)
                _check(first == place, f"has the id {example.id!r} of {first}")
        except _MalformedError as error:
            wrong.append(f"{place} {error}.")
        else:
            found.append((place, example))
    if wrong:
        more = f" ... and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        message = f"{len(wrong)} malformed rows: {' '.join(wrong[:_NAMED])}{more}"
        if malformed == "refuse":
            raise ValueError(message)
        warnings.warn(message, stacklevel=2)
        found += [("", rows.Skipped("malformed"))] * len(wrong)
    return rows.gather(_without_halves(found), class_names)


def _rows(
    path: rows.Path, malformed: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    kind = os.path.splitext(os.fspath(path).removesuffix(".gz"))[1]
    if kind == ".jsonl":
        return rows.json_rows(path, dict.fromkeys(_NEEDED, str), malformed=malformed)
    if kind not in _DELIMITERS:
        kinds = (*_DELIMITERS, ".jsonl")
        raise ValueError(f"`path` (={os.fspath(path)!r}) must end in one of {kinds}.")
    return rows.table_rows(
        path, _NEEDED, delimiter=_DELIMITERS[kind], malformed=malformed
    )


def _example(
    place: str, row: Mapping[str, Any], class_names: Sequence[str]
) -> examples.TextExample | rows.Skipped:
    known = {key: row[key] for key in _COLUMNS if row.get(key) is not None}
    text, text_b = str(known["text"]), str(known.get("text_b", ""))
    if not text.strip():
        return rows.EMPTY
    label = known["label"].strip()
    _check(label in class_names, f"has the label {label!r}, none of {class_names}")
    marks = _marks(known.get("rationale"), "rationale")
    marks_b = _marks(known.get("rationale_b"), "rationale_b")
    of_both = marks_b is None and _are_words(marks) and bool(text_b)
    evidence = _spans(text, marks, strict=not of_both)
    evidence_b = _spans(text_b, marks if of_both else marks_b, strict=not of_both)
    if of_both:
        for word in marks or ():
            there = _places(text, word) or _places(text_b, word)
            _check(
                bool(there), f"has {word!r} as `rationale`, which is in neither text"
            )
    written = str(known.get("explanation", "")).strip()
    return examples.TextExample(
        id=str(known.get("id", place.rpartition(" ")[2])),
        text=text,
        label=list(class_names).index(label),
        text_b=text_b,
        evidence=evidence,
        evidence_b=evidence_b,
        explanations=(written,) if written else (),
    )


def _marks(cell: Any, column: str) -> list[Any] | None:
    """Spans or words as a list, None for no marks."""
    if cell is None or cell == "":
        return None
    marks = cell
    if isinstance(cell, str):
        if not cell.lstrip().startswith("["):
            return cell.split()
        try:
            marks = json.loads(cell)
        except (ValueError, RecursionError):
            marks = cell
    words = _are_words(marks)
    spans = isinstance(marks, list) and all(
        isinstance(span, list) and [type(end) for end in span] == [int, int]
        for span in marks
    )
    rule = f"must have spans [[0, 4]] or words as `{column}`, not {str(cell)[:40]!r}"
    _check(words or spans, rule)
    return marks


def _are_words(marks: Any) -> bool:
    return isinstance(marks, list) and all(isinstance(mark, str) for mark in marks)


def _spans(
    text: str, marks: list[Any] | None, *, strict: bool
) -> tuple[examples.Span, ...] | None:
    if marks is None:
        return None
    spans: set[examples.Span] = set()
    for mark in marks:
        if isinstance(mark, str):
            places = _places(text, mark)
            missing = f"has {mark!r} as a rationale, which is not in its text"
            _check(bool(places) or not strict, missing)
            spans |= set(places)
        else:
            start, end = mark
            inside = 0 <= start < end <= len(text)
            _check(inside, f"has the span {mark} in a text of {len(text)} characters")
            spans.add((start, end))
    return tuple(sorted(spans))


def _places(text: str, word: str) -> list[examples.Span]:
    """Where a word stands that is no part of a longer one."""
    whole = rf"(?<!\w){re.escape(word)}(?!\w)"
    found = re.finditer(whole, text, re.IGNORECASE) if word.strip() else ()
    return [match.span() for match in found]


def _without_halves(
    found: list[tuple[str, examples.TextExample | rows.Skipped]],
) -> Iterator[tuple[str, examples.TextExample | rows.Skipped]]:
    """In a file of pairs, an empty second text is one as well."""
    pairs = any(
        isinstance(one, examples.TextExample) and one.text_b.strip() for _, one in found
    )
    for place, one in found:
        half = isinstance(one, examples.TextExample) and not one.text_b.strip()
        yield place, rows.EMPTY if pairs and half else one


def _check(right: bool, message: str) -> None:
    if not right:
        raise _MalformedError(message)
