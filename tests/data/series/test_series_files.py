"""Readers of series: lengths, missing values, malformed files by name and line."""

import os
import pathlib

import numpy as np
import pytest

from xguide_jax import data

HEADER = """# a comment
@problemName Own
@timeStamps false
@missing true
@univariate false
@dimensions 2
@equalLength false
@classLabel true up down
@data
"""


def read(tmp_path, text, **arguments):
    path = tmp_path / "own_TRAIN.ts"
    path.write_text(text)
    return data.read_ts(path, **arguments)


def read_tsv(tmp_path, text, **arguments):
    path = tmp_path / "own_TRAIN.tsv"
    path.write_text(text)
    return data.read_ucr_tsv(path, class_names=("-1", "1"), **arguments)


def test_lengths_and_missing_values_are_masked_and_counted(tmp_path):
    lines = "1,2,3:4,5,6:down\n1,?,3,4:5,6,7,NaN:up\n7:8:up\n"
    dataset, counts = read(tmp_path, HEADER + lines)
    expected = [
        [[1, 4], [2, 5], [3, 6], [0, 0]],
        [[1, 5], [0, 0], [3, 7], [0, 0]],
        [[7, 8], [0, 0], [0, 0], [0, 0]],
    ]
    np.testing.assert_array_equal(dataset.inputs["series"], expected)
    mask = [[1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
    np.testing.assert_array_equal(dataset.inputs["mask"], np.array(mask, bool))
    assert dataset.labels.tolist() == [1, 0, 0]
    assert dataset.class_names == ("up", "down")
    assert counts == (3, 2, 1, 2)
    data.validate(dataset)


def test_two_splits_can_be_of_one_length(tmp_path):
    dataset, counts = read(tmp_path, HEADER + "1,2:3,4:up\n", num_steps=3)
    assert dataset.inputs["series"].shape == (1, 3, 2)
    assert dataset.inputs["mask"].tolist() == [[True, True, False]]
    assert counts.shorter == 1
    with pytest.raises(ValueError, match=r"own_TRAIN.ts, line 10 has 2 steps; `num_s"):
        read(tmp_path, HEADER + "1,2:3,4:up\n", num_steps=1)


def test_a_table_of_the_ucr_archive(tmp_path):
    dataset, counts = read_tsv(tmp_path, "1\t0.5\tNaN\t2\n-1\t1\t2\tNaN\n")
    np.testing.assert_array_equal(
        dataset.inputs["series"][..., 0], [[0.5, 0, 2], [1, 2, 0]]
    )
    assert dataset.inputs["mask"].tolist() == [[True, False, True], [True, True, False]]
    assert dataset.labels.tolist() == [1, 0]
    assert counts == (2, 1, 1, 1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (HEADER + "1,2:3:up\n", r"own_TRAIN\.ts, line 10: all features must have"),
        (HEADER + "1,2:3,4:left\n", r"line 10: the label 'left' must be one of \['up'"),
        (HEADER + "1,x:3,4:up\n", r"line 10: 'x' at step 1 must be a finite number"),
        (HEADER + "1,inf:3,4:up\n", r"line 10: 'inf' at step 1 must be a finite"),
        (HEADER + "1,2:up\n", r"line 10 has 1 features; the header says 2"),
        (HEADER + "up\n", r"line 10: values and label must be told apart"),
        (HEADER + "?,?:1,2:up\n", r"line 10 must hold a step without a missing"),
        (HEADER, r"own_TRAIN\.ts must hold a series"),
        (HEADER.replace("@data\n", ""), r"own_TRAIN\.ts must have a line '@data'"),
        ("1,2:up\n" + HEADER, r"line 1: a line before '@data' must begin with"),
        (HEADER.replace("@timeStamps false", "@timeStamps true") + "1:1:up", "line 3"),
        (HEADER.replace("@classLabel true up down", "@targetLabel true"), "classes by"),
        (HEADER.replace("true up down", "false"), r"line 8: '@classLabel' must be"),
        (HEADER.replace("true up down", "true up up"), r"line 8: '@classLabel' must"),
        (HEADER.replace("@missing true", "@missing false") + "1,?:1,2:up", "misses a"),
        (
            HEADER.replace("@equalLength false", "@equalLength true\n@seriesLength 3")
            + "1,2:1,2:up",
            r"line 11 has 2 steps; the header says 3",
        ),
        (
            HEADER.replace("@equalLength false", "@equalLength true")
            + "1,2:1,2:up\n1:2:up",
            r"line 11 has 1 steps, the first series 2; the header says '@equalLength",
        ),
        (HEADER + "1,1e39:3,4:up\n", r"line 10: '1e39' at step 1 must be a finite"),
        (HEADER + "1,1_0:3,4:up\n", r"line 10: '1_0' at step 1 must be a finite"),
    ],
)
def test_a_malformed_file_is_refused_by_name_and_line(text, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", r"own_TRAIN\.tsv must hold a series"),
        ("2\t1\n", r"own_TRAIN\.tsv, line 1: the label '2' must be one of \['-1', '1'"),
        ("1\t1\n1\n", r"line 2: label and values must be told apart by tabs"),
        ("1\t1\n\t1\t2\n", r"line 2: the label '' must be one of"),
        ("1\tNaN\tNaN\n", r"line 1 must hold a step without"),
        ("1\t1,5\n", r"line 1: '1,5' at step 0 must be a finite number"),
    ],
)
def test_a_malformed_table_is_refused_by_name_and_line(text, error, tmp_path):
    with pytest.raises(ValueError, match=error):
        read_tsv(tmp_path, text)


def test_a_line_that_ends_in_tabs_is_a_shorter_series(tmp_path):
    dataset, counts = read_tsv(tmp_path, "1\t0.5\t2\t\t\r\n-1\t3\t\t4\n")
    expected = [[0.5, 2, 0], [3, 0, 4]]
    np.testing.assert_array_equal(dataset.inputs["series"][..., 0], expected)
    mask = [[True, True, False], [True, False, True]]
    assert dataset.inputs["mask"].tolist() == mask
    assert counts == (2, 1, 1, 1)


def test_a_class_has_one_name(tmp_path):
    with pytest.raises(ValueError, match=r"`class_names` \(=\['1', '1'\]\) must be"):
        data.read_ucr_tsv(tmp_path / "own.tsv", class_names=("1", "1"))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "own.ts").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"own\.ts must be text in UTF-8"):
        data.read_ts(tmp_path / "own.ts")
    with pytest.raises(FileNotFoundError):
        data.read_ts(tmp_path / "none.ts")


@pytest.mark.parametrize(
    ("name", "shape", "labels"),
    [
        ("GunPoint_TRAIN", (50, 150, 1), [24, 26]),
        ("BasicMotions_TEST", (40, 100, 6), [10, 10, 10, 10]),
        ("ItalyPowerDemand_TRAIN", (67, 24, 1), [34, 33]),
    ],
)
def test_published_sets(name, shape, labels):
    folder = pathlib.Path(os.environ.get("XGUIDE_DATA", "")) / "ucr_small"
    if not folder.is_dir():
        pytest.skip("needs the files of the archive, in XGUIDE_DATA")
    dataset, counts = data.read_ts(folder / f"{name}.ts")
    assert dataset.inputs["series"].shape == shape
    assert np.bincount(dataset.labels).tolist() == labels
    assert counts == (shape[0], 0, 0, 0)
    assert dataset.inputs["mask"].all()
    data.validate(dataset)
