"""ERASER: documents in files of their own, and what in them answers a query."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from xguide_jax.data.text import examples
from xguide_jax.data.text.readers import rows, sentences

# A document is a list of sentences, and a sentence a list of words.
_Document = list[list[str]]
_NO_DOCUMENT = rows.Skipped("no document is named")


def read_eraser(
    directory: str | os.PathLike[str],
    *,
    split: str,
    class_names: Sequence[str],
    select: sentences.SelectFn | None,
) -> examples.Corpus:
    """Queries, the documents they are about, and the words in them that people marked.

    `<split>.jsonl` holds `annotation_id`, `query`, `classification`, `evidences` and,
    where a publisher gave it, `docids`. A document is the file `docs/<docid>`, or a
    line of `docs.jsonl` (`docid`, `document`): a sentence a line, words with one blank
    between. `evidences` are groups of pieces, each `docid`, `start_token` and
    `end_token` (half-open, of the words of the document). A group is enough for the
    answer; the marks are those of all groups.

    The query is `text`, and `text_b` are the documents, in the order of `docids` or
    else of the evidence, their sentences with a blank between. Where the query is
    empty, the documents are `text`. Rows that name no document or have an empty one
    are skipped and counted.

    Args:
      directory: the folder of one set: 'movies', 'boolq', 'multirc', 'fever', 'cose'.
      split: 'train', 'val' or 'test'.
      class_names: what `classification` can be.
      select: which sentences are kept, as `sentences_within` makes it; None for all.

    Returns:
      A corpus; marks of a sentence that is not kept are gone: `attributes` hold
      'evidence_kept', 'all', 'part' or 'none', in sentences.

    Raises:
      FileNotFoundError: if a file is missing, saying where to put it.
      ValueError: naming file, line and rule, if a line is of another form, a label is
        no class, an id is there twice, evidence lies outside its document, or a
        document's name leaves the folder.

    Source: DeYoung et al., "ERASER: A Benchmark to Evaluate Rationalized NLP Models",
      ACL 2020, and its public loader. Deviation: words of documents in `docs.jsonl` are
      not counted when they are empty, as in `docs`.
    """
    folder = pathlib.Path(directory)
    listed: Mapping[str, Mapping[str, Any]] = {}
    if (folder / "docs.jsonl").exists():
        keys = {"docid": str, "document": str}
        listed = rows.indexed(rows.json_rows(folder / "docs.jsonl", keys), "docid")
    documents: dict[str, _Document] = {}
    keys_of_line = {
        **{"annotation_id": str, "query": str, "classification": str},
        "evidences": list,
    }
    found = []
    for place, row in rows.json_rows(folder / f"{split}.jsonl", keys_of_line):
        pieces = _pieces(place, row["evidences"])
        names = row.get("docids") or [piece["docid"] for piece in pieces]
        names = list(dict.fromkeys(names))
        for name in names:
            if name not in documents:
                documents[name] = _document(place, folder, listed, name)
        found.append(
            (place, _example(place, row, pieces, names, documents, class_names, select))
        )
    return rows.gather(found, class_names)


def _pieces(place: str, evidences: Any) -> list[dict[str, Any]]:
    """The pieces of all groups."""
    pieces = [piece for group in evidences for piece in _as_list(group)]
    for piece in pieces:
        kinds = {"docid": str, "start_token": int, "end_token": int}
        if not isinstance(piece, dict) or not all(
            isinstance(piece.get(key), kind) for key, kind in kinds.items()
        ):
            raise ValueError(
                f"{place}: 'evidences' must be groups of pieces with {sorted(kinds)}, "
                f"not {str(piece)[:80]}."
            )
    return pieces


def _as_list(group: Any) -> list[Any]:
    return group if isinstance(group, list) else [group]


def _document(
    place: str, folder: pathlib.Path, listed: Mapping[str, Mapping[str, Any]], name: str
) -> _Document:
    if name in listed:
        text = listed[name]["document"]
    else:
        path = folder / "docs" / name
        if not path.resolve().is_relative_to((folder / "docs").resolve()):
            raise ValueError(f"{place}: the document {name!r} lies outside of docs.")
        text = rows.read_text(path)
    # Not `splitlines` or `split()`, which part at characters that are within a word.
    lines = [line.strip().split(" ") for line in text.split("\n")]
    words = [[word for word in line if word] for line in lines]
    return [line for line in words if line]


def _example(
    place: str,
    row: Mapping[str, Any],
    pieces: list[dict[str, Any]],
    names: list[str],
    documents: Mapping[str, _Document],
    class_names: Sequence[str],
    select: sentences.SelectFn | None,
) -> examples.TextExample | rows.Skipped:
    if not names:
        return _NO_DOCUMENT
    parts = []
    for name in names:
        ranges = [
            (piece["start_token"], piece["end_token"])
            for piece in pieces
            if piece["docid"] == name
        ]
        parts += _sentences(place, name, documents[name], ranges)
    query = row["query"].strip()
    text, spans, kept = sentences.joined(query, parts, select)
    if not text:
        return rows.EMPTY
    example = examples.TextExample(
        id=row["annotation_id"],
        text=query,
        label=rows.label_of(
            row["classification"], class_names, place, column="classification"
        ),
        text_b=text,
        evidence_b=spans,
        attributes={"evidence_kept": kept},
    )
    if query:
        return example
    return example._replace(text=text, text_b="", evidence=spans, evidence_b=None)


def _sentences(
    place: str, name: str, document: _Document, ranges: list[tuple[int, int]]
) -> list[sentences.Sentence]:
    """The sentences of a document, with the ranges of its words as spans."""
    num_words = sum(map(len, document))
    for start, end in ranges:
        if not 0 <= start < end <= num_words:
            raise ValueError(
                f"{place}: the evidence {start} .. {end} must be a range of the "
                f"{num_words} words of {name!r}."
            )
    parts, first = [], 0
    for line in document:
        offsets = [0]
        for word in line:
            offsets.append(offsets[-1] + len(word) + 1)
        inside = [
            (max(start - first, 0), min(end - first, len(line)))
            for start, end in sorted(ranges)
        ]
        spans = tuple((offsets[a], offsets[b] - 1) for a, b in inside if a < b)
        parts.append(sentences.Sentence(" ".join(line), spans))
        first += len(line)
    return parts
