"""The loop around a training step: batches ahead of time, logs and checkpoints.

The device is asked for numbers once every `log_every` steps and never in between. The
state is a function of the run alone, not of when it was stopped and resumed. So are the
records, but for the one in whose steps `stop` or the end of the batches came: its steps
are then in two.
"""

import collections
import concurrent.futures
import contextlib
import math
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from xguide_jax import ops
from xguide_jax.training import soundness, stopping
from xguide_jax.training import step as steps
from xguide_jax.types import Array, Batch, Metrics, TrainState

_FLAG = "nonfinite"  # of 'nonfinite/<term>', the train step's flags
# What they are called beside the terms and the task, in the order of computation.
_STAGES = (("gradient",), ("update",), ("model_state", "guidance_state", "opt_state"))
_ANNOTATED = "annotated"  # of '<term>/annotated', how many examples counted

Record = dict[str, Any]


def fit(
    train_step: steps.TrainStep,
    state: TrainState,
    batch_at: Callable[[int], Batch],
    *,
    num_steps: int,
    log_every: int = 50,
    on_log: Callable[[Record], None] | None = None,
    save_every: int | None = None,
    on_save: Callable[[TrainState], None] | None = None,
    max_consecutive_nonfinite: int = 10,
    progress: Callable[[int, float, Record], None] | None = None,
    stop: Callable[[], int] | None = None,
) -> TrainState:
    """Trains from `state.step` to `num_steps`, and goes on after an interruption.

    A record is {'step': n, '<metric>': its mean over the steps since the record before,
    'nonfinite/<what>': how many of them were not finite, 'nonfinite': how many were
    skipped}. Means leave out values that are not finite and, of a term that reports
    '<term>/annotated', the steps in which nothing was annotated; they are NaN where
    nothing is left. '<term>/annotated' itself is a mean over all steps. A run that died
    and is resumed from a checkpoint comes to the state and writes the records of one
    that was never stopped, bit for bit on CPU:

        with training.lock_directory(folder), training.stop_on_signals() as stop:
            state = training.restore_checkpoint(folder, state, config=config) or state
            begin = int(state.step)
            files.truncate_log(log, lambda record: record["step"] <= begin)
            save = functools.partial(training.save_checkpoint, folder, config=config)
            state = training.fit(
                step, state, batch_at, num_steps=1000, save_every=100, on_save=save,
                on_log=functools.partial(files.append_record, log), stop=stop,
            )

    Args:
      train_step: compiled: `jax.jit(step)` or `data_parallel(step)`.
      state: the initial or the restored one.
      batch_at: n -> the batch of the step that follows n others. It must depend on n
        alone; it is called in order, in one thread, two batches ahead of their use.
      num_steps: N, in all, those before `state.step` included.
      log_every: n >= 1; a record is made at every multiple of it, and at N. (A run
        that is *prolonged* from an N that is no multiple has one record in two, of
        fewer steps each, and so has one that `stop` or the end of its batches stopped
        in between; the state is the same.)
      on_log: called with each record, in every process.
      save_every: a multiple of `log_every`; None saves at the end only.
      on_save: called with the state at every multiple of `save_every`, at N, and
        wherever the run stops before; after the record of that step.
      max_consecutive_nonfinite: n >= 1; skipped steps in a row after which the run
        stops, looked at when a record is made.
      progress: called with (step, steps per second since the last record, record);
        apart from the record since times differ from run to run.
      stop: asked after every step; other than 0 it is the number of a signal, at which
        the run stops: see `stop_on_signals`. Of several processes all stop, at the next
        multiple of `log_every`.

    Returns:
      The state after `num_steps` steps, or `state` if it is past them.

    Raises:
      ValueError: for a number out of range.
      NonFiniteError: naming the terms whose loss was not finite, or 'gradient' where
        every loss was and the gradient alone was not, and so on to what the step would
        have written; the state given to `on_save` is that of before the first of these
        steps, apart from its counters. A state that itself holds NaN, which
        `make_train_step` never returns, is not given to it.
      RuntimeError: if `batch_at` raised StopIteration, once the state is saved.
      Interrupted: if `stop` asked for it.
    """
    _check_numbers(num_steps, log_every, save_every, max_consecutive_nonfinite)
    first = int(state.step)
    window: Metrics = {}
    step, saved, before, began = first, first, first, time.perf_counter()

    def report() -> tuple[Record, int]:
        sums, in_a_row = jax.device_get((window, state.nonfinite))
        record = _record(step, sums)
        if on_log is not None:
            on_log(record)
        return record, int(in_a_row)

    def save() -> None:
        nonlocal saved
        if on_save is not None and saved != step:
            on_save(state)
            saved = step

    with contextlib.closing(_prefetched(batch_at, first, num_steps)) as batches:
        for step, batch in enumerate(batches, first + 1):
            state, metrics = train_step(state, batch)
            window = _add(window, metrics) if window else _sums(metrics)
            is_due = step % log_every == 0 or step == num_steps
            number = _asked(stop, is_due=is_due)
            if not (is_due or number):
                continue
            record, in_a_row = report()
            seconds = time.perf_counter() - began
            if in_a_row >= max_consecutive_nonfinite:
                raise soundness.NonFiniteError(
                    f"{_explain(in_a_row, record)} {_saved_or_why_not(state, save)}"
                )
            is_save_step = save_every is not None and step % save_every == 0
            if is_save_step or step == num_steps or number:
                save()
            if number:
                raise stopping.Interrupted(number, state)
            if progress is not None:
                progress(step, (step - before) / seconds, record)
            window, before, began = {}, step, time.perf_counter()
    if first <= step < num_steps:
        if window:
            report()
        save()
        raise RuntimeError(
            f"`batch_at({step})` raised StopIteration: there are batches for {step} of "
            f"`num_steps` (={num_steps}). A loader that holds one epoch must be begun "
            "again for the next; the state reached was given to `on_save`."
        )
    return state


