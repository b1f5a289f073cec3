"""A user's photographs: what is read, and what is left out and named."""

import csv
import json

import numpy as np
import PIL.Image
import pytest

from experiments.guide_photographs import counted, photographs
from experiments.running import flags
from xguide_jax import data

CLASSES = ("cat", "dog")
SIZE = 8


class Folder:
    """Photographs that are written with COCO's boxes and a table."""

    def __init__(self, path, *, classes=CLASSES):
        self.path = path
        self.listed = path / "listed.csv"
        self.content = {"images": [], "annotations": [], "categories": []}
        self.content["categories"] = [
            {"id": n, "name": name} for n, name in enumerate(classes)
        ]
        self.rows = [("image", "label", "group", "source")]
        (path / "images").mkdir()

    def add(self, name, *boxes, pixels=None, row=(), **options):
        """With boxes (label, x, y, w, h)."""
        if pixels is None:
            pixels = np.full((12, 16, 3), len(self.rows), np.uint8)
        picture = PIL.Image.fromarray(pixels)
        picture.save(self.path / "images" / name, quality=95, **options)
        number = len(self.content["images"])
        self.content["images"].append(
            {"id": number, "file_name": name, "width": 16, "height": 12}
        )
        for label, *box in boxes:
            found = self.content["annotations"]
            found.append({"id": len(found), "image_id": number})
            found[-1] |= {"category_id": label, "bbox": box}
        self.rows.append((name, *row))

    def read(self, *, size=SIZE):
        (self.path / "boxes.json").write_text(json.dumps(self.content))
        with open(self.listed, "w", newline="") as file:
            csv.writer(file).writerows(self.rows)
        return photographs.read_photographs(
            self.path / "images",
            self.path / "boxes.json",
            self.listed,
            size=size,
            cache=self.path / "cache",
        )


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path, classes=(*CLASSES, "yak"))
    for number in range(12):
        made.add(f"{number:02}.png", (number % 2, 4, 3, 8, 6))
    return made


def test_boxes_follow_their_photographs_to_a_square(folder):
    folder.add("one.png", (0, 0, 0, 16, 6), (1, 0, 0, 3, 3), row=("cat", "wood", "me"))
    found = folder.read()
    assert found.names[-1] == "one.png"
    # Half of 12 lines are 4 of 8; the dog is no evidence of a cat.
    np.testing.assert_array_equal(found.boxes[-1], [[0, 0, 8, 4]])
    assert found.regions[-1].sum() == 32
    assert found.regions[-1, :4].all()
    np.testing.assert_array_equal(found.boxes[0], [[2, 2, 6, 6]])
    assert found.labels.tolist() == [0, 1] * 6 + [0]
    assert found.class_names == CLASSES
    assert found.groups.tolist() == [-1] * 12 + [0]
    assert found.group_names == ("wood",)
    assert found.sources == (*found.names[:-1], "me")
    assert set(found.parts) == {""}
    pixels = data.read_rows(found.images, np.array([0, 12]))
    np.testing.assert_array_equal(pixels[:, 0, 0, 0], [1, 13])


def test_what_cannot_be_used_is_named_and_the_rest_is(folder):
    noise = np.random.default_rng(0).integers(256, size=(12, 16, 3), dtype=np.uint8)
    folder.add("cut_off.jpg", (0, 0, 0, 4, 4), pixels=noise)
    folder.add("both.png", (0, 0, 0, 4, 4), (1, 8, 8, 4, 4))
    folder.add("nothing.png")
    folder.rows += [("unknown.png",), ("03.png", "yeti")]
    folder.rows.remove(("03.png",))
    whole = (folder.path / "images" / "cut_off.jpg").read_bytes()
    (folder.path / "images" / "cut_off.jpg").write_bytes(whole[:-100])
    for row in range(6, 12):
        folder.add(f"{row + 10}.png", (row % 2, 2, 2, 4, 4))
    found = folder.read()
    problems = {(p.file, p.place): p.what for p in found.problems}
    assert problems.keys() == {
        ("03.png", "the table"),
        ("both.png", "the annotations"),
        ("nothing.png", "the annotations"),
        ("listed.csv", "unknown.png"),
        ("cut_off.jpg", "the file"),
        ("boxes.json", "yak"),
    }
    assert "['cat', 'dog']" in problems["both.png", "the annotations"]
    assert "truncated" in problems["cut_off.jpg", "the file"]
    assert problems["boxes.json", "yak"] == "is a class of no photograph"
    assert found.class_names == CLASSES
    lost = {"03.png", "both.png", "nothing.png", "cut_off.jpg"}
    assert found.names == tuple(
        row[0] for row in folder.rows[1:] if row[0] not in {*lost, "unknown.png"}
    )
    # Rows of pixels did not shift.
    pixels = data.read_rows(found.images, np.arange(len(found.names)))[:, 0, 0, 0]
    assert pixels[-1] > pixels[-2] > pixels[4] > pixels[3]
    assert len(pixels) == len(found.labels) == len(found.regions) == 17


def test_photographs_that_no_annotation_names_are_counted_in_one_line(folder):
    assert folder.read().problems[-1].file == "boxes.json"  # of the yak
    for number in range(7):
        (folder.path / "images" / f"a{number}.png").write_bytes(b"no image")
    (problem,) = [p for p in folder.read().problems if p.file == "images"]
    assert problem.place == "7 photographs"
    names = "a0.png, a1.png, a2.png, a3.png, a4.png ..."
    assert problem.what == f"no annotation names them: {names}"


