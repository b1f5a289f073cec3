"""Rows of arrays on disk, known by what they were made from.

A folder holds files of rows, each written once, whole or not at all: a killed program
leaves the files that it had finished and at most a temporary one, which is never read
and is removed later. Programs that write the same rows write the same file. A file says
in its header how long it is, what it holds and the checksum of that; `n` are its rows.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import struct
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

_MAGIC = b"xguide_jax rows1"
_HEAD = struct.Struct("<QI")  # length and checksum of the JSON that follows
_ALIGNMENT = 64
_SUFFIX = ".rows"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Seconds without a byte, after which nobody is writing a temporary file any more.
_ABANDONED = 3600


class Rows(NamedTuple):
    """What one file holds.

    Attributes:
      ids: what each row was made from.
      sizes: int [n, 2], height and width of each image before it was resized.
      values: [n, ...].
    """

    ids: Sequence[str]
    sizes: np.ndarray
    values: np.ndarray


class CachedRows(NamedTuple):
    """Rows of N images that lie on disk and come into memory as they are read.

    Attributes:
      files: arrays [n, ...] that are mapped into memory, read only.
      places: int [N, 2], the file of each row and where it stands in that.
      sizes: int [N, 2], height and width of each image before it was resized.
      ids: the SHA-256 of each image's bytes, in hexadecimal, and ' upright' behind it
        where the image was turned by its EXIF part.
      key: how the rows were made, in hexadecimal.
    """

    files: tuple[np.ndarray, ...]
    places: np.ndarray
    sizes: np.ndarray
    ids: tuple[str, ...]
    key: str


def read_rows(cached: CachedRows, rows: np.ndarray) -> np.ndarray:
    """The rows at `rows`, in that order, in memory.

    Args:
      cached: N rows.
      rows: int [B] in 0 .. N - 1.

    Returns:
      [B, ...], in the dtype that is stored.

    Raises:
      IndexError: if a row lies outside, also below 0, or they are no whole numbers.
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or (rows.dtype.kind not in "iu" and rows.size):
        raise IndexError(f"`rows` ({rows.dtype} {rows.shape}) must be int [B].")
    outside = rows[(rows < 0) | (rows >= len(cached.ids))]
    if len(outside):
        raise IndexError(
            f"`rows` (={outside[0]}) must lie in 0 .. {len(cached.ids) - 1}."
        )
    first = cached.files[0]
    values = np.empty((len(rows), *first.shape[1:]), first.dtype)
    places = cached.places[rows.astype(int)].tolist()
    for row, (file, place) in enumerate(places):
        values[row] = cached.files[file][place]
    return values


def fill(
    folder: str | os.PathLike[str],
    ids: Sequence[str],
    *,
    key: str,
    make: Callable[[list[int]], Iterable[Rows]],
) -> list[Rows]:
    """The files of a folder, once what they lacked has been made and written.

    Args:
      folder: made if it is missing; where nothing is to be written it may be read only.
      ids: what the rows are made from; equal ones are made once.
      key: how they are made; files of other keys are left alone.
      make: places in `ids` that are missing -> their rows, in files as they come. It
        may leave some out.

    Returns:
      The files that are whole, those just written included; their values are mapped
      into memory.

    Raises:
      OSError: naming the folder, if it is full, may not be written or is none. What was
        written before stays and is not made again.
    """
    path = pathlib.Path(folder)
    found = _whole_files(path, key)
    known = {name for rows in found for name in rows.ids}
    missing = [row for name, row in _first(ids).items() if name not in known]
    if not missing:
        return found
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
    for rows in make(missing):
        # Named by its rows, so that two programs write one file and not two.
        file = path / f"{key[:16]}-{digest(*rows.ids)[:16]}{_SUFFIX}"
        with _explained(path):
            _write(file, rows, key)
        found.append(_read(file, key))
    return found


