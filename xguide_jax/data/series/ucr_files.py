"""The '.tsv' files of the UCR archive of 2018."""

import pathlib
from collections.abc import Sequence

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.series import assembling


def read_ucr_tsv(
    path: assembling.Path, *, class_names: Sequence[str], num_steps: int | None = None
) -> tuple[datasets.Dataset, assembling.SeriesCounts]:
    """Labelled series of one feature from a tab separated file of the UCR archive.

    Each line is the label and the values. A shorter series ends in NaN, which is
    padding; a NaN before its end is a missing value, whose step is masked. Values are
    not normalised.

    Args:
      path: e.g. 'GunPoint_TRAIN.tsv'.
      class_names: every label of the archive's set, as written, in the order of their
        numbers here: a split need not have all.
      num_steps: T; the longest series of the file, or of its lines, if None.

    Returns:
      A data set of 'series' float32 [N, T, 1], 0 where masked, and 'mask' bool [N, T];
      and how much is masked.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if a line is malformed or its label no
        class, or a series is longer than `num_steps`, or masked as a whole; or if a
        class has its name twice.
    """
    if len(set(class_names)) < len(class_names):
        raise ValueError(f"`class_names` (={list(class_names)}) must be distinct.")
    rows = []
    for place, line in assembling.lines_of(path):
        label, *texts = line.split("\t")
        if not texts:
            raise ValueError(f"{place}: label and values must be told apart by tabs.")
        values = assembling.numbers_of(place, texts)
        present = np.flatnonzero(~np.isnan(values))
        end = present[-1] + 1 if len(present) else len(values)
        label_ = assembling.label_of(place, label.strip(), class_names)
        rows.append(assembling.Row(place, values[:end, None], label_))
    return assembling.assemble(pathlib.Path(path).name, rows, class_names, num_steps)
