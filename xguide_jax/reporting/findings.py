"""What came out, in a sentence or two that the numbers themselves decide."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from xguide_jax.tables import formatting


class Comparison(Protocol):
    """A difference between two arms; `Estimate` of `paired_difference` is one."""

    @property
    def value(self) -> float:
        """The difference; NaN if undefined."""

    @property
    def low(self) -> float:
        """Lower bound of its interval; NaN if there is none."""

    @property
    def high(self) -> float:
        """Upper bound of its interval; NaN if there is none."""

    @property
    def num_seeds(self) -> int:
        """How many pairs of seeds it rests on."""

    @property
    def num_given(self) -> int:
        """How many there were."""


def finding(
    quantity: str,
    differences: Mapping[str, Comparison],
    *,
    reference: str,
    best: Literal["max", "min"] = "max",
    paid: Mapping[str, Mapping[str, Comparison]] | None = None,
    digits: int = 3,
) -> str:
    """The paragraph that says which arm came out ahead, by how much, and what it paid.

    An arm is called better or worse where its interval leaves 0 out, and only then. A
    single seed has no interval, so that its largest difference is told as no claim. The
    interval is that of the arm alone; where the arm was picked from several, the
    paragraph says so, because the largest of many differences is too large on average.

    Args:
      quantity: what was measured, e.g. 'Worst-group accuracy'.
      differences: {arm: arm minus reference}; the arms that compete, without controls.
      reference: what every arm is compared with, e.g. 'the unguided arm'.
      best: whether 'max' or 'min' of the quantity is wanted.
      paid: {another quantity: {arm: arm minus the same reference}}, told for the arm
        that the paragraph is about; arms may be missing.
      digits: behind the point.

    Returns:
      Plain text of one paragraph, for `write_report` and for a terminal.
    """
    sign = 1 if best == "max" else -1
    undefined = [arm for arm in differences if np.isnan(differences[arm].value)]
    ordered = sorted(
        (arm for arm in differences if arm not in undefined),
        key=lambda arm: sign * differences[arm].value,
        reverse=True,
    )
    if not ordered:
        return f"{quantity}: no difference to {reference} is defined."
    first, among = ordered[0], f" of {len(ordered)} arms" if len(ordered) > 1 else ""
    if all(np.isnan(differences[arm].low) for arm in ordered):
        only_one = all(differences[arm].num_given == 1 for arm in ordered)
        number = formatting.fixed(differences[first].value, digits=digits, signed=True)
        text = f"{quantity}: {'one seed' if only_one else 'no interval'}, no claim. "
        if among and sign * differences[first].value < 0:
            text += (
                f"None{among} is better than {reference}; the nearest, {first}, has "
            )
            text += f"{number} against it."
        else:
            text += f"Minus {reference}, {f'the best{among} is ' if among else ''}"
            text += f"{first}{' with' if among else ' has'} {number}."
        return text + _also("Undefined", undefined) + _price(first, paid, digits)
    side = {arm: sign * _side_of_zero(differences[arm]) for arm in ordered}
    amount = _with_seeds(differences[first], digits)
    choice = ", its interval not corrected for the choice." if among else "."
    if side[first] > 0:
        text = f"{quantity}: {first} does better than {reference}, by {amount}"
        text += f", the most{among}" if among else ""
    elif among:
        text = (
            f"{quantity}: no arm can be told to be better than {reference}; the best"
            f"{among} is {first} with {amount}"
        )
    elif side[first] < 0:
        text = f"{quantity}: {first} does worse than {reference}: {amount}"
    else:
        text = f"{quantity}: {first} cannot be told apart from {reference}: {amount}"
    groups = {
        "Better as well": 1,
        "Worse": -1,
        f"Not told apart from {reference}": 0,
    }
    others = "".join(
        _also(name, [arm for arm in ordered[1:] if side[arm] == of])
        for name, of in groups.items()
    )
    others += _also("Undefined", undefined)
    return text + choice + others + _price(first, paid, digits)


def _price(
    arm: str, paid: Mapping[str, Mapping[str, Comparison]] | None, digits: int
) -> str:
    told = [
        f"{name} {formatting.estimate_text(of_arm[arm], digits=digits)}"
        for name, of_arm in (paid or {}).items()
        if arm in of_arm
    ]
    return f" Beside it: {'; '.join(told)}." if told else ""


def _also(what: str, arms: Sequence[str]) -> str:
    return f" {what}: {', '.join(arms)}." if arms else ""


def _with_seeds(estimate: Comparison, digits: int) -> str:
    given, used = estimate.num_given, estimate.num_seeds
    seeds = f"{given} seeds" if used == given else f"{used} of {given} seeds"
    text = formatting.estimate_text(estimate, digits=digits)
    return f"{text.removesuffix(f' ({seeds})')} over {seeds}"


def _side_of_zero(estimate: Comparison) -> int:
    """Where the whole interval lies; 0 where it holds 0 or is missing."""
    return int(estimate.low > 0) - int(estimate.high < 0)
