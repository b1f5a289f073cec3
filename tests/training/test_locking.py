"""One run at a time in a directory; who is dead holds nothing."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from xguide_jax import training
from xguide_jax.training import locking

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks of another kind")

# Holds the lock of a directory until it is killed.
PROGRAM = """
import sys, time
from xguide_jax import training
with training.lock_directory(sys.argv[1]):
    print("inside", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """(a directory, another process that is inside)."""
    directory = tmp_path_factory.mktemp("run")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory)],
        env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "inside\n"
    yield directory, process
    process.kill()


def test_a_directory_is_refused_naming_who_is_inside_until_that_is_dead(other):
    directory, process = other
    host = locking.socket.gethostname()
    with (
        pytest.raises(
            training.LockedError,
            match=rf"in use by process {process.pid} on {host} since 20.*: wait for it",
        ),
        training.lock_directory(directory),
    ):
        pytest.fail("is inside as well")
    assert (directory / ".lock").exists()  # who was refused has not removed it

    process.kill()  # leaves its file behind
    process.wait()
    assert (directory / ".lock").exists()
    with training.lock_directory(directory):
        assert f'"pid": {os.getpid()}' in (directory / ".lock").read_text()
    assert not (directory / ".lock").exists()


def is_locked(directory):
    """Whether a file that another process opens could be locked."""
    try:
        with open(directory / ".lock") as file:
            locking.fcntl.flock(file, locking.fcntl.LOCK_EX | locking.fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def test_blocks_of_one_process_nest_and_the_last_lets_others_in(tmp_path):
    first, second = (training.lock_directory(tmp_path / "new") for _ in range(2))
    first.__enter__()
    second.__enter__()
    assert is_locked(tmp_path / "new")
    first.__exit__(None, None, None)  # in any order, as threads do
    assert is_locked(tmp_path / "new")
    second.__exit__(None, None, None)
    assert not is_locked(tmp_path / "new")


def test_an_error_inside_lets_others_in(tmp_path):
    with pytest.raises(KeyError), training.lock_directory(tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_only_the_first_of_several_processes_locks(other, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with training.lock_directory(tmp_path):
        assert not list(tmp_path.iterdir())


def test_storage_that_is_no_file_system_is_not_locked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with training.lock_directory("gs://bucket/run"):
        assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_not_locked(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(95, "not supported")

    monkeypatch.setattr(locking.fcntl, "flock", flock)
    with training.lock_directory(tmp_path), training.lock_directory(tmp_path):
        pass


def test_a_lock_that_is_given_back_while_another_opens_it_is_taken_once(
    tmp_path, monkeypatch
):
    """The file that was opened may be removed before it is locked."""
    flock, removed = locking.fcntl.flock, []

    def late(file, how):
        if not removed:
            removed.append(True)
            os.unlink(tmp_path / ".lock")
        flock(file, how)

    monkeypatch.setattr(locking.fcntl, "flock", late)
    with training.lock_directory(tmp_path):
        assert os.path.samestat(
            os.stat(tmp_path / ".lock"), os.fstat(next(iter(locking._held.values()))[0])
        )


def test_who_has_not_said_who_it_is_is_another_process(tmp_path):
    with open(tmp_path / ".lock", "w") as file:
        locking.fcntl.flock(file, locking.fcntl.LOCK_EX)
        with (
            pytest.raises(training.LockedError, match="in use by another process: "),
            training.lock_directory(tmp_path),
        ):
            pytest.fail("is inside as well")


def test_a_directory_under_two_names_is_one(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with (
        training.lock_directory(tmp_path / "run"),
        training.lock_directory(tmp_path / "link"),
    ):
        assert is_locked(tmp_path / "run")
    assert not is_locked(tmp_path / "run")


def test_a_fork_is_not_inside_with_its_parent(tmp_path, monkeypatch):
    with training.lock_directory(tmp_path), monkeypatch.context() as patches:
        patches.setattr(os, "getpid", lambda: -1)
        with (
            pytest.raises(training.LockedError),
            training.lock_directory(tmp_path),
        ):
            pytest.fail("is inside as well")
