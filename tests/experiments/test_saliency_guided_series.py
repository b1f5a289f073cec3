"""Saliency-guided training on series, tiny: what it writes, what it refuses."""

import dataclasses
import json

import pytest

from experiments.running import loop
from experiments.saliency_guided_series.experiment import EXPERIMENT, Config

pytestmark = pytest.mark.usefixtures("standard_promotion")
TINY = Config(
    arms=("unguided", "signed"), num_steps=2, batch_size=4, log_every=1, save_every=2,
    num_devices=1, size=5, num_train=20, num_evaluated=4, num_points=2, num_draws=2,
    layout="middle",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"layout": "top"}, r"`layout` \(='top'\) must be one of"),
        ({"process": "box"}, r"`process` \(='box'\) must be one of"),
        ({"mask_fraction": 1.5}, "mask_fraction"),
        ({"learning_rate": 0.0}, r"`learning_rate` \(=0.0\) must be positive"),
        ({"num_train": 10}, "num_train"),
        ({"arms": ("signs",)}, "signs"),
    ],
)
def test_flags_that_cannot_be_met_are_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        loop.check(EXPERIMENT, dataclasses.replace(TINY, **changes))


@pytest.mark.thorough  # trains, measures and draws
def test_it_trains_measures_and_reports(tmp_path):
    loop.run_experiment(EXPERIMENT, dataclasses.replace(TINY, run_dir=tmp_path / "run"))
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(numbers) == {"unguided", "signed"}
    for arm in numbers:
        measured = numbers[arm][0]["measured"]
        assert 0 <= measured["accuracy"] <= 1
        for recovery in measured["recovery"].values():
            assert 0 <= recovery["precision"]["summary"]["mean"] <= 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert "moving" not in page
    assert "true cells are outlined" in page
