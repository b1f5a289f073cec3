"""A run that dies anywhere goes on as if it had not: same parameters, same log.

Two kinds of death. Within this process, every write, rename, sync, creation and removal
that Python makes during a run is in turn the last one, a write being torn in half. And
processes are killed at random moments, which also hits the array writes that are not
made from Python. Run as a script, this file is the process that is killed.
"""

import builtins
import functools
import io
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import files, reporting, testing, training
from xguide_jax.types import GuidanceTerm, TermOutput

NUM_STEPS = 6
CONFIG = {"seed": 1}


def batch_at(step):
    rng = np.random.default_rng(step)
    return {
        "inputs": rng.normal(size=(4, 6, 6, 2)).astype(np.float32),
        "labels": rng.integers(0, 3, 4).astype(np.int32),
    }


def noise():
    """A term that is cheap to compile, draws noise and carries a state."""

    def apply(params, state, context):
        noise = jax.vmap(jax.random.normal)(context.key)
        loss = noise * jnp.mean(context.output.logits, axis=-1)
        return TermOutput(loss, jnp.ones_like(loss), params + state)

    return GuidanceTerm(lambda key, batch: (jnp.ones(()), jnp.zeros(())), apply)


@functools.cache
def set_up():
    """(the compiled step of a guided run, its initial state)."""
    terms = {"noise": noise()}
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    optimizer = optax.sgd(0.05, momentum=0.9)
    state = training.init_train_state(
        jax.random.key(1), params, model_state, terms, optimizer, batch_at(0)
    )
    return jax.jit(training.make_train_step(apply_fn, terms, optimizer)), state


def live(directory, *, num_steps=NUM_STEPS):
    """What the same command with the same directory does."""
    step, initial = set_up()
    checkpoints, log = directory / "checkpoints", directory / "metrics.jsonl"
    state = training.restore_checkpoint(checkpoints, initial, config=CONFIG) or initial
    files.truncate_log(log, lambda record: record["step"] <= int(state.step))
    state = training.fit(
        step,
        state,
        batch_at,
        num_steps=num_steps,
        log_every=1,
        save_every=2,
        on_log=functools.partial(files.append_record, log),
        on_save=functools.partial(training.save_checkpoint, checkpoints, config=CONFIG),
    )
    files.write_json(directory / "metrics.json", as_hex(state))
    reporting.write_report(
        directory / "report.html",
        title="a run",
        summary="It came to its end.",
        tables={"log": files.read_records(log)},
        figures={},
        config=CONFIG,
        undefined={},
    )


def damaged_checkpoints_are_errors():
    """A death leaves the checkpoint before or the one after, nothing to pass over."""
    warnings.filterwarnings("error", message=".*is passed over")


def as_hex(state):
    state = state._replace(key=jax.random.key_data(state.key))
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path): np.asarray(leaf).tobytes().hex()
        for path, leaf in leaves
    }


def results(directory):
    """(final parameters bit for bit, all lines of the log, the report)."""
    names = ("metrics.json", "metrics.jsonl", "report.html")
    return tuple((directory / name).read_bytes() for name in names)


class Crash(BaseException):
    """Death: no handler of ordinary errors stops it."""


class Mortal:
    """Counts what Python changes on disk and dies at one of these changes."""

    def __init__(self, monkeypatch, *, last):
        self.count, self.last, self.names = 0, last, []
        for name in (
            "rename", "replace", "fsync", "mkdir", "rmdir", "unlink", "remove",
        ):  # fmt: skip
            monkeypatch.setattr(os, name, self.mortal(getattr(os, name)))
        opened = builtins.open
        for module in (builtins, io):
            monkeypatch.setattr(module, "open", functools.partial(self.open, opened))

    def beat(self, name):
        """Whether this change is the last; afterwards nothing can be changed."""
        if self.count > self.last:
            raise Crash
        self.count += 1
        self.names.append(name)
        return self.count > self.last

    def mortal(self, change):
        @functools.wraps(change)
        def dying(*args, **kwargs):
            if self.beat(change.__name__):
                raise Crash
            return change(*args, **kwargs)

        return dying

    def open(self, opened, file, mode="r", *args, **kwargs):
        if set(mode) <= set("rbt"):
            return opened(file, mode, *args, **kwargs)
        if self.beat("open"):
            raise Crash
        return MortalFile(opened(file, mode, *args, **kwargs), self)


