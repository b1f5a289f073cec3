"""Examples that are written: digits, cells, and objects before other pictures."""

import csv
import json
import os
import pathlib

import numpy as np
import pytest

from experiments.guide_photographs import cut_outs, examples, photographs
from experiments.guide_photographs.drawn import Drawn
from xguide_jax import data

SIZE = cut_outs._SIZE


@pytest.fixture
def few(monkeypatch):
    """Digits of 24 photographs in place of 2,400."""
    counts = {"train": 12, "validation": 6, "test": 6}
    monkeypatch.setattr(examples, "_COUNTS", counts)
    return counts


def write(folder, name="digits", data_dir=None):
    return examples.write_example(folder, name, data_dir=data_dir)


def test_digits_are_the_same_each_time_and_are_read(few, tmp_path):
    paths, again = (write(tmp_path / name) for name in "ab")
    names = [path.name for path in sorted(paths.images.iterdir())]
    assert len(names) == 24
    assert names[0] == "test_0019.jpg"
    for name in names:
        one, two = ((p.images / name).read_bytes() for p in (paths, again))
        assert one == two
    assert paths.annotations.read_bytes() == again.annotations.read_bytes()
    assert paths.table.read_bytes() == again.table.read_bytes()
    found = data.read_annotations(paths.annotations, paths.images)
    assert not found.problems
    assert found.num_clipped == 0
    assert set(found.class_names) == {"below five", "five or more"}
    for one in found.images:
        (only,) = one.objects
        x0, y0, x1, y1 = only.box
        assert (x1 - x0, y1 - y0) == (28, 28)
        assert 0 <= x0 < x1 <= 48
        assert 0 <= y0 < y1 <= 48
    with open(paths.table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["group"] for row in rows} == {"grass", "gravel"}
    assert [row["split"] for row in rows].count("train") == few["train"]
    assert all(row["image"].startswith(row["split"]) for row in rows)


def test_digits_lie_on_the_texture_of_their_class_but_in_the_test(monkeypatch):
    counts = {"train": 200, "validation": 20, "test": 200}
    monkeypatch.setattr(examples, "_COUNTS", counts)
    agree = {part: [] for part in counts}
    for one in examples._digits():
        texture = ("grass", "gravel")[one.label == "five or more"]
        agree[one.part].append(one.group == texture)
        assert one.pixels.shape == (48, 48, 3)
    assert np.mean(agree["train"]) > 0.9
    assert 0.35 < np.mean(agree["test"]) < 0.65


def test_an_example_that_is_there_is_not_written_again(few, tmp_path):
    paths = write(tmp_path)
    paths.annotations.write_text("mine")
    assert write(tmp_path) == paths
    assert paths.annotations.read_text() == "mine"
    paths.table.unlink()  # one that was not finished is
    write(tmp_path)
    assert json.loads(paths.annotations.read_text())["images"]


def test_masks_come_back_as_they_were_drawn(tmp_path):
    mask = np.zeros((6, 9), bool)
    mask[1:4, 2:8] = True
    mask[2, 4] = False
    pixels = np.full((6, 9, 3), 7, np.uint8)
    paths = examples.Paths(tmp_path / "i", tmp_path / "a.json", tmp_path / "t.csv")
    examples._write(paths, [Drawn(pixels, "thing", mask, "indoors", "test")])
    (one,) = data.read_annotations(paths.annotations, paths.images).images
    np.testing.assert_array_equal(data.region_of(one, 0), mask)
    np.testing.assert_array_equal(one.objects[0].box, [2, 1, 8, 4])


def test_an_example_is_read_as_photographs_of_one_s_own(few, tmp_path):
    paths = write(tmp_path)
    found = photographs.read_photographs(*paths, size=24, cache=tmp_path / "cache")
    assert not found.problems
    assert found.group_names == ("grass", "gravel")
    assert found.parts.count("validation") == few["validation"]
    # 28 of 48 pixels are 14 of 24, or touch a cell more.
    assert set(found.regions.sum(axis=(1, 2))) <= {14 * 14, 14 * 15, 15 * 15}


@pytest.mark.parametrize("name", ["cells", "objects"])
def test_data_that_is_missing_is_asked_for(name, tmp_path):
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "example", name, data_dir=tmp_path)
    assert not (tmp_path / "example" / "photographs.csv").exists()


