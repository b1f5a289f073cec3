"""An experiment as a command: its flags, its exit status, and how it goes on."""

import contextlib
import dataclasses
import os
import pathlib
import shlex
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import jax
import tyro

from experiments.running import allocating, directory, flags, loop
from xguide_jax import training


def main(experiment: loop.Experiment[Any, Any]) -> None:
    """Reads the flags, prepares JAX and runs the experiment.

    Exit status: 2 for what is refused, with one line that says why; 1 for an arm that
    diverged, with one that says of what and where its last checkpoint is; 130 and 143
    after SIGINT and SIGTERM, with one that says how to go on.

    Args:
      experiment: what to run.
    """
    allocating.keep_freed_memory()
    name = experiment.name
    config = tyro.cli(experiment.config, description=experiment.describe())
    if config.run_dir is None:
        config = dataclasses.replace(config, run_dir=directory.default_run_dir(name))
    try:
        loop.check(experiment, config)
        _prepare(config)
        flags.chosen_devices(config.num_devices)
    except ValueError as error:
        _refuse(name, error)
    try:
        with _termination_as_exception():
            loop.run_experiment(experiment, config)
    except (flags.RefusedError, training.LockedError) as error:
        _refuse(name, error)
    except training.NonFiniteError as error:
        _refuse(name, error, status=1)
    except training.Interrupted as stopped:
        _leave(stopped, go_on_command(name, config, sys.argv[1:]))
    except KeyboardInterrupt:
        at_once = training.Interrupted(signal.SIGINT)
        _leave(at_once, go_on_command(name, config, sys.argv[1:]))


def go_on_command(name: str, config: flags.RunConfig, arguments: list[str]) -> str:
    """The command that goes on with a run.

    Args:
      name: the experiment's.
      config: the flags, `run_dir` among them.
      arguments: those of the command line.

    Returns:
      A line for a shell.
    """
    given = [argument.partition("=")[0].replace("_", "-") for argument in arguments]
    if "--run-dir" not in given:
        arguments = [*arguments, "--run-dir", str(config.run_dir)]
    return shlex.join(["python", "-m", f"experiments.{name}", *arguments])


def _refuse(name: str, error: Exception, *, status: int = 2) -> NoReturn:
    print(f"{name}: error: {error}", file=sys.stderr)
    sys.exit(status)


def _leave(stopped: training.Interrupted, command: str) -> NoReturn:
    if jax.process_index() == 0:
        print(f"{stopped}; to go on: {command}", file=sys.stderr)
    sys.exit(stopped.code)


@contextlib.contextmanager
def _termination_as_exception() -> Iterator[None]:
    """SIGTERM ends what is running as an interrupt from the keyboard does."""

    def interrupt(number: int, frame: Any) -> NoReturn:
        raise training.Interrupted(number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _prepare(config: flags.RunConfig) -> None:
    """Joins the other hosts if asked to, and keeps compiled programs between runs."""
    if config.distributed:
        jax.distributed.initialize()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = pathlib.Path.home() / ".cache" / "xguide_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
