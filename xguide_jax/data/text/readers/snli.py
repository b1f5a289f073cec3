"""SNLI and its hard part: pairs in three classes, without rationales."""

from typing import Any

from xguide_jax.data.text import examples
from xguide_jax.data.text.readers import esnli_csv, rows


def read_snli(path: rows.Path) -> examples.Corpus:
    """Pairs of SNLI, and of every set in its format: SNLI-hard, MNLI.

    Of each line, `pairID`, `sentence1`, `sentence2` and `gold_label` are read. A label
    '-' (or '-1', as in copies that count classes) says that annotators did not agree:
    the row is skipped and counted, as is one with an empty sentence.

    SNLI-hard (`snli_1.0_test_hard.jsonl`) are the test pairs that a classifier of the
    hypothesis alone gets wrong.

    Args:
      path: json lines.

    Returns:
      A corpus without evidence, in the classes of e-SNLI.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if a line is of another form, a label is
        no class, or an id is there twice.

    Source: Bowman et al., "A large annotated corpus for learning natural language
      inference", EMNLP 2015; Gururangan et al., "Annotation Artifacts in Natural
      Language Inference Data", NAACL 2018.
    """
    keys = dict.fromkeys(("pairID", "sentence1", "sentence2"), str)
    lines = rows.json_rows(path, {**keys, "gold_label": (str, int)})
    return rows.gather(
        ((place, _example(place, row)) for place, row in lines), esnli_csv.CLASS_NAMES
    )


def _example(place: str, row: dict[str, Any]) -> examples.TextExample | rows.Skipped:
    gold = str(row["gold_label"])
    premise, hypothesis = row["sentence1"].strip(), row["sentence2"].strip()
    if gold in ("-", "-1"):
        return rows.NO_GOLD_LABEL
    if not (premise and hypothesis):
        return rows.EMPTY
    label = rows.label_of(gold, esnli_csv.CLASS_NAMES, place, column="gold_label")
    return examples.TextExample(row["pairID"], premise, label, hypothesis)
