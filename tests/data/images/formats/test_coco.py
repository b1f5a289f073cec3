"""COCO's files: by hand, and masks as the published tools have them."""

import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from xguide_jax import data

_BOX = {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 0, 2, 3]}


def _content(*annotations, images=None, categories=None):
    return {
        "images": images
        or [{"id": 7, "file_name": "a.png", "height": 12, "width": 16}],
        "annotations": list(annotations),
        "categories": categories
        or [{"id": 90, "name": "toothbrush"}, {"id": 18, "name": "dog"}],
    }


@pytest.fixture
def read(tmp_path, images, photograph):
    """Reads a content with the photograph a.png of 12 x 16 pixels."""
    photograph("a.png")

    def reader(content):
        (tmp_path / "c.json").write_text(json.dumps(content), encoding="utf-8")
        return data.read_coco(tmp_path / "c.json", images)

    return reader


def test_ids_have_gaps_and_boxes_a_size(read, images):
    other = {**_BOX, "id": 2, "category_id": 90, "bbox": [10.5, 4, 20, 9]}
    found = read(_content(_BOX, other))
    assert found.class_names == ("dog", "toothbrush")
    assert found.problems == ()
    (image,) = found.images
    assert image[:4] == ("a.png", images / "a.png", -1, (12, 16))
    assert [one.label for one in image.objects] == [0, 1]
    np.testing.assert_array_equal(image.objects[0].box, [1, 0, 3, 3])
    # Cut at the border, and counted.
    np.testing.assert_array_equal(image.objects[1].box, [10.5, 4, 16, 12])
    assert found.num_clipped == 1
    assert np.argwhere(data.region_of(image, 0)).tolist() == [
        [row, column] for row in range(3) for column in (1, 2)
    ]
    assert data.classes_of(image) == (0, 1)


def test_an_image_has_the_one_class_of_its_objects(read):
    (image,) = read(_content()).images
    assert image.objects == ()
    assert image.label == -1
    (image,) = read(_content(_BOX, {**_BOX, "id": 2})).images
    assert image.label == 0
    empty = {"images": [], "annotations": [], "categories": []}
    assert read(empty) == data.AnnotatedImages((), (), unnamed=("a.png",))


def test_a_crowd_is_void(read):
    counts = [0, 12, 180]  # the first column
    rle = {"size": [12, 16], "counts": counts}
    found = read(_content(_BOX, {**_BOX, "iscrowd": 1, "segmentation": rle}))
    (image,) = found.images
    assert len(image.objects) == 1
    (crowd,) = image.void
    assert crowd.label == 0
    assert data.object_mask(crowd, (12, 16)).sum() == 12
    assert not data.region_of(image, 0)[:, 0].any()


def test_two_ids_of_one_name_are_one_class(read):
    categories = [{"id": 18, "name": "dog"}, {"id": 90, "name": "dog"}]
    found = read(_content(_BOX, {**_BOX, "category_id": 90}, categories=categories))
    assert found.class_names == ("dog",)
    assert [one.label for one in found.images[0].objects] == [0, 0]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bbox": [1, 1, 0, 3]}, "must have an area"),
        ({"bbox": [1, 1, -1, 3]}, "have a size of at least 0"),
        ({"bbox": [16, 0, 2, 2]}, "lies outside of its image"),
        ({"bbox": [0, 12, 2, 2]}, "lies outside of its image"),
        ({"bbox": [-2, -2, 2, 9]}, "lies outside of its image"),
        ({"bbox": [1.2, 1, 0.5, 3]}, "covers no pixel"),
        ({"bbox": None}, "neither a box nor an outline"),
        ({"segmentation": [[1, 1, 2, 2]]}, "three corners"),
        ({"segmentation": [[1, 1, 2, 2, 3]]}, "x and y each"),
        ({"segmentation": [[20, 1, 22, 1, 22, 9]]}, "outline lies outside"),
        ({"segmentation": [[1, 1, 4, 4, 8, 8]]}, "outline covers no pixel"),
        ({"segmentation": [[0.1, 0.2, 0.5, 0.5, 0.2, 0.9]]}, "fractions"),
        ({"segmentation": [[-90, 1, 0.2, 1, 0.2, 9, -90, 9]]}, "covers no pixel"),
        ({"segmentation": {"size": [16, 12], "counts": [192]}}, "must be of its image"),
        ({"segmentation": {"size": [9**9] * 2, "counts": [9**18]}}, "must be of its"),
        ({"segmentation": {"counts": [192]}}, "must be of its image"),
        ({"segmentation": {"size": [12, 16], "counts": [190]}}, "sum to 12 * 16"),
        ({"segmentation": {"size": [12, 16], "counts": [192]}}, "covers no pixel"),
        ({"segmentation": {"size": [12, 16], "counts": "~"}}, "must have 'size'"),
        ({"category_id": 3}, "its category 3 is not in the list"),
        ({"image_id": 3}, "its image 3 is not in the list"),
    ],
)
def test_an_object_that_does_not_fit_is_left_out_and_named(read, change, what):
    found = read(_content(_BOX, {**_BOX, "id": 2, **change}))
    assert len(found.images[0].objects) == 1
    (problem,) = found.problems
    assert problem[:2] == ("c.json", "annotations[1] (id 2)")
    assert what in problem.what


