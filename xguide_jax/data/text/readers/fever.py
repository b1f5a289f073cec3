"""FEVER as ERASER has it: claims, and the sentences that support or refute them."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from xguide_jax.data.text import examples
from xguide_jax.data.text.readers import rows, sentences

CLASS_NAMES = ("SUPPORTS", "REFUTES")


def read_fever(
    directory: str | os.PathLike[str],
    *,
    split: str,
    select: sentences.SelectFn | None,
) -> examples.Corpus:
    """Claims about an article each, and the sentences of it that people marked.

    `fever_<split>.jsonl.gz` holds `id`, `claim`, `label`, `docid`, `negation` and
    `evidence_sentences`, numbers of sentences of the document `docid` in
    `fever_<split>_docs.jsonl.gz`: `docid` and `sentences`, whose words have a blank
    between. The document is `text_b`, its sentences with a blank between.

    Documents are long. Of claim and document together, so many words hold all evidence
    of so many claims, by which words they are:

    | words | the first | `sentences_within`, tested | with `evidence_first` |
    |---|---|---|---|
    | 128 | 67.5 % | 87.9 % | 96.6 % |
    | 256 | 84.8 % | 95.5 % | 99.4 % |
    | 512 | 98.1 % | 99.3 % | 100.0 % |

    Licence: CC BY-SA 3.0, FEVER and Wikipedia.

    Args:
      directory: the folder of both files.
      split: as in their names: 'val'.
      select: which sentences are kept, as `sentences_within` makes it; None for all.

    Returns:
      A corpus with `evidence_b`, the marked sentences whole; () where none of them is
      kept. Nobody marked claims. `attributes` hold 'document', which many claims
      share, so that parts are split by it; 'evidence_kept', 'all', 'part' or 'none';
      and 'negation', 'yes' or 'no': a negation in the claim.

    Raises:
      FileNotFoundError: if a file is missing, saying where to put it.
      ValueError: naming file, line and rule, if a line is of another form, a label is
        no class, an id is there twice, or a document or sentence is not there.

    Source: Thorne et al., "FEVER: a large-scale dataset for Fact Extraction and
      VERification", NAACL 2018; DeYoung et al., "ERASER: A Benchmark to Evaluate
      Rationalized NLP Models", ACL 2020.
    """
    folder = pathlib.Path(directory)
    documents = rows.indexed(
        rows.json_rows(
            folder / f"fever_{split}_docs.jsonl.gz", {"docid": str, "sentences": list}
        ),
        "docid",
    )
    keys = {
        **{"id": str, "claim": str, "label": str, "docid": str},
        **{"evidence_sentences": list, "negation": bool},
    }
    lines = rows.json_rows(folder / f"fever_{split}.jsonl.gz", keys)
    return rows.gather(
        ((place, _example(place, row, documents, select)) for place, row in lines),
        CLASS_NAMES,
    )


def _example(
    place: str,
    row: dict[str, Any],
    documents: Mapping[str, Mapping[str, Any]],
    select: sentences.SelectFn | None,
) -> examples.TextExample | rows.Skipped:
    if row["docid"] not in documents:
        raise ValueError(f"{place}: there is no document 'docid' (={row['docid']!r}).")
    document = documents[row["docid"]]["sentences"]
    marked = row["evidence_sentences"]
    if not set(marked) <= set(range(len(document))):
        raise ValueError(
            f"{place}: 'evidence_sentences' (={marked}) must be numbers of the "
            f"{len(document)} sentences of {row['docid']!r}."
        )
    parts = [
        sentences.Sentence(text, ((0, len(text)),) if i in marked else ())
        for i, text in enumerate(document)
    ]
    claim = row["claim"].strip()
    text, spans, kept = sentences.joined(claim, parts, select)
    if not (claim and text.strip()):
        return rows.EMPTY
    return examples.TextExample(
        id=row["id"],
        text=claim,
        label=rows.label_of(row["label"], CLASS_NAMES, place, column="label"),
        text_b=text,
        evidence_b=spans,
        attributes={
            "document": row["docid"],
            "evidence_kept": kept,
            "negation": "yes" if row["negation"] else "no",
        },
    )
