"""Flags that cannot be met are refused before anything is loaded or compiled."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

from experiments import common


def check(config: common.RunConfig) -> None:
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


def check_at_least(config: common.RunConfig, **least: float) -> None:
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


def check_fractions(config: common.RunConfig, *names: str) -> None:
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


def check_rate(config: common.RunConfig) -> None:
    """Refuses a `learning_rate` with which nothing is learned.

    Args:
      config: the flags.

    Raises:
      ValueError: if it is not positive and finite.
    """
    rate: float = getattr(config, "learning_rate")  # noqa: B009
    if not 0 < rate < float("inf"):
        raise ValueError(f"`learning_rate` (={rate}) must be positive and finite.")


def check_arms(names: tuple[str, ...], parse: Callable[[str], Any]) -> None:
    """Refuses an empty list of arms, one that names an arm twice, and unknown arms.

    Args:
      names: as given.
      parse: raises ValueError for a name that there is not.

    Raises:
      ValueError: naming what there is.
    """
    if not names:
        raise ValueError("`arms` (=()) must name at least one arm.")
    for name in names:
        parse(name)
        if names.count(name) > 1:
            raise ValueError(f"`arms` holds {name!r} {names.count(name)} times.")


def read_weight(text: str, arm: str) -> float:
    """The weight in the name of an arm.

    Args:
      text: of the number.
      arm: the whole name.

    Returns:
      A finite number of at least 0.

    Raises:
      ValueError: for anything else.
    """
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise ValueError(
            f"`arms` holds {arm!r}, whose weight (={text}) must be a finite number of "
            "at least 0."
        )
    return weight


def check_folder(dataset: str, folder: pathlib.Path | None) -> None:
    """Refuses a data set that is a file whose folder is not known.

    Args:
      dataset: the flag.
      folder: the flag; $XGUIDE_DATA if None.

    Raises:
      ValueError: if neither says where it lies.
    """
    if dataset == "mnist10k" and not (folder or os.environ.get("XGUIDE_DATA")):
        raise ValueError("--dataset mnist10k needs --data-dir or $XGUIDE_DATA.")


def check_num_evaluated(config: common.RunConfig, *, available: int) -> None:
    """Refuses, before anything is trained, to explain more images than there are.

    Args:
      config: the flags, `num_evaluated` among them.
      available: how many test images there are.

    Raises:
      RefusedError: naming both numbers.
    """
    asked: int = getattr(config, "num_evaluated")  # noqa: B009
    if asked > available:
        raise common.RefusedError(
            f"`num_evaluated` (={asked}) must be at most {available}, the number of "
            "test images."
        )
