"""Flags that cannot be met are refused before anything is loaded or compiled."""

import dataclasses
import pathlib
from typing import ClassVar, Literal

import jax


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The flags that every experiment has."""

    # What a run that was begun may be asked for more of.
    may_grow: ClassVar[tuple[str, ...]] = ("arms", "num_steps", "seeds")
    # What says nothing of the numbers, and may change from one call to the next.
    beside: ClassVar[tuple[str, ...]] = ("run_dir", "tensorboard")

    run_dir: pathlib.Path | None = None
    """Where the run is written and resumed from; runs/<name>-<time> if left out."""
    seed: int = 0
    """The first seed: of the split, the initial weights, the batches and the noise."""
    seeds: int = 1
    """How many seeds to repeat every arm with."""
    num_steps: int = 160
    """Training steps of each arm."""
    batch_size: int = 64
    """Examples a step, over all devices and hosts."""
    log_every: int = 20
    """Steps between two records in metrics.jsonl; metrics are fetched only then."""
    save_every: int = 80
    """Steps between two checkpoints, a multiple of `log_every`."""
    how: Literal["pmap", "shard_map", "jit"] = "pmap"
    """How the step is lifted over the devices."""
    num_devices: int | None = None
    """How many devices to use; all if left out."""
    distributed: bool = False
    """Join the other hosts of the job first (TPU pods, SLURM, Open MPI, Kubernetes)."""
    tensorboard: bool = False
    """Write the log's numbers and the figures for TensorBoard (tensorboardX)."""
    arms: tuple[str, ...] = ()
    """Which arms to train, in this order."""


@dataclasses.dataclass(frozen=True)
class ExplainingConfig(RunConfig):
    """The flags of an experiment that explains test images by what it trained."""

    learning_rate: float = 1e-3
    """Of Adam."""
    num_evaluated: int = 256
    """Test images that are explained."""
    num_points: int = 16
    """Points of integrated gradients."""


class RefusedError(ValueError):
    """What was asked for cannot be had, as the flags, the data or the directory say."""


def refusal(error: Exception) -> RefusedError:
    """What was caught, as what is refused.

    Args:
      error: with a message of its own, or one of the operating system.

    Returns:
      To be raised from it; of the system's '[Errno 13] Permission denied: ...' the path
      and what is wrong with it.
    """
    if not isinstance(error, OSError) or error.strerror is None:
        return RefusedError(str(error))
    place = "" if error.filename is None else f"{error.filename}: "
    return RefusedError(f"{place}{error.strerror}")


def check(config: RunConfig) -> None:
    """Refuses flags of every experiment that are out of range.

    Args:
      config: the flags.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    check_at_least(config, seed=0)
    check_at_least(
        config, seeds=1, num_steps=1, batch_size=1, log_every=1, save_every=1
    )
    if config.save_every % config.log_every:
        raise ValueError(
            f"`save_every` (={config.save_every}) must be a multiple of `log_every` "
            f"(={config.log_every})."
        )


def check_at_least(config: RunConfig, **least: float) -> None:
    """Refuses flags below their least value.

    Args:
      config: the flags.
      **least: {flag: its least value}.

    Raises:
      ValueError: for the first that is below it, or NaN.
    """
    for name, bound in least.items():
        value = getattr(config, name)
        if not value >= bound:
            raise ValueError(f"`{name}` (={value}) must be at least {bound}.")


def check_fractions(config: RunConfig, *names: str) -> None:
    """Refuses flags outside of [0, 1].

    Args:
      config: the flags.
      *names: of the flags; None is accepted.

    Raises:
      ValueError: for the first that is no fraction.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"`{name}` (={value}) must lie in [0, 1].")


def check_explaining(config: ExplainingConfig, *, least_evaluated: int) -> None:
    """Refuses flags of `ExplainingConfig` with which nothing is learned or explained.

    Args:
      config: the flags.
      least_evaluated: the least `num_evaluated`.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    rate = config.learning_rate
    if not 0 < rate < float("inf"):
        raise ValueError(f"`learning_rate` (={rate}) must be positive and finite.")
    check_at_least(config, num_evaluated=least_evaluated, num_points=1)


def check_available(name: str, asked: int, *, available: int, what: str) -> None:
    """Refuses, before anything is trained, to ask for more examples than there are.

    Args:
      name: of the flag.
      asked: its value.
      available: how many there are.
      what: they are, in the plural.

    Raises:
      RefusedError: naming both numbers.
    """
    if asked > available:
        raise RefusedError(
            f"`{name}` (={asked}) must be at most {available}, the number of {what}."
        )


def check_num_evaluated(asked: int, *, available: int) -> None:
    """`check_available` of the flag `num_evaluated`.

    Args:
      asked: its value.
      available: how many test images there are.

    Raises:
      RefusedError: naming both numbers.
    """
    check_available("num_evaluated", asked, available=available, what="test images")


def chosen_devices(num_devices: int | None) -> list[jax.Device] | None:
    """The devices that `--num-devices` asks for; None for all.

    Args:
      num_devices: the flag.

    Returns:
      The first `num_devices` of all hosts' devices.

    Raises:
      ValueError: if there are fewer.
    """
    if num_devices is None:
        return None
    if not 1 <= num_devices <= jax.device_count():
        raise ValueError(
            f"`num_devices` (={num_devices}) must lie between 1 and the "
            f"{jax.device_count()} there are."
        )
    return jax.devices()[:num_devices]
