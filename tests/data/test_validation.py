"""What a batch may hold: each value is checked where it can still be named."""

import numpy as np
import pytest

from xguide_jax import data


def _batch(**changes):
    """Two images of 4 x 6 with everything that a term reads."""
    region = np.zeros((2, 4, 6), np.uint8)
    region[:, 1:3, 2:4] = 1
    batch = {
        "inputs": np.zeros((2, 4, 6, 3), np.float32),
        "labels": np.array([0, 2]),
        "targets": np.array([1, 2], np.int32),
        "region": region,
        "true_region": region.astype(bool),
        "strokes": region / 4,
        "annotations": region.astype(np.int8) * 2 - 1,
        "region_valid": np.array([True, False]),
        "boxes": np.array([[[2, 1, 4, 3], [9, 9, 1, 1]]] * 2, np.float32),
        "boxes_valid": np.array([[True, False]] * 2),
        "boxes_class": np.array([[1, -7], [2, 99]]),
        "weight": np.array([1.0, 0.0]),
    }
    return {k: v for k, v in {**batch, **changes}.items() if v is not None}


def _refused(match, **changes):
    with pytest.raises(ValueError, match=match):
        data.validate_batch(_batch(**changes), num_classes=3)


def _with(name, place, value, dtype=None):
    array = _batch()[name]
    changed = array.astype(dtype or array.dtype)
    changed[place] = value
    return {name: changed}


def test_a_batch_with_everything_passes():
    data.validate_batch(_batch(), num_classes=3)


@pytest.mark.parametrize("name", ["region", "true_region", "strokes", "irrelevant"])
@pytest.mark.parametrize(
    ("value", "dtype"), [(255, np.uint8), (2, int), (-1, np.int8), (1.5, float)]
)
def test_masks_of_255_class_numbers_and_void_are_refused_by_row(name, value, dtype):
    mask = np.zeros((2, 4, 6), dtype)
    mask[1, 2, 3] = value
    _refused(
        rf"`{name}` \(={value}\) in row 1, at \[2, 3\] must lie in \[0, 1\] \(a mask "
        r"of 0 and 255, .*`data.region_from_labels`",
        **{name: mask},
    )


@pytest.mark.parametrize("value", [2, 255, -2, 0.5])
def test_signs_are_minus_one_zero_and_one(value):
    _refused(
        rf"`annotations` \(={value}\) in row 0, at \[3, 5\] must be -1, 0 or 1",
        **_with("annotations", (0, 3, 5), value, float if value == 0.5 else int),
    )


@pytest.mark.parametrize("name", ["region", "annotations"])
@pytest.mark.parametrize("shape", [(4, 6), (2, 3), (1, 1, 1)])
def test_maps_are_of_the_height_and_width_of_their_images(name, shape):
    _refused(
        rf"`{name}` of shape .* must have the height and width of `inputs` \(2, 4, 6, "
        r"3\), or be coarse",
        **{name: np.zeros((2, *shape[1:], *shape[:1]))},
    )


def test_coarse_maps_are_whole_blocks_of_the_same_aspect():
    data.validate_batch(_batch(region=np.ones((2, 2, 3))), num_classes=3)
    for shape in [(4, 3), (2, 6), (1, 1), (1, 3), (8, 12), (3, 4)]:
        _refused("`region` of shape .* or be coarse", region=np.ones((2, *shape)))


def test_swapped_axes_and_channels_first_are_called_so():
    _refused("height and width are swapped", region=np.ones((2, 6, 4)))
    _refused(
        r"look like \[B, channels, H, W\]",
        inputs=np.zeros((2, 3, 4, 6)),
        region=np.ones((2, 4, 6)),
    )


def test_regions_of_other_inputs_share_their_axes():
    tokens = {
        "inputs": np.zeros((2, 7, 3), int),
        "labels": np.array([0, 1]),
        "region": np.ones((2, 7)),
    }
    data.validate_batch(tokens, num_classes=2)
    with pytest.raises(ValueError, match=r"`region` of shape \(2, 6\) must share"):
        data.validate_batch({**tokens, "region": np.ones((2, 6))}, num_classes=2)


