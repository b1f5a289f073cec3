"""e-SNLI in its original csv: the only files that hold what people highlighted."""

import os
from collections.abc import Sequence

from xguide_jax.data.text import examples, highlights
from xguide_jax.data.text.readers import agreement, rows

CLASS_NAMES = ("entailment", "neutral", "contradiction")
_ODD_STARS = rows.Skipped("stars that do not pair")
_OTHER_TEXT = rows.Skipped("marks in another text")


def read_esnli(
    paths: rows.Path | Sequence[rows.Path],
    *,
    annotators: Sequence[int],
    at_least: int,
) -> examples.Corpus:
    """Premises and hypotheses in three classes, with words that people highlighted.

    Read are `pairID`, `gold_label`, `Sentence1`, `Sentence2` and, of annotator k,
    `Explanation_k`, `Sentence1_marked_k` and `Sentence2_marked_k`: *words* between
    stars, as `parse_stars` reads them. `Sentence1_Highlighted_k` and the like are left
    alone, as the authors advise. Cells are text: 'nan' is a word, and an empty cell of
    marks means that nobody marked the sentence, not that nothing in it was marked.

    Where the text without stars differs from the sentence in blanks alone, marks are
    carried over. Skipped and counted are rows without a gold label, with an empty
    sentence, with stars that do not pair, and with marks in another text.

    Args:
      paths: csv of one split; both files of the training split.
      annotators: who counts: (1,) for the training split, which has no others and is
        what the paper on guided attention takes, or some of (1, 2, 3).
      at_least: how many of them have to have marked a word: 1 for what anyone marked.
        A sentence that fewer of them saw has None.

    Returns:
      A corpus with `evidence`, `evidence_b` and the explanations of these annotators.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if a column is missing, a row has another
        number of cells, a label is no class or an id is there twice; or if `at_least`
        is not in 1 .. the number of annotators.

    Source: Camburu et al., "e-SNLI: Natural Language Inference with Natural Language
      Explanations", NeurIPS 2018, and the notes on its columns in its repository.
    """
    agreement.check_at_least(at_least, len(annotators))
    columns = ["pairID", "gold_label", "Sentence1", "Sentence2"]
    for k in annotators:
        columns += [
            f"Explanation_{k}",
            f"Sentence1_marked_{k}",
            f"Sentence2_marked_{k}",
        ]
    files = [paths] if isinstance(paths, str | os.PathLike) else paths
    table = (row for path in files for row in rows.table_rows(path, columns))
    return rows.gather(
        ((place, _example(place, row, annotators, at_least)) for place, row in table),
        CLASS_NAMES,
    )


def _example(
    place: str, row: dict[str, str], annotators: Sequence[int], at_least: int
) -> examples.TextExample | rows.Skipped:
    texts = row["Sentence1"].strip(), row["Sentence2"].strip()
    if row["gold_label"] in ("-", ""):
        return rows.NO_GOLD_LABEL
    if not all(texts):
        return rows.EMPTY
    evidence: list[tuple[examples.Span, ...] | None] = []
    for side, text in enumerate(texts, start=1):
        cells = [row[f"Sentence{side}_marked_{k}"] for k in annotators]
        try:
            marked = [highlights.parse_stars(cell) for cell in cells if cell.strip()]
        except ValueError:
            return _ODD_STARS
        spans = [_carried_over(plain, found, text) for plain, found in marked]
        carried = [found for found in spans if found is not None]
        if len(carried) < len(spans):
            return _OTHER_TEXT
        seen = len(carried) >= at_least
        agreed = agreement.agreed_spans(len(text), carried, at_least=at_least)
        evidence.append(agreed if seen else None)
    explanations = (row[f"Explanation_{k}"].strip() for k in annotators)
    return examples.TextExample(
        id=row["pairID"],
        text=texts[0],
        label=rows.label_of(row["gold_label"], CLASS_NAMES, place, column="gold_label"),
        text_b=texts[1],
        evidence=evidence[0],
        evidence_b=evidence[1],
        explanations=tuple(filter(None, explanations)),
    )


def _carried_over(
    plain: str, spans: tuple[examples.Span, ...], text: str
) -> tuple[examples.Span, ...] | None:
    """Spans of `plain` as spans of `text`, None if they differ in more than blanks."""
    if plain == text:
        return spans
    old = [i for i, char in enumerate(plain) if not char.isspace()]
    new = [i for i, char in enumerate(text) if not char.isspace()]
    if [plain[i] for i in old] != [text[i] for i in new]:
        return None
    place = dict(zip(old, new, strict=True))
    return tuple((place[start], place[end - 1] + 1) for start, end in spans)
