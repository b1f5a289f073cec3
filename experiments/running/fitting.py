"""Training one arm of one seed: from its last checkpoint on, logged and kept."""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tqdm

from experiments.running import arms, directory, flags, tensorboard
from xguide_jax import files, training
from xguide_jax.types import ApplyFn, PyTree, TaskLoss, Terms, TrainState


class Problem(NamedTuple):
    """What an arm is trained on, apart from its terms; one for each seed.

    Attributes:
      apply_fn: the network.
      params: its initial weights.
      model_state: its initial state.
      batch_at: step -> batch.
      optimizer: of the weights, and of the terms' own.
      task_loss: of the labels.
    """

    apply_fn: ApplyFn
    params: PyTree
    model_state: PyTree
    batch_at: Callable[[int], Any]
    optimizer: optax.GradientTransformation
    task_loss: TaskLoss = training.softmax_cross_entropy


def train_arm(
    run: directory.Run, arm: arms.Arm, terms: Terms, problem: Problem, *, seed: int
) -> tuple[TrainState, float]:
    """Trains one arm, or the rest of it, and keeps its weights.

    Args:
      run: the open run.
      arm: which.
      terms: {name: GuidanceTerm}; {} is the unguided arm.
      problem: network, data and optimiser, the same for all arms of a seed.
      seed: of this repetition.

    Returns:
      (final state, images a second of the steps taken now; NaN if there were too few).

    Raises:
      Interrupted: at SIGINT or SIGTERM, when the running step is done and saved.
      NonFiniteError: if the arm diverged, naming its last checkpoint.
      RefusedError: if there is a checkpoint that is not of this arm.
    """
    name = f"{arm.text}-{seed}"
    kept = _Kept(
        checkpoints=run.path / "checkpoints" / name,
        identity=directory.identity(run.config, arm=arm.text, seed=seed),
        log=run.path / "metrics.jsonl",
        mine={"arm": arm.text, "seed": seed},
    )
    state = _restored(kept, _initial_state(problem, terms, seed))
    if run.is_writer:
        _truncate_log(kept, int(state.step))
    devices = flags.chosen_devices(run.config.num_devices)
    step = _make_step(problem, terms, how=run.config.how, devices=devices)
    with (
        tensorboard.writer(run, name) as board,
        _progress_bar(f"{arm.text}, seed {seed}", int(state.step), run) as bar,
    ):
        try:
            advance = functools.partial(_advance, bar, tuple(terms))
            state, rates = _fit(
                run, kept, step, state, problem.batch_at, advance, board
            )
        except training.NonFiniteError as error:
            raise training.NonFiniteError(
                f"{arm.text}, seed {seed}, diverged: {error} "
                f"{_last_of(kept.checkpoints)}"
            ) from error
    if run.is_writer:
        directory.save_model(run.path / "models" / name / "model.safetensors", state)
    # The first window holds the compilation.
    return state, float(np.median(rates[1:])) if len(rates) > 1 else float("nan")


class _Kept(NamedTuple):
    """Where an arm's checkpoints and log lie, and how its own are told from others."""

    checkpoints: pathlib.Path
    identity: Mapping[str, Any]
    log: pathlib.Path
    mine: Mapping[str, Any]


def _fit(
    run: directory.Run,
    kept: _Kept,
    step: Callable[..., Any],
    state: TrainState,
    batch_at: Callable[[int], Any],
    advance: Callable[[int, Mapping[str, Any]], None],
    board: Any,
) -> tuple[TrainState, list[float]]:
    """`training.fit` with log, checkpoints and bar; (final state, images a second)."""
    rates: list[float] = []

    def progress(step: int, steps_per_second: float, record: Mapping) -> None:
        rates.append(steps_per_second * run.config.batch_size)
        advance(step, record)

    def on_log(record: Mapping[str, Any]) -> None:
        files.append_record(kept.log, {**kept.mine, **record})
        tensorboard.add_scalars(board, record)

    def save(state: TrainState) -> None:
        training.save_checkpoint(kept.checkpoints, state, config=kept.identity)

    with training.stop_on_signals() as stop:
        state = training.fit(
            step,
            state,
            batch_at,
            num_steps=run.config.num_steps,
            log_every=run.config.log_every,
            on_log=on_log if run.is_writer else None,
            save_every=run.config.save_every,
            on_save=save,
            progress=progress,
            stop=stop,
        )
    return state, rates


def _initial_state(problem: Problem, terms: Terms, seed: int) -> TrainState:
    return training.init_train_state(
        jax.random.key(seed),
        problem.params,
        problem.model_state,
        terms,
        problem.optimizer,
        problem.batch_at(0),
    )


def _restored(kept: _Kept, state: TrainState) -> TrainState:
    """The newest checkpoint of this arm; the state that is given where none is."""
    where = kept.checkpoints
    try:
        found = training.restore_checkpoint(where, state, config=kept.identity)
    except ValueError as error:
        raise flags.RefusedError(f"{where}: {error}") from error
    return state if found is None else found


def _truncate_log(kept: _Kept, begin: int) -> None:
    """Forgets what an arm logged after step `begin`: its steps are taken again."""

    def keep(record: Mapping[str, Any]) -> bool:
        of_another_arm = {**record, **kept.mine} != record
        return of_another_arm or record["step"] <= begin

    if kept.log.exists():
        files.truncate_log(kept.log, keep)


def _make_step(
    problem: Problem, terms: Terms, *, how: Any, devices: list[jax.Device] | None
) -> Callable[..., Any]:
    step = training.make_train_step(
        problem.apply_fn,
        terms,
        problem.optimizer,
        task_loss=problem.task_loss,
        axis_name="batch",
    )
    return training.data_parallel(step, how=how, devices=devices)


def _last_of(checkpoints: pathlib.Path) -> str:
    steps = [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]
    if not steps:
        return "There is no checkpoint."
    return f"The last good checkpoint is {checkpoints / str(max(steps))}."


def _progress_bar(label: str, begin: int, run: directory.Run) -> tqdm.tqdm:
    """A bar with the arm, its loss and the time left, on the writing process only."""
    return tqdm.tqdm(
        desc=f"{label:>28}",
        initial=begin,
        total=run.config.num_steps,
        unit="step",
        disable=not run.is_writer,
        dynamic_ncols=True,
    )


def _advance(
    bar: tqdm.tqdm, terms: tuple[str, ...], step: int, record: Mapping[str, Any]
) -> None:
    bar.update(step - bar.n)
    shown = ("loss", "task", *terms) if terms else ("loss",)
    bar.set_postfix_str(", ".join(f"{n} {record[n]:.3f}" for n in shown))
