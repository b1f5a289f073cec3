"""What a table says of photographs, and the parts that they lie in."""

import pathlib
import re

import numpy as np
import pytest

from experiments.guide_photographs import parts, photographs, table
from experiments.running import flags
from xguide_jax import data

CLASSES = ("cat", "dog")


def written(folder, *lines):
    path = folder / "listed.csv"
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_the_table_is_read_by_photograph(tmp_path):
    path = written(
        tmp_path, "\ufeffimage,label,group", " a.jpg ,cat,", '"b, c.jpg",dog'
    )
    assert table.read_table(path) == {
        "a.jpg": {"label": "cat", "group": ""},
        "b, c.jpg": {"label": "dog", "group": ""},
    }


def test_names_are_compared_in_composed_form(tmp_path):
    assert list(table.read_table(written(tmp_path, "image", "e\u0301.jpg"))) == [
        "\u00e9.jpg"
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), r"listed.csv, line 1: the columns must be 'image' and some of .*not \[\]"),
        (("image;label",), r"some of \('label', .*not \['image;label'\]"),
        (("image,age",), r"not \['image', 'age'\]"),
        (("image", "a", "a"), "line 3: 'a' must be named, and once"),
        (("image,label", ",cat"), "line 2: '' must be named, and once"),
        (("image,split", "a,dev"), r"line 2: 'split' \(='dev'\) must be one of"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        table.read_table(written(tmp_path, *lines))


def test_a_table_of_another_encoding_is_named(tmp_path):
    path = written(tmp_path, "image")
    path.write_bytes("image\n\u00e9.jpg".encode("latin-1"))
    with pytest.raises(ValueError, match=r"listed.csv must be csv in UTF-8: 'utf-8'"):
        table.read_table(path)
    with pytest.raises(FileNotFoundError):
        table.read_table(tmp_path / "none.csv")


def annotated(label, *of_objects, source=None):
    box = np.float32([0, 0, 1, 1])
    objects = tuple(data.Object(number, box) for number in of_objects)
    path = pathlib.Path("a.jpg")
    return data.Annotated("a.jpg", path, label, (4, 4), objects, source=source)


def test_the_table_is_believed_before_the_annotations():
    row = {"label": "dog", "group": "wood", "source": "farm", "split": "test"}
    told = table.told_of(annotated(0, source="house"), {"a.jpg": row}, CLASSES)
    assert told == table.Told(1, "wood", "farm", "test")
    told = table.told_of(annotated(0, source="house"), {"b.jpg": row}, CLASSES)
    assert told == table.Told(0, "", "house", "")
    row = {"label": "", "source": ""}
    told = table.told_of(annotated(0), {"a.jpg": row}, CLASSES)
    assert told == table.Told(0, "", "", "")


@pytest.mark.parametrize(
    ("one", "row", "place", "what"),
    [
        (annotated(0), {"label": "Cat"}, "the table", r"'label' \(='Cat'\) must be"),
        (annotated(-1), {}, "the annotations", "has no class: nothing is drawn in it"),
        (annotated(-1, 1, 0), {}, "the annotations", r"several classes, \['cat', 'd"),
    ],
)
def test_a_photograph_without_one_class_is_a_problem(one, row, place, what):
    found = table.told_of(one, {"a.jpg": row}, CLASSES)
    assert isinstance(found, data.Problem)
    assert (found.file, found.place) == ("a.jpg", place)
    assert re.search(what, found.what)


def told(labels, sources=None, given=None, drawn=True):
    """Photographs as far as their parts go."""
    count = len(labels)
    nothing = dict.fromkeys(photographs.Photographs._fields)
    return photographs.Photographs(**nothing)._replace(
        names=tuple(f"{number}.png" for number in range(count)),
        labels=np.array(labels),
        class_names=CLASSES,
        regions=np.broadcast_to(drawn, count)[:, None, None],
        sources=tuple(sources or map(str, range(count))),
        parts=tuple(given or [""] * count),
    )


def test_parts_are_shares_of_all_photographs_by_a_seed():
    found = told([0, 1] * 50)
    rows = parts.split_rows(found, seed=1)
    assert [len(part) for part in rows] == [70, 10, 20]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(100))
    again, other = (parts.split_rows(found, seed=seed) for seed in (1, 2))
    for one, two in zip(rows, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(rows.train, other.train)


def test_a_source_is_never_parted():
    sources = [f"patient {number // 4}" for number in range(160)]
    for seed in range(5):
        rows = parts.split_rows(told([0, 1] * 80, sources), seed=seed)
        found = [{sources[row] for row in part} for part in rows]
        assert [len(part) for part in found] == [28, 4, 8]
        assert len(set.union(*found)) == 40


def test_parts_that_are_given_are_taken():
    given = ["test", "train", "validation"] * 4
    labels = [number // 3 % 2 for number in range(12)]
    for seed in (0, 1):
        rows = parts.split_rows(told(labels, given=given), seed=seed)
        np.testing.assert_array_equal(rows.train, [1, 4, 7, 10])
        np.testing.assert_array_equal(rows.validation, [2, 5, 8, 11])
        np.testing.assert_array_equal(rows.test, [0, 3, 6, 9])


def test_parts_of_some_photographs_alone_are_refused():
    given = ["train", "", "test"]
    with pytest.raises(flags.RefusedError, match=r"all .* or of none; 1.png has none"):
        parts.split_rows(told([0, 1, 0], given=given), seed=0)


def test_a_part_without_two_photographs_of_a_class_is_refused():
    given = ["train"] * 4 + ["validation"] * 4 + ["test"] * 4
    labels = [0, 1] * 2 + [0, 0, 0, 1] + [0, 1] * 2
    with pytest.raises(
        flags.RefusedError,
        match=r"part 'validation' of seed 3 must have two .*not {'cat': 3, 'dog': 1}",
    ):
        parts.split_rows(told(labels, given=given), seed=3)


def test_a_part_in_which_nothing_is_drawn_is_refused():
    given = ["train"] * 4 + ["validation"] * 4 + ["test"] * 4
    drawn = np.arange(12) < 8
    with pytest.raises(
        flags.RefusedError, match="part 'test' of seed 0 must have a ph"
    ):
        parts.split_rows(told([0, 1] * 6, given=given, drawn=drawn), seed=0)