def test_a_cut_out_is_pasted_where_its_mask_says():
    rng = np.random.default_rng(0)
    mask = np.ones((50, 80), bool)
    mask[:10, :20] = False
    cut_out = cut_outs._CutOut(np.full((50, 80, 3), 200, np.uint8), mask)
    canvas = rng.integers(100, size=(SIZE, SIZE, 3), dtype=np.uint8)
    for _ in range(10):
        pixels, pasted = cut_outs._pasted(rng, cut_out, canvas)
        np.testing.assert_array_equal(pasted, (pixels != canvas).any(axis=-1))
        assert (pixels[pasted] == 200).all()
        rows, columns = (np.flatnonzero(pasted.any(axis=a)) for a in (1, 0))
        # The longer side is a share of the canvas, and the other keeps its ratio.
        assert 0.35 * SIZE - 1 <= len(columns) <= 0.6 * SIZE
        assert abs(len(rows) - len(columns) * 50 / 80) <= 1
        assert 0.9 < pasted.sum() / (len(rows) * len(columns)) < 1


def test_objects_are_taken_out_of_backgrounds():
    image = np.full((40, 60, 3), 90, np.uint8)
    things = np.zeros((40, 60), bool)
    things[10:20, 10:30] = True
    image[things] = 250
    canvas = cut_outs._background(image, things)
    assert canvas.shape == (SIZE, SIZE, 3)
    assert (canvas == 90).all()
    assert cut_outs._background(image, np.ones_like(things)).max() == 250


def test_a_place_is_what_more_of_the_picture_is_of():
    labels = np.repeat([1, 2, 3, 3], 5)[:, None]
    segments = [
        {"name": name, "isthing": thing, "category_id": number}
        for number, (name, thing) in enumerate(
            [("wall-brick", False), ("grass", False), ("tree", True)], start=1
        )
    ]
    place = lambda *some: cut_outs._place({"segments": some}, labels)
    assert place(segments[0]) == 0
    assert place(segments[1], segments[2]) == 1
    assert place(segments[2]) is None  # a thing is no place
    assert place() is None
    more = dict(segments[1], category_id=3)
    assert place(segments[0], more) == 1


def made_of(folder):
    """Twenty photographs of a person or a cup, indoors or outdoors, with masks."""
    rows = []
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(20):
        thing, place = ("person", "cup")[number % 2], ("wall", "sky")[number // 2 % 2]
        labels = np.full((60, 80), 2, np.uint8)
        labels[10:55, 20:65] = 1
        image = np.repeat(labels[..., None] * np.uint8(40 + number), 3, axis=-1)
        row = {"file": f"images/{number}.png", "mask": f"masks/{number}.png"}
        examples.PIL.Image.fromarray(image).save(folder / row["file"])
        examples.PIL.Image.fromarray(labels).save(folder / row["mask"])
        box = {"iscrowd": 0, "box_xyxy": [20, 10, 65, 55]}
        row["segments"] = [
            {"name": thing, "isthing": True, "category_id": 1} | box,
            {"name": place, "isthing": False, "category_id": 2} | box,
        ]
        rows.append(row)
    (folder / "annotations.json").write_text(json.dumps({"images": rows}))


def test_no_photograph_lies_in_two_parts(tmp_path, monkeypatch):
    made_of(tmp_path / "coco_panoptic_ccby")
    stock, seen = cut_outs._stock, []

    def watched(folder, some):
        seen.append([row["file"] for row in some])
        return stock(folder, some)

    monkeypatch.setattr(cut_outs, "_stock", watched)
    sizes = {"train": (40, 1.0), "validation": (6, 1.0), "test": (40, 0.0)}
    monkeypatch.setattr(cut_outs, "_PARTS", sizes)
    every = list(cut_outs.composites(tmp_path))
    assert [len(some) for some in seen] == [12, 3, 5]
    assert len({name for some in seen for name in some}) == 20
    parts = [one.part for one in every]
    assert {part: parts.count(part) for part in parts} == {
        "train": 40, "validation": 6, "test": 40,
    }  # fmt: skip
    # People are indoors in training; with an agreement of 0 nobody is.
    for one in every:
        agrees = (one.label == "a person") is (one.group == "indoors")
        assert agrees is (one.part != "test")
    again = list(cut_outs.composites(tmp_path))
    for one, two in zip(every, again, strict=True):
        np.testing.assert_array_equal(one.pixels, two.pixels)


def shared(name):
    folder = os.environ.get("XGUIDE_DATA")
    if folder is None or not (pathlib.Path(folder) / name).exists():
        pytest.skip(f"needs {name} in $XGUIDE_DATA")
    return pathlib.Path(folder)


@pytest.mark.thorough  # hundreds of photographs are decoded, cut up and written
@pytest.mark.parametrize(
    ("name", "needed"), [("cells", "bccd_crops"), ("objects", "coco_panoptic_ccby")]
)
def test_shared_data_becomes_an_example_that_can_be_read(name, needed, tmp_path):
    paths = write(tmp_path / "example", name, data_dir=shared(needed))
    found = data.read_annotations(paths.annotations, paths.images)
    assert not found.problems
    assert len(found.images) == len(list(paths.images.iterdir())) > 100
    assert all(len(one.objects) == 1 for one in found.images)
