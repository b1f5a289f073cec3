"""The numbers that a run logged, over its steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.running import directory
from xguide_jax import files, reporting


def training_figure(
    run: directory.Run,
    drawn: Sequence[str] | Mapping[str, Any],
    labels: Mapping[str, str],
) -> Any:
    """Logged numbers over the steps, from metrics.jsonl; an arm may lack one.

    Args:
      run: the run.
      drawn: its arms that are drawn.
      labels: {name in the log: text for its axis}.

    Returns:
      A figure.
    """
    at: dict[tuple[str, int], dict[int, Mapping[str, Any]]] = {}
    for record in files.read_records(run.path / "metrics.jsonl"):
        if record["arm"] in drawn and record["seed"] in run.seeds:
            of_one = at.setdefault((record["arm"], record["seed"]), {})
            of_one[record["step"]] = record
    # A run that was stopped has a record of that step, which no other has.
    steps = sorted(set.intersection(*map(set, at.values()))) if at else []
    series: dict[str, dict[str, np.ndarray]] = {}
    for arm in drawn:
        for name in labels:
            rows = [
                [at.get((arm, seed), {}).get(step, {}).get(name) for step in steps]
                for seed in run.seeds
            ]
            if rows[0] and rows[0][0] is not None:
                series.setdefault(arm, {})[name] = np.array(rows, float)
    return reporting.training_curves(series, steps=np.asarray(steps), labels=labels)
