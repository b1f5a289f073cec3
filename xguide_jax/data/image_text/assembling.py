"""From the rows of a file that names images, texts and maps to described images."""

import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.image_text import described as describing
from xguide_jax.data.image_text import maps
from xguide_jax.data.images import image_files, spatial
from xguide_jax.data.sources import grey_digits


class ImageRow(NamedTuple):
    """What a file says of an image.

    Attributes:
      place: file and row, as an error names them.
      image: the image's file below the folder; what it is known by.
      label: an index into the classes.
      texts: what people wrote, empty texts left out.
      map: the map's file below the folder, '' where there is none.
    """

    place: str
    image: str
    label: int
    texts: tuple[str, ...]
    map: str = ""


def described_images(
    folder: pathlib.Path,
    rows: Iterable[ImageRow],
    class_names: Sequence[str],
    *,
    shape: tuple[int, int],
    mean: float | Sequence[float],
    std: float | Sequence[float],
) -> describing.Described:
    """Images and maps of one shape, one row an image, with all texts it has.

    Args:
      folder: where images and maps are.
      rows: several may be of one image.
      class_names: what labels stand for.
      shape: `(H, W)` to which images and maps are stretched.
      mean: as for `normalise_images`.
      std: as for `normalise_images`.

    Returns:
      Images in the order of their first rows, with 'region' and 'region_valid'.

    Raises:
      FileNotFoundError: if an image or map is missing.
      ValueError: naming file and row, if rows of one image have other labels or maps,
        there are no rows, or an image or map cannot be read.
    """
    images = list(_joined(rows))
    if not images:
        raise ValueError(f"there is no image to be read in {folder}.")
    pixels, drawn = [], []
    for row in images:
        image = read_image_of(row, folder)
        pixels.append(spatial.resize(image, {}, shape=shape)[0])
        drawn.append(np.zeros(shape))
        if row.map:
            found = maps.read_map(folder / row.map, row.place)
            drawn[-1] = maps.resized_map(found, image.shape, row.place, shape=shape)
    # A map that is missing is constant, and so not valid.
    region, valid = maps.normalise_maps(np.stack(drawn))
    dataset = datasets.Dataset(
        grey_digits.normalise_images(np.stack(pixels), mean=mean, std=std),
        np.array([row.label for row in images], np.int32),
        tuple(class_names),
        {"region": region, "region_valid": valid},
    )
    return describing.Described(
        dataset,
        tuple(row.texts for row in images),
        tuple(row.image for row in images),
    )


def read_image_of(row: ImageRow, folder: pathlib.Path) -> np.ndarray:
    """The image of a row, or an error that names the row.

    Args:
      row: any.
      folder: where images are.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ImportError: if pillow is not installed.
      FileNotFoundError: if there is no such file.
      ValueError: if it cannot be read.
    """
    path = folder / row.image
    if not path.is_file():
        raise FileNotFoundError(f"{row.place}: there is no image {path}.")
    try:
        return image_files.read_image(path)
    except ValueError as error:
        raise ValueError(f"{row.place}: {error}") from error


def inside(name: str, place: str, *, column: str) -> str:
    """A path below the folder of its file, written one way.

    Args:
      name: with '/' between its parts.
      place: what an error begins with.
      column: where the name stands.

    Returns:
      The path without '.' and doubled '/', so that a file has one name.

    Raises:
      ValueError: naming place and column, if it is empty, absolute, leads out of the
        folder or holds a backslash or a control character.
    """
    path = pathlib.PurePosixPath(name)
    absolute = path.is_absolute() or bool(pathlib.PureWindowsPath(name).drive)
    if not path.parts or absolute or ".." in path.parts or "\\" in name:
        raise ValueError(
            f"{place}: {column!r} (={name[:80]!r}) must be a path below the file's own "
            "folder: not absolute, without '..' and with '/' between its parts."
        )
    if not name.isprintable():
        raise ValueError(f"{place}: {column!r} (={name[:80]!r}) must be printable.")
    return os.fspath(path)


def _joined(rows: Iterable[ImageRow]) -> Iterable[ImageRow]:
    """One row an image: its texts in order, and the one label and map it has."""
    images: dict[str, ImageRow] = {}
    for row in rows:
        first = images.setdefault(row.image, row)
        if first is row:
            continue
        if row.label != first.label:
            raise ValueError(
                f"{row.place}: the image {row.image!r} must have the class that it has "
                f"in {first.place}: it is one row, whatever is written of it."
            )
        if row.map and first.map and row.map != first.map:
            raise ValueError(
                f"{row.place}: the image {row.image!r} must have the map that it has "
                f"in {first.place}, or none."
            )
        images[row.image] = first._replace(
            texts=first.texts + row.texts, map=first.map or row.map
        )
    return images.values()
