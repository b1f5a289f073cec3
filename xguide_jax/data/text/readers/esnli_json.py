"""Parts of e-SNLI as json lines: words with a mark or with votes each."""

from collections.abc import Sequence
from typing import Any

from xguide_jax.data.text import examples, highlights
from xguide_jax.data.text.readers import agreement, esnli_csv, rows


def read_structured_esnli(path: rows.Path) -> examples.Corpus:
    """Pairs whose words people highlighted, one annotator each.

    A line holds `id`, `premise` and `hypothesis`, lists of words, `label`,
    `explanation`, and `premise_highlight` and `hypothesis_highlight`, 0 or 1 a word.
    Texts are the words with a blank between; punctuation at the edge of a word is not
    marked, as `parse_stars` has it.

    Args:
      path: json lines.

    Returns:
      A corpus with `evidence`, `evidence_b` and one explanation each.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if a line is of another form, a label is
        no class, or an id is there twice.

    Source: the columns of e-SNLI (Camburu et al., NeurIPS 2018) in Structured-e-SNLI.
    """
    keys = {
        **{"id": str, "label": str, "explanation": str},
        **{"premise": list, "hypothesis": list},
        **{"premise_highlight": list, "hypothesis_highlight": list},
    }

    lines = rows.json_rows(path, keys)
    return rows.gather(
        (
            (place, _example(place, row, "highlight", 1, 1, (row["explanation"],)))
            for place, row in lines
        ),
        esnli_csv.CLASS_NAMES,
    )


def read_esnli_explanations(
    path: rows.Path, *, at_least: int | None
) -> examples.Corpus:
    """Pairs with three free explanations each, and no highlights.

    A line holds `id`, `premise` and `hypothesis`, words with a blank between, `label`,
    `explanations`, and `premise_votes` and `hypothesis_votes`, for each word how many
    of the explanations mention it.

    Args:
      path: json lines.
      at_least: how many explanations have to mention a word for it to be evidence:
        that is derived from what people wrote, nobody highlighted it; None for no
        evidence, so that the explanations alone speak.

    Returns:
      A corpus with the explanations, and `evidence` and `evidence_b` where asked for;
      `attributes` hold 'negation', 'yes' or 'no': a negation in the hypothesis.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if a line is of another form, a label is
        no class, or an id is there twice; or if `at_least` is not in 1 .. 3.

    Source: Camburu et al., NeurIPS 2018, the sentences and explanations in the
      repository of e-SNLI, with votes counted for this project.
    """
    if at_least is not None:
        agreement.check_at_least(at_least, 3)
    keys = {
        **{"id": str, "label": str, "explanations": list},
        **{"premise": str, "hypothesis": str},
        **{"premise_votes": list, "hypothesis_votes": list, "negation": bool},
    }
    lines = rows.json_rows(path, keys)
    return rows.gather(
        (
            (place, _example(place, row, "votes", 3, at_least, row["explanations"]))
            for place, row in lines
        ),
        esnli_csv.CLASS_NAMES,
    )


def _example(
    place: str,
    row: dict[str, Any],
    marks: str,
    most: int,
    at_least: int | None,
    explanations: Sequence[str],
) -> examples.TextExample | rows.Skipped:
    texts, evidence = [], []
    for side in ("premise", "hypothesis"):
        words, numbers = row[side], row[f"{side}_{marks}"]
        words = words.split(" ") if isinstance(words, str) else words
        if not all(isinstance(word, str) and "*" not in word for word in words):
            raise ValueError(f"{place}: {side!r} must be words without stars.")
        if len(numbers) != len(words) or not set(numbers) <= set(range(most + 1)):
            raise ValueError(
                f"{place}: '{side}_{marks}' must be a number in 0 .. {most} for each "
                f"of {len(words)} words, not {str(numbers)[:80]}."
            )
        chosen = [at_least is not None and n >= at_least for n in numbers]
        starred = " ".join(
            f"*{word}*" if mark else word
            for word, mark in zip(words, chosen, strict=True)
        )
        text, spans = highlights.parse_stars(starred)
        texts.append(text)
        evidence.append(None if at_least is None else spans)
    if not all(texts):
        return rows.EMPTY
    negation = row.get("negation")
    return examples.TextExample(
        id=row["id"],
        text=texts[0],
        label=rows.label_of(row["label"], esnli_csv.CLASS_NAMES, place, column="label"),
        text_b=texts[1],
        evidence=evidence[0],
        evidence_b=evidence[1],
        explanations=tuple(explanations),
        attributes={}
        if negation is None
        else {"negation": "yes" if negation else "no"},
    )
