"""Measuring every arm of a finished run with the weights it kept."""

import json
import runpy
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.digits import sources
from experiments.evaluate import experiment, finished, subjects
from experiments.region_guidance import experiment as region_guidance
from experiments.robust_explanations import annotating
from experiments.robust_explanations import experiment as robust_explanations
from experiments.running import arms, directory, flags
from experiments.saliency_guided_images import experiment as saliency_guided
from experiments.saliency_guided_images import explaining, images
from xguide_jax import data, evaluation, models

pytestmark = pytest.mark.usefixtures("standard_promotion")
SMALL = {"num_evaluated": 8, "batch_size": 8, "num_random_orders": 1}


@pytest.fixture(scope="module", autouse=True)
def few_digits():
    few = data.take(data.digits(), np.arange(0, 5000, 60))
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(sources, "load", lambda name, folder: few)
        yield few


def save(run_dir, config, each, network, shape):
    """A run as it is left behind: the weights of a seed are those of all its arms."""
    with directory.open_run(config, name=each.name) as run:
        for seed in run.seeds:
            params, model_state = models.init_linen(
                network, jax.random.key(seed), jnp.zeros(shape)
            )
            state = types.SimpleNamespace(
                params={"model": params}, model_state=model_state
            )
            for arm in config.arms:
                path = run_dir / "models" / f"{arm}-{seed}" / "model.safetensors"
                directory.save_model(path, state)
    return run_dir


@pytest.fixture(scope="module")
def main_job(tmp_path_factory, few_digits):
    path = tmp_path_factory.mktemp("main")
    config = saliency_guided.Config(
        run_dir=path, arms=("unguided", "signed"), seeds=2, num_points=2
    )
    network = images.network_of(few_digits)
    return save(path, config, saliency_guided.EXPERIMENT, network, (1, 28, 28, 1))


@pytest.fixture(scope="module")
def guided_by_boxes(tmp_path_factory):
    path = tmp_path_factory.mktemp("boxes")
    config = region_guidance.Config(
        run_dir=path, arms=("unguided", "energy_cam", "energy_cam@random", "blanked"),
        image_size=16, num_points=2,
    )  # fmt: skip
    network = region_guidance.textured.network()
    return save(path, config, region_guidance.EXPERIMENT, network, (1, 16, 16, 1))


@pytest.fixture(scope="module")
def measured(main_job, tmp_path_factory, standard_promotion):
    """(results, folder of the page) of the main job."""
    run_dir = tmp_path_factory.mktemp("page")
    config = experiment.Config(run=main_job, run_dir=run_dir, **SMALL)
    return experiment.run_finished(config), run_dir


def test_every_arm_and_seed_is_measured_with_its_own_weights(measured, few_digits):
    found, _ = measured
    seeds = {arm: [r.seed for r in each] for arm, each in found.items()}
    assert seeds == {"unguided": [0, 1], "signed": [0, 1]}
    network = images.network_of(few_digits)
    for seed in range(2):
        *_, test = images.parts_of(few_digits, seed)
        inputs = jnp.asarray(test.inputs[:8])
        weights = models.init_linen(network, jax.random.key(seed), inputs[:1])
        output, _ = models.linen_apply_fn(network)(*weights, inputs, train=False)
        right = np.argmax(output.logits, axis=-1) == test.labels[:8]
        assert found["signed"][seed].measured.accuracy.mean == right.mean()


def test_maps_are_those_of_the_experiment(measured, few_digits):
    found, _ = measured
    protocol = explaining.protocol_of(
        few_digits, num_points=2, num_draws=1, batch_size=8
    )
    *_, test = images.parts_of(few_digits, 0)
    network = images.network_of(few_digits)
    weights = models.init_linen(
        network, jax.random.key(0), jnp.asarray(test.inputs[:1])
    )
    explain = evaluation.make_explain(
        models.linen_apply_fn(network),
        {"ig": explaining.explain_fns(protocol)["integrated_gradients"]},
        batch_size=8,
    )
    integrated = explain(
        *weights, test.inputs[:8], test.labels[:8], key=jax.random.key(0)
    )["ig"]
    wanted = evaluation.completeness_of(integrated.gap, integrated.change)
    maps = found["unguided"][0].measured.maps
    error = maps["integrated gradients, signed"].numbers.attribution_error
    np.testing.assert_allclose(error.error, wanted.error, rtol=1e-3)
    assert maps["integrated gradients"].numbers.attribution_error is None


def test_arms_of_a_seed_share_images_fills_and_random_orders(measured):
    """Their weights are the same here, so that every difference is exactly 0."""
    _, run_dir = measured
    tables = (run_dir / "tables.md").read_text()
    assert "gradient, minus unguided (2 seeds)" in tables
    assert "+0.000 [+0.000, +0.000]" in tables
    assert "+0.000 [-" not in tables


