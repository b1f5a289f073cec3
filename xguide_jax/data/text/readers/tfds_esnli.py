"""e-SNLI as tensorflow-datasets has it: with explanations, without highlights."""

import os
from typing import Any

from xguide_jax.data.sources import prepared_sets
from xguide_jax.data.text import examples
from xguide_jax.data.text.readers import esnli_csv, rows


def tensorflow_datasets_esnli(
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> examples.Corpus:
    """Premises and hypotheses in three classes, with explanations in people's words.

    Nobody's highlights: they are in the original csv alone, for `read_esnli`. Pairs of
    the training split have one explanation, the others three. Skipped and counted are
    pairs with an empty sentence and those labelled -1, on which annotators did not
    agree.

    Args:
      split: e.g. 'train', 'validation', 'test' or 'train[:10%]'.
      data_dir: the folder of prepared sets; the package's own default if None.
      download: whether to download and prepare the set where it is not there yet.

    Returns:
      A corpus without evidence; the id of an example is the split and its number, since
      the set has no ids.

    Raises:
      ImportError: if h5py is missing, without which sets vanish from the registry.
      ValueError: if a label is no class, naming the example.
      FileNotFoundError: if it is not prepared and cannot be, saying what to put where.

    Source: Camburu et al., "e-SNLI: Natural Language Inference with Natural Language
      Explanations", NeurIPS 2018.
    """
    needed = ("premise", "hypothesis", "label", "explanation_1")
    builder = prepared_sets.builder_of("esnli", data_dir, needed)
    source = prepared_sets.source_of(builder, split, download=download)
    names = tuple(builder.info.features["label"].names)
    found = []
    for number, row in enumerate(source):
        place = f"{split}-{number}"
        found.append((place, _example(place, row, names)))
    return rows.gather(found, esnli_csv.CLASS_NAMES)


def _example(
    name: str, row: dict[str, Any], names: tuple[str, ...]
) -> examples.TextExample | rows.Skipped:
    texts = {key: _text(row[key]).strip() for key in ("premise", "hypothesis")}
    if row["label"] == -1:
        return rows.NO_GOLD_LABEL
    if not all(texts.values()):
        return rows.EMPTY
    label = names[int(row["label"])]
    written = [_text(row.get(f"explanation_{k}", "")).strip() for k in (1, 2, 3)]
    return examples.TextExample(
        id=name,
        text=texts["premise"],
        label=rows.label_of(label, esnli_csv.CLASS_NAMES, name, column="label"),
        text_b=texts["hypothesis"],
        explanations=tuple(filter(None, written)),
    )


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
