"""Series of any length, read from a file, as one data set."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.data import datasets

Path = str | os.PathLike[str]

_LARGEST = float(np.finfo(np.float32).max)


class SeriesCounts(NamedTuple):
    """What of the series of a file is masked.

    Attributes:
      series: how many series there are.
      shorter: how many of them are shorter than the data set's T.
      with_missing: how many have a missing value.
      missing_steps: how many steps are masked because a value is missing, over all.
    """

    series: int
    shorter: int
    with_missing: int
    missing_steps: int


class Row(NamedTuple):
    """One series: values float [steps, F], NaN where one is missing, and a label."""

    place: str
    values: np.ndarray
    label: int


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of each line that is not blank, its spaces and tabs kept.

    Args:
      path: a text in UTF-8.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, if it is no such text.
    """
    path = pathlib.Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} must be text in UTF-8 ({error}).") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{path.name}, line {number}", line


def numbers_of(place: str, texts: Sequence[str]) -> np.ndarray:
    """Values of one feature, NaN for '?', 'NaN' and an empty one.

    Args:
      place: what an error names.
      texts: one a step.

    Returns:
      float64 [steps].

    Raises:
      ValueError: naming the place and the text, if one is no finite number, or none in
        float32.
    """
    values = np.empty(len(texts))
    for step, text in enumerate(map(str.strip, texts)):
        try:
            # Python reads 1_0 as 10.
            number = text.replace("_", "x")
            values[step] = np.nan if text in ("?", "") else float(number)
        except ValueError:
            values[step] = np.inf
        if abs(values[step]) > _LARGEST:
            raise ValueError(
                f"{place}: {text!r} at step {step} must be a finite number of float32, "
                "'?' or NaN."
            )
    return values


def label_of(place: str, text: str, class_names: Sequence[str]) -> int:
    """The class of a label.

    Raises:
      ValueError: naming the place, if there is no such class.
    """
    if text not in class_names:
        raise ValueError(
            f"{place}: the label {text!r} must be one of {list(class_names)}."
        )
    return list(class_names).index(text)


def assemble(
    name: str,
    rows: Sequence[Row],
    class_names: Sequence[str],
    num_steps: int | None,
) -> tuple[datasets.Dataset, SeriesCounts]:
    """A data set of all rows, padded behind their ends.

    Args:
      name: of the file.
      rows: with the same F.
      class_names: what the labels stand for.
      num_steps: T; that of the longest row if None.

    Returns:
      'series' float32 [N, T, F] and 'mask' bool [N, T], False on padding and where a
      value of the step is missing; masked steps are 0; and the counts.

    Raises:
      ValueError: naming the file, or file and line, if there is no row, one is longer
        than T or has another F, or every step of one is masked.
    """
    if not rows:
        raise ValueError(f"{name} must hold a series.")
    lengths = np.array([len(row.values) for row in rows])
    num_features = rows[0].values.shape[1]
    total = int(lengths.max()) if num_steps is None else num_steps
    series = np.zeros((len(rows), total, num_features), np.float32)
    mask = np.zeros(series.shape[:2], bool)
    missing = np.zeros(len(rows), int)
    for n, (place, values, _) in enumerate(rows):
        length, count = values.shape
        if count != num_features:
            raise ValueError(
                f"{place} has {count} features, the first series {num_features}."
            )
        if length > total:
            raise ValueError(
                f"{place} has {length} steps; `num_steps` (={num_steps}) is the "
                "longest series."
            )
        present = ~np.isnan(values).any(axis=1)
        if not present.any():
            raise ValueError(f"{place} must hold a step without a missing value.")
        mask[n, :length] = present
        series[n, :length] = np.where(present[:, None], values, 0.0)
        missing[n] = length - present.sum()
    counts = SeriesCounts(
        series=len(rows),
        shorter=int((lengths < total).sum()),
        with_missing=int((missing > 0).sum()),
        missing_steps=int(missing.sum()),
    )
    labels = np.array([row.label for row in rows], np.int32)
    inputs = {"series": series, "mask": mask}
    return datasets.Dataset(inputs, labels, tuple(class_names)), counts
