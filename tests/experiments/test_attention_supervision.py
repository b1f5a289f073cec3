"""Attention supervision at a tiny size."""

import json

import pytest

from experiments.attention_supervision import terms
from experiments.attention_supervision.experiment import EXPERIMENT, Config
from experiments.running import arms, loop

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.mark.thorough  # three networks are trained, explained and read
def test_runs_and_reports(tmp_path, capsys):
    names = ("unguided", "heads", "layer@permuted")
    config = Config(
        run_dir=tmp_path, arms=names, num_steps=4, batch_size=8, log_every=2,
        save_every=2, num_train=32, num_evaluated=8, num_points=2, num_devices=2,
    )  # fmt: skip
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert set(numbers) == set(names)
    for (result,) in numbers.values():
        measured = result["measured"]
        assert set(measured["accuracies"]) == {
            "in distribution", "no artefact", "artefact flipped",
        }  # fmt: skip
        assert len(measured["probes"]) == 6
        shares = measured["attended"]["supervised"]
        special = shares["class token"] + shares["separator"]
        kinds = ("content", "punctuation", "stop words")
        assert special + sum(shares[k] for k in kinds) == pytest.approx(1, abs=1e-3)
    # Three of four heads are supervised; the extra layer has no others.
    assert numbers["heads"][0]["measured"]["attended"]["others"]
    assert not numbers["layer@permuted"][0]["measured"]["attended"]["others"]
    page = (tmp_path / "report.html").read_text()
    assert "AUPRC of the marks, artefact flipped" in page
    assert "token-marks" in page
    assert "says" in capsys.readouterr().out  # the texts, in the terminal


def test_names_of_arms():
    parse = lambda text: arms.read_arm(text, terms.GRAMMAR)
    assert parse("unguided") == ("unguided", "unguided", None, None)
    assert parse("heads")[1:] == ("heads", 8.0, "rationale")
    assert parse("layer=3@permuted")[1:] == ("layer", 3.0, "permuted")
    assert terms.reference_of(parse("layer")) == "unguided_layer"
    assert terms.reference_of(parse("divergence")) == "unguided"
    assert all(parse(arm) for arm in terms.ARMS)


@pytest.mark.parametrize("arm", ["tails", "heads@shuffled", "unguided@permuted"])
def test_an_unknown_arm_is_refused(arm, tmp_path):
    config = Config(run_dir=tmp_path, arms=(arm,))
    with pytest.raises(ValueError, match=f"`arms` holds '{arm}'; "):
        loop.run_experiment(EXPERIMENT, config)
    assert not list(tmp_path.iterdir())
