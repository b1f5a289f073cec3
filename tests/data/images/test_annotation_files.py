"""Published annotation files: signs, joined rows, and what is refused by its row."""

import csv
import json

import numpy as np
import pytest

from xguide_jax import data
from xguide_jax.guidance import reading

_HEADER = ["", "img_idx", "attention", "img_check", "matrix_resize"]


def _matrix(*marked, shape=(3, 4)):
    matrix = np.zeros(shape, int)
    for place in marked:
        matrix[place] = 1
    return json.dumps(matrix.tolist())


def _write(folder, name, *rows, header=_HEADER):
    """Rows of (image, check, matrix), written as the published files are."""
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for number, (image, check, matrix) in enumerate(rows):
            writer.writerow([number, image, "[[0.5]]", check, matrix])


@pytest.fixture
def published(tmp_path):
    _write(
        tmp_path,
        "women_factual.csv",
        ("1.jpg", "good", _matrix((0, 0), (1, 1))),
        ("2.jpg", "bad", _matrix((2, 2))),
        ("3.jpg", "good", _matrix((2, 3))),
    )
    _write(
        tmp_path,
        "women_counterfactual.csv",
        ("1.jpg", "good", _matrix((1, 1), (2, 0))),
        ("4.jpg", "good", _matrix((0, 3))),
    )
    (tmp_path / "notes.csv").write_text("not,a,list")
    return tmp_path


def test_signs_come_from_the_file_names_and_order_from_the_ids(published):
    ids = ["4.jpg", "1.jpg", "5.jpg", "2.jpg", "3.jpg", "1.jpg"]
    known = data.res_annotations(published, ids)
    annotations = known["annotations"]
    assert annotations.shape == (6, 3, 4)
    assert annotations.dtype == np.int8
    # 'counterfactual' holds 'factual', and is negative all the same; only there: kept.
    assert {tuple(place) for place in np.argwhere(annotations[0] == -1)} == {(0, 3)}
    # Marked 1 at (0, 0), -1 at (2, 0), and both ways, so 0, at (1, 1).
    assert annotations[1].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 0]]
    np.testing.assert_array_equal(annotations[5], annotations[1])
    # In no file, and only in a row that is not 'good'.
    assert not annotations[2].any()
    assert not annotations[3].any()
    assert annotations[4, 2, 3] == 1
    assert np.abs(annotations).sum() == 1 + 2 + 1 + 2
    assert known["region_valid"].tolist() == [True, True, False, False, True, True]


def test_rows_of_one_image_are_joined(tmp_path):
    _write(tmp_path, "a_factual.csv", ("7", "good", _matrix((0, 0))))
    _write(
        tmp_path,
        "b_factual.csv",
        ("7", "good", _matrix((0, 0), (2, 1))),
        (" 7", "good ", _matrix((2, 3))),
    )
    annotations = data.res_annotations(tmp_path, ["7"])["annotations"]
    assert np.argwhere(annotations[0]).tolist() == [[0, 0], [2, 1], [2, 3]]
    assert annotations.max() == 1


def test_small_marks_survive_resizing_and_both_signs_cancel(published):
    # 3 x 4 to 1 x 2: a cell is two columns over all rows. Image 1 has 1 and -1 in
    # the left cell; image 3 has 1 and image 4 has -1 in the right one.
    known = data.res_annotations(published, ["1.jpg", "3.jpg", "4.jpg"], shape=(1, 2))
    assert known["annotations"][:, 0].tolist() == [[0, 0], [0, 1], [0, -1]]
    assert known["region_valid"].tolist() == [False, True, True]


def test_matrices_of_the_published_size_are_read(tmp_path):
    matrix = _matrix((100, 3), shape=(224, 224))
    assert len(matrix) > csv.field_size_limit()
    _write(tmp_path, "factual.csv", ("1", "good", matrix))
    limit = csv.field_size_limit()
    annotations = data.res_annotations(tmp_path, ["1"])["annotations"]
    assert np.argwhere(annotations).tolist() == [[0, 100, 3]]
    assert csv.field_size_limit() == limit


def test_floats_and_truth_values_are_numbers_too(tmp_path):
    rows = (("1", "good", "[[0.0, 1.0]]"), ("2", "good", "[[true, false]]"))
    _write(tmp_path, "factual.csv", *rows)
    annotations = data.res_annotations(tmp_path, ["1", "2"])["annotations"]
    assert annotations.tolist() == [[[0, 1]], [[1, 0]]]


