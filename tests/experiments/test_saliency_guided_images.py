"""The main job at a tiny size: what it writes, and how it goes on."""

import dataclasses
import functools
import json
import os
import re
import signal

import numpy as np
import pytest
import safetensors.numpy

from experiments.running import directory, flags, loop
from experiments.running import report as running_report
from experiments.saliency_guided_images import explaining, measures
from experiments.saliency_guided_images.experiment import EXPERIMENT, Config
from xguide_jax import files, training

ARMS = ("unguided", "signed")
pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return Config(
        run_dir=tmp_path_factory.mktemp("run"),
        arms=ARMS,
        num_steps=4,
        batch_size=16,
        log_every=1,
        save_every=2,
        num_evaluated=12,
        num_points=2,
        num_draws=2,
        num_devices=2,
        shift=1,
    )


@pytest.fixture(scope="module", autouse=True)
def compiled_once():
    """All runs of this file have one network, protocol and optimiser: one program."""

    def once(make, key):
        made = {}

        @functools.wraps(make)
        def lookup(*args, **kwargs):
            if key(*args) not in made:
                made[key(*args)] = make(*args, **kwargs)
            return made[key(*args)]

        return lookup

    with pytest.MonkeyPatch.context() as patches:
        for module, name, key in (
            (measures, "make_measurement", lambda *_: None),
            (training, "make_train_step", lambda apply_fn, terms, _: tuple(terms)),
            (training, "data_parallel", lambda step: step),
        ):
            patches.setattr(module, name, once(getattr(module, name), key))
        yield


@pytest.fixture(scope="module")
def finished(config, standard_promotion):
    loop.run_experiment(EXPERIMENT, config)
    return config.run_dir


@pytest.fixture
def unreported(monkeypatch):
    """Drawing the report takes longer than the training it is of."""
    with monkeypatch.context() as patches:
        patches.setattr(running_report, "write", lambda *_: None)
        yield patches


def weights(run_dir, arm="signed"):
    path = run_dir / "models" / f"{arm}-0" / "model.safetensors"
    return safetensors.numpy.load_file(path)


def test_writes_everything_a_reader_needs(finished):
    numbers = json.loads((finished / "metrics.json").read_text())
    assert set(numbers) == set(ARMS)
    for arm in ARMS:
        measured = numbers[arm][0]["measured"]
        assert 0 <= measured["test_accuracy"] <= 1
        assert set(measured["removal"]["maps"]) == set(explaining.EXPLAINERS)
        for fills in measured["removal"]["maps"].values():
            assert set(fills) == {"uniform", "black"}
            for views in fills.values():
                for view, sign in (("removal", -1), ("insertion", 1)):
                    found = views[view]
                    assert 0 <= found["area"] <= 1
                    np.testing.assert_allclose(
                        found["gap"]["mean"],
                        sign * (found["area"] - found["chance"]["area"]),
                        atol=1e-6,
                    )
    config = json.loads((finished / "config.json").read_text())
    assert config["config"]["batch_size"] == 16
    assert "jax" in config["versions"]
    report = (finished / "report.html").read_text()
    assert report.count("data:image/png;base64") >= 10
    assert "http://" not in report
    assert "https://" not in report
    records = files.read_records(finished / "metrics.jsonl")
    assert [(r["arm"], r["step"]) for r in records] == [
        (arm, step) for arm in ARMS for step in (1, 2, 3, 4)
    ]
    assert sum(leaf.size for leaf in weights(finished).values()) == 1_199_882


def test_a_finished_run_says_so_and_renders_its_report_again(finished, config, capsys):
    (finished / "report.html").unlink()
    before = (finished / "metrics.jsonl").read_bytes()
    loop.run_experiment(EXPERIMENT, config)
    printed = capsys.readouterr().out
    assert "is finished; its report is rendered again" in printed
    heads = printed.splitlines()
    head = next(line for line in heads if "test accuracy" in line)
    assert "removal area, black" in head  # accuracy and area in one table
    assert (finished / "report.html").exists()
    assert (finished / "metrics.jsonl").read_bytes() == before


@pytest.mark.usefixtures("unreported")
def test_an_interrupted_arm_goes_on_from_its_last_checkpoint(finished, config):
    expected = weights(finished)
    log = (finished / "metrics.jsonl").read_bytes()
    for path in (finished / "results").glob("signed-0.*"):
        path.unlink()
    checkpoints = finished / "checkpoints" / "signed-0"
    newest = max(checkpoints.iterdir(), key=lambda p: int(p.name))
    assert newest.name == "4"
    for file in newest.rglob("*"):  # as if it had never been written to the end
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.warns(UserWarning, match="step 4"):
        loop.run_experiment(EXPERIMENT, config)
    assert (finished / "metrics.jsonl").read_bytes() == log
    for name, leaf in weights(finished).items():
        np.testing.assert_array_equal(leaf, expected[name])


