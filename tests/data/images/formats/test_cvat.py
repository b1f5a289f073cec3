"""CVAT's XML by hand."""

import numpy as np
import pytest

from xguide_jax import data

_META = (
    "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label>"
    "</labels></task></meta>"
)
_BOX = '<box label="cat" xtl="1" ytl="0" xbr="3" ybr="2"/>'


@pytest.fixture
def read(tmp_path, images, photograph):
    photograph("a.png", (6, 8))

    def reader(inside, *, meta=_META, **options):
        image = f'<image id="0" name="a.png" width="8" height="6">{inside}</image>'
        content = f"<annotations><version>1.1</version>{meta}{image}</annotations>"
        (tmp_path / "c.xml").write_text(content, encoding="utf-8")
        return data.read_cvat(tmp_path / "c.xml", images, **options)

    return reader


def _region(found, label=1):
    return np.argwhere(data.region_of(found.images[0], label)).tolist()


def test_classes_are_those_of_the_task(read):
    found = read(_BOX)
    assert found.class_names == ("dog", "cat")
    assert found.problems == ()
    assert found.images[0].label == 1
    assert _region(found) == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert read(_BOX, meta="").class_names == ("cat",)
    named = read(_BOX, class_names=("cow",))
    assert "its class 'cat' is none" in named.problems[0].what


def test_a_polygon(read):
    found = read('<polygon label="cat" points="0,0;4,0;0,4"/>')
    assert _region(found) == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]]


def test_a_mask_runs_along_the_rows_of_its_rectangle(read):
    # 2 high, 3 wide: outside 1, inside 3, outside 2.
    code = 'rle="1, 3, 2" left="4" top="2" width="3" height="2"'
    found = read(f'<mask label="cat" {code}/>')
    assert _region(found) == [[2, 5], [2, 6], [3, 4]]
    # Beyond the corner: only the lower right part is seen.
    code = 'rle="5, 1" left="-2" top="-1" width="3" height="2"'
    assert _region(read(f'<mask label="cat" {code}/>')) == [[0, 0]]


def test_a_turned_box_is_an_outline(read):
    # 4 wide, 2 high around (4, 3); turned by 90 degrees it is 2 wide and 4 high.
    box = '<box label="cat" xtl="2" ytl="2" xbr="6" ybr="4" rotation="{}"/>'
    assert _region(read(box.format(360))) == [
        [row, column] for row in (2, 3) for column in range(2, 6)
    ]
    turned = read(box.format(90))
    assert turned.images[0].objects[0].box is None
    assert _region(turned) == [
        [row, column] for row in range(1, 5) for column in (3, 4)
    ]
    # The long axis by 30 degrees, clockwise as seen: down on the right.
    (outline,) = read(box.format(30)).images[0].objects[0].outline
    right = (outline[1] + outline[2]) / 2 - (4, 3)
    np.testing.assert_allclose(right, 2 * np.array([np.sqrt(3) / 2, 1 / 2]), atol=1e-6)


def test_a_tag_is_the_class_of_the_image(read):
    assert read(f'<tag label="dog"/>{_BOX}').images[0].label == 0
    # Two say nothing of one class; the objects do.
    assert read(f'<tag label="dog"/><tag label="cat"/>{_BOX}').images[0].label == -1


@pytest.mark.parametrize(
    ("one", "what"),
    [
        ('<points label="cat" points="1,1"/>', "a points is no box, polygon or mask"),
        ('<polygon label="cat" points="1,1"/>', "must be 'x,y;x,y;x,y'"),
        ('<box label="cat" xtl="3" ytl="0" xbr="1" ybr="2"/>', "must have an area"),
        (
            '<box label="cat" xtl="3" ytl="0" xbr="1" ybr="2" rotation="9"/>',
            "must have an area",
        ),
        (
            '<mask label="cat" rle="1,2" left="0" top="0" width="2" height="2"/>',
            "must sum to its 2 * 2 pixels",
        ),
        (
            '<mask label="cat" rle="1,8" left="0" top="0" width="9" height="1"/>',
            "no more than its image has",
        ),
        (
            '<mask label="cat" rle="1,3" left="0.5" top="0" width="2" height="2"/>',
            "must be whole pixels",
        ),
        (
            '<mask label="cat" rle="x" left="0" top="0" width="2" height="2"/>',
            "must be whole numbers",
        ),
        (
            '<mask label="cat" rle="0,4" left="9" top="0" width="2" height="2"/>',
            "covers no pixel of the image",
        ),
    ],
)
def test_what_cannot_be_drawn_is_left_out(read, one, what):
    found = read(_BOX + one)
    assert len(found.images[0].objects) == 1
    (problem,) = found.problems
    assert problem.place.startswith("image[0], ")
    assert what in problem.what


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("<box/>", r"c.xml, image\[0\], box\[0\]: 'label' must be there"),
        ('<box label="cat" xtl="x"/>', "'xtl' .='x'. must be a number"),
        ("</image><track/><image>", "without <track>"),
        ("</image><image>", r"image\[1\]: 'name' must be there"),
        ("<box>", "c.xml must be XML"),
    ],
)
def test_a_file_of_another_form_is_refused(read, inside, message):
    with pytest.raises(ValueError, match=message):
        read(inside)
