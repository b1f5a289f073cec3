"""What the reports of all experiments share: results over seeds, tables, the files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import arms, common
from xguide_jax import evaluation, reporting, training

Seed = tuple[dict[str, float], dict[str, np.ndarray]]
# {arm: what was measured of each seed, as (numbers, arrays)}
Results = Mapping[str, Sequence[Seed]]
Tables = Mapping[str, Sequence[Mapping[str, object]]]


def collect(run: common.Run, arm_names: Sequence[str]) -> Results:
    """What a finished run measured.

    Args:
      run: a run of which every arm and seed is finished.
      arm_names: the arms, in the order of the tables.

    Returns:
      {arm: (numbers, arrays) of each seed}.

    Raises:
      ValueError: if one is missing.
    """
    results: dict[str, list[Any]] = {arm: [] for arm in arm_names}
    for arm in arm_names:
        for seed in seeds_of(run):
            result = arms.load_result(run, arm, seed)
            if result is None:
                raise ValueError(f"{run.path} has no result of {arm!r}, seed {seed}.")
            results[arm].append(result)
    return results


def seeds_of(run: common.Run) -> range:
    """The seeds of a run.

    Args:
      run: an open run.

    Returns:
      seed, seed + 1, ...
    """
    return range(run.config.seed, run.config.seed + run.config.seeds)


def seeds_text(count: int) -> str:
    """How many seeds, in words a reader cannot overlook.

    Args:
      count: at least 1.

    Returns:
      'one seed, no interval' or 'N seeds'.
    """
    return "one seed, no interval" if count == 1 else f"{count} seeds"


def values(results: Results, arm: str, key: str) -> list[float]:
    """One number of every seed.

    Args:
      results: of all arms.
      arm: its name.
      key: of the number.

    Returns:
      [S].
    """
    return [numbers[key] for numbers, _ in results[arm]]


def mean(results: Results, arm: str, key: str) -> float | str:
    """Mean of one number over the seeds that have it.

    Args:
      results: of all arms.
      arm: its name.
      key: of the number.

    Returns:
      The mean, NaN if no seed has the number; '0.5 (3 of 5 seeds)' if some have not.
    """
    every = np.array(values(results, arm, key), float)
    defined = every[~np.isnan(every)]
    if not len(defined):
        return float("nan")
    average = float(np.mean(defined))
    if len(defined) == len(every):
        return average
    text = reporting.format_value(average)
    return f"{text} ({len(defined)} of {len(every)} seeds)"


def total(results: Results, arm: str, key: str) -> int:
    """A count of all seeds together.

    Args:
      results: of all arms.
      arm: its name.
      key: of the count.

    Returns:
      The sum.
    """
    return int(np.nansum(values(results, arm, key)))


def as_zero(results: Results, arm: str, key: str, *, undefined: str) -> str:
    """Mean of a number that counts undefined examples as 0, and how many there were.

    Args:
      results: of all arms.
      arm: its name.
      key: of the number.
      undefined: key of the count.

    Returns:
      '0.5', or '0.5 (3 undefined)'.
    """
    text = reporting.format_value(mean(results, arm, key))
    count = total(results, arm, undefined)
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


def versus(results: Results, arm: str, reference: str, key: str) -> str:
    """An arm's number minus another's, paired by seed and, where rows are kept, by row.

    Where `rows/<key>` holds the number of every example and some are undefined, an
    example that is undefined in either arm is left out of both.

    Args:
      results: of all arms.
      arm: the one.
      reference: the other.
      key: of the number.

    Returns:
      The mean difference, with its interval and the number of seeds it rests on where
      there are several.
    """
    if arm == reference:
        return "reference"
    seeds = zip(results[arm], results[reference], strict=True)
    pairs = [_on_the_same_examples(one, other, key) for one, other in seeds]
    difference = evaluation.paired_difference(*zip(*pairs, strict=True))
    return signed(difference.value) if len(pairs) == 1 else str(difference)


def finish(
    run: common.Run,
    results: Results,
    *,
    title: str,
    summary: str,
    tables: Tables,
    figures: Mapping[str, tuple[str, Any]],
    undefined: Mapping[str, int],
    num_printed: int,
) -> None:
    """Writes metrics.json, tables.md, figures and report.html, and prints a summary.

    Args:
      run: the run.
      results: of all arms.
      title: of the report.
      summary: its paragraphs.
      tables: {caption: rows}.
      figures: {file name: (caption, figure)}.
      undefined: {metric: number of undefined values}; numbers that a seed has not are
        added to it.
      num_printed: how many of the tables go to the terminal.
    """
    pngs = {name: reporting.to_png(figure) for name, (_, figure) in figures.items()}
    for name, png in pngs.items():
        common.write_bytes(run.path / "figures" / f"{name}.png", png)
    numbers = {arm: [n for n, _ in repeats] for arm, repeats in results.items()}
    training.write_json(run.path / "metrics.json", numbers)
    reporting.write_report(
        run.path / "report.html",
        title=title,
        summary=summary,
        tables=tables,
        figures={caption: pngs[name] for name, (caption, _) in figures.items()},
        config=common.read_json(run.path / "config.json"),
        undefined={**undefined, **_missing(results)},
    )
    texts = [f"{name}\n\n{reporting.format_table(t)}" for name, t in tables.items()]
    common.write_bytes(run.path / "tables.md", "\n\n".join(texts).encode())
    report = f"All tables and figures: {run.path / 'report.html'}"
    print("", *texts[:num_printed], report, sep="\n\n")


def training_figure(
    run: common.Run, arm_names: Sequence[str], labels: Mapping[str, str]
) -> Any:
    """Logged numbers over the steps, from metrics.jsonl.

    Args:
      run: for its metrics.jsonl.
      arm_names: the arms drawn.
      labels: {name in the log: text for its axis}; an arm may lack one.

    Returns:
      A figure.
    """
    records = training.read_records(run.path / "metrics.jsonl")
    steps = sorted({record["step"] for record in records})
    series: dict[str, dict[str, np.ndarray]] = {}
    for arm in arm_names:
        mine = [record for record in records if record["arm"] == arm]
        for name in labels:
            rows = [
                [record.get(name) for record in mine if record["seed"] == seed]
                for seed in seeds_of(run)
            ]
            if rows[0] and rows[0][0] is not None:
                series.setdefault(arm, {})[name] = np.array(rows, float)
    return reporting.training_curves(series, steps=np.asarray(steps), labels=labels)


def _on_the_same_examples(one: Seed, other: Seed, key: str) -> tuple[float, float]:
    """One number of two arms, of the examples that are defined in both."""
    rows = [arrays.get(f"rows/{key}") for _, arrays in (one, other)]
    if any(row is None for row in rows):
        return one[0][key], other[0][key]
    first, second = (np.asarray(row, np.float64) for row in rows)
    defined = ~(np.isnan(first) | np.isnan(second))
    if defined.all():  # what the tables show, to the last digit
        return one[0][key], other[0][key]
    if not defined.any():
        return float("nan"), float("nan")
    return float(first[defined].mean()), float(second[defined].mean())


def _missing(results: Results) -> dict[str, int]:
    """How many seeds of an arm have not one of its numbers."""
    counts = {
        f"{arm}: {key}, seeds": int(np.sum(np.isnan(values(results, arm, key))))
        for arm, repeats in results.items()
        for key in repeats[0][0]
    }
    return {name: count for name, count in counts.items() if count}
