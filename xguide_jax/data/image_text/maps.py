"""Human maps of any range as shares of evidence in [0, 1], and files of such maps.

Each map is normalised by itself. By the extremes of a batch, or of all its maps at
once, a map's values would depend on its neighbours, and one constant map would make all
of them 0.
"""

import pathlib

import numpy as np

from xguide_jax.data.images import image_files, spatial

_CONSTANT = 1e-6


def normalise_maps(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M - min M) / (max M - min M), of each map on its own, in float32.

    A map that is constant, to within a millionth of its largest value, says of no pixel
    that it is more evidence than another: it is not valid, and 0, which is no target.
    So is a map of 0 alone. Other maps do not notice.

    Args:
      maps: finite numbers [N, H, W], larger where there is more evidence.

    Returns:
      (float32 [N, H, W] in [0, 1], the smallest value of a valid map 0 and the largest
      1; bool [N], which maps are valid), a 'region' and its 'region_valid'.

    Raises:
      ValueError: if the maps are not such, naming the row.
    """
    if maps.ndim != 3 or maps.dtype.kind not in "biuf" or 0 in maps.shape[1:]:
        raise ValueError(
            f"`maps` ({maps.dtype} {maps.shape}) must be numbers [N, H, W]."
        )
    values = maps.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
    if len(wrong):
        raise ValueError(f"`maps` in row {wrong[0]} must be finite.")
    size = np.abs(values).max(axis=(1, 2), keepdims=True)
    values /= np.where(size > 0, size, 1)
    lowest = values.min(axis=(1, 2), keepdims=True)
    span = values.max(axis=(1, 2), keepdims=True) - lowest
    # Means of equal numbers differ in their last digits.
    varies = span > _CONSTANT
    shares = np.where(varies, (values - lowest) / np.where(varies, span, 1), 0)
    return shares.astype(np.float32), varies[:, 0, 0]


def read_map(path: pathlib.Path, place: str) -> np.ndarray:
    """A map of a '.npy' file, or of a grey image that is brighter where evidence is.

    Of three channels the mean is taken, of an image file only if they are equal:
    colours of a heat map are no order. No pickle is ever loaded.

    Args:
      path: the file.
      place: what an error begins with.

    Returns:
      float64 [H, W].

    Raises:
      ImportError: if it is an image and pillow is not installed.
      FileNotFoundError: if there is no such file.
      ValueError: naming place and file, if it is no map of finite numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{place}: there is no map {path}.")
    if path.suffix.lower() == ".npy":
        array = _read_npy(path, place)
    else:
        array = _read_grey(path, place)
    if array.ndim == 3 and array.shape[2] in (1, 3):
        array = array.astype(np.float64).mean(axis=2)
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{place}: the map {path.name} ({array.dtype} {array.shape}) must be "
            "numbers [H, W], or [H, W, 1 or 3]."
        )
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{place}: the map {path.name} must be finite.")
    return values


def resized_map(
    values: np.ndarray, image: tuple[int, ...], place: str, *, shape: tuple[int, int]
) -> np.ndarray:
    """A map stretched with its image, each cell the mean of what lies under it.

    Args:
      values: float64 [h, w], of the image's size or coarser, with the image's aspect to
        within a pixel of either.
      image: (H, W) of its image as it was read.
      place: what an error begins with.
      shape: (H, W) that the image is stretched to.

    Returns:
      float64, of that shape.

    Raises:
      ValueError: naming place and both shapes, if the map is not of that image.
    """
    (height, width), (rows, columns) = image[:2], values.shape
    if abs(rows * width - columns * height) > max(height, width):
        raise ValueError(
            f"{place}: the map of {values.shape} must have the height and width of its "
            f"image, {(height, width)}, or be coarse with the same aspect."
        )
    return spatial.resize(values[..., None], {}, shape=shape)[0][..., 0]


def _read_npy(path: pathlib.Path, place: str) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            # `np.load` would open archives as well.
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError) as error:
        raise ValueError(
            f"{place}: {path.name} must be an array as `np.save` writes it ({error})."
        ) from error


def _read_grey(path: pathlib.Path, place: str) -> np.ndarray:
    try:
        array = image_files.read_image(path)
    except ValueError as error:
        raise ValueError(f"{place}: the map {error}") from error
    if np.any(array != array[..., :1]):
        raise ValueError(f"{place}: the map {path.name} must be grey, not colours.")
    return array
