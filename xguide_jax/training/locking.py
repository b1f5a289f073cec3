"""One run at a time in a directory."""

import contextlib
import datetime
import json
import os
import socket
import sys
from collections.abc import Iterator

import jax

try:
    import fcntl
except ImportError:  # Windows has other locks
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"

# What this process holds: {file: [its descriptor, how many blocks are inside]}.
_held: dict[tuple[int, str], list] = {}


class LockedError(RuntimeError):
    """Another run is working in the directory."""


@contextlib.contextmanager
def lock_directory(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other runs out of a directory while the block lasts.

        with training.lock_directory(directory):
            state = training.fit(...)

    The operating system holds the lock, so that it ends with the process, however that
    dies; the file `.lock` only says who holds it. Blocks of one process nest. Of a run
    of several processes the first one locks for all. Nothing is locked where there are
    no such locks: on storage that is no file system ('gs://...'), on Windows, and on
    file systems mounted without them.

    Args:
      directory: made if it is missing.

    Raises:
      LockedError: at once, naming the process, its host and since when, if another
        run is inside.
    """
    directory = os.fspath(directory)
    if "://" in directory or fcntl is None or jax.process_index() != 0:
        yield
        return
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(os.path.realpath(directory), NAME)
    key = (os.getpid(), path)  # a fork holds nothing
    if key not in _held:
        _held[key] = [_open_locked(path), 0]
    _held[key][1] += 1
    try:
        yield
    finally:
        _held[key][1] -= 1
        if not _held[key][1]:
            _release(_held.pop(key)[0], path)


def _release(file: int | None, path: str) -> None:
    if file is None:
        return
    try:
        # While it is locked: who has opened it meanwhile sees that it is gone.
        os.unlink(path)
    except FileNotFoundError:
        pass
    finally:
        os.close(file)


def _open_locked(path: str) -> int | None:
    """The open file that carries the lock; None where there are no locks."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(file)
            os.close(file)
            raise LockedError(
                f"{os.path.dirname(path)} is in use by {holder}: wait for it to end, "
                "or take another directory."
            ) from None
        except OSError:  # the file system has none
            os.close(file)
            return None
        if _is_at(file, path):
            break
        os.close(file)
    who = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
    }
    os.ftruncate(file, 0)
    os.write(file, json.dumps(who).encode())
    return file


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(file: int) -> str:
    try:
        who = json.loads(os.read(file, 1 << 16))
        return (
            f"process {who['pid']} on {who['host']} since {who['since']} "
            f"({who['command']})"
        )
    except (ValueError, KeyError):  # it is writing it now
        return "another process"
