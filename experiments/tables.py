"""What the reports of all experiments share: results over seeds, tables, the files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import arms, common
from xguide_jax import reporting, training

# {arm: what was measured of each seed, as (numbers, arrays)}
Results = Mapping[str, Sequence[tuple[dict[str, float], dict[str, np.ndarray]]]]
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


def mean(results: Results, arm: str, key: str) -> float:
    """Mean of one number over seeds; NaN if a seed has none.

    Args:
      results: of all arms.
      arm: its name.
      key: of the number.

    Returns:
      The mean.
    """
    return float(np.mean(values(results, arm, key)))


def versus(results: Results, arm: str, reference: str, key: str) -> str:
    """An arm's number minus another's, paired by seed.

    Args:
      results: of all arms.
      arm: the one.
      reference: the other.
      key: of the number.

    Returns:
      The mean difference, with its interval where there are several seeds.
    """
    if arm == reference:
        return "reference"
    difference = reporting.paired_difference(
        values(results, arm, key), values(results, reference, key)
    )
    if len(results[arm]) == 1:
        return f"{difference.value:+.3f}"
    return str(difference)


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
      undefined: {metric: number of undefined values}.
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
        undefined=undefined,
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
