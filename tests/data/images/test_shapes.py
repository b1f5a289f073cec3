"""Annotations are of their image: its height, its width, and channels last."""

import numpy as np
import pytest

from xguide_jax import data
from xguide_jax.data.images import shapes

_MOVES = {
    "transform_together": lambda *example: data.transform_together(
        np.random.default_rng(0), *example
    ),
    "flip_horizontally": data.flip_horizontally,
    "shift": lambda *example: data.shift(*example, dy=1, dx=0),
    "resize": lambda *example: data.resize(*example, shape=(4, 4)),
    "dilate": lambda *example: data.dilate(*example, fraction=0.5),
}
_every_move = pytest.mark.parametrize("move", _MOVES.values(), ids=_MOVES)


def _image(*shape):
    return np.zeros(shape or (8, 6, 3), np.float32)


@_every_move
@pytest.mark.parametrize(
    "name",
    [
        "region",
        "strokes",
        "annotations",
        "irrelevant",
        "true_region",
        "mask",
        "cam_map",
    ],
)
def test_a_coarse_map_is_refused_with_both_shapes_and_what_resizes_it(move, name):
    coarse = np.ones((4, 3), np.uint8)
    message = (
        rf"`{name}` of shape \(4, 3\) must have the height and width of `inputs` "
        r"\(8, 6, 3\), \(8, 6\): `data.resize_mask` brings"
    )
    with pytest.raises(ValueError, match=message):
        move(_image(), {name: coarse, "region_valid": np.array(True)})


@_every_move
def test_swapped_axes_and_channels_first_are_called_so(move):
    with pytest.raises(ValueError, match="its height and width are swapped"):
        move(_image(), {"region": np.ones((6, 8))})
    message = r"`inputs` \(3, 8, 6\), \(3, 8\): the image looks like \[channels, H, W\]"
    with pytest.raises(ValueError, match=message):
        move(_image(3, 8, 6), {"region": np.ones((8, 6))})


@_every_move
def test_an_image_without_its_channel_axis_is_refused(move):
    with pytest.raises(ValueError, match=r"\(8, 6\) must be one image \[H, W, chan"):
        move(_image(8, 6), {})


@pytest.mark.parametrize(
    "shape", [(3, 224, 224), (1, 28, 28), (4, 16, 16), (3, 32, 640), (3, 640, 32)]
)
def test_channels_first_are_recognised_without_any_map(shape):
    for move in _MOVES.values():
        with pytest.raises(ValueError, match=r"and look like \[channels, H, W\]"):
            move(_image(*shape), {})


@pytest.mark.parametrize(
    "shape",
    [
        (28, 28, 1),
        (3, 3, 512),  # features of three rows and columns
        (4, 8, 512),
        (1, 1, 2048),
        (1, 500, 12),  # a series as an image of one row
        (1, 640, 224),  # one line of a spectral camera
        (145, 145, 200),
        (2, 64, 64),  # two rows are no number of channels
        (3, 100, 4),
        (3, 8, 8),  # too small to tell
    ],
)
def test_no_image_with_channels_last_is_taken_for_one_with_channels_first(shape):
    shapes.check_example(_image(*shape), {"region": np.zeros(shape[:2])})
    shapes.check_example(_image(*shape), {})


def test_what_is_not_in_space_is_left_alone_whatever_its_shape():
    known = {
        "num_boxes": np.array(2),
        "box_areas": np.ones((5, 2)),
        "crowd_boxes": np.array([True, False]),
        "token_mask": np.array([1, 1, 0]),
        "tokens": np.ones((4, 3)),
        "region_valid": np.array(True),
        "boxes_class": np.array([3, 4]),
    }
    for name, move in _MOVES.items():
        _, moved = move(_image(), {**known, "region": np.ones((8, 6))})
        for key, value in known.items():
            np.testing.assert_array_equal(moved[key], value, err_msg=f"{name}: {key}")


