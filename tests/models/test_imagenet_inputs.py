"""How a photograph is fed to networks of ImageNet."""

import numpy as np
import pytest

from xguide_jax import models

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def test_the_square_in_the_middle_is_cut_out_and_scaled():
    # 128 to 64 of the shorter side; of 64x96 the middle 32x32 is rows 16 to 47 and
    # columns 32 to 63, which are rows 32 to 95 and columns 64 to 127 before.
    image = np.zeros((128, 192, 3), np.uint8)
    image[30:98, 62:130] = 255
    inputs = models.imagenet_inputs(image, size=32, shorter_side=64)
    assert inputs.dtype == np.float32
    expected = np.broadcast_to((1 - MEAN) / STD, (32, 32, 3))
    np.testing.assert_allclose(inputs, expected, rtol=1e-5)
    wider = models.imagenet_inputs(image, size=40, shorter_side=64)
    np.testing.assert_allclose(wider[0, 0], -MEAN / STD, rtol=1e-5)
    halves = dict.fromkeys(("mean", "std"), (0.5, 0.5, 0.5))
    inputs = models.imagenet_inputs(image, size=32, shorter_side=64, **halves)
    np.testing.assert_allclose(inputs, np.ones((32, 32, 3)), rtol=1e-5)


@pytest.mark.parametrize("sides", [(97, 61), (40, 40), (21, 34)])
def test_resizing_is_that_of_pillow_to_a_rounded_level(sides):
    pillow = pytest.importorskip("PIL.Image")
    image = np.random.default_rng(0).integers(0, 256, (*sides, 3)).astype(np.uint8)
    height, width = (36 * side // min(sides) for side in sides)
    resized = pillow.fromarray(image).resize(
        (width, height), pillow.Resampling.BILINEAR
    )
    top, left = round((height - 32) / 2), round((width - 32) / 2)
    theirs = np.asarray(resized)[top : top + 32, left : left + 32]
    ours = models.imagenet_inputs(image, size=32, shorter_side=36) * STD + MEAN
    # Pillow rounds after each of two axes.
    np.testing.assert_allclose(ours * 255, theirs, atol=1.01)


def test_a_mask_shows_the_same_square_to_one_pixel():
    image = np.zeros((300, 400, 3), np.uint8)
    image[100:180, 150:260] = 255
    inputs = models.imagenet_inputs(image, mean=(0.0,) * 3, std=(1.0,) * 3)[..., 0]
    square = models.central_square(image[..., 0])
    rows, columns = (np.flatnonzero(square.any(axis)) for axis in (1, 0))
    ours = [np.flatnonzero((inputs > 0.5).any(axis)) for axis in (1, 0)]
    scale = 224 / len(square)
    for before, after in zip((rows, columns), ours, strict=True):
        np.testing.assert_allclose(after[0], before[0] * scale, atol=1)
        np.testing.assert_allclose(after[-1] + 1, (before[-1] + 1) * scale, atol=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 300}, r"`size` \(=300\) must lie between 1 and `shorter_side`"),
        ({"std": (1.0, 0.0, 1.0)}, r"`std` \(=\(1.0, 0.0, 1.0\)\) must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match=message):
        models.imagenet_inputs(image, **options)
    with pytest.raises(ValueError, match="must be uint8"):
        models.imagenet_inputs(image / 255)
