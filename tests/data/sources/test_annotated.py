"""Boxes and masks of people, from small files and, where they are, the real ones."""

import json
import os
import sys

import numpy as np
import PIL.Image
import pytest

from xguide_jax import data, ops

_FOLDER = os.environ.get("XGUIDE_DATA")
real_files = pytest.mark.skipif(not _FOLDER, reason="XGUIDE_DATA names no folder")


def _write_crops(folder, **changes):
    pixels = np.zeros((3, 4, 6, 3), np.uint8)
    pixels[1, 2, 3] = 255
    boxes = [[0, 0, 2, 1], [2.5, 1, 4, 3.5], [0, 0, 6, 4]]
    arrays = {
        "x": pixels,
        "y": np.array([0, 2, 1], np.uint8),
        "box": np.array(boxes, np.float32),
        "split": np.array(["train", "test", "train"]),
    } | changes
    (folder / "bccd_crops").mkdir()
    np.savez(folder / "bccd_crops" / "bccd_crops.npz", **arrays)


def test_crops_come_with_their_box_as_a_mask(tmp_path):
    _write_crops(tmp_path)
    dataset = data.bccd_crops(tmp_path, mean=0.5, std=(0.5, 1.0, 2.0))
    data.validate(dataset)
    # (1 - 0.5) / std and (0 - 0.5) / std
    np.testing.assert_allclose(dataset.inputs[1, 2, 3], [1, 0.5, 0.25])
    np.testing.assert_allclose(dataset.inputs[0, 2, 3], [-1, -0.5, -0.25])
    assert dataset.labels.tolist() == [0, 2, 1]
    assert dataset.class_names[2] == "platelet"
    assert dataset.annotations["boxes"].shape == (3, 1, 4)
    # Columns ceil(2.5) = 3 only, rows 1 to ceil(3.5) - 1 = 3.
    inside = np.argwhere(dataset.annotations["region"][1]).tolist()
    assert inside == [[1, 3], [2, 3], [3, 3]]


def test_a_split_of_the_crops_is_read_by_its_name(tmp_path):
    _write_crops(tmp_path)
    assert data.bccd_crops(tmp_path, split="train").labels.tolist() == [0, 1]
    assert data.bccd_crops(tmp_path, split="val").labels.tolist() == []
    with pytest.raises(ValueError, match=r"`split` .='valid'. must be None or one of"):
        data.bccd_crops(tmp_path, split="valid")