def test_a_photograph_of_the_table_that_was_left_out_is_told_from_an_unknown(folder):
    for name in ("broken.png", "large.png", "again.png"):
        folder.add(name, (0, 0, 0, 4, 4))
    (folder.path / "images" / "broken.png").write_bytes(b"no image")
    folder.content["images"][-2] |= {"width": 160, "height": 120}
    folder.content["images"].append({"id": 99, "file_name": "again.png"})
    picture = PIL.Image.new("RGB", (16, 12))
    picture.save(folder.path / "images" / "unknown.png")
    folder.rows += [("unknown.png",), ("gone.png",)]
    found = folder.read()
    told = {p.place: p.what for p in found.problems if p.file == "listed.csv"}
    left_out = "names a photograph that was left out: "
    unknown = "names a photograph that no annotation is of"
    assert told == {
        "broken.png": f"{left_out}it cannot be read as an image",
        "large.png": f"{left_out}its recorded size (120, 160) must be that of its "
        "image, (H, W) = (12, 16)",
        "again.png": f"{left_out}again.png is annotated in boxes.json, images[15], too"
        ", otherwise",
        "unknown.png": unknown,
        "gone.png": unknown,
    }


def test_labels_of_used_classes_are_without_gaps(tmp_path):
    made = Folder(tmp_path, classes=("ant", "bee", "cat", "dog"))
    for number in range(12):
        made.add(f"{number:02}.png", (1 if number < 6 else 3, 4, 3, 8, 6))
    found = made.read()
    assert found.class_names == ("bee", "dog")
    assert found.labels.tolist() == [0] * 6 + [1] * 6
    assert found.regions.any(axis=(1, 2)).all()


def test_a_photograph_that_was_turned_fits_its_boxes(folder):
    exif = PIL.Image.Exif()
    exif[0x112] = 6  # a quarter turn
    folder.add("as_it_came.jpg", (0, 0, 0, 16, 6), exif=exif)
    folder.add("turned.jpg", (0, 0, 0, 12, 8), exif=exif)
    folder.content["images"][-1] |= {"width": 12, "height": 16}
    found = folder.read()
    assert not [p for p in found.problems if p.file != "boxes.json"]
    for row in (-2, -1):  # the upper half of each, as drawn
        np.testing.assert_array_equal(found.boxes[row], [[0, 0, 8, 4]])
    np.testing.assert_array_equal(found.images.sizes[-2:], [[12, 16], [16, 12]])


def test_a_box_beyond_its_photograph_is_cut_and_counted(folder):
    folder.add("beyond.png", (0, 8, 6, 100, 100))
    found = folder.read()
    np.testing.assert_array_equal(found.boxes[-1], [[4, 4, 8, 8]])
    counted.keep(folder.path, found)
    kept = counted.read(folder.path)
    assert kept.problems[-1] == {
        "file": "all", "place": "boxes",
        "what is wrong": "1 boxes reached beyond their photographs and were cut",
    }  # fmt: skip
    cats, dogs, every = kept.classes
    assert [row["photographs"] for row in (cats, dogs, every)] == [7, 6, 13]
    assert dogs["region, median share of the picture"] == 0.25
    assert every["objects"] == every["with a region"] == 13


def test_too_few_photographs_are_refused_with_what_was_wrong(folder):
    folder.rows[1:3] = [("00.png", "yeti"), ("01.png", "yeti")]
    with pytest.raises(
        flags.RefusedError,
        match=r"must have 6 photographs, but there are \{'cat': 5, 'dog': 5\}; "
        r"2 problems were found, such as 00.png, the table: 'label' \(='yeti'\)",
    ):
        folder.read()
    folder.rows[1:] = [(row[0], "yeti") for row in folder.rows[1:]]
    with pytest.raises(flags.RefusedError, match=r"there are \{\}; 12 problems"):
        folder.read()


def test_photographs_of_which_none_can_be_decoded_are_refused_in_a_line(tmp_path):
    made = Folder(tmp_path)
    noise = np.random.default_rng(0).integers(256, size=(12, 16, 3), dtype=np.uint8)
    for number in range(12):
        made.add(f"{number:02}.jpg", (number % 2, 4, 3, 8, 6), pixels=noise)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        flags.RefusedError, match="none of 12 photographs can be decoded; the first: "
    ) as refused:
        made.read()
    assert "\n" not in str(refused.value)


def test_a_cache_that_may_not_be_written_is_refused(folder):
    (folder.path / "cache").write_text("")
    with pytest.raises(flags.RefusedError, match="cache'\\) is no folder"):
        folder.read()


def test_missing_annotations_and_tables_are_refused(folder):
    folder.read()
    folder.listed = folder.path / "none" / "listed.csv"
    read = lambda annotations, listed: photographs.read_photographs(
        folder.path / "images", folder.path / annotations, listed,
        size=SIZE, cache=folder.path / "cache",
    )  # fmt: skip
    for arguments in (("none.json", None), ("boxes.json", folder.listed)):
        with pytest.raises(flags.RefusedError, match="none"):
            read(*arguments)
    with pytest.raises(flags.RefusedError, match=r"^[^[]*images: Is a directory$"):
        read("boxes.json", folder.path / "images")
    assert len(read("boxes.json", None).names) == 12