class MortalFile:
    """A file that is open for writing, whose last write is torn."""

    def __init__(self, file, life):
        self.file, self.life = file, life

    def write(self, content):
        if self.life.beat("write"):
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            raise Crash
        return self.file.write(content)

    def truncate(self, *args):
        if self.life.beat("truncate"):
            raise Crash
        return self.file.truncate(*args)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(directories after 4 and after all steps)."""
    directories = {}
    for num_steps in (4, NUM_STEPS):
        directories[num_steps] = tmp_path_factory.mktemp("whole")
        live(directories[num_steps], num_steps=num_steps)
    return directories


def first_life(directory, source):
    """A directory at its beginning, or with a log that is ahead of the checkpoint."""
    directory.mkdir()
    if source is not None:
        shutil.copytree(source, directory, dirs_exist_ok=True)
        with open(directory / "metrics.jsonl", "a") as log:
            log.write('{"step": 5, "loss": 0.5}\n{"step": 6, "lo')


def wait_for_the_last_writes(directory):
    """A dead process writes no more; here the threads that write arrays outlive it."""
    kept = None
    while kept != (now := sorted(map(str, directory.rglob("*")))):
        kept = now
        time.sleep(0.05)


# Thorough: a life for each of some hundred changes on disk. The default run keeps the
# processes that are killed below, and the damaged checkpoints of test_checkpoint.
@pytest.mark.thorough
@pytest.mark.parametrize("begin", [0, 4])
def test_death_at_any_change_on_disk_leaves_no_trace_in_the_result(
    begin, uninterrupted, tmp_path, monkeypatch
):
    expected = results(uninterrupted[NUM_STEPS])
    died_at = []
    damaged_checkpoints_are_errors()
    for last in range(10_000):
        directory = tmp_path / str(last)
        first_life(directory, uninterrupted[4] if begin else None)
        with monkeypatch.context() as patches:
            life = Mortal(patches, last=last)
            try:
                live(directory)
                break
            except Crash:
                died_at.append(life.names[-1])
        wait_for_the_last_writes(directory)
        live(directory)
        assert results(directory) == expected, (last, died_at[-1])
        shutil.rmtree(directory)
    assert results(directory) == expected
    assert {"write", "rename", "fsync", "mkdir"} <= set(died_at)


@pytest.mark.parametrize(
    ("num_runs", "num_kills"), [(1, 3), pytest.param(5, 4, marks=pytest.mark.thorough)]
)
def test_killed_processes_leave_no_trace_in_the_result(num_runs, num_kills, tmp_path):
    # A compilation cache of its own: a kill may tear an entry that others would read.
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "OPENBLAS_NUM_THREADS": "1",  # a thread that would be there before the forks
    }
    output = subprocess.check_output(
        [sys.executable, __file__, str(tmp_path), str(num_runs), str(num_kills)],
        env=environment,
        text=True,
    )
    print(output)
    assert f"{num_runs * num_kills} killed" in output


def be_killed_and_finish(directory, *, num_runs, num_kills, num_steps=20):
    """Runs that are killed `num_kills` times each and must end like one that is not."""
    rng = random.Random(num_runs)
    assert wait(start(directory / "whole", num_steps)) == 0
    for number in range(num_runs):
        run = directory / str(number)
        # In order, so that each life gets on and dies; at 0 while it starts.
        for num_lines in sorted(rng.choices(range(num_steps - 1), k=num_kills)):
            process = start(run, num_steps)
            while count_lines(run / "metrics.jsonl") < num_lines:
                time.sleep(0.001)
            # About as long as two steps with their lines and a save, or as starting.
            time.sleep(rng.uniform(0, 0.1 if num_lines else 0.5))
            os.kill(process, signal.SIGKILL)
            status = wait(process)
            left = sorted(path.name for path in run.glob("checkpoints/*"))
            print(f"after line {num_lines}: status {status}, left {left}")
            assert status == -signal.SIGKILL
        assert wait(start(run, num_steps)) == 0
        assert results(run) == results(directory / "whole")
    print(f"{num_runs * num_kills} killed")


def start(directory, num_steps):
    """The id of a process that lives in `directory`; only its imports are ours."""
    directory.mkdir(exist_ok=True)
    process = os.fork()
    if process == 0:
        try:
            live(directory, num_steps=num_steps)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return process


def wait(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def count_lines(log):
    return log.read_bytes().count(b"\n") if log.exists() else 0


if __name__ == "__main__":
    damaged_checkpoints_are_errors()
    be_killed_and_finish(
        pathlib.Path(sys.argv[1]), num_runs=int(sys.argv[2]), num_kills=int(sys.argv[3])
    )
