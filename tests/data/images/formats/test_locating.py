"""Which image an annotation means, and which way up it is: in one format for all."""

import json
import unicodedata

import hypothesis
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st

from xguide_jax import data
from xguide_jax.data.images.formats import locating

_HEADER = "image,label,x0,y0,x1,y1\n"


@pytest.fixture
def read(tmp_path, images):
    def reader(name):
        content = f'{_HEADER}"{name}",dog,0,0,2,1\n'
        (tmp_path / "t.csv").write_text(content, encoding="utf-8")
        return data.read_box_csv(tmp_path / "t.csv", images)

    return reader


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_a_name_is_found_however_it_is_composed(read, photograph, on_disk, written):
    path = photograph(unicodedata.normalize(on_disk, "Käfer/Ångström 1.png"))
    (image,) = read(unicodedata.normalize(written, "Käfer/Ångström 1.png")).images
    assert image.path == path
    assert image.name == unicodedata.normalize("NFC", "Käfer/Ångström 1.png")


def test_of_two_names_the_one_that_is_written_exactly_so(photograph, read):
    both = [photograph(unicodedata.normalize(form, "ä.png")) for form in ("NFC", "NFD")]
    for path in both:
        assert read(path.name).images[0].path == path


def test_slashes_of_either_kind(read, photograph):
    path = photograph("deep/a.png")
    for name in ("deep/a.png", "deep\\a.png", "./deep/a.png", "deep//a.png"):
        assert read(name).images[0].path == path


@hypothesis.given(
    parts=st.lists(st.sampled_from(["a", "b.png", ".", ""]), max_size=3),
    before=st.sampled_from(
        ["../", "..\\", "/", "\\", "C:/", "c:", "\\\\host\\x\\", "a/../"]
    ),
)
@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_a_path_that_may_lead_out_is_refused(read, images, parts, before):
    (images.parent / "b.png").write_bytes(b"")
    name = before + "/".join(parts)
    found = read(name)
    assert found.images == ()
    (problem,) = found.problems
    assert problem[:2] == ("t.csv", "line 2")
    assert "must be relative and without '..'" in problem.what


def test_an_image_that_is_missing_or_broken_is_left_out(read, images):
    assert "no image 'a.png' below" in read("a.png").problems[0].what
    (images / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert read("a.png").problems[0].what == "it cannot be read as an image"


def test_an_image_that_may_not_be_opened_is_named(read, photograph, monkeypatch):
    path = photograph("a.png")

    def forbid(source):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(PIL.Image, "open", forbid)
    what = f"it cannot be read as an image: {path}: Permission denied"
    assert read("a.png").problems[0].what == what


def test_images_that_are_left_out_are_named_with_the_reason(
    tmp_path, images, photograph
):
    for name in ("broken.png", "twice.png", "whole.png", "yak.png", "z.png", "b.png"):
        photograph(name)
    (images / "b.png").write_bytes(b"no image, and nobody opens it")
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    boxes = ("gone", "broken", "whole", "yak", "twice")
    lines = [f"{name}.png,dog,0,0,2,1" for name in boxes]
    lines += ["yak.png,yak,,,,", "./twice.png,dog,1,1,3,3"]
    (tmp_path / "t.csv").write_text(_HEADER + "\n".join(lines))
    found = data.read_box_csv(tmp_path / "t.csv", images, class_names=("dog",))
    assert [image.name for image in found.images] == ["whole.png"]
    assert dict(found.left_out) == {
        "gone.png": "there is no image 'gone.png' below the folder",
        "broken.png": "it cannot be read as an image",
        "twice.png": "twice.png is annotated in t.csv, line 8, too, otherwise",
        "yak.png": "its class 'yak' is none of the 1 known",
    }
    assert {why for _, why in found.left_out} <= {p.what for p in found.problems}
    assert found.unnamed == ("b.png", "z.png")


def _coco(width, height, **more):
    size = {"width": width, "height": height} if width else {}
    return {
        "images": [{"id": 1, "file_name": "a.jpg", **size}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 1]}
        ],
        "categories": [{"id": 1, "name": "dog"}],
    }


@pytest.mark.parametrize(
    ("orientation", "size", "upright"),
    [
        (None, (12, 16), False),
        (6, (12, 16), False),  # as it is stored
        (6, (16, 12), True),  # as it is turned
        (6, None, False),
        (3, (12, 16), False),  # upside down: the size does not tell
        (1, (16, 12), None),  # neither
        (6, (24, 32), None),
    ],
)
@pytest.mark.parametrize("tool", ["coco", "voc"])
def test_which_way_up_an_annotation_fits(
    tmp_path, images, photograph, orientation, size, upright, tool
):
    path = photograph("a.jpg", (12, 16), orientation=orientation)
    height, width = size or (None, None)
    if tool == "coco":
        (tmp_path / "c.json").write_text(json.dumps(_coco(width, height)))
        found = data.read_coco(tmp_path / "c.json", images)
    else:
        sides = f"<width>{width or 0}</width><height>{height or 0}</height>"
        (tmp_path / "a.xml").write_text(
            f"<annotation><size>{sides}</size></annotation>"
        )
        found = data.read_voc(tmp_path / "a.xml", images)
    if upright is None:
        assert found.images == ()
        assert f"its recorded size {size} must be that" in found.problems[0].what
        return
    (image,) = found.images
    assert data.upright_of(image) is upright
    assert image.size == (size or (12, 16))
    # So decoded, the image has the size of its annotations.
    pixels = data.read_image(path, upright=data.upright_of(image))
    assert pixels.shape[:2] == image.size


def test_only_labelme_turns_where_the_size_does_not_tell(tmp_path, images, photograph):
    photograph("a.jpg", (12, 16), orientation=3)
    photograph("b.jpg", (12, 16), orientation=6)
    photograph("c.jpg", (12, 16))
    size = '"imageHeight": 12, "imageWidth": 16,'
    (tmp_path / "a.json").write_text(f'{{{size} "shapes": []}}')
    for name in "bc":
        (tmp_path / f"{name}.json").write_text('{"shapes": []}')
    found = data.read_labelme(tmp_path, images).images
    assert [data.upright_of(image) for image in found] == [True, True, False]
    assert [image.size for image in found] == [(12, 16), (16, 12), (12, 16)]


def test_sizes_are_height_and_width(photograph):
    sizes = locating.sizes_of(photograph("a.jpg", (3, 5), orientation=8))
    assert sizes == ((3, 5), (5, 3))
    assert locating.sizes_of(photograph("b.png", (3, 5))) == ((3, 5), None)
    assert np.all(data.read_image(photograph("c.png", (1, 1))) == (9, 99, 199))
