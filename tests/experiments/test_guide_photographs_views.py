"""What networks are shown of photographs that are painted by hand."""

import numpy as np
import PIL.Image
import pytest

from experiments.guide_photographs import measuring, photographs, views
from experiments.guide_photographs.networks import Network
from xguide_jax import data

SIZE = 8
# Of photograph n: its object, and what is behind it.
OBJECT, BEHIND = (lambda n: 100 + n), (lambda n: 10 + n)
PARTS = ("train",) * 6 + ("validation",) * 5 + ("test",) * 5
WITHOUT = (2, 9, 14)  # nothing is drawn in these


def painted(folder):
    """Of 16 photographs, half of a class; an object of 3x2 pixels in all but three."""
    folder.mkdir()
    regions = np.zeros((16, SIZE, SIZE), bool)
    boxes = np.zeros((16, 2, 4), np.float32)
    valid = np.zeros((16, 2), bool)
    paths = []
    for number in range(16):
        pixels = np.full((SIZE, SIZE, 3), BEHIND(number), np.uint8)
        if number not in WITHOUT:
            regions[number, 2:4, 3:6] = True
            boxes[number, 0] = (3, 2, 6, 4)
            valid[number, 0] = True
            pixels[regions[number]] = OBJECT(number)
        paths.append(folder / f"{number}.png")
        PIL.Image.fromarray(pixels).save(paths[-1])
    nothing = dict.fromkeys(photographs.Photographs._fields)
    return photographs.Photographs(**nothing)._replace(
        names=tuple(path.name for path in paths),
        images=data.decode_images(paths, folder / "cache", shape=(SIZE, SIZE)),
        regions=regions,
        boxes=boxes,
        boxes_valid=valid,
        labels=np.arange(16, dtype=np.int32) % 2,
        class_names=("even", "odd"),
        groups=np.full(16, -1),
        group_names=(),
        sources=tuple(path.name for path in paths),
        parts=PARTS,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return painted(tmp_path_factory.mktemp("painted") / "images")


@pytest.fixture(scope="module")
def seen(found):
    return views.make_views(found, plain(), seed=0)


def plain():
    """A network whose inputs are the pixels."""
    same = lambda pixels: pixels
    nothing = dict.fromkeys(Network._fields)
    return Network(**nothing)._replace(embed=same, regions=same)


def every(inputs):
    return inputs.read(np.arange(inputs.size))


def outside(found, row):
    return ~found.regions[row]


def test_composites_have_their_object_before_the_background_of_another_class(
    found, seen
):
    for shown, swapped, rows in (
        (seen.swapped, seen.swapped_test, seen.rows.test),
        (seen.composites, seen.swapped_validation, seen.rows.validation),
    ):
        assert swapped.tolist() == [row not in WITHOUT for row in rows]
        lent = [{BEHIND(n) for n in rows if n not in WITHOUT and n % 2 == label}
                for label in (1, 0)]  # fmt: skip
        for pixels, row, is_swapped in zip(every(shown), rows, swapped, strict=True):
            behind = set(np.unique(pixels[outside(found, row)]))
            if is_swapped:
                assert (pixels[found.regions[row]] == OBJECT(row)).all()
                # One background, whose own object is filled by its mean.
                assert len(behind) == 1
                assert behind <= lent[found.labels[row]]
            else:
                assert behind == {BEHIND(row)}


def test_partners_and_places_hang_on_the_seed(found, seen):
    again, *others = (views.make_views(found, plain(), seed=s) for s in (0, 1, 2))
    drawn = lambda of: (every(of.swapped), of.random.annotations["region"])
    for one, two in zip(drawn(seen), drawn(again), strict=True):
        np.testing.assert_array_equal(one, two)
    for number, one in enumerate(drawn(seen)):
        assert any(not np.array_equal(one, drawn(other)[number]) for other in others)


def test_what_is_hidden_has_the_mean_colour_of_the_training_photographs(found, seen):
    # 6 of 64 pixels are of the object, of five photographs of six.
    drawn = [(58 * BEHIND(n) + 6 * OBJECT(n)) / 64 for n in range(6) if n != 2]
    colour = round((sum(drawn) + BEHIND(2)) / 6)
    for name, is_kept in (("object_only", True), ("background_only", False)):
        for pixels, row in zip(every(getattr(seen, name)), seen.rows.test, strict=True):
            kept = found.regions[row] == is_kept
            whole = data.read_rows(found.images, np.array([row]))[0]
            np.testing.assert_array_equal(pixels[kept], whole[kept])
            assert (pixels[~kept] == colour).all()
        assert every(getattr(seen, name)).dtype == np.uint8


def test_what_a_trunk_makes_of_the_photographs_is_kept(found, seen):
    calls = []
    trunk = lambda pixels: calls.append(len(pixels)) or pixels
    held = plain()._replace(embed=trunk, trained=lambda params: params)
    kept = views.make_views(found, held, seed=0)
    assert max(calls) <= 64
    made = len(calls)
    for name in ("test", "swapped", "object_only", "composites", "validation"):
        np.testing.assert_array_equal(
            every(getattr(kept, name)), every(getattr(seen, name))
        )
        one = getattr(seen, name).read(np.array([1, 0]))
        np.testing.assert_array_equal(one, every(getattr(seen, name))[[1, 0]])
    assert len(calls) == made


def test_what_is_trained_on_are_rows_with_the_regions_of_these_rows(found, seen):
    rows = seen.rows.train
    np.testing.assert_array_equal(rows, np.arange(6))
    for dataset in (seen.train, seen.random):
        np.testing.assert_array_equal(dataset.inputs, rows)
        np.testing.assert_array_equal(dataset.labels, found.labels[rows])
        valid = dataset.annotations["region_valid"]
        np.testing.assert_array_equal(valid, [n not in WITHOUT for n in rows])
    np.testing.assert_array_equal(seen.train.annotations["region"], found.regions[rows])
    np.testing.assert_array_equal(
        every(seen.test), data.read_rows(found.images, seen.rows.test)
    )
    np.testing.assert_array_equal(
        every(seen.validation), data.read_rows(found.images, seen.rows.validation)
    )


def test_random_regions_are_as_large_and_elsewhere(found):
    places = set()
    for seed in range(40):
        random = views.random_regions(found, seed=seed)
        areas = random.sum(axis=(1, 2))
        np.testing.assert_array_equal(areas, found.regions.sum(axis=(1, 2)))
        for region in random[areas > 0]:
            rows, columns = (np.flatnonzero(region.any(axis=a)) for a in (1, 0))
            assert (len(rows), len(columns)) == (2, 3)
            places.add((rows[0], columns[0]))
    # Every place inside, the borders among them.
    assert places == {(top, left) for top in range(7) for left in range(6)}


def test_random_boxes_cover_the_pixels_that_a_box_of_fractions_touches(found):
    boxes = found.boxes.copy()
    boxes[0] = [[0.5, 1.0, 2.5, 2.0], [0, 0, SIZE, SIZE]]
    valid = found.boxes_valid.copy()
    moved = found._replace(boxes=boxes, boxes_valid=valid)
    assert views.random_regions(moved, seed=0)[0].sum() == 3
    valid[0, 1] = True  # a box as large as the photograph stays where it is
    assert views.random_regions(moved, seed=0)[0].all()


def test_maps_are_shown_of_each_class_in_turn_and_where_something_is_drawn():
    labels = np.array([0, 0, 0, 1, 2, 1, 0])
    regions = np.ones((7, 1, 1), bool)
    regions[0] = False
    assert measuring._few(labels, regions, 5).tolist() == [1, 3, 4, 2, 5]
    assert measuring._few(labels, regions, 100).tolist() == [1, 3, 4, 2, 5, 6]


def test_accuracies_of_groups_by_hand():
    right = np.array([True, False, True, True])
    shares, counts = measuring._by_group(right, np.array([0, 0, 2, 2]), 4)
    np.testing.assert_array_equal(shares, [0.5, np.nan, 1, np.nan])
    assert counts == [2, 0, 2, 0]
    assert measuring._worst(shares) == 0.5
    assert np.isnan(measuring._worst([np.nan]))
    assert measuring._mean(right) == 0.75
    assert np.isnan(measuring._mean(right[:0]))
