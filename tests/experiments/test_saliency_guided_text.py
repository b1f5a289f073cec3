"""Saliency-guided training on tokens at a tiny size."""

import json

import pytest

from experiments.running import loop
from experiments.saliency_guided_text.experiment import EXPERIMENT, Config

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.thorough  # three networks, each explained and tested by removal
def test_runs_and_reports(tmp_path):
    names = ("unguided", "signed", "k=0")
    config = Config(
        run_dir=tmp_path, arms=names, num_steps=4, batch_size=8, log_every=2,
        save_every=2, num_train=32, num_evaluated=8, num_points=2, num_draws=2,
    )  # fmt: skip
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert set(numbers) == set(names)
    measured = {name: results[0]["measured"] for name, results in numbers.items()}
    # Without dropout nothing is replaced and nothing is lost: the same network.
    assert measured["k=0"]["accuracies"] == measured["unguided"]["accuracies"]
    assert measured["signed"]["erasure"] != measured["unguided"]["erasure"]
    for one in measured.values():
        for removal in ("deleted", "masked"):
            found = one["erasure"]["no artefact"]["gradient_x_input"][removal]
            assert -1 <= found["comprehensiveness"]["value"]["mean"] <= 1
    page = (tmp_path / "report.html").read_text()
    assert "Gap to random orders, tokens masked, artefact flipped" in page
    assert "token-marks" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [({"mask_fraction": 2.0}, "`mask_fraction`"), ({"num_draws": 0}, "`num_draws`")],
)
def test_flags_that_cannot_be_met_are_refused(change, message, tmp_path):
    config = Config(run_dir=tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        loop.run_experiment(EXPERIMENT, config)
    assert not list(tmp_path.iterdir())
