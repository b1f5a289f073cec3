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
    logged = files.read_records(run.path / "metrics.jsonl")
    steps = sorted({record["step"] for record in logged})
    series: dict[str, dict[str, np.ndarray]] = {}
    for arm in drawn:
        mine = [record for record in logged if record["arm"] == arm]
        for name in labels:
            rows = [
                [record.get(name) for record in mine if record["seed"] == seed]
                for seed in run.seeds
            ]
            if rows[0] and rows[0][0] is not None:
                series.setdefault(arm, {})[name] = np.array(rows, float)
    return reporting.training_curves(series, steps=np.asarray(steps), labels=labels)
