"""Measuring maps that somebody brings, and the files they come in."""

import json
import pathlib
import runpy
import sys

import numpy as np
import PIL.Image
import pytest

from experiments.evaluate import experiment, reading
from experiments.running import flags

pytestmark = pytest.mark.usefixtures("standard_promotion")

PREDICT = """
import numpy as np

def predict(images):
    assert type(images) is np.ndarray and images.dtype == np.float32
    left, right = np.split(images.mean(axis=(1, 3)), 2, axis=1)
    return np.stack([left.mean(axis=1), right.mean(axis=1)], axis=1)
"""


@pytest.fixture
def folder(tmp_path):
    """Four images, bright on the left or on the right, their masks and maps."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("left", "right")):
        for kind in ("images", "masks"):
            (tmp_path / "data" / kind / name).mkdir(parents=True)
        for map_name in ("good", "noise"):
            (tmp_path / "maps" / map_name / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 100, (6, 8, 3), dtype=np.uint8)
            mask = np.zeros((6, 8), np.uint8)
            mask[:, 4 * label : 4 * label + 4] = 255
            pixels[mask > 0, number] += 100
            stem = f"{name}/{number}"
            PIL.Image.fromarray(pixels).save(tmp_path / f"data/images/{stem}.png")
            if number == 0:
                PIL.Image.fromarray(mask).save(tmp_path / f"data/masks/{stem}.png")
            good = (mask / 255).astype(np.float32) + rng.random((6, 8)) * 0.1
            np.save(tmp_path / f"maps/good/{stem}.npy", good)
            np.save(tmp_path / f"maps/noise/{stem}.npy", rng.random((6, 8, 3)))
    (tmp_path / "net.py").write_text(PREDICT)
    return tmp_path


def run(folder, **changed):
    config = {
        "maps": folder / "maps",
        "data": folder / "data",
        "predictions": f"{folder / 'net.py'}:predict",
        "run_dir": folder / "run",
        "num_random_orders": 2,
        "fills": ("black",),
    }
    return experiment.run(experiment.Config(**(config | changed)))


def test_a_folder_of_maps_of_a_network_of_numpy_becomes_a_page(folder, capsys):
    found = run(folder, batch_size=4)
    assert list(found.maps) == ["good", "noise"]
    assert found.accuracy.mean == 1
    good = found.maps["good"].numbers
    assert good.localisation["pointing game"].mean == 1
    assert good.localisation["pointing game"].num_defined == 2
    assert good.gaps["black"].removal.mean > 0
    kept = json.loads((folder / "run" / "evaluation.json").read_text())
    assert kept["num_examples"] == 4
    page = (folder / "run" / "report.html").read_text()
    assert "noise" in page
    assert "| good " in capsys.readouterr().out


def test_archives_say_the_same_as_folders(folder):
    examples = reading.read_examples(folder / "data")
    maps = reading.read_maps(folder / "maps", examples)
    assert examples.names == ("left/0", "left/1", "right/0", "right/1")
    np.savez(folder / "data.npz", **examples.batch)
    np.savez(folder / "maps.npz", **maps)
    again = reading.read_examples(folder / "data.npz")
    for name, values in examples.batch.items():
        np.testing.assert_array_equal(again.batch[name], values)
    for name, values in reading.read_maps(folder / "maps.npz", again).items():
        np.testing.assert_array_equal(values, maps[name])


def damage(path, content=b"nothing"):
    pathlib.Path(path).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: np.save(f / "maps/good/left/1.npy", np.zeros((3, 4))),
            r"good/left/1.npy.*\(1, 3, 4\).*\(1, 6, 8, 3\)",
        ),
        (
            lambda f: np.save(f / "maps/noise/right/0.npy", np.zeros((6, 8))),
            r"noise/right/0.npy is \(6, 8\), the maps before it \(6, 8, 3\)",
        ),
        (
            lambda f: np.save(f / "maps/good/left/1.npy", np.zeros((6, 8), int)),
            "good/left/1.npy holds int64",
        ),
        (lambda f: (f / "maps/good/left/1.npy").unlink(), "no map .*good/left/1.npy"),
        (lambda f: damage(f / "maps/good/left/0.npy"), "good/left/0.npy cannot be"),
        (lambda f: damage(f / "data/images/left/0.png"), "left/0.png cannot be"),
        (
            lambda f: PIL.Image.new("L", (8, 7)).save(f / "data/masks/left/0.png"),
            r"masks/left/0.png is \(7, 8\), its image \(6, 8\)",
        ),
        (
            lambda f: PIL.Image.new("L", (8, 6), 3).save(f / "data/masks/left/0.png"),
            "masks/left/0.png: ",
        ),
        (
            lambda f: PIL.Image.new("RGB", (9, 6)).save(f / "data/images/right/0.png"),
            r"right/0.png is \(6, 9\), .*left/0.png \(6, 8\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_file(folder, spoil, message):
    spoil(folder)
    with pytest.raises(flags.RefusedError, match=message):
        run(folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"maps": None}, "must be given together"),
        ({"predictions": "net.py"}, "<file>.py:<function>"),
        ({"predictions": "nothing.py:predict"}, "<file>.py:<function>"),
        ({"data": pathlib.Path("none.npz")}, "there is no file none.npz"),
    ],
)
def test_flags_that_cannot_be_met_are_refused(folder, changed, message):
    with pytest.raises(flags.RefusedError, match=message):
        run(folder, **changed)


def test_an_archive_is_refused_for_what_it_lacks_or_has_too_much(folder):
    path = folder / "data.npz"
    images = np.zeros((2, 6, 8, 3), np.float32)
    labels = np.zeros(2, int)
    for arrays, message in (
        ({"inputs": images}, r"must hold \['labels'\]"),
        ({"inputs": images, "labels": labels, "lables": labels}, r"holds \['lables'\]"),
        ({"inputs": images, "labels": labels[:1]}, "'labels' is of 1 examples"),
        ({"inputs": images.astype(int), "labels": labels}, "holds int64"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(flags.RefusedError, match=message):
            reading.read_examples(path)
    np.savez(path, inputs=images, labels=labels)
    examples = reading.read_examples(path)
    with pytest.raises(flags.RefusedError, match="folder of images"):
        reading.read_maps(folder / "maps", examples)
    damage(path)
    with pytest.raises(flags.RefusedError, match="cannot be read"):
        reading.read_examples(path)


def test_nothing_that_is_pickled_is_loaded(folder):
    np.savez(folder / "data.npz", inputs=np.array([{}]), labels=np.zeros(1, int))
    with pytest.raises(flags.RefusedError, match="cannot be read"):
        reading.read_examples(folder / "data.npz")


def test_the_command_says_in_a_line_what_is_wrong(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate", "--maps", str(folder / "maps")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("experiments.evaluate", run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("evaluate: error: --maps, --predictions")


@pytest.mark.thorough  # compiles six explainers and removes by each
def test_left_to_itself_it_compares_six_explainers(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.network, "NUM_STEPS", 2)
    config = experiment.Config(
        run_dir=tmp_path, num_evaluated=8, batch_size=8, num_random_orders=1,
        fills=("channel_mean",),
    )  # fmt: skip
    found = experiment.run(config)
    assert len(found.maps) == 6
    assert found.groups is not None
    assert found.maps["integrated gradients"].numbers.attribution_error is not None
    assert found.maps["gradient"].numbers.attribution_error is None