@_every_move
@pytest.mark.parametrize("name", ["boxes", "true_boxes"])
def test_boxes_of_another_form_are_refused(move, name):
    for shape in [(2, 5), (1, 2, 4)] + ([(4,)] if name == "boxes" else []):
        with pytest.raises(ValueError, match=rf"`{name}` of shape .* be \[boxes, 4\]"):
            move(_image(), {name: np.zeros(shape)})


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.float32])
def test_boxes_of_every_dtype_move_as_those_of_float64(dtype):
    boxes = np.array([[1, 0, 3, 2], [4, 5, 9, 9], [0, 0, 0, 0]])
    for flip, dy, dx in [(True, 0, 0), (False, -1, -2), (True, 2, 1)]:
        moved = []
        for kind in (dtype, np.float64):
            example = _image(), {"boxes": boxes.astype(kind)}
            if flip:
                example = data.flip_horizontally(*example)
            _, known = data.shift(*example, dy=dy, dx=dx)
            moved.append(data.resize(_image(), known, shape=(5, 9))[1]["boxes"])
        assert moved[0].dtype == dtype
        np.testing.assert_array_equal(*moved)


def test_boxes_that_their_dtype_cannot_hold_are_refused_and_not_wrapped_around():
    known = {"boxes": np.array([[200, 0, 250, 2]], np.uint8)}
    image = _image(4, 400, 1)
    for move in (
        lambda: data.shift(image, known, dy=0, dx=10),
        lambda: data.resize(image, known, shape=(4, 800)),
        lambda: data.dilate(image, known, fraction=0.5),
        lambda: data.dilate_boxes(known["boxes"], fraction=0.5, shape=(4, 400)),
        lambda: data.flip_horizontally(image, {"boxes": known["boxes"] // 4}),
    ):
        with pytest.raises(ValueError, match=r"`boxes` \(uint8\) must have a dtype"):
            move()


@pytest.mark.parametrize(
    ("value", "dtype"), [(255, np.uint8), (7, np.int32), (0.3, np.float32), (2, int)]
)
def test_a_map_of_labels_or_shares_is_not_resized_to_ones(value, dtype):
    labels = np.zeros((8, 6), dtype)
    labels[2, 3] = value
    message = (
        rf"`region` \(={value}\d*\) must hold 0 and 1, or .*`data.region_from_labels`"
    )
    with pytest.raises(ValueError, match=message):
        data.resize(_image(), {"region": labels}, shape=(4, 3))
    with pytest.raises(ValueError, match="must hold 0 and 1"):
        data.resize(_image(), {"region": np.full((8, 6), np.nan)}, shape=(4, 3))


@pytest.mark.parametrize(("dy", "dx"), [(8, 0), (-11, 0), (0, 6), (0, -7)])
def test_a_shift_out_of_the_image_is_refused(dy, dx):
    with pytest.raises(ValueError, match=r"`d[xy]` .* must lie in -[57] .. [57] for"):
        data.shift(_image(), {}, dy=dy, dx=dx)


@pytest.mark.parametrize("pad_value", [0.5, -1, 256, np.nan])
def test_a_padding_that_whole_pixels_cannot_hold_is_refused(pad_value):
    pixels = np.zeros((8, 6, 3), np.uint8)
    with pytest.raises(ValueError, match=r"`pad_value` .* must fit uint8 inputs"):
        data.shift(pixels, {}, dy=1, dx=0, pad_value=pad_value)
    moved, _ = data.shift(pixels, {}, dy=1, dx=0, pad_value=255)
    assert (moved[0] == 255).all()


@pytest.mark.parametrize("dilation", [np.nan, np.inf])
def test_a_margin_that_is_no_number_is_refused(dilation):
    with pytest.raises(ValueError, match=r"`dilation` .* must be at least 0"):
        data.transform_together(
            np.random.default_rng(0), _image(), {}, dilation=dilation
        )


def test_references_of_an_example_are_never_in_space():
    """A mask of tokens [R, L] is no mask of pixels, whatever its shape."""
    inputs = np.arange(12.0, dtype=np.float32).reshape(3, 4, 1)
    for size in ((3, 4), (2, 5)):
        known = {"texts": np.arange(np.prod(size)).reshape(size)}
        known["texts_mask"] = known["texts"] % 2 == 0
        known["texts_valid"] = np.ones(size[0], bool)
        for move in (
            data.flip_horizontally,
            lambda *example: data.shift(*example, dy=1, dx=1),
            lambda *example: data.resize(*example, shape=(2, 2)),
        ):
            _, moved = move(inputs, known)
            for name, value in known.items():
                np.testing.assert_array_equal(moved[name], value)
