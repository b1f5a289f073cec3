"""What was measured of the arms, over seeds: kept, read, averaged and compared."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from experiments.running import arms, directory, flags, records
from xguide_jax import evaluation, files, reporting

T = TypeVar("T")


class Result(NamedTuple, Generic[T]):
    """One arm of one seed.

    Attributes:
      arm: as it was read.
      seed: of this repetition.
      num_steps: that it was trained for.
      images_per_second: of the steps taken last; NaN if there were too few.
      measured: the experiment's own record.
    """

    arm: arms.Arm
    seed: int
    num_steps: int
    images_per_second: float
    measured: T


Repeats = Sequence[Result[T]]
# {text of the arm: a result each seed}, in the order of the tables.
Results = Mapping[str, Repeats[T]]
# What a table or figure shows of a measurement.
Get = Callable[[T], float]


def save_result(run: directory.Run, result: Result[Any]) -> None:
    """Keeps what was measured of one finished arm.

    Args:
      run: the open run.
      result: of one arm and seed.
    """
    path = run.path / "results" / f"{result.arm.text}-{result.seed}.json"
    plain, arrays = records.encode(result)
    buffer = io.BytesIO()
    every: dict[str, Any] = dict(arrays)
    np.savez_compressed(buffer, **every)
    directory.write_bytes(path.with_suffix(".npz"), buffer.getvalue())
    # Last, because its presence says that the arm is finished.
    files.write_json(path, plain)


def load_result(
    run: directory.Run, arm: arms.Arm, seed: int, measured: Any
) -> Result[Any] | None:
    """What `save_result` kept.

    Args:
      run: the open run.
      arm: as it was read.
      seed: of this repetition.
      measured: the type of the experiment's record.

    Returns:
      The result, or None if the arm is not finished, or was with fewer steps than the
      run now has.

    Raises:
      RefusedError: if the file holds something else.
    """
    path = run.path / "results" / f"{arm.text}-{seed}.json"
    plain = directory.read_json(path)
    if plain is None:
        return None
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as archive:
        arrays = dict(archive)
    try:
        result: Result[Any] = records.decode(Result[measured], plain, arrays)
    except ValueError as error:
        raise flags.RefusedError(
            f"{path} was written by another version: {error} Move it away, and the arm "
            "is trained again."
        ) from error
    return result if result.num_steps == run.config.num_steps else None


def collect(
    run: directory.Run, every: Sequence[arms.Arm], measured: Any
) -> dict[str, list[Result[Any]]]:
    """What a finished run measured.

    Args:
      run: a run of which every arm and seed is finished.
      every: the arms, in the order of the tables.
      measured: the type of the experiment's record.

    Returns:
      {text of the arm: a result each seed}.

    Raises:
      ValueError: if one is missing.
    """
    results: dict[str, list[Result[Any]]] = {}
    for arm in every:
        for seed in run.seeds:
            result = load_result(run, arm, seed, measured)
            if result is None:
                raise ValueError(f"{run.path} has no result of {arm.text!r}, {seed}.")
            results.setdefault(arm.text, []).append(result)
    return results


def seeds_text(count: int) -> str:
    """How many seeds, in words a reader cannot overlook.

    Args:
      count: at least 1.

    Returns:
      'one seed, no interval' or 'N seeds'.
    """
    return "one seed, no interval" if count == 1 else f"{count} seeds"


def values(repeats: Repeats[T], get: Get[T]) -> list[float]:
    """One number of every seed.

    Args:
      repeats: of an arm.
      get: what is shown of a measurement.

    Returns:
      [S].
    """
    return [get(result.measured) for result in repeats]


def mean(repeats: Repeats[T], get: Get[T]) -> float | str:
    """Mean of one number over the seeds that have it.

    Args:
      repeats: of an arm.
      get: what is shown of a measurement.

    Returns:
      The mean, NaN if no seed has the number; '0.5 (3 of 5 seeds)' if some have not.
    """
    return mean_of(values(repeats, get))


def mean_of(numbers: Sequence[float]) -> float | str:
    """As `mean`, of numbers that are already a list.

    Args:
      numbers: one a seed, NaN where undefined.

    Returns:
      The mean, NaN if no seed has the number; '0.5 (3 of 5 seeds)' if some have not.
    """
    every = np.array(numbers, float)
    defined = every[~np.isnan(every)]
    if not len(defined):
        return float("nan")
    average = float(np.mean(defined))
    if len(defined) == len(every):
        return average
    text = reporting.format_value(average)
    return f"{text} ({len(defined)} of {len(every)} seeds)"


def defined_mean(numbers: Sequence[float]) -> float:
    """Mean of the numbers that are defined, for a choice among arms.

    Args:
      numbers: one a seed, NaN where undefined.

    Returns:
      The mean; -inf where nothing is defined, so that such an arm is never the best.
    """
    defined = [number for number in numbers if not np.isnan(number)]
    return float(np.mean(defined)) if defined else -np.inf


def total(repeats: Repeats[T], get: Get[T]) -> int:
    """A count of all seeds together.

    Args:
      repeats: of an arm.
      get: the count of a measurement.

    Returns:
      The sum.
    """
    return int(np.nansum(values(repeats, get)))


def as_zero(repeats: Repeats[T], get: Callable[[T], evaluation.Summary]) -> str:
    """Mean that counts undefined examples as 0, and how many there were.

    Args:
      repeats: of an arm.
      get: the summary of a measurement.

    Returns:
      '0.5', or '0.5 (3 undefined)'.
    """
    average = mean(repeats, lambda m: get(m).mean_or_zero)
    text = reporting.format_value(average)
    count = total(repeats, lambda m: get(m).num_undefined)
    return f"{text} ({count} undefined)" if count else text


def signed(value: float, *, digits: int = 3) -> str:
    """A difference or ratio with its sign.

    Args:
      value: of one seed.
      digits: behind the point.

    Returns:
      Text; 'undefined' for NaN.
    """
    return "undefined" if np.isnan(value) else f"{value:+.{digits}f}"


def difference(
    one: Repeats[T],
    other: Repeats[T],
    get: Get[T],
    *,
    rows: Callable[[T], np.ndarray] | None = None,
) -> evaluation.Estimate:
    """An arm's number minus another's, paired by seed and, with `rows`, by example.

    An example that is undefined in either arm is then left out of both.

    Args:
      one: the results of an arm.
      other: those of another, of the same seeds.
      get: what is compared.
      rows: the values [N] whose mean it is, where they are kept.

    Returns:
      The mean difference, with its interval and the number of seeds it rests on.
    """
    pairs = [
        _on_the_same_examples(a.measured, b.measured, get, rows)
        for a, b in zip(one, other, strict=True)
    ]
    return evaluation.paired_difference(*zip(*pairs, strict=True))


def versus(
    results: Results[T],
    arm: str,
    reference: str,
    get: Get[T],
    *,
    rows: Callable[[T], np.ndarray] | None = None,
) -> str:
    """`difference` as text.

    Args:
      results: of all arms.
      arm: the one.
      reference: the other.
      get: what is compared.
      rows: as for `difference`.

    Returns:
      'reference' of an arm and itself; one seed has no interval.
    """
    if arm == reference:
        return "reference"
    found = difference(results[arm], results[reference], get, rows=rows)
    return signed(found.value) if len(results[arm]) == 1 else str(found)


def _on_the_same_examples(
    one: T, other: T, get: Get[T], rows: Callable[[T], np.ndarray] | None
) -> tuple[float, float]:
    """One number of two arms, of the examples that are defined in both."""
    if rows is None:
        return get(one), get(other)
    first, second = (np.asarray(rows(m), np.float64) for m in (one, other))
    defined = ~(np.isnan(first) | np.isnan(second))
    if defined.all():  # what the tables show, to the last digit
        return get(one), get(other)
    if not defined.any():
        return float("nan"), float("nan")
    return float(first[defined].mean()), float(second[defined].mean())