def test_images_of_one_id_are_all_left_out(read, photograph):
    photograph("b.png")
    one = {"id": 7, "file_name": "a.png"}
    three = [one, {"id": 8, "file_name": "b.png"}, {**one, "file_name": "c.png"}]
    found = read(_content(_BOX, images=three))
    assert [image.name for image in found.images] == ["b.png"]
    assert [problem.place for problem in found.problems] == ["images[0]", "images[2]"]
    text = "its id 7 is that of several images"
    assert text in found.problems[0].what
    assert found.left_out == (("a.png", text), ("c.png", text))
    again = read(_content(_BOX, images=[*three, {"id": 9, "file_name": "a.png"}]))
    assert again.left_out == (("c.png", text),)  # a.png is of the id 9 as well


def test_an_image_that_is_annotated_twice_is_kept_if_both_say_the_same(read):
    twice = [{"id": n, "file_name": "a.png"} for n in (7, 8)]
    same = read(_content(_BOX, {**_BOX, "image_id": 8}, images=twice))
    assert len(same.images) == len(same.problems) == 1
    assert "is annotated in c.json, images[0], too, the same" in same.problems[0].what
    differs = read(_content(_BOX, images=twice))
    assert differs.images == ()
    assert {problem.place for problem in differs.problems} == {"images[0]", "images[1]"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "c.json: 'images' must be a list of objects"),
        ({"images": [], "annotations": [3]}, "'annotations' must be a list of objects"),
        (_content({**_BOX, "bbox": [1, 2, 3]}), r"\(id 1\): 'bbox' .* four numbers"),
        (_content({**_BOX, "bbox": [1, 2, 3, "x"]}), "'bbox' .='x'. must be a number"),
        (_content({**_BOX, "iscrowd": 2}), "'iscrowd' .=2. must be 0 or 1"),
        (_content({**_BOX, "image_id": None}), "'image_id' .=None. must be an id"),
        (_content({**_BOX, "segmentation": "x"}), "'segmentation' must be a list"),
        (_content(categories=[{"id": 1, "name": "a"}] * 2), r"\[1\]: its id 1 must"),
        (_content(images=[{"id": 1}]), r"images\[0\]: 'file_name' .* must be text"),
        (
            _content(
                images=[{"id": 1, "file_name": "a.png", "height": 1.5, "width": 1}]
            ),
            "must be pixels",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(read, content, message):
    with pytest.raises(ValueError, match=message):
        read(content)


def test_a_file_that_is_no_json_or_missing_is_named(tmp_path, images):
    (tmp_path / "c.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"c.json must be json in UTF-8 .*line 1"):
        data.read_coco(tmp_path / "c.json", images)
    with pytest.raises(FileNotFoundError, match=r"d\.json"):
        data.read_coco(tmp_path / "d.json", images)
    (tmp_path / "c.json").write_text(json.dumps(_content()))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.read_coco(tmp_path / "c.json", tmp_path / "nowhere")


@hypothesis.given(
    corner=st.tuples(st.integers(-3, 18), st.integers(-3, 14)),
    extent=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_a_box_is_its_pixels_within_the_image_or_a_problem(read, corner, extent):
    (x, y), (w, h) = corner, extent
    found = read(_content({**_BOX, "bbox": [x, y, w, h]}))
    expected = np.zeros((12, 16), bool)
    expected[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = True
    region = data.region_of(found.images[0], 0)
    np.testing.assert_array_equal(region, expected)
    assert len(found.problems) == (not expected.any())
    cut = expected.any() and expected.sum() < w * h
    assert found.num_clipped == cut


def _polygon(rng, height, width):
    """A round outline of 1,000 pixels or more."""
    num = int(rng.integers(8, 40))
    angles = np.sort(rng.uniform(0, 2 * np.pi, num))
    radius = rng.uniform(30, 48) * rng.uniform(0.8, 1.2, num)
    centre = rng.uniform([50, 50], [width - 50, height - 50])
    around = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.round(around * radius[:, None] + centre, 2).ravel().tolist()


# pycocotools' own call of numpy.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_masks_are_those_of_the_published_tools(tmp_path, images, photograph):
    """500 objects of each of four forms: an outline, text, counts and a box."""
    oracle = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    listed, drawn, theirs = [], [], []
    for image in range(20):
        height, width = (int(side) for side in rng.integers(110, 200, 2))
        photograph(f"{image}.png", (height, width))
        listed.append({"id": image, "file_name": f"{image}.png"})
        for _ in range(25):
            polygon = _polygon(rng, height, width)
            x, y = (int(v) for v in rng.integers(0, [width - 1, height - 1]))
            w, h = (
                int(rng.integers(1, width - x + 1)),
                int(rng.integers(1, height - y + 1)),
            )
            patches = np.kron(rng.random((10, 10)) < rng.random(), np.ones((20, 20)))
            patches[0, 0] = 1
            patches = np.asfortranarray(patches[:height, :width], np.uint8)
            code = oracle.encode(patches)
            text = {"size": code["size"], "counts": code["counts"].decode()}
            down = np.concatenate([[0], patches.ravel("F"), [2]]).astype(int)
            ends = np.flatnonzero(np.diff(down))
            counts = {"size": code["size"], "counts": np.diff(ends, prepend=0).tolist()}
            polygons = oracle.frPyObjects([polygon], height, width)
            boxes = oracle.frPyObjects(np.array([[x, y, w, h]], float), height, width)
            for form, rle in (
                ({"segmentation": [polygon]}, oracle.merge(polygons)),
                ({"segmentation": text}, code),
                ({"segmentation": counts}, oracle.frPyObjects(counts, height, width)),
                ({"bbox": [x, y, w, h]}, boxes[0]),
            ):
                drawn.append({"id": len(drawn), "image_id": image, "category_id": 18})
                drawn[-1] |= form
                theirs.append(oracle.decode(rle).astype(bool))
    (tmp_path / "c.json").write_text(json.dumps(_content(*drawn, images=listed)))
    found = data.read_coco(tmp_path / "c.json", images)
    assert found.problems == ()
    objects = [(one, image.size) for image in found.images for one in image.objects]
    ours = [data.object_mask(*one) for one in objects]
    assert len(ours) == len(theirs) == 2000
    pairs = list(zip(ours, theirs, strict=True))
    iou = np.array([(a & b).sum() / (a | b).sum() for a, b in pairs]).reshape(500, 4)
    assert (iou[:, 1:] == 1).all()
    # Outlines differ by single pixels along the border: theirs are rounded to a fifth
    # of a pixel first. The smaller the object, the more of it is border.
    areas = np.array([[a.sum(), b.sum()] for a, b in pairs[::4]])
    ratio = areas[:, 0] / areas[:, 1]
    middling, large = (areas[:, 0] > least for least in (1000, 2000))
    assert large.sum() > 400
    assert iou[large, 0].min() >= 0.99
    assert iou[middling, 0].min() >= 0.98
    assert iou[middling, 0].mean() >= 0.995
    np.testing.assert_allclose(ratio[middling], 1, atol=0.01)
    np.testing.assert_allclose(ratio.mean(), 1, atol=0.001)


_NAMES = ("a.png", "b/Ä.png", "b/A\u0308.png", "gone.png", "/a.png", "../a.png")
_ENTRY = st.tuples(st.integers(0, 4), st.sampled_from(_NAMES))
_NUMBER = st.integers(-4, 20)
_ANNOTATION = st.fixed_dictionaries(
    {
        "image_id": st.integers(0, 5),
        "category_id": st.sampled_from([18, 90, 3]),
        "iscrowd": st.integers(0, 1),
        "bbox": st.tuples(_NUMBER, _NUMBER, st.integers(-1, 9), st.integers(0, 9)),
    }
)


@hypothesis.given(
    listed=st.lists(_ENTRY, max_size=4), drawn=st.lists(_ANNOTATION, max_size=6)
)
@hypothesis.settings(
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_what_is_written_is_kept_or_named(read, images, photograph, listed, drawn):
    """Whatever the file holds: nothing is lost, and nothing is kept that is wrong."""
    if not (images / "b").exists():
        photograph("b/Ä.png")
    entries = [{"id": one, "file_name": name} for one, name in listed]
    content = _content(*drawn, images=entries)
    found = read({**content, "images": entries})
    named = [problem.place for problem in found.problems]
    ids = [one for one, _ in listed]
    kept = {image.name: image for image in found.images}
    assert len(kept) == len(found.images)
    assert set(kept) <= {"a.png", "b/Ä.png"}
    usable = {}
    for n, (one, name) in enumerate(listed):
        composed = "b/Ä.png" if name.startswith("b") else name
        if f"images[{n}]" in named:
            continue
        assert ids.count(one) == 1
        usable[one] = kept.pop(composed)
    assert not kept
    for one, image in usable.items():
        places = [n for n, each in enumerate(drawn) if each["image_id"] == one]
        faults = [n for n in places if f"annotations[{n}] (id None)" in named]
        assert len(image.objects) + len(image.void) + len(faults) == len(places)
        void = [n for n in places if drawn[n]["iscrowd"] and n not in faults]
        assert len(image.void) == len(void)
    for n, each in enumerate(drawn):
        if each["image_id"] not in ids or each["category_id"] == 3:
            assert f"annotations[{n}] (id None)" in named
