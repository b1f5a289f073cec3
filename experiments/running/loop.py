"""The one loop over arms and seeds: train, measure, keep; and the report at its end."""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from flax import linen as nn

from experiments.running import arms, directory, flags, report, results, tensorboard
from xguide_jax import files, models, training
from xguide_jax.types import ApplyFn, PyTree, TaskLoss, Terms, TrainState

C = TypeVar("C", bound=flags.RunConfig)
T = TypeVar("T")


class Problem(NamedTuple):
    """What an arm is trained on, apart from its terms; one for each seed."""

    apply_fn: ApplyFn
    params: PyTree
    model_state: PyTree
    batch_at: Callable[[int], Any]
    optimizer: optax.GradientTransformation
    task_loss: TaskLoss = training.softmax_cross_entropy


class Trial(NamedTuple, Generic[T]):
    """One arm of one seed: what to train, and how to measure what came out.

    Attributes:
      problem: network, data and optimiser, alike for all arms of a seed.
      terms: {name: GuidanceTerm}; {} is unguided.
      measure: trained state -> the experiment's record.
    """

    problem: Problem
    terms: Terms
    measure: Callable[[TrainState], T]


MakeTrial = Callable[[arms.Arm, int], Trial[T]]


@dataclasses.dataclass(frozen=True)
class Experiment(Generic[C, T]):
    """An experiment: all that the harness asks of one.

    Attributes:
      name: of its folder.
      question: that it answers, one sentence.
      cost: of its default, in words.
      config: the type of its flags.
      check: raises ValueError for its own flags out of range.
      grammar: which arms there are.
      trials: loads the data and builds the network; returns (arm, seed) -> `Trial`.
        Called only if something is left to train.
      measured: the type of the record that a trial's `measure` returns.
      report: (results over seeds, flags) -> what the report says.
    """

    name: str
    question: str
    cost: str
    config: type[C]
    check: Callable[[C], None]
    grammar: arms.Grammar
    trials: Callable[[C], MakeTrial[T]]
    measured: type[T]
    report: Callable[[results.Results[T], C], report.Report]

    def describe(self) -> str:
        """The text of the experiment's module, for `--help`."""
        return sys.modules[self.trials.__module__].__doc__ or self.question


def linen_problem(
    network: nn.Module, inputs: np.ndarray, *, seed: int, **rest: Any
) -> Problem:
    """The problem of one seed with a Linen network's initial weights.

    Args:
      network: a module of `xguide_jax.models`, or one like them.
      inputs: [N, ...], of which the shape and type are used.
      seed: of the weights.
      **rest: the other fields of `Problem`.

    Returns:
      A `Problem`.
    """
    params, model_state = models.init_linen(
        network, jax.random.key(seed), jnp.asarray(inputs[:1])
    )
    return Problem(models.linen_apply_fn(network), params, model_state, **rest)


def check(experiment: Experiment[C, T], config: C) -> tuple[arms.Arm, ...]:
    """Refuses flags that cannot be met, before anything is loaded or compiled.

    Args:
      experiment: whose flags they are.
      config: the flags.

    Returns:
      The arms, read.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    flags.check(config)
    every = arms.read_arms(config.arms, experiment.grammar)
    experiment.check(config)
    tensorboard.check(config.tensorboard)
    return every


def run_experiment(experiment: Experiment[C, T], config: C) -> None:
    """Trains and measures every arm and seed that is not finished, and reports.

    Every seed has all arms before the next begins.

    Args:
      experiment: what to run.
      config: its flags.

    Raises:
      ValueError: as `check` and `directory.open_run`.
    """
    every = check(experiment, config)
    with directory.open_run(config, name=experiment.name) as run:
        load = functools.partial(results.load_result, run, measured=experiment.measured)
        missing = [(a, s) for s in run.seeds for a in every if load(a, s) is None]
        if missing:
            trials = experiment.trials(config)
        elif run.is_writer:
            print(f"{run.path} is finished; its report is rendered again.")
        for arm, seed in missing:
            trial = trials(arm, seed)
            state, rate = train_arm(run, arm, trial.terms, trial.problem, seed=seed)
            measured = trial.measure(state)
            result = results.Result(arm, seed, config.num_steps, rate, measured)
            if run.is_writer:
                results.save_result(run, result)
        if run.is_writer:
            found = results.collect(run, every, experiment.measured)
            report.write(run, found, experiment.report(found, config))


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
    config, name = run.config, f"{arm.text}-{seed}"
    state = training.init_train_state(
        jax.random.key(seed),
        problem.params,
        problem.model_state,
        terms,
        problem.optimizer,
        problem.batch_at(0),
    )
    checkpoints = run.path / "checkpoints" / name
    identity = directory.identity(config, arm=arm.text, seed=seed)
    save = lambda state: training.save_checkpoint(checkpoints, state, config=identity)
    try:
        restored = training.restore_checkpoint(checkpoints, state, config=identity)
    except ValueError as error:
        raise flags.RefusedError(f"{checkpoints}: {error}") from error
    state = state if restored is None else restored
    begin = int(state.step)
    log = run.path / "metrics.jsonl"
    mine = {"arm": arm.text, "seed": seed}
    if run.is_writer and log.exists():
        # What a crashed run logged behind its last checkpoint is logged again.
        keep = lambda record: {**record, **mine} != record or record["step"] <= begin
        files.truncate_log(log, keep)
    step = training.data_parallel(
        training.make_train_step(
            problem.apply_fn,
            terms,
            problem.optimizer,
            task_loss=problem.task_loss,
            axis_name="batch",
        ),
        how=config.how,
        devices=flags.chosen_devices(config),
    )
    rates: list[float] = []
    with (
        training.stop_on_signals() as stop,
        tensorboard.writer(run, name) as board,
        _progress_bar(f"{arm.text}, seed {seed}", begin, run) as bar,
    ):

        def progress(step: int, steps_per_second: float, record: Mapping) -> None:
            rates.append(steps_per_second * config.batch_size)
            bar.update(step - bar.n)
            shown = ("loss", "task", *terms) if terms else ("loss",)
            bar.set_postfix_str(", ".join(f"{n} {record[n]:.3f}" for n in shown))

        def on_log(record: Mapping[str, Any]) -> None:
            _log(log, mine, record)
            tensorboard.add_scalars(board, record)

        try:
            state = training.fit(
                step,
                state,
                problem.batch_at,
                num_steps=config.num_steps,
                log_every=config.log_every,
                on_log=on_log if run.is_writer else None,
                save_every=config.save_every,
                on_save=save,
                progress=progress,
                stop=stop,
            )
        except training.NonFiniteError as error:
            raise training.NonFiniteError(
                f"{arm.text}, seed {seed}, diverged: {error} {_last_of(checkpoints)}"
            ) from error
    if run.is_writer:
        directory.save_model(run.path / "models" / name / "model.safetensors", state)
    # The first window holds the compilation.
    return state, float(np.median(rates[1:])) if len(rates) > 1 else float("nan")


def _last_of(checkpoints: pathlib.Path) -> str:
    steps = [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]
    if not steps:
        return "There is no checkpoint."
    return f"The last good checkpoint is {checkpoints / str(max(steps))}."


def _log(
    path: pathlib.Path, mine: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    files.append_record(path, {**mine, **record})


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
