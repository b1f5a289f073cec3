"""Arrays out of a weight file of old PyTorch, of which nothing is executed.

Before version 1.6 `torch.save` wrote pickles one behind the other: a magic number, a
version, what the machine was, the tensors without their values, the keys of the
storages, and then each storage, its length in 8 bytes and its values. A pickle may call
any function that can be imported. This reader hands the unpickler four names, of which
two are functions of its own and two are mere marks; whatever else a file asks for is
refused by name before it is looked up.
"""

import os
import pickle
from typing import Any, BinaryIO, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


class _Storage(NamedTuple):
    """A run of numbers that tensors are views of, by the key it has in the file."""

    key: str
    dtype: np.dtype[Any]
    size: int


class _Tensor(NamedTuple):
    """A view of a storage, offset and strides counted in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dict(dict):
    """Stands for OrderedDict; what a pickle sets on it beside its items is dropped."""

    def __setstate__(self, state: Any) -> None:
        """Drops PyTorch's `_metadata`."""


def _rebuild_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
) -> _Tensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; the rest is of its gradient."""
    numbers = [offset, *shape, *strides]
    if (
        not isinstance(storage, _Storage)
        or len(shape) != len(strides)
        or any(type(number) is not int or number < 0 for number in numbers)
    ):
        raise ValueError(
            f"a tensor of shape {shape} has offset {offset} and strides {strides} in "
            f"{storage}; whole numbers of at least 0 in a storage are needed."
        )
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


_GLOBALS = {
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch", "FloatStorage"): "FloatStorage",
    ("torch", "LongStorage"): "LongStorage",
}


class _Unpickler(pickle.Unpickler):
    """Builds tensors out of the four names above, and nothing else."""

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        """What a global of the file stands for."""
        if (module, name) not in _GLOBALS:
            raise ValueError(
                f"it asks for {module}.{name}; only "
                f"{', '.join('.'.join(known) for known in _GLOBALS)} are known."
            )
        return _GLOBALS[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that ('storage', type, key, device, size, view) stands for."""
        if not isinstance(pid, tuple) or len(pid) != 6 or pid[0] != "storage":
            raise ValueError(f"{pid!r} is no storage.")
        _, kind, key, _, size, view = pid
        if kind not in _DTYPES or type(key) is not str or type(size) is not int:
            raise ValueError(f"{pid!r} is no storage of {sorted(_DTYPES)}.")
        if view is not None:
            raise ValueError(f"storage {key} is a view of another, which is not read.")
        storage = _Storage(key, _DTYPES[kind], size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is {self.storages[key]} and {storage}.")
        return storage


def read_pytorch_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a weight file that `torch.save` wrote before PyTorch 1.6.

    PyTorch is not needed and no code of the file is run: beside tensors of 32-bit
    floats and 64-bit integers in a dict nothing is accepted. Files of newer versions,
    which are zip archives, are refused; so is one of which the sizes do not add up.

    Args:
      path: of the file.

    Returns:
      {name: float32 or int64 array}, in the order of the file.

    Raises:
      ValueError: naming the file and what in it is not accepted.
    """
    with open(path, "rb") as file:
        if file.peek(4)[:4] == b"PK\x03\x04":
            raise ValueError(
                f"{path} is a zip archive of a newer PyTorch; save the weights as "
                "safetensors, or with `_use_new_zipfile_serialization=False`."
            )
        try:
            return _read(file, os.fstat(file.fileno()).st_size)
        # What a damaged pickle makes the unpickler raise is of many types.
        except Exception as error:
            raise ValueError(
                f"{path} is no file of weights that can be read: {error}"
            ) from error


def _read(file: BinaryIO, length: int) -> dict[str, np.ndarray]:
    storages: dict[str, _Storage] = {}
    load = lambda: _Unpickler(file, storages).load()
    head = [load(), load()]
    if head != [_MAGIC, _PROTOCOL]:
        raise ValueError(f"it begins with {head}, not {[_MAGIC, _PROTOCOL]}.")
    if load().get("little_endian") is not True:
        raise ValueError("it was not written on a little-endian machine.")
    tensors, keys = load(), load()
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor)
        for name, tensor in tensors.items()
    ):
        raise ValueError("it must hold a dict of tensors by name, and no more.")
    if sorted(keys) != sorted(storages) or len(set(keys)) != len(keys):
        raise ValueError(f"its tensors lie in {len(storages)} storages, not in {keys}.")
    values = {key: _read_storage(file, storages[key], length) for key in keys}
    if file.tell() != length:
        raise ValueError(f"{length - file.tell()} bytes follow the last storage.")
    return {
        name: _view(name, tensor, values[tensor.storage.key])
        for name, tensor in tensors.items()
    }


def _read_storage(file: BinaryIO, storage: _Storage, length: int) -> np.ndarray:
    size = int.from_bytes(file.read(8), "little")
    num_bytes = size * storage.dtype.itemsize
    left = length - file.tell()
    if size != storage.size or num_bytes > left:
        raise ValueError(
            f"storage {storage.key} of {storage.size} numbers says {size}, with {left} "
            "bytes of the file left."
        )
    return np.frombuffer(file.read(num_bytes), storage.dtype)


def _view(name: str, tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    """A copy, in order, of the numbers that offset, shape and strides pick."""
    steps = ((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or tensor.offset + sum(steps) >= len(values):
        raise ValueError(
            f"{name} of shape {tensor.shape}, offset {tensor.offset} and strides "
            f"{tensor.strides} does not lie in its storage of {len(values)} numbers."
        )
    strides = tuple(stride * values.itemsize for stride in tensor.strides)
    view = np.lib.stride_tricks.as_strided(
        values[tensor.offset :], tensor.shape, strides, writeable=False
    )
    return view.copy()