def test_the_page_has_a_table_a_map_and_sets_controls_apart(measured):
    _, run_dir = measured
    page = (run_dir / "report.html").read_text()
    for name in ("SmoothGrad (2 seeds)", "integrated gradients, signed (2 seeds)"):
        assert name in page
    numbers = json.loads((run_dir / "numbers.json").read_text())
    assert numbers["seeds"] == [0, 1]
    own = numbers["arms"]["signed"]
    assert own["accuracy"] == [r.measured.accuracy.mean for r in measured[0]["signed"]]
    signed = own["maps"]["integrated gradients, signed"]
    assert {"removal gap, own baseline", "attribution error"} <= signed.keys()
    assert len(signed["attribution error"]) == 2


def test_controls_do_not_compete():
    grammar = saliency_guided.EXPERIMENT.grammar
    every = arms.read_arms(saliency_guided.Config().arms, grammar)
    subject = subjects.of_saliency_guided_images(saliency_guided.Config())
    guided = [arm.text for arm in every if subject.competes(arm)]
    assert guided == ["signed", "magnitude"]


def test_one_seed_has_no_interval_and_a_limit_its_own_images(guided_by_boxes, tmp_path):
    config = experiment.Config(
        run=guided_by_boxes, run_dir=tmp_path, arms=("unguided", "blanked"), **SMALL
    )
    found = experiment.run_finished(config)
    assert list(found) == ["unguided", "blanked"]
    tables = (tmp_path / "tables.md").read_text()
    assert "one seed, no interval" in tables
    assert "[" not in tables
    unguided, blanked = (found[arm][0].measured for arm in found)
    assert list(unguided.maps) == ["Grad-CAM", "gradient", "integrated gradients"]
    assert unguided.groups is not None
    assert unguided.control == blanked.control
    # What is 0, as its baseline is, has no attribution.
    its = lambda e: e.maps["integrated gradients"].numbers.localisation
    assert its(blanked)["energy in region"].mean == pytest.approx(1)
    assert its(unguided)["energy in region"].mean < 0.9
    run = finished.open_finished(guided_by_boxes)
    guided = [arm.text for arm in run.every if run.subject.competes(arm)]
    assert guided == ["energy_cam"]
    test = run.subject.test(run.every[-1], 0)
    assert np.all(test["inputs"][~test["region"]] == 0)


def test_masks_of_robust_explanations_are_the_true_ones(few_digits):
    subject = subjects.of_robust_explanations(robust_explanations.Config())
    guided, control = arms.read_arms(
        ("gradia@strong", "gradia@other"), robust_explanations.EXPERIMENT.grammar
    )
    assert subject.competes(guided)
    assert not subject.competes(control)
    parts = robust_explanations.make_parts_of(robust_explanations.Config())(3)
    test = subject.test(guided, 3)
    np.testing.assert_array_equal(test["inputs"], parts.balanced.inputs)
    np.testing.assert_array_equal(test["region"], annotating.true_masks(parts.balanced))


def test_a_run_that_cannot_be_measured_is_refused_by_its_path(main_job, tmp_path):
    def refused(path, message, **changed):
        with pytest.raises(flags.RefusedError, match=message):
            finished.open_finished(path, **changed)

    refused(tmp_path, "holds no run")
    refused(main_job, r"has no arms \['magnitude'\]", chosen=["magnitude"])
    content = json.loads((main_job / "config.json").read_text())
    write = lambda changed: (tmp_path / "config.json").write_text(
        json.dumps({**content, **changed})
    )
    write({"experiment": "attribution_baselines"})
    refused(tmp_path, "a run of attribution_baselines; there are")
    write({"config": {**content["config"], "speed": 1}})
    refused(tmp_path, r"another version: \['speed'\]")
    write({})
    refused(tmp_path, r"there is no .*unguided-0/model.safetensors")


def test_more_images_than_there_are_and_other_maps_are_refused(main_job, tmp_path):
    config = experiment.Config(run=main_job, run_dir=tmp_path, num_evaluated=1000)
    with pytest.raises(flags.RefusedError, match=r"`num_evaluated` \(=1000\)"):
        experiment.run_finished(config)
    config = experiment.Config(run=main_job, maps=tmp_path)
    with pytest.raises(flags.RefusedError, match="without --maps"):
        experiment.run_finished(config)


def test_the_command_takes_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate", "--run", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("experiments.evaluate", run_name="__main__")
    assert ended.value.code == 2
    assert "holds no run" in capsys.readouterr().err
