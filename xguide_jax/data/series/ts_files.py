"""The '.ts' files of the UEA and UCR archives, the text format of sktime and aeon."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.series import assembling


def read_ts(
    path: assembling.Path, *, num_steps: int | None = None
) -> tuple[datasets.Dataset, assembling.SeriesCounts]:
    """Labelled series of one or several features from a '.ts' file.

    Lines of '#' are comments, those of '@' say what follows, and behind '@data' each
    line is one series: values of a feature by commas, features and then the label by
    colons. A value is missing where it is '?' or NaN: its whole step is masked, since
    no value is made up. Lengths may differ from series to series, not between the
    features of one. Splits are files; give both the same `num_steps` where one program
    shall take both. Values are not normalised.

    Args:
      path: e.g. 'GunPoint_TRAIN.ts'.
      num_steps: T; the longest series of the file if None.

    Returns:
      A data set of 'series' float32 [N, T, F], 0 where masked, and 'mask' bool [N, T];
      its classes are those of '@classLabel', in that order; and how much is masked.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file, line and rule, if the file is malformed, or its header
        says something else; if it has time stamps, or numbers in place of classes; or
        if a series is longer than `num_steps`, or masked as a whole.
    """
    name = pathlib.Path(path).name
    header: dict[str, tuple[str, list[str]]] = {}
    rows: list[assembling.Row] = []
    class_names: Sequence[str] = ()
    inside = False
    for place, text in assembling.lines_of(path):
        line = text.strip()
        if line.startswith("#"):
            continue
        if inside:
            rows.append(_row(place, line, class_names, header))
        elif line.lower() == "@data":
            class_names, inside = _classes(name, header), True
        elif line.startswith("@"):
            key, *words = line[1:].split()
            header[key.lower()] = (place, words)
        else:
            raise ValueError(f"{place}: a line before '@data' must begin with # or @.")
    if not inside:
        raise ValueError(f"{name} must have a line '@data'.")
    if _says(header, "equallength") == "true":
        _check_equal_lengths(rows)
    return assembling.assemble(name, rows, class_names, num_steps)


_Header = Mapping[str, tuple[str, list[str]]]


def _classes(name: str, header: _Header) -> list[str]:
    if _says(header, "timestamps") == "true":
        place = header["timestamps"][0]
        raise ValueError(f"{place}: series with time stamps are not read.")
    if "classlabel" not in header:
        raise ValueError(f"{name} must name its classes by '@classLabel true ...'.")
    place, words = header["classlabel"]
    if not words or words[0].lower() != "true" or len(set(words)) < max(len(words), 2):
        raise ValueError(f"{place}: '@classLabel' must be 'true' and distinct classes.")
    return words[1:]


def _row(
    place: str, line: str, class_names: Sequence[str], header: _Header
) -> assembling.Row:
    *features, label = line.split(":")
    if not features:
        raise ValueError(f"{place}: values and label must be told apart by a colon.")
    columns = [assembling.numbers_of(place, text.split(",")) for text in features]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise ValueError(f"{place}: all features must have the same number of steps.")
    values = np.stack(columns, axis=1)
    count = values.shape[1]
    expected = "1" if _says(header, "univariate") == "true" else None
    expected = _says(header, "dimensions") or expected
    if expected not in (None, str(count)):
        raise ValueError(f"{place} has {count} features; the header says {expected}.")
    length = _says(header, "serieslength")
    equal = _says(header, "equallength") != "false"
    if equal and length not in (None, "0", str(len(values))):
        raise ValueError(f"{place} has {len(values)} steps; the header says {length}.")
    if _says(header, "missing") == "false" and np.isnan(values).any():
        raise ValueError(f"{place} misses a value; the header says '@missing false'.")
    label_ = assembling.label_of(place, label.strip(), class_names)
    return assembling.Row(place, values, label_)


def _check_equal_lengths(rows: Sequence[assembling.Row]) -> None:
    for row in rows:
        length, first = len(row.values), len(rows[0].values)
        if length != first:
            raise ValueError(
                f"{row.place} has {length} steps, the first series {first}; the header "
                "says '@equalLength true'."
            )


def _says(header: _Header, key: str) -> str | None:
    words = header.get(key, ("", []))[1]
    return words[0].lower() if words else None