def test_terms_and_transforms_read_these_annotations(published):
    known = data.res_annotations(published, ["1.jpg", "5.jpg", "4.jpg"])
    maps, valid = reading.annotations_of(known)
    np.testing.assert_array_equal(np.asarray(maps), known["annotations"])
    assert valid.tolist() == [True, False, True]
    inputs = known["annotations"][0][..., None].astype(np.float32)
    one = {"annotations": known["annotations"][0], "region_valid": np.array(True)}
    for seed in range(8):
        moved, also = data.transform_together(
            np.random.default_rng(seed), inputs, one, flip=True, pad_crop=2
        )
        np.testing.assert_array_equal(also["annotations"], moved[..., 0])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ("", "must be a json matrix of 0 and 1 .Expecting value"),
        ("[[0, 1], [1]]", "must be a json matrix of 0 and 1 .*inhomogeneous"),
        ("[0, 1]", r"not int64 \(2,\)"),
        ("[[]]", r"not float64 \(1, 0\)"),
        ("{}", r"not object \(\)"),
        ('[["0", "1"]]', "not <U1"),
        ("[[0, 2]]", "not hold 2"),
        ("[[0, -1]]", "not hold -1"),
        ("[[0, NaN]]", "not hold nan"),
        ("[[0, 1e999]]", "not hold inf"),
        ("[[null, 1]]", r"not object \(1, 2\)"),
        ("[" * 100_000, "must be a json matrix of 0 and 1 "),
        ("[[1, " + "9" * 30 + "]]", "must be a json matrix of 0 and 1"),
        ("__import__('os')", "must be a json matrix of 0 and 1 .Expecting value"),
    ],
)
def test_a_matrix_of_something_else_is_refused_by_file_and_row(
    tmp_path, matrix, message
):
    good = ("1", "good", "[[0, 1]]")
    _write(tmp_path, "x_factual.csv", good, ("2", "good", matrix))
    with pytest.raises(ValueError, match=message) as error:
        data.res_annotations(tmp_path, ["1"])
    assert str(error.value).startswith("x_factual.csv, row 2: `matrix_resize` must")
    _write(tmp_path, "x_factual.csv", good, ("2", "unclear", matrix))
    assert data.res_annotations(tmp_path, ["1"])["annotations"].shape == (1, 1, 2)


def test_other_wrong_rows_are_refused_by_file_and_row(tmp_path):
    good = ("1", "good", "[[0, 1]]")
    _write(tmp_path, "a_factual.csv", good)
    _write(tmp_path, "b_counterfactual.csv", ("1", "good", "[[0], [1]]"))
    with pytest.raises(
        ValueError,
        match=r"b_counterfactual.csv, row 1: .* \(2, 1\) must have .* \(1, 2\)",
    ):
        data.res_annotations(tmp_path, ["1"])
    _write(tmp_path, "b_counterfactual.csv", good, ("  ", "good", "[[0, 1]]"))
    with pytest.raises(
        ValueError, match=r"b_counterfactual.csv, row 2: `img_idx` must not be empty"
    ):
        data.res_annotations(tmp_path, ["1"])


def test_missing_columns_and_bytes_that_are_no_text_are_refused(tmp_path):
    _write(tmp_path, "factual.csv", header=["img_idx", "attention"])
    with pytest.raises(
        ValueError,
        match=r"factual.csv, row 0: the columns \['img_check', 'matrix_resize'\]",
    ):
        data.res_annotations(tmp_path, ["1"])
    (tmp_path / "factual.csv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"factual.csv, row 0: the columns"):
        data.res_annotations(tmp_path, ["1"])
    (tmp_path / "factual.csv").write_bytes(b"img_idx,img_check\n\xff\xfe,good\n")
    with pytest.raises(ValueError, match=r"factual.csv, line . must be csv in UTF-8"):
        data.res_annotations(tmp_path, ["1"])


def test_a_row_that_is_too_short_is_refused(tmp_path):
    (tmp_path / "factual.csv").write_text("img_idx,img_check,matrix_resize\n3,good\n")
    with pytest.raises(ValueError, match=r"factual.csv, row 1: `matrix_resize` must"):
        data.res_annotations(tmp_path, ["3"])


def test_no_files_and_ids_that_name_nothing_are_refused(published, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match="with 'factual' or 'counterfactual'"):
        data.res_annotations(tmp_path_factory.mktemp("empty"), ["1.jpg"])
    with pytest.raises(
        ValueError, match=r"none of the 2 `image_ids` .* names \['1.jpg', '3.jpg', "
    ):
        data.res_annotations(published, ["1", "2"])
