"""YOLO's text files by hand."""

import sys

import numpy as np
import pytest

from xguide_jax import data


@pytest.fixture
def write(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()

    def writer(content, name="a.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
        return folder

    return writer


def _region(found, label):
    return np.argwhere(data.region_of(found.images[0], label)).tolist()


def test_a_box_and_an_outline_in_fractions(write, images, photograph):
    photograph("a.png", (4, 8))
    # x: 8 (1/2 -+ 1/8) = 3 .. 5, y: 4 (1/4 -+ 1/4) = 0 .. 2; and the lower left corner.
    folder = write("1 0.5 0.25 0.25 0.5\n\n0 0 0.5 0.25 0.5 0.25 1 0 1\n")
    found = data.read_yolo(folder, images, class_names=("dog", "cat"))
    assert found.class_names == ("dog", "cat")
    assert found.problems == ()
    box, outline = found.images[0].objects
    assert box.box.tolist() == [3, 0, 5, 2]
    assert outline.box is None
    assert _region(found, 1) == [[0, 3], [0, 4], [1, 3], [1, 4]]
    assert _region(found, 0) == [[2, 0], [2, 1], [3, 0], [3, 1]]


def test_files_belong_to_images_of_their_name_and_may_be_empty(
    write, images, photograph
):
    photograph("a.png")
    photograph("b.jpg")
    photograph("train/a.jpg")
    write("")
    folder = write("0 0.5 0.5 1 1", "train/a.txt")
    write("", "gone.txt")
    found = data.read_yolo(folder, images, class_names=("dog",))
    assert [(i.name, len(i.objects), i.label) for i in found.images] == [
        ("a.png", 0, -1), ("train/a.jpg", 1, 0),
    ]  # fmt: skip
    (problem,) = found.problems
    assert problem == (
        "gone.txt",
        "the file",
        "there is no image 'gone' below the folder",
    )


def test_two_images_of_one_stem_are_refused(write, images, photograph):
    photograph("a.png")
    photograph("a.jpg")
    found = data.read_yolo(write(""), images, class_names=("dog",))
    assert found.images == ()
    assert "several images have the name 'a'" in found.problems[0].what


def test_names_are_read_from_a_list(write, images, photograph):
    photograph("a.png")
    folder = write("1 0.5 0.5 1 1")
    with pytest.raises(ValueError, match=r"`class_names` .* there is no classes.txt"):
        data.read_yolo(folder, images)
    (folder.parent / "classes.txt").write_text("dog\ncat\n")
    assert data.read_yolo(folder, images).class_names == ("dog", "cat")
    (folder / "classes.txt").write_text("five\nthree\n")  # nearer
    assert data.read_yolo(folder, images).class_names == ("five", "three")


@pytest.mark.parametrize("names", ["[dog, cat]", "{0: dog, 1: cat}"])
def test_names_are_read_from_yaml(write, images, photograph, names):
    pytest.importorskip("yaml")
    photograph("a.png")
    folder = write("1 0.5 0.5 1 1")
    (folder.parent / "data.yaml").write_text(f"nc: 2\nnames: {names}\n")
    assert data.read_yolo(folder, images).class_names == ("dog", "cat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: {0: a, 2: b}", "data.yaml: 'names' must be a list, or numbered"),
        ("names: !!python/object:os.system {}", "data.yaml must be YAML"),
        ("names: [", "data.yaml must be YAML"),
    ],
)
def test_yaml_of_another_form_is_refused(write, images, text, message):
    pytest.importorskip("yaml")
    folder = write("")
    (folder / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        data.read_yolo(folder, images)


def test_without_pyyaml_a_list_is_asked_for(write, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    folder = write("")
    (folder / "data.yaml").write_text("names: [a]")
    with pytest.raises(ImportError, match=r"data.yaml needs pyyaml: .* `class_names`"):
        data.read_yolo(folder, images)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2 0.5 0.5 1 1", "its class 2 is none of the 2 known"),
        ("-1 0.5 0.5 1 1", "its class -1 is none of the 2 known"),
        ("0 0.5 0.5 16 12", r"must lie in [0, 1]"),
        ("0 0.5 0.5 0 1", "must have an area"),
        ("0 0.1 0.1 0.5 0.5 1.2 0.5", "its outline must lie in [0, 1]"),
        ("0 0.1 0.1 0.1 0.1 0.1 0.1", "covers no pixel"),
    ],
)
def test_a_line_that_does_not_fit_is_left_out(write, images, photograph, line, what):
    photograph("a.png")
    folder = write(f"1 0.5 0.5 1 1\n{line}\n")
    found = data.read_yolo(folder, images, class_names=("5", "2"))
    assert len(found.images[0].objects) == 1
    (problem,) = found.problems
    assert problem[:2] == ("a.txt", "line 2")
    assert what in problem.what


@pytest.mark.parametrize(
    "line", ["0 0.5 0.5 1", "0.5 0.5 0.5 1 1", "0 0.5 0.5 1 1 0.9", "dog 1 1 1 1", "0"]
)
def test_a_line_of_another_form_is_refused(write, images, line):
    with pytest.raises(ValueError, match=r"a.txt, line 1.* must be a"):
        data.read_yolo(write(line), images, class_names=("dog",))
