"""An experiment as a command: its flags, its exit status, and how it goes on."""

import contextlib
import dataclasses
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import jax
import tyro

from experiments import common
from xguide_jax import training


def main(
    config_type: type[common.Config],
    run_experiment: Callable[[common.Config], None],
    *,
    name: str,
    check: Callable[[common.Config], None],
) -> None:
    """Reads the flags, prepares JAX and runs the experiment.

    Exit status: 2 for what is refused, with one line that says why; 1 for an arm that
    diverged, with one that says of what and where its last checkpoint is; 130 and 143
    after SIGINT and SIGTERM, with one that says how to go on.

    Args:
      config_type: the experiment's frozen dataclass.
      run_experiment: config -> None.
      name: the experiment's.
      check: raises ValueError for flags out of range.
    """
    config = tyro.cli(config_type, description=sys.modules["__main__"].__doc__)
    if config.run_dir is None:
        config = dataclasses.replace(config, run_dir=common.default_run_dir(name))
    try:
        check(config)
        common.prepare(config)
        common.chosen_devices(config)
    except ValueError as error:
        _refuse(name, error)
    try:
        with _termination_as_exception():
            run_experiment(config)
    except (common.RefusedError, training.LockedError) as error:
        _refuse(name, error)
    except training.NonFiniteError as error:
        _refuse(name, error, status=1)
    except training.Interrupted as stopped:
        _leave(stopped, go_on_command(name, config, sys.argv[1:]))
    except KeyboardInterrupt:
        at_once = training.Interrupted(signal.SIGINT)
        _leave(at_once, go_on_command(name, config, sys.argv[1:]))


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


def go_on_command(name: str, config: common.RunConfig, arguments: list[str]) -> str:
    """The command that goes on with a run.

    Args:
      name: the experiment's.
      config: the flags, `run_dir` among them.
      arguments: those of the command line.

    Returns:
      A line for a shell.
    """
    flags = [argument.partition("=")[0].replace("_", "-") for argument in arguments]
    if "--run-dir" not in flags:
        arguments = [*arguments, "--run-dir", str(config.run_dir)]
    return shlex.join(["python", "-m", f"experiments.{name}", *arguments])