def test_inputs_may_be_several_arrays_and_each_is_checked():
    batch = {
        "inputs": {"image": np.zeros((2, 4, 6, 3)), "text": {"ids": np.zeros((2, 5))}},
        "labels": np.array([0, 1]),
        "region": np.ones((2, 4, 6)),
    }
    data.validate_batch(batch, num_classes=2)
    batch["inputs"]["text"]["ids"] = np.full((2, 5), np.nan)
    with pytest.raises(ValueError, match=r"`inputs/text/ids` \(=nan\) in row 0"):
        data.validate_batch(batch, num_classes=2)
    batch["inputs"]["text"]["ids"] = np.zeros((3, 5))
    with pytest.raises(ValueError, match=r"`inputs/text/ids` has shape \(3, 5\)"):
        data.validate_batch(batch, num_classes=2)


def test_a_region_of_several_inputs_fits_one_of_them():
    inputs = {"series": np.zeros((2, 7, 3)), "mask": np.ones((2, 7), bool)}
    batch = {"inputs": inputs, "labels": np.array([0, 1])}
    for shape in [(2, 7, 3), (2, 7)]:
        data.validate_batch({**batch, "region": np.ones(shape)}, num_classes=2)
    with pytest.raises(
        ValueError, match=r"`region` of shape \(2, 7, 4\) must fit one "
    ):
        data.validate_batch({**batch, "region": np.ones((2, 7, 4))}, num_classes=2)


def _text(**changes):
    """Two texts of four tokens, the second padded, with [CLS] in front."""
    mask = np.array([[True] * 4, [True] * 3 + [False]])
    batch = {
        "inputs": {"tokens": np.ones((2, 4), np.int32), "mask": mask},
        "labels": np.array([0, 1]),
        "special": np.array([[True, False, False, False]] * 2),
        "rationale": np.array([[0, 2.5, 0, 0.5], [0, 0, 0, 0]], np.float32),
        "rationale_valid": np.array([True, False]),
    }
    return batch | changes


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((1, 3), 1, r"`rationale` \(=1.0\) in row 1, at \[3\] must be 0 on padding"),
        (
            (0, 0),
            1,
            r"`rationale` \(=1.0\) in row 0, at \[0\] must be 0 where `special`",
        ),
        ((0, 1), -1, r"`rationale` \(=-1.0\) in row 0, at \[1\] must be at least 0"),
    ],
)
def test_marks_stand_on_tokens_of_the_text(place, value, message):
    data.validate_batch(_text(), num_classes=2)
    batch = _text()
    batch["rationale"][place] = value
    with pytest.raises(ValueError, match=message):
        data.validate_batch(batch, num_classes=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rationale": np.ones((2, 5))},
            r"`rationale` .* must be one a token: \(2, 4\)",
        ),
        ({"special": np.ones((2, 5), bool)}, r"`special` .* must be one a token"),
        ({"special": np.ones((2, 4))}, r"`special` \(float64\) must be bool"),
        (
            {"rationale_valid": np.ones(2)},
            r"`rationale_valid` \(=1.0\) in row 1 must be ",
        ),
        (
            {"rationale_valid": np.array([0, 2])},
            r"`rationale_valid` \(=2\) in row 1 must",
        ),
        ({"rationale_valid": np.ones((2, 1))}, r"`rationale_valid` has shape \(2, 1\)"),
        (
            {"inputs": {"mask": np.ones((2, 4))}},
            r"`inputs/mask` \(float64\) must be bool",
        ),
    ],
)
def test_what_stands_beside_tokens_is_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        data.validate_batch(_text(**changes), num_classes=2)


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8])
def test_the_validity_of_boxes_is_bool(kind):
    _refused(r"`boxes_valid` \(.*\) must be bool", boxes_valid=np.ones((2, 2), kind))


def test_what_stands_beside_boxes_is_one_a_box():
    _refused(
        r"`boxes_valid` of shape \(2, 1\) must be one a box: \(2, 2\)",
        boxes_valid=np.ones((2, 1), bool),
    )
    _refused(
        r"`boxes_class` of shape \(2,\) must be one a box",
        boxes_class=np.ones(2, int),
    )
    _refused("`boxes_valid` stands beside `boxes`, which are missing", boxes=None)


