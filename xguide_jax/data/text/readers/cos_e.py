"""CoS-E: questions with three answers, and what in the question people marked."""

import re
from collections.abc import Mapping
from typing import Any

from xguide_jax.data.text import examples
from xguide_jax.data.text.readers import rows

CLASS_NAMES = ("A", "B", "C")
_NO_ANSWER = rows.Skipped("no answer is given")
# What the form showed around the question was marked with it.
_OF_THE_FORM = re.compile(r"^\s*question:|answer choices:?\s*$", re.IGNORECASE)


def read_cos_e(questions: rows.Path, explanations: rows.Path) -> examples.Corpus:
    """Questions of everyday knowledge with three answers, highlights and explanations.

    `questions` are those of CommonsenseQA 1.0 (`id`, `answerKey`, `question` with its
    `stem` and its `choices`, each `label` and `text`), `explanations` those of CoS-E
    1.0 (`id`, `explanation` with `selected` and `open-ended`), joined by `id`. `text`
    is the question, and `text_b` the answers, in order, with '; ' between.

    `selected` is text, not a place: marked is where the question holds it, in any case
    of letters, and if it does not, where it holds the parts between its commas. Where
    it holds none, nobody marked (None). Questions without an answer are skipped and
    counted, as are those with other than three.

    Args:
      questions: json lines: 'train_rand_split.jsonl', 'dev_rand_split.jsonl'.
      explanations: json lines: 'cose_train_v1.0.jsonl', 'cose_dev_v1.0.jsonl'. A
        question without a line here has no evidence and no explanation.

    Returns:
      A corpus of the classes 'A', 'B' and 'C', the place of the answer; `attributes`
      hold 'highlight': 'whole' where all of the question is marked, 'span', 'parts',
      or 'none' where the highlight is not found.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if a line is of another form, or an id is
        there twice.

    Source: Rajani et al., "Explain Yourself! Leveraging Language Models for Commonsense
      Reasoning", ACL 2019; Talmor et al., "CommonsenseQA", NAACL 2019.
    """
    kinds = {"id": str, "explanation": dict}
    known = rows.indexed(rows.json_rows(explanations, kinds), "id")
    lines = rows.json_rows(questions, {"id": str, "question": dict})
    return rows.gather(
        ((place, _example(place, row, known)) for place, row in lines), CLASS_NAMES
    )


def _example(
    place: str, row: dict[str, Any], known: Mapping[str, Mapping[str, Any]]
) -> examples.TextExample | rows.Skipped:
    try:
        stem = row["question"]["stem"].strip()
        choices = {one["label"]: one["text"] for one in row["question"]["choices"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{place}: 'question' must have a 'stem' and 'choices' of 'label' and "
            f"'text' ({error!r})."
        ) from error
    if "answerKey" not in row:
        return _NO_ANSWER
    if tuple(sorted(choices)) != CLASS_NAMES:
        return rows.Skipped("other than three answers")
    if not stem:
        return rows.EMPTY
    explanation = known.get(row["id"], {}).get("explanation", {})
    spans, how = _found(stem, str(explanation.get("selected", "")))
    written = str(explanation.get("open-ended", "")).strip()
    return examples.TextExample(
        id=row["id"],
        text=stem,
        label=rows.label_of(row["answerKey"], CLASS_NAMES, place, column="answerKey"),
        text_b="; ".join(choices[name] for name in CLASS_NAMES),
        evidence=spans,
        explanations=(written,) if written else (),
        attributes={"highlight": how},
    )


def _found(
    question: str, selected: str
) -> tuple[tuple[examples.Span, ...] | None, str]:
    """Where a question holds what was selected, and how."""
    wanted = _OF_THE_FORM.sub("", selected).strip()
    span = _place(question, wanted)
    if span is not None:
        whole = span == (0, len(question.rstrip("?. ")))
        return (span,), "whole" if whole or span == (0, len(question)) else "span"
    parts = {_place(question, part.strip()) for part in wanted.split(",")}
    spans = tuple(sorted(part for part in parts if part is not None))
    return (spans, "parts") if spans else (None, "none")


def _place(question: str, wanted: str) -> examples.Span | None:
    """The first place, of whole words where there is one: a mark may end in a word."""
    # Lower-casing both would move the places behind letters that become two.
    exactly = re.escape(wanted)
    for pattern in (rf"(?<!\w){exactly}(?!\w)", exactly):
        found = re.search(pattern, question, re.IGNORECASE) if wanted else None
        if found:
            return found.span()
    return None