def arrange(found: Sequence[Rows], ids: Sequence[str], *, key: str) -> CachedRows:
    """The rows of images in the images' order.

    Args:
      found: as of `fill`, with every one of `ids`.
      ids: one an image.
      key: how the rows were made.

    Returns:
      N rows.
    """
    known: dict[str, tuple[int, int]] = {}
    for file, rows in enumerate(found):
        for place, name in enumerate(rows.ids):
            known.setdefault(name, (file, place))
    places = np.array([known[name] for name in ids])
    sizes = np.array([found[file].sizes[place] for file, place in places])
    used, numbers = np.unique(places[:, 0], return_inverse=True)
    places[:, 0] = numbers
    files = tuple(found[file].values for file in used)
    return CachedRows(files, places, sizes, tuple(ids), key)


def digest(*parts: str) -> str:
    """The SHA-256 of texts, in hexadecimal.

    Args:
      *parts: 'ab', 'c' and 'a', 'bc' are different.

    Returns:
      64 characters.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _first(ids: Sequence[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, name in enumerate(ids):
        places.setdefault(name, place)
    return places


def _whole_files(folder: pathlib.Path, key: str) -> list[Rows]:
    """What is damaged is removed, with a warning, and so made again."""
    found = []
    for file in sorted(folder.glob(f"{key[:16]}-*{_SUFFIX}")):
        try:
            found.append(_read(file, key))
        except FileNotFoundError:  # another program has just removed it
            continue
        except ValueError as error:
            warnings.warn(
                f"{file} {error}: it is removed, and its rows are made again.",
                stacklevel=4,
            )
            with contextlib.suppress(OSError):
                file.unlink()
    return found


def _write(path: pathlib.Path, rows: Rows, key: str) -> None:
    values = np.ascontiguousarray(rows.values)
    about = {
        "key": key,
        "dtype": values.dtype.str,
        "shape": values.shape,
        "crc32": zlib.crc32(values),
        "ids": list(rows.ids),
        "sizes": np.asarray(rows.sizes).tolist(),
    }
    text = json.dumps(about).encode()
    head = _MAGIC + _HEAD.pack(len(text), zlib.crc32(text)) + text
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(head.ljust(_begin(len(text)), b"\0"))
            file.write(values)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    if os.name == "posix":  # without it a power cut may lose the name
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: pathlib.Path, key: str) -> Rows:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(len(_MAGIC) + _HEAD.size)
        if len(head) < len(_MAGIC) + _HEAD.size or not head.startswith(_MAGIC):
            raise ValueError("is no file of rows of this version")
        length, checksum = _HEAD.unpack(head[len(_MAGIC) :])
        text = file.read(min(length, size))
        if len(text) != length or zlib.crc32(text) != checksum:
            raise ValueError("has a damaged header")
        about = json.loads(text)
        if about["key"] != key:
            raise ValueError("holds rows that were made otherwise")
        dtype, shape = np.dtype(about["dtype"]), tuple(about["shape"])
        begin = _begin(length)
        expected = begin + dtype.itemsize * int(np.prod(shape))
        if size != expected:
            raise ValueError(f"has {size} bytes and must have {expected}")
        values = np.asarray(np.memmap(file, dtype, "r", begin, shape))
    if zlib.crc32(values) != about["crc32"]:
        raise ValueError("has damaged rows")
    return Rows(about["ids"], np.array(about["sizes"]), values)


def _begin(length: int) -> int:
    """Where the rows begin behind a JSON of this length."""
    end = len(_MAGIC) + _HEAD.size + length
    return -(-end // _ALIGNMENT) * _ALIGNMENT


def _remove_abandoned(folder: pathlib.Path) -> None:
    for file in folder.glob(f".*{_SUFFIX}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _ABANDONED:
                file.unlink()


@contextlib.contextmanager
def _explained(folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            what = "has no room left: free some, or give a folder on another disk"
        elif error.errno in _FORBIDDEN:
            what = "may not be written: allow it, or give another folder"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR):
            what = "is no folder, or lies below a file: give the path of a folder"
        else:
            raise
        message = f"`folder` (={str(folder)!r}) {what}."
        raise OSError(error.errno, message) from error
