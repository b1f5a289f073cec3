"""Files that a crash leaves whole: bytes, JSON, and the records of a run.

Records are one JSON object a line. A line counts once its newline is on disk: what a
crash left after the last newline is ignored, and dropped by the next append. In a run
of several processes only one of them should write.
"""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

Path = str | os.PathLike[str]


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line to a log and returns when it is on disk.

    Args:
      path: the log; made if it is missing, in a directory that exists.
      record: JSON values, arrays and NumPy scalars. Numbers that are not finite become
        null, since JSON has no name for them.

    Raises:
      TypeError: for a value that JSON does not know.
    """
    line = json.dumps(_plain(record), allow_nan=False).encode() + b"\n"
    with open(path, "a+b") as file:
        _drop_torn_end(file)
        file.write(line)
        _to_disk(file)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a log in order, without the torn last line of a crash.

    Args:
      path: the log; a missing one has no records.

    Raises:
      ValueError: if a line before the last is no JSON object, naming it.
    """
    return [record for _, record in _read(path)]


def truncate_log(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Drops the records that a resumed run is going to write again.

    The log is replaced in one rename, so a crash leaves the old one or the new one.

    Args:
      path: the log; a missing one is left missing.
      keep: which records stay, e.g. `lambda record: record["step"] <= step`.

    Raises:
      ValueError: as `read_records`.
    """
    if not os.path.exists(path):
        return
    kept = b"".join(line for line, record in _read(path) if keep(record))
    if kept != pathlib.Path(path).read_bytes():
        write_bytes(path, kept)


def write_json(path: Path, value: Any) -> None:
    """Writes one JSON file so that a crash leaves the old file or the new one.

    Args:
      path: the file, replaced if it is there.
      value: as in `append_record`.

    Raises:
      TypeError: for a value that JSON does not know.
    """
    text = json.dumps(_plain(value), indent=2, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes one file so that a crash leaves the old file or the new one.

    When it returns the file is on disk: a file written later never outlives it.

    Args:
      path: the file, replaced if it is there; in a directory that exists.
      content: all of it.
    """
    temporary = f"{os.fspath(path)}.tmp"  # what a killed run left is overwritten
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            _to_disk(file)
        os.replace(temporary, path)
    finally:
        pathlib.Path(temporary).unlink(missing_ok=True)
    _directory_to_disk(os.path.dirname(os.path.abspath(path)))


def _read(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    if not os.path.exists(path):
        return []
    content = pathlib.Path(path).read_bytes()
    lines = content[: _whole_lines(content)].splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError as error:
            # A power cut may leave a block of zeros that ends in a newline.
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not JSON ({error}).") from error
        records.append((line, record))
    return records


def _whole_lines(content: bytes) -> int:
    """How many bytes lie before the end of the last newline."""
    return content.rfind(b"\n") + 1


def _drop_torn_end(file: BinaryIO) -> None:
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read() != b"\n":
        file.seek(0)
        file.truncate(_whole_lines(file.read()))


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _directory_to_disk(directory: str) -> None:
    # Without it the rename itself may be lost. Windows opens no directories.
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _plain(value: Any) -> Any:
    """The value with arrays as lists and numbers that are not finite as None."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
