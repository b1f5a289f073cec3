"""The figure of what a run logged, whatever became of it on the way."""

import types

import numpy as np
import pytest

from experiments.running import training_figure
from xguide_jax import files, reporting

LABELS = {"loss": "loss", "extra": "loss of the term"}


@pytest.fixture
def drawn(monkeypatch):
    """What is handed over to be drawn."""
    seen = {}

    def keep(series, *, steps, labels):
        seen.update(series=series, steps=steps.tolist())

    monkeypatch.setattr(reporting, "training_curves", keep)
    return seen


def logged(path, records):
    for arm, seed, step in records:
        extra = {"extra": 1.0} if arm == "b" else {}
        record = {"arm": arm, "seed": seed, "step": step, "loss": step / 10 + seed}
        files.append_record(path / "metrics.jsonl", {**record, **extra})
    return types.SimpleNamespace(path=path, seeds=[0, 1])


def test_a_record_of_the_step_at_which_a_run_was_stopped_is_left_out(tmp_path, drawn):
    every = [(arm, seed, step) for arm in "ab" for seed in (0, 1) for step in (2, 4)]
    run = logged(tmp_path, [*every[:2], ("a", 1, 2), ("a", 1, 3), *every[3:]])
    training_figure.training_figure(run, ["a", "b"], LABELS)
    assert drawn["steps"] == [2, 4]
    np.testing.assert_allclose(drawn["series"]["a"]["loss"], [[0.2, 0.4], [1.2, 1.4]])
    assert drawn["series"]["a"].keys() == {"loss"}
    assert drawn["series"]["b"].keys() == {"loss", "extra"}


def test_an_arm_that_is_not_drawn_does_not_matter(tmp_path, drawn):
    every = [("a", seed, step) for seed in (0, 1) for step in (2, 4)]
    run = logged(tmp_path, [*every, ("c", 0, 9)])
    training_figure.training_figure(run, ["a"], LABELS)
    assert drawn["steps"] == [2, 4]


def test_a_seed_that_never_logged_a_number_is_a_gap(tmp_path, drawn):
    run = logged(tmp_path, [("a", 0, 2), ("a", 0, 4)])
    training_figure.training_figure(run, ["a"], LABELS)
    np.testing.assert_allclose(drawn["series"]["a"]["loss"][0], [0.2, 0.4])
    assert np.isnan(drawn["series"]["a"]["loss"][1]).all()
