"""The loop around a training step: batches ahead of time, logs and checkpoints.

The device is asked for numbers once every `log_every` steps and never in between. What
is logged is a function of the run alone, not of when it was stopped and resumed.
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

from xguide_jax import ops
from xguide_jax.training import step as steps
from xguide_jax.types import Array, Batch, Metrics, TrainState

_FLAG = "nonfinite"  # of 'nonfinite/<term>', the train step's flags

Record = dict[str, Any]


class NonFiniteError(RuntimeError):
    """Too many steps in a row had a loss or gradient that was not finite."""


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
) -> TrainState:
    """Trains from `state.step` to `num_steps`, and goes on after an interruption.

    A record is {'step': n, '<metric>': its mean over the steps since the record before,
    'nonfinite/<what>': how many of them were not finite, 'nonfinite': how many were
    skipped}. Means leave out values that are not finite and are NaN where none is. A
    run that is resumed from a checkpoint writes the records of one that was never
    stopped, bit for bit on CPU:

        state = training.restore_checkpoint(directory, state, config=config) or state
        training.truncate_log(log, lambda record: record["step"] <= int(state.step))
        state = training.fit(
            step, state, batch_at, num_steps=1000, save_every=100,
            on_log=functools.partial(training.append_record, log),
            on_save=functools.partial(
                training.save_checkpoint, directory, config=config
            ),
        )

    Args:
      train_step: compiled: `jax.jit(step)` or `data_parallel(step)`.
      state: the initial or the restored one.
      batch_at: n -> the batch of the step that follows n others. It must depend on n
        alone; it is called in order, in one thread, two batches ahead of their use.
      num_steps: N, in all, those before `state.step` included.
      log_every: n >= 1; a record is made at every multiple of it, and at N. (A run
        that is *prolonged* from an N that is no multiple has one shorter record.)
      on_log: called with each record, in every process.
      save_every: a multiple of `log_every`; None saves at the end only.
      on_save: called with the state at every multiple of `save_every`, at N, and
        before a `NonFiniteError`; after the record of that step.
      max_consecutive_nonfinite: n >= 1; skipped steps in a row after which the run
        stops, looked at when a record is made.
      progress: called with (step, steps per second since the last record, record);
        apart from the record since times differ from run to run.

    Returns:
      The state after `num_steps` steps, or `state` if it is past them.

    Raises:
      ValueError: for a number out of range.
      NonFiniteError: naming the terms whose loss was not finite, or 'gradient' where
        every loss was and the gradient alone was not; the state given to `on_save` is
        that of before the first of these steps, apart from its counters.
    """
    _check_numbers(num_steps, log_every, save_every, max_consecutive_nonfinite)
    first = int(state.step)
    window: Metrics = {}
    before, began = first, time.perf_counter()
    with contextlib.closing(_prefetched(batch_at, first, num_steps)) as batches:
        for step, batch in enumerate(batches, first + 1):
            state, metrics = train_step(state, batch)
            window = _add(window, metrics) if window else _sums(metrics)
            if step % log_every and step != num_steps:
                continue
            sums, in_a_row = jax.device_get((window, state.nonfinite))
            seconds = time.perf_counter() - began
            record = _record(step, sums)
            if on_log is not None:
                on_log(record)
            failed = in_a_row >= max_consecutive_nonfinite
            is_save_step = save_every is not None and step % save_every == 0
            if on_save is not None and (failed or is_save_step or step == num_steps):
                on_save(state)
            if failed:
                raise NonFiniteError(_explain(int(in_a_row), record))
            if progress is not None:
                progress(step, (step - before) / seconds, record)
            window, before, began = {}, step, time.perf_counter()
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


def _prefetched(
    batch_at: Callable[[int], Batch], first: int, last: int, *, ahead: int = 2
) -> Generator[Batch, None, None]:
    """The batches first .. last - 1, made by one thread; its errors are raised here."""
    maker = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="batches")
    waiting = collections.deque(
        maker.submit(batch_at, n) for n in range(first, min(first + ahead, last))
    )
    try:
        for n in range(first + ahead, last + ahead):
            batch = waiting.popleft().result()
            if n < last:
                waiting.append(maker.submit(batch_at, n))
            yield batch
    finally:
        maker.shutdown(cancel_futures=True)


@jax.jit
def _sums(metrics: Metrics) -> dict[str, Array]:
    """{name: [sum of its finite values, their number]} of one step."""
    flags = [value for name, value in metrics.items() if name.startswith(_FLAG)]
    if flags:
        metrics = {_FLAG: jnp.max(jnp.stack(flags)), **metrics}

    def sums(value: Array) -> Array:
        value = ops.at_least_float32(value)
        finite = jnp.isfinite(value)
        return jnp.stack([jnp.where(finite, value, 0), finite.astype(value.dtype)])

    return {name: sums(value) for name, value in metrics.items()}


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
    flags = {k.removeprefix(prefix): v for k, v in record.items() if prefix in k}
    counts = {name: count for name, count in flags.items() if count}
    # A term that is not finite has a gradient that is not, which says no more.
    others = [count for name, count in counts.items() if name != "gradient"]
    if others and max(others) >= counts.get("gradient", 0):
        counts.pop("gradient", None)
    named = ", ".join(f"{name!r} ({count} times)" for name, count in counts.items())
    return (
        f"{in_a_row} steps in a row up to step {record['step']} were skipped. Not "
        f"finite since the last record: {named}. Parameters are as before those steps."
    )
