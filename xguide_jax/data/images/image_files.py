"""Image files as RGB and mask files as labels, upright, or an error with their name.

What a viewer shows is what is read: an orientation in the file's EXIF part is applied,
since masks and boxes are drawn on what is shown.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

_WHITE = (255, 255, 255)
_SHORT = 65535
# Pillow's names of one channel of 16 bits, and of one of 32 that may hold as many.
_DEEP = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_LABELS = ("1", "L", "P", *_DEEP)
_COLOURS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def read_image(
    path: str | os.PathLike[str],
    *,
    background: tuple[int, int, int] = _WHITE,
    upright: bool = True,
) -> np.ndarray:
    """An image file as RGB, whatever it was stored as.

    * Grey becomes three equal channels; of 16 bits, round(255 v / 65535), the dtype's
      maximum and not the picture's, so that exposures stay comparable.
    * CMYK, YCbCr and palettes are converted as Pillow does; of colours of 16 bits it
      keeps the upper 8.
    * What is transparent is laid over `background`, a c + (1 - a) background: the
      colours under alpha 0 are whatever the drawing program left there.
    * Orientations 2 to 8 of the EXIF part are applied.

    Args:
      path: of a file that Pillow reads.
      background: red, green and blue in 0 .. 255 behind transparent pixels.
      upright: whether to apply the orientation; False reads the pixels as they are
        stored, for boxes that were drawn on those. Few tools say which they mean: look
        whether the annotation's own width and height are those of the stored pixels.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ImportError: if pillow is not installed.
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, if it is none that Pillow reads, is cut off, holds
        several pictures, or has a mode of which nobody knows the range or the colours
        (floats, 32 bits, LAB ...).
    """
    with _opened(path, upright) as image:
        return _as_rgb(image, str(path), background)


def decode_image(
    content: bytes,
    name: str,
    *,
    background: tuple[int, int, int] = _WHITE,
    upright: bool = False,
) -> np.ndarray:
    """As `read_image`, of a file's bytes.

    Args:
      content: the bytes.
      name: what an error calls them.
      background: as for `read_image`.
      upright: as for `read_image`; by default the pixels are those that are stored.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ImportError: if pillow is not installed.
      ValueError: as `read_image`.
    """
    with _opened(io.BytesIO(content), upright, name) as image:
        return _as_rgb(image, name, background)


def read_mask(path: str | os.PathLike[str], *, upright: bool = True) -> np.ndarray:
    """A mask file as the labels it holds; `region_from_labels` makes a region of it.

    The numbers of a palette stay numbers: converted to colours or to grey they would be
    others.

    Args:
      path: of a file with one channel: 1, 8 or 16 bits, or a palette.
      upright: as for `read_image`.

    Returns:
      uint8 [H, W], of a file of 1 bit 0 and 1; or uint16 or int32 [H, W].

    Raises:
      ImportError: if pillow is not installed.
      FileNotFoundError: if there is no such file.
      ValueError: naming the file, as `read_image`; also for colours, of which nobody
        knows which is which label.
    """
    with _opened(path, upright) as image:
        if image.mode not in _LABELS:
            raise ValueError(
                f"{path} (mode {image.mode}) must be a mask of one channel, or a "
                "palette, of labels; a mask of colours has to be told which is which."
            )
        labels = np.asarray(image)
        if labels.dtype.kind == "u" and labels.dtype.itemsize == 2:
            return labels.astype(np.uint16)  # in the machine's own order of bytes
        return labels.astype(np.uint8) if labels.dtype == bool else labels.copy()


@contextlib.contextmanager
def _opened(source: Any, upright: bool, name: str | None = None) -> Iterator[Any]:
    """A loaded image; Pillow's own errors name no file, and loading fails late."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError as error:
        raise ImportError(
            "reading images needs pillow: install pillow, or xguide_jax[experiments]."
        ) from error
    name = str(source) if name is None else name
    if isinstance(source, (str, os.PathLike)) and not pathlib.Path(source).is_file():
        raise FileNotFoundError(f"there is no image {name}.")
    try:
        with PIL.Image.open(source) as image:
            # Phones put a preview behind a photograph (MPO); that is one picture.
            several = getattr(image, "n_frames", 1) > 1 and image.format != "MPO"
            image.load()
            if upright:
                PIL.ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError ...
        what = getattr(error, "strerror", None) or error  # without '[Errno 13]'
        raise ValueError(f"{name} cannot be read as an image: {what}.") from error
    if several:
        raise ValueError(f"{name} must hold one picture, not several.")
    yield image  # loaded: its file is closed, its pixels are there


def _as_rgb(image: Any, name: str, background: tuple[int, int, int]) -> np.ndarray:
    if image.mode in _DEEP:
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() <= _SHORT:
            raise ValueError(
                f"{name} (mode {image.mode}) must hold 8 or 16 bits, not "
                f"{values.min()} .. {values.max()}."
            )
        grey = (values * 255 + _SHORT // 2) // _SHORT
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode not in _COLOURS:
        raise ValueError(
            f"{name} (mode {image.mode}) must have one of the modes {_COLOURS}, or 16 "
            "bits of grey."
        )
    if not image.has_transparency_data:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA")).astype(np.int64)
    alpha = pixels[..., 3:]
    blended = alpha * pixels[..., :3] + (255 - alpha) * np.asarray(background)
    return ((blended + 127) // 255).astype(np.uint8)
