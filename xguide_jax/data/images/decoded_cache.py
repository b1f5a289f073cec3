"""Photographs that are decoded and resized once and then read from disk.

Decoding and resizing a photograph takes longer than a small network's step. Here it is
done once, by threads, and a batch is then a copy of a few rows: the photographs never
all lie in memory, nor do their pixels.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xguide_jax.data.images import cached_rows, image_files, spatial
from xguide_jax.data.sources import grey_digits

_WHITE = (255, 255, 255)
# Raised when the same file and settings come to have other pixels.
_VERSION = 2
# `spatial.resize`: the mean of what lies under a cell, as boxes and masks need it.
_FILTER = "area"
# A file of rows is put together in memory, and what a killed program loses is one.
_FILE_BYTES = 1 << 27

Path = str | os.PathLike[str]
_File = tuple[pathlib.Path, str, bool]  # with its id, and whether it is turned upright
_Pixels = tuple[tuple[int, ...], np.ndarray]  # behind the size before it was resized


class UndecodableError(ValueError):
    """Some image files cannot be decoded.

    Attributes:
      reasons: {path, as text: what is wrong with the file}.
    """

    def __init__(self, reasons: Mapping[str, str], num_images: int) -> None:
        lines = list(reasons.values())
        super().__init__(_listed(lines, num_images, "cannot be decoded"))
        self.reasons = dict(reasons)


def decode_images(
    paths: Sequence[Path],
    folder: Path,
    *,
    shape: tuple[int, int],
    upright: bool | Sequence[bool] = True,
    background: tuple[int, int, int] = _WHITE,
    num_threads: int | None = None,
) -> cached_rows.CachedRows:
    """The pixels of image files, of one shape, from a folder that is filled as needed.

    As `read_image` and `resize`, bit for bit. Pixels are kept under the SHA-256 of the
    file's bytes, `shape`, `upright`, `background` and the version of this format, so
    that a changed photograph is decoded again, and it alone, and a copy is not. A
    program that is killed loses at most 128 MiB of pixels; programs that fill one
    folder at once do each other no harm. At each call the image files and what is kept
    are read once: a file of pixels that is cut off or damaged is removed, with a
    warning, and its images are decoded again.

    A row of `Dataset.inputs` stands for an image until a batch is made:

        images = data.decode_images(paths, folder, shape=(224, 224))
        dataset = data.Dataset(np.arange(len(paths)), labels, class_names, known)
        train, test = data.split(dataset, seed=0, fractions=(0.8, 0.2))
        read = functools.partial(data.read_images, images, mean=mean, std=std)
        batch_at = data.streamed_batches(train, read, batch_size=64, seed=0)

    What is annotated on image i is brought to `shape` without its pixels:

        known = data.resize(np.zeros((*images.sizes[i], 1)), known, shape=shape)[1]

    Args:
      paths: N files that Pillow reads, the order of the rows.
      folder: of the pixels; made if it is missing. Nothing in it is needed: what is
        removed is decoded again.
      shape: `(h, w)` to which every image is stretched.
      upright: as for `read_image`, of all images or of each, `upright_of` it.
      background: as for `read_image`.
      num_threads: how many files are decoded at once; None for the number of
        processors, at most 8.

    Returns:
      N rows uint8 [h, w, 3], which `read_images` reads, with the 'sizes' of the images
      before they were resized, upright where asked.

    Raises:
      ImportError: if pillow is not installed.
      OSError: naming all files that cannot be opened, before any is decoded; or naming
        `folder`, if it is full, may not be written or is a file.
      UndecodableError: naming all files that cannot be decoded, once the others are; a
        ValueError.
      ValueError: if there are no paths, `upright` is not one for each, `shape` holds no
        cell, or `num_threads` is less than 1.
    """
    files = [pathlib.Path(path) for path in paths]
    turned = [upright] * len(files) if isinstance(upright, bool) else list(upright)
    if num_threads is None:
        num_threads = min(8, os.cpu_count() or 1)
    _check(len(files), shape=shape, num_turned=len(turned), num_threads=num_threads)
    settings = [_VERSION, _FILTER, *map(int, shape), *background]
    key = cached_rows.digest("decoded", json.dumps(settings))
    decode = functools.partial(_decode, shape=shape, background=background)
    problems: dict[str, tuple[str, str]] = {}  # what is wrong with which file
    with concurrent.futures.ThreadPoolExecutor(num_threads, "decoding") as pool:
        ids = [
            f"{name} upright" if turn else name
            for name, turn in zip(_ids(files, pool), turned, strict=True)
        ]
        every = list(zip(files, ids, turned, strict=True))
        make = lambda missing: _decoded(
            [every[row] for row in missing],
            functools.partial(pool.map, decode),
            shape=shape,
            problems=problems,
        )
        found = cached_rows.fill(folder, ids, key=key, make=make)
    if problems:
        reasons = {
            # Copies of a file, too.
            str(path): problems[name][1].replace(problems[name][0], str(path))
            for path, name in zip(files, ids, strict=True)
            if name in problems
        }
        raise UndecodableError(reasons, len(files))
    return cached_rows.arrange(found, ids, key=key)


def read_images(
    images: cached_rows.CachedRows,
    rows: np.ndarray,
    *,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> np.ndarray:
    """Decoded images as a network takes them, (pixel / 255 - mean) / std.

    Args:
      images: as of `decode_images`.
      rows: int [B] in 0 .. N - 1.
      mean: as for `normalise_images`.
      std: likewise; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [B, h, w, 3], equal bit for bit to these rows of all images normalised.

    Raises:
      IndexError: as `read_rows`.
      ValueError: as `normalise_images`.
    """
    pixels = cached_rows.read_rows(images, rows)
    grey_digits.normalise_images(pixels[:0], mean=mean, std=std)  # refuses them
    _, height, width, channels = pixels.shape
    # By lines of pixels: three numbers at a time take three times as long.
    inputs = grey_digits.normalise_images(
        pixels.reshape(-1, height, width * channels),
        mean=_along(mean, width),
        std=_along(std, width),
    )
    return inputs.reshape(pixels.shape)


def _check(
    num_files: int, *, shape: tuple[int, int], num_turned: int, num_threads: int
) -> None:
    if not num_files:
        raise ValueError("`paths` must name at least one image.")
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"`shape` (={shape}) must be two positive numbers, (h, w).")
    if num_turned != num_files:
        raise ValueError(
            f"`upright` ({num_turned} of them) must be one for each of {num_files} "
            "`paths`."
        )
    if num_threads < 1:
        raise ValueError(f"`num_threads` (={num_threads}) must be at least 1.")


def _along(numbers: float | Sequence[float], width: int) -> Any:
    """One number, or those of the channels for each pixel of a line."""
    return np.tile(numbers, width) if np.ndim(numbers) else numbers


def _ids(
    paths: Sequence[pathlib.Path], pool: concurrent.futures.ThreadPoolExecutor
) -> list[str]:
    found = list(pool.map(_id_or_error, paths))
    errors = [name for name in found if isinstance(name, OSError)]
    if errors:
        kind = FileNotFoundError if _all_missing(errors) else OSError
        lines = [f"{error.filename}: {error.strerror}" for error in errors]
        raise kind(_listed(lines, len(paths), "cannot be opened"))
    return [name for name in found if isinstance(name, str)]


def _all_missing(errors: Sequence[OSError]) -> bool:
    return all(isinstance(error, FileNotFoundError) for error in errors)


def _id_or_error(path: pathlib.Path) -> str | OSError:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error


def _decoded(
    files: Sequence[_File],
    decode_all: Callable[[Sequence[_File]], Iterator[_Pixels | Exception]],
    *,
    shape: tuple[int, int],
    problems: dict[str, tuple[str, str]],
) -> Iterator[cached_rows.Rows]:
    """The rows of one file on disk after another; what is wrong goes to `problems`."""
    count = max(1, _FILE_BYTES // (shape[0] * shape[1] * 3))
    for start in range(0, len(files), count):
        named = files[start:][:count]
        pixels = np.empty((len(named), *shape, 3), np.uint8)
        kept: list[str] = []
        sizes: list[tuple[int, ...]] = []
        for (path, name, _), result in zip(named, decode_all(named), strict=True):
            if isinstance(result, Exception):
                problems[name] = (str(path), str(result))
                continue
            size, pixels[len(kept)] = result
            kept.append(name)
            sizes.append(size)
        if kept:
            yield cached_rows.Rows(kept, np.array(sizes), pixels[: len(kept)])


def _decode(
    file: _File, *, shape: tuple[int, int], background: tuple[int, int, int]
) -> _Pixels | Exception:
    """Size and pixels of an image, or what is wrong with it."""
    path, name, upright = file
    changed = ValueError(f"{path} was changed while the images were being read.")
    try:
        content = path.read_bytes()
    except OSError:  # it could be opened when its bytes were named
        return changed
    # Otherwise the new pixels would be kept under the old bytes, for ever.
    if hashlib.sha256(content).hexdigest() != name.removesuffix(" upright"):
        return changed
    try:
        image = image_files.decode_image(
            content, str(path), background=background, upright=upright
        )
        pixels, _ = spatial.resize(image, {}, shape=shape)
    except (OSError, ValueError) as error:
        return error
    return image.shape[:2], pixels


def _listed(lines: Sequence[str], num_images: int, what: str) -> str:
    return "\n  ".join([f"{len(lines)} of {num_images} images {what}:", *lines])
