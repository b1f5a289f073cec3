"""How many numbers of a run are undefined, for the last table of its report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.running import results


def counts(
    found: results.Results[Any], of: Mapping[str, results.Get[Any]]
) -> dict[str, int]:
    """How often every arm lacks each of some numbers, all seeds together.

    Args:
      found: results of all arms.
      of: {what is lacking, in words: its count in a measurement}.

    Returns:
      {'arm: what is lacking': count}.
    """
    return {
        f"{arm}: {what}": results.total(repeats, get)
        for arm, repeats in found.items()
        for what, get in of.items()
    }


def seeds_without(plain: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """How many seeds of an arm lack each number that any of them lacks.

    Args:
      plain: {arm: a result each seed}, as JSON values.

    Returns:
      {'arm: place of the number, seeds': count}.
    """
    found: dict[str, int] = {}
    for arm, repeats in plain.items():
        for repeat in repeats:
            for place in _undefined_in(repeat["measured"]):
                name = f"{arm}: {place}, seeds"
                found[name] = found.get(name, 0) + 1
    return found


def _undefined_in(plain: Any, place: str = "") -> list[str]:
    """The places of the numbers that are NaN, with spaces between their parts."""
    if isinstance(plain, float):
        return [place] if np.isnan(plain) else []
    parts = plain if isinstance(plain, Mapping) else {}
    if isinstance(plain, list):
        parts = dict(enumerate(plain))
    return [
        found
        for name, part in parts.items()
        for found in _undefined_in(part, f"{place} {name}".strip())
    ]
