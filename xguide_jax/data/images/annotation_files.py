"""Human annotations as the literature publishes them, in files of their own.

Nothing here is trusted: text is read as csv and json, every number is checked, and what
is wrong is named by file and row. No pickle is ever loaded.
"""

import csv
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from xguide_jax.data import csv_fields
from xguide_jax.data.images import annotations

_COLUMNS = ("img_idx", "img_check", "matrix_resize")


def res_annotations(
    directory: str | pathlib.Path,
    image_ids: Sequence[str],
    *,
    shape: tuple[int, int] | None = None,
) -> dict[str, np.ndarray]:
    """What annotators marked as evidence, and as no evidence, for robust guidance.

    The published format: csv files with the columns `img_idx`, `attention`, `img_check`
    and `matrix_resize`, a json matrix of 0 and 1. Rows other than `img_check` == 'good'
    are skipped. Files with 'counterfactual' in their name mark what is not evidence,
    other files with 'factual' what is; the first contains the second and is tested
    first. Other files are not read. Several rows of one image are joined, and the
    annotation is positive - negative, so a pixel marked both ways says nothing.

    Deviation: the published loader leaves out images that are only in the negative
    files; they are kept here.

    Args:
      directory: the folder of the csv files.
      image_ids: the images in the order of the data set, named as in `img_idx`;
        annotations of other images are left out.
      shape: `(H, W)` to which both marks are brought by `resize_mask`, so that small
        ones survive; None for the shape in the files.

    Returns:
      'annotations', int8 [N, H, W] in {-1, 0, 1}, and 'region_valid', bool [N], False
      where nothing is marked.

    Raises:
      FileNotFoundError: if the folder holds no such file.
      ValueError: naming file, row and rule, if a column or an id is missing, a matrix
        is not one of 0 and 1 or differs in shape from others; or if none of the ids is
        in the files.

    Source: the public code of RES (Gao et al., KDD 2022).
    """
    marks: dict[str, dict[str, np.ndarray]] = {"positive": {}, "negative": {}}
    first: np.ndarray | None = None
    for path in _files(directory):
        sign = "negative" if "counterfactual" in path.name else "positive"
        for place, image_id, matrix in _good_rows(path):
            first = matrix if first is None else first
            if matrix.shape != first.shape:
                raise ValueError(
                    f"{place}: `matrix_resize` {matrix.shape} must have the shape of "
                    f"the first one, {first.shape}."
                )
            known = marks[sign].get(image_id, np.zeros_like(matrix))
            marks[sign][image_id] = known | matrix
    found = marks["positive"].keys() | marks["negative"].keys()
    if first is None or not found & set(image_ids):
        raise ValueError(
            f"none of the {len(image_ids)} `image_ids` is annotated in {directory}; it "
            f"names {sorted(found)[:3]} ..."
        )
    nothing = np.zeros(first.shape, bool)
    signed = np.stack(
        [
            _resized(marks["positive"].get(image_id, nothing), shape)
            - _resized(marks["negative"].get(image_id, nothing), shape)
            for image_id in image_ids
        ]
    )
    return {"annotations": signed, "region_valid": np.any(signed != 0, axis=(1, 2))}


def _files(directory: str | pathlib.Path) -> list[pathlib.Path]:
    paths = sorted(pathlib.Path(directory).glob("*factual*.csv"))
    if not paths:
        raise FileNotFoundError(
            "put the csv files of annotations, with 'factual' or 'counterfactual' in "
            f"their names, into {directory}."
        )
    return paths


def _good_rows(path: pathlib.Path) -> list[tuple[str, str, np.ndarray]]:
    """File and row, as a message names them, the image's id and its marks."""
    good = []
    for place, row in _rows(path):
        if (row["img_check"] or "").strip() != "good":
            continue
        image_id = (row["img_idx"] or "").strip()
        if not image_id:
            raise ValueError(f"{place}: `img_idx` must not be empty.")
        good.append((place, image_id, _matrix(row["matrix_resize"], place)))
    return good


def _rows(path: pathlib.Path) -> list[tuple[str, dict[str, str | None]]]:
    with open(path, encoding="utf-8-sig", newline="") as file, csv_fields.long_fields():
        reader = csv.DictReader(file)
        try:
            missing = sorted(set(_COLUMNS) - set(reader.fieldnames or ()))
            rows = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            place = f"{path.name}, line {reader.line_num}"
            raise ValueError(f"{place} must be csv in UTF-8 ({error}).") from error
    if missing:
        raise ValueError(f"{path.name}, row 0: the columns {missing} must exist.")
    return [(f"{path.name}, row {n}", row) for n, row in enumerate(rows, start=1)]


def _matrix(text: str | None, place: str) -> np.ndarray:
    rule = f"{place}: `matrix_resize` must be a json matrix of 0 and 1"
    try:
        matrix = np.array(json.loads(text or ""))
    except (ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"{rule} ({error}).") from error
    if matrix.ndim != 2 or 0 in matrix.shape or matrix.dtype.kind not in "biuf":
        raise ValueError(f"{rule}, not {matrix.dtype} {matrix.shape}.")
    wrong = (matrix != 0) & (matrix != 1)
    if wrong.any():
        raise ValueError(f"{rule}, not hold {matrix[wrong][0]}.")
    return matrix != 0


def _resized(mask: np.ndarray, shape: tuple[int, int] | None) -> np.ndarray:
    resized = mask if shape is None else annotations.resize_mask(mask, shape=shape)
    return resized.astype(np.int8)
