"""Lines are lost only where a crash tore them, and never doubled."""

import json
import math
import os

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import files


def write(path, *numbers):
    for number in numbers:
        files.append_record(path, {"step": number})


def steps(path):
    return [record["step"] for record in files.read_records(path)]


def test_records_come_back_in_order_one_line_each(tmp_path):
    log = tmp_path / "log.jsonl"
    record = {
        "step": 1,
        "loss": 0.1,
        "of": {"a": [1, (2.5, None)], "text": "line\nbreak \u2028 é"},
        "flag": True,
    }
    files.append_record(log, record)
    write(log, 2, 3)
    assert log.read_bytes().count(b"\n") == 3
    assert files.read_records(str(log)) == [
        {**record, "of": {"a": [1, [2.5, None]], "text": "line\nbreak \u2028 é"}},
        {"step": 2},
        {"step": 3},
    ]


def test_a_missing_log_is_empty_and_stays_missing(tmp_path):
    log = tmp_path / "log.jsonl"
    assert files.read_records(log) == []
    files.truncate_log(log, lambda record: False)
    assert not log.exists()


def test_numbers_that_are_not_finite_are_null_in_strict_json(tmp_path):
    value = {
        "nan": math.nan,
        "list": [math.inf, np.float32("-inf"), np.float64(2.5)],
        "array": jnp.array([[1.5, jnp.nan]]),
        "scalar": jnp.int32(3),
        "bool": np.bool_(True),
    }
    expected = {
        "nan": None,
        "list": [None, None, 2.5],
        "array": [[1.5, None]],
        "scalar": 3,
        "bool": True,
    }
    files.append_record(tmp_path / "log", value)
    files.write_json(tmp_path / "file", value)
    refuse = lambda name: pytest.fail(f"{name} is not JSON")
    for name in ("log", "file"):
        text = (tmp_path / name).read_text()
        assert json.loads(text, parse_constant=refuse) == expected


def test_a_torn_last_line_is_ignored_and_dropped_by_the_next(tmp_path):
    log = tmp_path / "log.jsonl"
    write(log, 1, 22)
    whole = log.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        log.write_bytes(whole[:length])
        assert steps(log) == [1]
        write(log, 3)
        assert steps(log) == [1, 3]
        assert log.read_bytes() == whole[:first] + b'{"step": 3}\n'
    log.write_bytes(b'{"st')
    write(log, 4)
    assert steps(log) == [4]


def test_a_last_line_of_zeros_is_ignored_and_dropped_by_truncation(tmp_path):
    log = tmp_path / "log.jsonl"
    write(log, 1)
    log.write_bytes(log.read_bytes() + b"\0\0\0\n")
    assert steps(log) == [1]
    files.truncate_log(log, lambda record: True)
    assert log.read_bytes() == b'{"step": 1}\n'


def test_a_broken_line_before_the_last_is_an_error_naming_it(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2: not JSON"):
        files.read_records(log)
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2: not JSON"):
        files.truncate_log(log, lambda record: True)


def test_truncation_keeps_the_bytes_of_what_stays(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"step":1.0}\n{"step": 2}\n{"step": 3}\n{"st')
    files.truncate_log(log, lambda record: record["step"] <= 2)
    assert log.read_bytes() == b'{"step":1.0}\n{"step": 2}\n'
    assert os.listdir(tmp_path) == ["log.jsonl"]


def test_a_log_that_is_right_already_is_not_written(tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    write(log, 1, 2)
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("was written"))
    files.truncate_log(log, lambda record: True)


def test_a_record_is_on_disk_when_append_returns(tmp_path, monkeypatch):
    log = tmp_path / "log.jsonl"
    on_disk = []
    monkeypatch.setattr(os, "fsync", lambda _: on_disk.append(log.read_bytes()))
    write(log, 1)
    assert on_disk == [b'{"step": 1}\n']


def test_a_file_is_replaced_whole_and_values_json_lacks_are_refused(tmp_path):
    file = tmp_path / "metrics.json"
    files.write_json(file, {"accuracy": 0.5})
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        files.write_json(file, {"classes": {1}})
    assert json.loads(file.read_text()) == {"accuracy": 0.5}
    files.write_json(file, [1])
    assert json.loads(file.read_text()) == [1]
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_bytes_are_on_disk_before_they_have_their_name(tmp_path, monkeypatch):
    file, seen = tmp_path / "model", []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(file.exists()))
    files.write_bytes(file, b"weights")
    assert seen == [False, True]  # the file, then the rename in its folder
    assert file.read_bytes() == b"weights"
