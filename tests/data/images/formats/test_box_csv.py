"""A table of boxes by hand."""

import pytest

from xguide_jax import data

_HEADER = "image,label,x0,y0,x1,y1"


@pytest.fixture
def read(tmp_path, images, photograph):
    photograph("a.png")
    photograph("b.png")

    def reader(*lines, **options):
        content = "\n".join(lines)
        (tmp_path / "t.csv").write_text(content, encoding="utf-8-sig")
        return data.read_box_csv(tmp_path / "t.csv", images, **options)

    return reader


def test_a_row_is_a_box_and_one_without_says_what_the_image_is(read):
    found = read(
        f"{_HEADER},source",
        "b.png,dog,1,0,3,2,p1",
        "a.png,cat,1,0,3,2,",
        "b.png,cat,0.5,0,20,2,p1",
        "b.png,cat,,,,,p1",
    )
    assert found.class_names == ("cat", "dog")
    assert found.problems == ()
    assert found.num_clipped == 1
    second, first = found.images
    assert (first.name, first.label, first.source) == ("a.png", 0, None)
    assert (second.name, second.label, second.source) == ("b.png", 0, "p1")
    assert [one.label for one in second.objects] == [1, 0]
    assert second.objects[1].box.tolist() == [0.5, 0, 16, 2]
    assert (
        read(_HEADER, "a.png,dog,1,0,3,2", class_names=("x", "dog")).images[0][2] == 1
    )


def test_an_image_in_conflict_with_itself_is_left_out(read):
    rows = ["a.png,dog,,,,,p", "b.png,dog,,,,,p", "b.png,cat,,,,,p", "a.png,dog,,,,,q"]
    found = read(f"{_HEADER},source", *rows)
    assert found.images == ()
    assert [problem.place for problem in found.problems] == ["line 2", "line 3"]
    assert "several sources, ['p', 'q']" in found.problems[0].what
    assert "several classes, ['cat', 'dog']" in found.problems[1].what
    whole = tuple(problem.what for problem in found.problems)
    assert found.left_out == tuple(zip(("a.png", "b.png"), whole, strict=True))


def test_a_row_that_does_not_fit_is_left_out(read):
    found = read(_HEADER, "a.png,dog,3,0,1,2", "gone.png,dog,0,0,1,1", "a.png,dog,,,,")
    assert [image.name for image in found.images] == ["a.png"]
    places = {problem[:2] for problem in found.problems}
    assert places == {("t.csv", "line 2"), ("t.csv", "line 3")}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,label,x0,y0,x1", "a.png,dog,1,2,3"], "line 1 .*'y1'"),
        ([_HEADER, "a.png,dog,1,2,,4"], "t.csv, line 2: 'x1' .=''. must be a number"),
        ([_HEADER, "a.png,,1,2,3,4"], "t.csv, line 2: 'image' and 'label' must"),
        ([_HEADER, "a.png,dog,1,2,inf,4"], "'x1' .='inf'. must be a number"),
        ([_HEADER, "a.png,dog"], "line 2 has 2 cells"),
    ],
)
def test_a_table_of_another_form_is_refused(read, lines, message):
    with pytest.raises(ValueError, match=message):
        read(*lines)