def test_boxes_as_fractions_of_the_image_are_refused_with_the_clue():
    boxes = np.full((2, 2, 4), 0.1)
    boxes[..., 2:] = 0.6
    clue = r"`boxes` .* in row 0, at \[0\] must be in pixels; .*multiply by its width"
    _refused(clue, boxes=boxes)
    # They begin at 0, so that each covers the first pixel.
    boxes[..., :2] = 0
    _refused(clue, boxes=boxes)


def test_a_valid_box_between_two_pixels_is_refused_and_a_padded_one_is_not():
    boxes = _batch()["boxes"]
    boxes[1, 0] = [2.2, 1, 2.8, 3]
    message = (
        r"`boxes` .* in row 1, at \[0\] must cover a pixel, or be False in `boxes_"
    )
    _refused(message, boxes=boxes)
    boxes[1, 0] = [3, 1, 3, 2]
    _refused(message, boxes=boxes)
    passing = _with("boxes_valid", (1, 0), False)
    data.validate_batch(_batch(boxes=boxes, **passing), num_classes=3)


def test_boxes_of_one_pixel_and_boxes_outside_are_boxes():
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 1, 1]]] * 2, np.float32)
    data.validate_batch(_batch(boxes=boxes), num_classes=3)
    boxes[0, 0] = [90, 90, 95, 95]
    data.validate_batch(_batch(boxes=boxes), num_classes=3)


@pytest.mark.parametrize("value", [-1, 3])
def test_targets_and_the_classes_of_valid_boxes_are_in_range(value):
    _refused(
        rf"`targets` \(={value}\) in row 1 must lie in 0 .. 2",
        **_with("targets", 1, value),
    )
    _refused(
        rf"`boxes_class` \(={value}\) in row 1, at \[0\] must lie in 0 .. 2",
        **_with("boxes_class", (1, 0), value),
    )


def test_targets_and_classes_are_whole_numbers():
    _refused(r"`targets` \(float64 \(2,\)\) must be whole", targets=np.zeros(2))
    _refused(r"`targets` \(int64 \(2, 3\)\)", targets=np.zeros((2, 3), int))
    _refused(r"`boxes_class` \(float64", boxes_class=np.zeros((2, 2)))


@pytest.mark.parametrize("kind", [np.uint8, bool, np.float32])
def test_labels_with_two_axes_are_multi_hot(kind):
    labels = np.array([[1, 0, 1], [0, 0, 0]], kind)
    data.validate_batch(_batch(labels=labels), num_classes=3)
    _refused(
        r"`labels` of shape \(2, 4\) .*, or multi-hot, \[B, 3\]",
        labels=np.zeros((2, 4), kind),
    )


@pytest.mark.parametrize("value", [2, -1, 0.9])
def test_multi_hot_labels_are_zero_or_one(value):
    labels = np.zeros((2, 3))
    labels[1, 2] = value
    _refused(
        rf"`labels` \(={value}.*\) in row 1, at \[2\] must be 0 or 1", labels=labels
    )


def test_weights_are_not_negative_and_validity_is_zero_or_one():
    _refused(
        r"`weight` \(=-0.5\) in row 1 must be at least 0", weight=np.array([1.0, -0.5])
    )
    _refused(r"`weight` has shape \(2, 1\), not \[B\]", weight=np.ones((2, 1)))
    _refused(
        r"`region_valid` \(=2\) in row 0 must be 0 or 1", region_valid=np.array([2, 1])
    )
    _refused(r"`region_valid` has shape", region_valid=np.ones((2, 1), bool))


def test_a_data_set_is_checked_by_the_same_rules():
    batch = _batch()
    inputs, labels = batch.pop("inputs"), batch.pop("labels")
    dataset = data.Dataset(inputs, labels, ("a", "b", "c"), batch)
    data.validate(dataset)
    with pytest.raises(ValueError, match=r"`region` \(=255\)"):
        data.validate(dataset._replace(annotations={"region": batch["region"] * 255}))
    data.validate(dataset._replace(labels=np.eye(3)[:2]))
