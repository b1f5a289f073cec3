"""Attention supervision at a tiny size."""

import json

import pytest

from experiments.attention_supervision import measuring, report, tables, terms
from experiments.attention_supervision.experiment import EXPERIMENT, Config
from experiments.running import arms, loop, results
from experiments.running.scored import scored
from experiments.texts import explaining, judging

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
        shares = measured["attended"]["apart"]
        special = shares["class token"] + shares["separator"]
        kinds = ("content", "punctuation", "stop words")
        assert special + sum(shares[k] for k in kinds) == pytest.approx(1, abs=1e-3)
    # Three of four heads are looked at apart; the extra layer has no others.
    assert numbers["unguided"][0]["measured"]["attended"]["others"]
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


def found_of(*names, marked=("like training",)):
    """Results of arms whose numbers grow with their place."""

    def measured(number):
        agreement = judging.Plausibility(*[scored([0.1 * number])] * 3)
        agreed = dict.fromkeys(explaining.NAMES, agreement)
        tests = ("like training", "hard")
        return measuring.Measured(
            accuracies={"like training": 0.9, "hard": 0.1 * number},
            validation=0.9,
            probes={},
            plausibility={test: agreed if test in marked else {} for test in tests},
            attended=measuring.Attended({}, {}),
            shown=None,
        )

    read = [arms.read_arm(name, terms.GRAMMAR) for name in names]
    return {
        arm.text: [results.Result(arm, 0, 1, 1.0, measured(number))]
        for number, arm in enumerate(read)
    }


def test_a_control_has_the_weight_of_its_arm():
    found = found_of("heads@permuted", "heads", "heads=16", "unguided")
    assert tables.control_of(found, "heads") == "heads@permuted"
    assert tables.control_of(found, "heads@permuted") == "heads@permuted"
    assert tables.control_of(found, "heads=16") is None
    assert tables.control_of(found, "unguided") is None
    found = found_of("heads=16@permuted", "heads=16", "heads@permuted")
    assert tables.control_of(found, "heads=16") == "heads=16@permuted"


def test_the_extra_layer_is_compared_with_its_own_network():
    found = found_of("unguided", "unguided_layer", "layer@permuted", "heads", "layer")
    lines = report._findings(found, "hard", ["like training"])
    assert len(lines) == 2
    assert all("+0.300 against unguided_layer" in line for line in lines)


def test_a_test_without_marks_has_no_agreement():
    found = found_of("unguided", "heads")
    assert len(report._findings(found, "hard", ["like training"])) == 2
    made = report._findings(found_of("unguided", "heads", marked=()), "hard", [])
    assert len(made) == 1
    assert "accuracy (hard)".capitalize() in made[0]


@pytest.mark.parametrize("arm", ["tails", "heads@shuffled", "unguided@permuted"])
def test_an_unknown_arm_is_refused(arm, tmp_path):
    config = Config(run_dir=tmp_path, arms=(arm,))
    with pytest.raises(ValueError, match=f"`arms` holds '{arm}'; "):
        loop.run_experiment(EXPERIMENT, config)
    assert not list(tmp_path.iterdir())
