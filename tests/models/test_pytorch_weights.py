"""A weight file of old PyTorch is data: nothing in it is run, nothing in it is new."""

import io
import os
import pickle
import re
import struct
from collections import OrderedDict

import numpy as np
import pytest

from xguide_jax import models

FLOATS = np.arange(24, dtype="<f4")
COUNT = np.array([7], "<i8")
HEAD = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
GLOBAL = "ctorch._utils\n_rebuild_tensor_v2\n"


class Storage:
    """Written as a persistent id; its type as a bare global."""

    def __init__(self, kind, key, size, view=None):
        self.pid = ("storage", Mark(kind), key, "cpu", size, view)


class Mark:
    def __init__(self, kind):
        self.kind = kind


class Tensor:
    def __init__(self, *arguments):
        self.arguments = arguments


class Pickler(pickle._Pickler):
    """The pickler in Python, which can write names that cannot be imported."""

    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None

    def save_mark(self, mark):
        self.write(f"ctorch\n{mark.kind}\n".encode())

    def save_tensor(self, tensor):
        self.write(GLOBAL.encode())
        self.save(tensor.arguments)
        self.write(pickle.REDUCE)

    dispatch = pickle._Pickler.dispatch | {Mark: save_mark, Tensor: save_tensor}


def pickled(value):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(value)
    return file.getvalue()


FLOAT = Storage("FloatStorage", "11", 24)
LONG = Storage("LongStorage", "7", 1)
TENSORS = OrderedDict(
    transposed=Tensor(FLOAT, 0, (2, 3, 4), (1, 2, 6), False, OrderedDict()),
    row=Tensor(FLOAT, 20, (4,), (1,), True, OrderedDict()),
    count=Tensor(LONG, 0, (), (), False, OrderedDict()),
)
TENSORS._metadata = {"version": 1}


def write(folder, *, head=HEAD, tensors=TENSORS, keys=("11", "7"), values=None):
    values = {"11": FLOATS, "7": COUNT} if values is None else values
    content = b"".join(map(pickled, [*head, tensors, list(keys)]))
    for key in keys:
        content += struct.pack("<q", len(values[key])) + values[key].tobytes()
    path = folder / "weights.pth"
    path.write_bytes(content)
    return path


def test_tensors_are_views_of_their_storages(tmp_path):
    found = models.read_pytorch_weights(write(tmp_path))
    assert list(found) == ["transposed", "row", "count"]
    assert found["transposed"].dtype == np.float32
    np.testing.assert_array_equal(
        found["transposed"], FLOATS.reshape(4, 3, 2).transpose(2, 1, 0)
    )
    np.testing.assert_array_equal(found["row"], [20, 21, 22, 23])
    assert found["count"] == 7
    assert found["count"].dtype == np.int64
    found["row"][0] = -1
    assert found["transposed"][1, 0, 3] == 19
    assert found["transposed"].max() == 23


class Evil:
    def __reduce__(self):
        return os.system, ("touch was_here",)


@pytest.mark.parametrize("place", [0, 3])
def test_another_global_is_refused_by_name_and_not_called(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, tensors=Evil())
    if place == 0:
        path.write_bytes(pickle.dumps(Evil(), protocol=2) + path.read_bytes())
    with pytest.raises(ValueError, match=re.escape(f"{os.name}.system; only coll")):
        models.read_pytorch_weights(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02cbuiltins\neval\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",  # STACK_GLOBAL
        b"(i__main__\nanything\n.",  # INST
        b"\x80\x02ccollections\nChainMap\n)\x81.",  # NEWOBJ
    ],
)
def test_no_way_of_a_pickle_to_name_a_global_is_open(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth is no file .* asks for"):
        models.read_pytorch_weights(path)


def tensor(*arguments, storage=FLOAT):
    return {"a": Tensor(storage, *arguments, False, OrderedDict())}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": (1, *HEAD[1:])}, "begins with"),
        ({"head": (*HEAD[:2], {"little_endian": False})}, "little-endian"),
        ({"tensors": [1]}, "must hold a dict of tensors"),
        ({"tensors": {"a": "b"}}, "must hold a dict of tensors"),
        ({"tensors": tensor(0, (5, 5), (5, 1)), "keys": ["11"]}, "a of shape .5, 5"),
        ({"tensors": tensor(21, (4,), (1,)), "keys": ["11"]}, "does not lie in its"),
        ({"tensors": tensor(-1, (4,), (1,))}, "whole numbers of at least 0"),
        ({"tensors": tensor(0, (4,), (-1,))}, "whole numbers of at least 0"),
        ({"tensors": tensor(0, (4, 1), (1,))}, "whole numbers of at least 0"),
        ({"tensors": tensor(0, (4,), (1,), storage=3)}, "in a storage are needed"),
        ({"keys": ["11"]}, "2 storages, not in"),
        ({"values": {"11": FLOATS[:23], "7": COUNT}}, "of 24 numbers says 23"),
        (
            {"tensors": tensor(0, (2,), (1,), storage=Storage("HalfStorage", "1", 2))},
            "asks for torch.HalfStorage",
        ),
        (
            {"tensors": tensor(0, (2,), (1,), storage=Storage("FloatStorage", 1, 2))},
            "is no storage of",
        ),
        (
            {
                "tensors": tensor(
                    0, (2,), (1,), storage=Storage("FloatStorage", "1", 2, view=("9",))
                )
            },
            "is a view of another",
        ),
        (
            {
                "tensors": {
                    **tensor(0, (2,), (1,)),
                    "b": Tensor(Storage("FloatStorage", "11", 9), 0, (2,), (1,)),
                }
            },
            "storage 11 is",
        ),
    ],
)
def test_what_does_not_add_up_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        models.read_pytorch_weights(write(tmp_path, **change))


def test_a_file_that_is_cut_off_or_too_long_is_refused(tmp_path):
    path = write(tmp_path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 3, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is no file of weights"):
            models.read_pytorch_weights(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="1 bytes follow the last storage"):
        models.read_pytorch_weights(path)


def test_a_zip_archive_of_a_newer_pytorch_is_named(tmp_path):
    path = tmp_path / "new.pth"
    path.write_bytes(b"PK\x03\x04rest")
    with pytest.raises(ValueError, match="zip archive of a newer PyTorch"):
        models.read_pytorch_weights(path)
