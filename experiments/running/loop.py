"""The one loop over arms and seeds: train, measure, keep; and the report at its end."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiments.running import (
    arms,
    directory,
    fitting,
    flags,
    report,
    results,
    tensorboard,
)
from xguide_jax import models
from xguide_jax.types import PyTree, Terms, TrainState

C = TypeVar("C", bound=flags.RunConfig)
T = TypeVar("T")


class Trial(NamedTuple, Generic[T]):
    """One arm of one seed: what to train, and how to measure what came out.

    Attributes:
      problem: network, data and optimiser, alike for all arms of a seed.
      terms: {name: GuidanceTerm}; {} is unguided.
      measure: trained state -> the experiment's record.
    """

    problem: fitting.Problem
    terms: Terms
    measure: Callable[[TrainState], T]


# Every network has programs of its own, in hundreds of mappings of memory, or thousands
# of a large one. Linux grants a process 65,530; then nothing is compiled any more.
_KEPT_PROGRAMS = 12

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
      spread: (flags, arms they name) -> the arms that are trained, told apart by their
        texts, where each is trained on several sets or in several networks.
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
    spread: Callable[[C, tuple[arms.Arm, ...]], tuple[arms.Arm, ...]] = (
        lambda config, every: every
    )

    def describe(self) -> str:
        """The text of the experiment's module, for `--help`."""
        return sys.modules[self.trials.__module__].__doc__ or self.question


def linen_problem(
    network: nn.Module, inputs: PyTree, *, seed: int, **rest: Any
) -> fitting.Problem:
    """The problem of one seed with a Linen network's initial weights.

    Args:
      network: a module of `xguide_jax.models`, or one like them.
      inputs: [N, ...] or a pytree of such arrays, of which shapes and types are used.
      seed: of the weights.
      **rest: the other fields of `fitting.Problem`.

    Returns:
      A `fitting.Problem`.
    """
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), inputs)
    params, model_state = models.init_linen(network, jax.random.key(seed), first)
    return fitting.Problem(models.linen_apply_fn(network), params, model_state, **rest)


def check(experiment: Experiment[C, T], config: C) -> tuple[arms.Arm, ...]:
    """Refuses flags that cannot be met, before anything is loaded or compiled.

    Args:
      experiment: whose flags they are.
      config: the flags.

    Returns:
      The arms that are trained.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    flags.check(config)
    every = arms.read_arms(config.arms, experiment.grammar)
    experiment.check(config)
    tensorboard.check(config.tensorboard)
    return experiment.spread(config, every)


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
        for number, (arm, seed) in enumerate(missing):
            if number and number % _KEPT_PROGRAMS == 0:
                jax.clear_caches()
            trial = trials(arm, seed)
            state, rate = fitting.train_arm(
                run, arm, trial.terms, trial.problem, seed=seed
            )
            measured = trial.measure(state)
            result = results.Result(arm, seed, config.num_steps, rate, measured)
            if run.is_writer:
                results.save_result(run, result)
        if run.is_writer:
            found = results.collect(run, every, experiment.measured)
            report.write(run, found, experiment.report(found, config))