def _check_numbers(
    num_steps: int,
    log_every: int,
    save_every: int | None,
    max_consecutive_nonfinite: int,
) -> None:
    at_least_one = {
        "log_every": log_every,
        "save_every": save_every,
        "max_consecutive_nonfinite": max_consecutive_nonfinite,
    }
    if num_steps < 0:
        raise ValueError(f"`num_steps` (={num_steps}) must be at least 0.")
    for name, value in at_least_one.items():
        if value is not None and value < 1:
            raise ValueError(f"`{name}` (={value}) must be at least 1.")
    if save_every is not None and save_every % log_every:
        raise ValueError(
            f"`save_every` (={save_every}) must be a multiple of `log_every` "
            f"(={log_every}): a run is resumed where a record begins."
        )


def _asked(stop: Callable[[], int] | None, *, is_due: bool) -> int:
    """The number of the signal at which to stop, the same in every process, or 0."""
    if stop is None:
        return 0
    if jax.process_count() == 1:
        return int(stop())
    # A signal may reach one host alone, or two of them at different steps.
    if not is_due:
        return 0
    return int(np.max(multihost_utils.process_allgather(np.int32(stop()))))


def _prefetched(
    batch_at: Callable[[int], Batch], first: int, last: int, *, ahead: int = 2
) -> Generator[Batch, None, None]:
    """The batches first .. last - 1, made by one thread; its errors are raised here.

    A StopIteration ends them early.
    """
    maker = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="batches")
    waiting = collections.deque(
        maker.submit(batch_at, n) for n in range(first, min(first + ahead, last))
    )
    try:
        for n in range(first + ahead, last + ahead):
            try:
                batch = waiting.popleft().result()
            except StopIteration:
                return
            if n < last:
                waiting.append(maker.submit(batch_at, n))
            yield batch
    finally:
        maker.shutdown(cancel_futures=True)


@jax.jit
def _sums(metrics: Metrics) -> dict[str, Array]:
    """{name: [sum of the values that count, their number]} of one step."""
    flags = [value for name, value in metrics.items() if name.startswith(_FLAG)]
    if flags:
        metrics = {_FLAG: jnp.max(jnp.stack(flags)), **metrics}

    def sums(name: str, value: Array) -> Array:
        value = ops.at_least_float32(value)
        counts = jnp.isfinite(value)
        if (annotated := _annotated(name, metrics)) is not None:
            counts &= annotated > 0
        return jnp.stack([jnp.where(counts, value, 0), counts.astype(value.dtype)])

    return {name: sums(name, value) for name, value in metrics.items()}


def _annotated(name: str, metrics: Metrics) -> Array | None:
    """How many examples the mean called `name` is over, where its term says so."""
    if name.startswith(_FLAG) or name.endswith(f"/{_ANNOTATED}"):
        return None
    parts = name.split("/")  # a term may be called 'a/b', beside 'a'
    for end in range(len(parts), 0, -1):
        count = metrics.get("/".join([*parts[:end], _ANNOTATED]))
        if count is not None:
            return count
    return None


@jax.jit
def _add(window: dict[str, Array], metrics: Metrics) -> dict[str, Array]:
    return jax.tree.map(jnp.add, window, _sums(metrics))


def _record(step: int, sums: Mapping[str, np.ndarray]) -> Record:
    record: Record = {"step": step}
    for name, (total, count) in sums.items():
        if name.startswith(_FLAG):
            record[name] = int(total)
        else:
            record[name] = float(total) / float(count) if count else math.nan
    return record


def _explain(in_a_row: int, record: Record) -> str:
    prefix = f"{_FLAG}/"
    counts = {k.removeprefix(prefix): v for k, v in record.items() if prefix in k}
    # A loss that is NaN makes the gradient NaN, and that the update. Naming them all
    # would hide the first: a later stage is named where it failed more often still.
    named, most = [], 0
    for stage in (sorted(counts.keys() - {n for s in _STAGES for n in s}), *_STAGES):
        failed = {name: counts[name] for name in stage if counts.get(name, 0) > most}
        named += [f"{name!r} ({count} times)" for name, count in failed.items()]
        most = max([most, *failed.values()])
    return (
        f"{in_a_row} steps in a row up to step {record['step']} were skipped. Not "
        f"finite since the last record: {', '.join(named)}."
    )


def _saved_or_why_not(state: TrainState, save: Callable[[], None]) -> str:
    """Saves the state of a run that stops, unless its step has let NaN into it."""
    if unsound := soundness.unsound_leaves(state):
        return (
            f"The state is not finite in {soundness.describe(unsound)}, and was not "
            "given to `on_save`."
        )
    try:
        save()
    except soundness.NonFiniteError as error:
        return str(error)
    return "Parameters are as before those steps."