@pytest.mark.usefixtures("unreported")
def test_an_arm_that_is_told_to_stop_loses_no_step(
    finished, config, tmp_path, monkeypatch
):
    config = dataclasses.replace(config, run_dir=tmp_path, arms=("unguided",))
    append = files.append_record

    def append_and_send(log, record):
        append(log, record)
        if record["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patches:
        patches.setattr(files, "append_record", append_and_send)
        with pytest.raises(training.Interrupted, match="SIGTERM after step 3"):
            loop.run_experiment(EXPERIMENT, config)
    assert not (tmp_path / "results").exists()
    assert (tmp_path / "checkpoints" / "unguided-0" / "3").exists()
    loop.run_experiment(EXPERIMENT, config)
    for name, leaf in weights(tmp_path, "unguided").items():
        np.testing.assert_array_equal(leaf, weights(finished, "unguided")[name])
    log = (finished / "metrics.jsonl").read_bytes()
    assert log.startswith((tmp_path / "metrics.jsonl").read_bytes())


def test_a_finished_run_is_asked_for_more_steps_and_arms(
    finished, config, tmp_path, unreported
):
    less = dataclasses.replace(
        config, run_dir=tmp_path, num_steps=2, arms=("unguided",)
    )
    loop.run_experiment(EXPERIMENT, less)
    assert set(weights(tmp_path, "unguided")) == set(weights(finished))
    unreported.undo()
    more = dataclasses.replace(config, run_dir=tmp_path)
    loop.run_experiment(EXPERIMENT, more)
    for arm in ARMS:
        for name, leaf in weights(tmp_path, arm).items():
            np.testing.assert_array_equal(leaf, weights(finished, arm)[name])
    for name in ("metrics.jsonl", "metrics.json"):
        whole = (finished / name).read_text()
        # How many images there were in a second is no function of the run.
        assert without_rates((tmp_path / name).read_text()) == without_rates(whole)
    assert (
        json.loads((tmp_path / "config.json").read_text())["config"]
        == (json.loads((finished / "config.json").read_text())["config"])
    )
    with pytest.raises(
        flags.RefusedError,
        match="with num_steps=4, not 2, and only more of it goes on from there",
    ):
        loop.run_experiment(EXPERIMENT, dataclasses.replace(more, num_steps=2))


def without_rates(text):
    return re.sub(r'"images_per_second": [^,\n]*', "", text)


def test_a_run_of_another_experiment_is_refused(finished, config):
    with (
        pytest.raises(flags.RefusedError, match="run of saliency_guided_images, not"),
        directory.open_run(config, name="region_guidance"),
    ):
        pytest.fail("was opened")


def test_more_images_than_there_are_are_refused_before_training(config, tmp_path):
    for change, message in (
        ({"num_evaluated": 1001}, r"`num_evaluated` \(=1001\) must be at most 1000"),
        ({"batch_size": 3501}, r"`batch_size` \(=3501\) must be at most 3500"),
    ):
        fresh = dataclasses.replace(config, run_dir=tmp_path, **change)
        with pytest.raises(flags.RefusedError, match=message):
            loop.run_experiment(EXPERIMENT, fresh)
        (tmp_path / "config.json").unlink()
    assert not list(tmp_path.iterdir())


def test_another_configuration_is_refused_naming_the_field(finished, config):
    other = dataclasses.replace(config, batch_size=32)
    with pytest.raises(ValueError, match="holds a run with batch_size=16, not 32"):
        loop.run_experiment(EXPERIMENT, other)


def test_flags_that_cannot_be_met_are_refused(config, tmp_path):
    fresh = dataclasses.replace(config, run_dir=tmp_path)
    with pytest.raises(ValueError, match=r"`save_every` \(=3\) must be a multiple"):
        flags.check(dataclasses.replace(fresh, save_every=3, log_every=2))
    with pytest.raises(ValueError, match=r"`num_devices` \(=99\) must lie between"):
        flags.chosen_devices(99)
    with pytest.raises(ValueError, match="`arms` holds 'sgned'; there are"):
        loop.run_experiment(
            EXPERIMENT, dataclasses.replace(fresh, arms=("unguided", "sgned"))
        )
    assert not list(tmp_path.iterdir())  # refused before anything is trained