@pytest.mark.parametrize(
    "changes",
    [
        {"x": np.zeros((3, 4, 6, 3))},
        {"y": np.zeros((3, 1), np.uint8)},
        {"box": np.zeros(3, np.float32)},
        {"split": np.zeros(3)},
        {"y": np.zeros(2, np.uint8)},
        {"box": np.zeros((3, 8), np.float32)},
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, changes):
    _write_crops(tmp_path, **changes)
    with pytest.raises(ValueError, match="must hold x, uint8"):
        data.bccd_crops(tmp_path)


def test_a_pickle_in_the_archive_is_never_loaded(tmp_path):
    _write_crops(tmp_path, image=np.array([{"code": "would run"}], object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        data.bccd_crops(tmp_path)


def _write_photographs(folder):
    """Two photographs of 4 x 8 and 6 x 2 pixels, one with two people."""
    home = folder / "coco_panoptic_ccby"
    for part in ("images", "masks"):
        (home / part).mkdir(parents=True)
    people = np.full((4, 8), 17, np.uint8)
    people[1, 2] = people[2:4, 6] = 1
    other = np.full((6, 2), 3, np.uint8)
    rows = []
    for name, mask, boxes in (
        ("a", people, [[2, 1, 3, 2], [6, 2, 7, 4]]),
        ("b", other, []),
    ):
        shown = np.stack([200 * (mask == 1)] * 3, axis=-1).astype(np.uint8)
        PIL.Image.fromarray(shown).save(home / "images" / f"{name}.png")
        PIL.Image.fromarray(mask).save(home / "masks" / f"{name}.png")
        segments = [{"category_id": 1, "box_xyxy": box} for box in boxes]
        segments.insert(0, {"category_id": 3, "box_xyxy": [0, 0, 1, 1]})
        rows.append(
            {
                "file": f"images/{name}.png",
                "mask": f"masks/{name}.png",
                "person": int(bool(boxes)),
                "segments": segments,
            }
        )
    (home / "annotations.json").write_text(json.dumps({"images": rows}))
    return home


def test_photographs_masks_and_boxes_are_brought_to_one_shape(tmp_path):
    _write_photographs(tmp_path)
    dataset = data.coco_masks(tmp_path, shape=(4, 4))
    data.validate(dataset)
    assert dataset.inputs.shape == (2, 4, 4, 3)
    assert dataset.labels.tolist() == [1, 0]
    assert dataset.class_names == ("no person", "person")
    known = dataset.annotations
    # Two columns become one: 2 -> 1 and 6 -> 3.
    expected = np.zeros((4, 4), bool)
    expected[[1, 2, 3], [1, 3, 3]] = True
    np.testing.assert_array_equal(known["region"][0], expected)
    np.testing.assert_array_equal(dataset.inputs[0, ..., 0] > 0.1, expected)
    np.testing.assert_allclose(dataset.inputs[0, 1, 1], 100 / 255)
    assert known["boxes"][0].tolist() == [[1, 1, 2, 2], [3, 2, 4, 4]]
    assert known["boxes_valid"].tolist() == [[True, True], [False, False]]
    assert not known["boxes"][1].any()


def test_a_photograph_without_people_has_no_region(tmp_path):
    _write_photographs(tmp_path)
    known = data.coco_masks(tmp_path, shape=(3, 5)).annotations
    assert known["region_valid"].tolist() == [True, False]
    assert not known["region"][1].any()


def _turned(home, name, orientation, turns):
    """The same photograph as a phone stores it."""
    shown = np.asarray(PIL.Image.open(home / name))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = PIL.Image.fromarray(np.ascontiguousarray(np.rot90(shown, turns)))
    stored.save(home / name, exif=exif)


@pytest.mark.parametrize(("orientation", "turns"), [(6, 1), (3, 2), (8, -1)])
def test_photographs_that_are_stored_rotated_lie_under_their_masks(
    tmp_path, orientation, turns
):
    home = _write_photographs(tmp_path)
    expected = data.coco_masks(tmp_path, shape=(4, 8))
    _turned(home, "images/a.png", orientation, turns)
    found = data.coco_masks(tmp_path, shape=(4, 8))
    np.testing.assert_array_equal(found.inputs, expected.inputs)
    region = found.annotations["region"][0]
    np.testing.assert_array_equal(found.inputs[0, ..., 0] > 0.1, region)


def test_an_image_and_a_mask_of_different_shapes_are_refused_by_name(tmp_path):
    home = _write_photographs(tmp_path)
    PIL.Image.fromarray(np.ones((8, 4), np.uint8)).save(home / "masks" / "a.png")
    message = r"images/a.png of \(4, 8\), upright, .* its mask masks/a.png, \(8, 4\)"
    with pytest.raises(ValueError, match=message):
        data.coco_masks(tmp_path, shape=(4, 4))


def test_a_photograph_that_is_cut_off_or_grey_is_named_or_read(tmp_path):
    home = _write_photographs(tmp_path)
    path = home / "images" / "b.png"
    PIL.Image.fromarray(np.full((6, 2), 51, np.uint8)).save(path)
    inputs = data.coco_masks(tmp_path, shape=(4, 4)).inputs
    np.testing.assert_allclose(inputs[1], 0.2, rtol=1e-6)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"b\.png cannot be read as an image"):
        data.coco_masks(tmp_path, shape=(4, 4))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row.pop("mask"),
        lambda row: row.update(person=2),
        lambda row: row["segments"][1].update(box_xyxy=[0, 0, 1]),
        lambda row: row["segments"][1].pop("box_xyxy"),
    ],
)
def test_a_list_of_another_form_is_refused_by_its_name(tmp_path, change):
    home = _write_photographs(tmp_path)
    listed = json.loads((home / "annotations.json").read_text())
    change(listed["images"][0])
    (home / "annotations.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=r"annotations.json must list 'images' with"):
        data.coco_masks(tmp_path, shape=(4, 4))
    (home / "annotations.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"no images"):
        data.coco_masks(tmp_path, shape=(4, 4))


def test_missing_files_are_named_with_their_place(tmp_path):
    place = tmp_path / "bccd_crops" / "bccd_crops.npz"
    with pytest.raises(FileNotFoundError, match=r"put bccd_crops.npz, .* at ") as error:
        data.bccd_crops(tmp_path)
    assert str(place) in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"put annotations.json, the list of"):
        data.coco_masks(tmp_path, shape=(4, 4))
    home = _write_photographs(tmp_path)
    (home / "images" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"put b.png, the image that .* names"):
        data.coco_masks(tmp_path, shape=(4, 4))


def test_missing_pillow_is_named(tmp_path, monkeypatch):
    _write_photographs(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"install pillow, or xguide_jax\[exper"):
        data.coco_masks(tmp_path, shape=(4, 4))


@real_files
def test_the_blood_cells_are_861_in_three_splits():
    dataset = data.bccd_crops(_FOLDER)
    data.validate(dataset)
    assert dataset.inputs.shape == (861, 64, 64, 3)
    assert np.bincount(dataset.labels).tolist() == [400, 228, 233]
    sizes = [
        len(data.bccd_crops(_FOLDER, split=split).labels)
        for split in ("train", "val", "test")
    ]
    assert sizes == [486, 206, 169]
    region = dataset.annotations["region"]
    shares = [
        float(np.median(region[dataset.labels == label].mean(axis=(1, 2))))
        for label in range(3)
    ]
    np.testing.assert_allclose(shares, [0.21, 0.59, 0.03], atol=0.01)
    boxes, valid = (dataset.annotations[k][:64] for k in ("boxes", "boxes_valid"))
    np.testing.assert_array_equal(
        np.asarray(ops.rasterise_boxes(boxes, valid, shape=(64, 64))), region[:64]
    )


@real_files
def test_the_photographs_show_30_with_people_inside_their_boxes():
    dataset = data.coco_masks(_FOLDER, shape=(64, 64))
    data.validate(dataset)
    assert dataset.inputs.shape == (53, 64, 64, 3)
    known = dataset.annotations
    np.testing.assert_array_equal(known["region_valid"], dataset.labels == 1)
    np.testing.assert_array_equal(known["boxes_valid"].any(axis=1), dataset.labels == 1)
    assert known["region_valid"].sum() == 30
    boxes = data.box_masks(known["boxes"], known["boxes_valid"], shape=(64, 64))
    # The files' masks exceed their boxes by 57 of all pixels at full size.
    assert np.sum(known["region"] & ~boxes) <= 0.001 * known["region"].sum()
