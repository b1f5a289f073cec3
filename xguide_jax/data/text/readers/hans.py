"""HANS: pairs on which three heuristics fail, in two classes."""

import os

from xguide_jax.data.text import entailment, examples
from xguide_jax.data.text.readers import rows

_COLUMNS = ("gold_label", "sentence1", "sentence2", "pairID", "heuristic", "subcase")


def read_hans(path: rows.Path) -> examples.Corpus:
    """Pairs of words of one sentence, in two classes, by heuristic and subcase.

    A model of three classes is scored on them by `entailment_or_not` of its logits.

    Args:
      path: the published table, tab separated ('.txt', '.tsv'), or its json lines.

    Returns:
      A corpus of the classes 'entailment' and 'non-entailment' without evidence;
      `attributes` hold 'heuristic' ('lexical_overlap', 'subsequence', 'constituent'),
      'gold', the name of the class, and 'subcase'.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if a row is of another form, a label is no
        class, or an id is there twice.

    Source: McCoy, Pavlick, Linzen, "Right for the Wrong Reasons: Diagnosing Syntactic
      Heuristics in Natural Language Inference", ACL 2019.
    """
    if ".jsonl" in os.fspath(path):
        found = rows.json_rows(path, dict.fromkeys(_COLUMNS, str))
    else:
        found = rows.table_rows(path, _COLUMNS, delimiter="\t", quoted=False)
    return rows.gather(
        ((place, _example(place, row)) for place, row in found), entailment.TWO_CLASSES
    )


def _example(place: str, row: dict[str, str]) -> examples.TextExample | rows.Skipped:
    premise, hypothesis = row["sentence1"].strip(), row["sentence2"].strip()
    gold = row["gold_label"]
    if not (premise and hypothesis):
        return rows.EMPTY
    return examples.TextExample(
        id=row["pairID"],
        text=premise,
        label=rows.label_of(gold, entailment.TWO_CLASSES, place, column="gold_label"),
        text_b=hypothesis,
        attributes={
            "heuristic": row["heuristic"],
            "gold": gold,
            "subcase": row["subcase"],
        },
    )
