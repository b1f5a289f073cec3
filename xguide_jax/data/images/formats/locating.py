"""Which file an annotation means, and how large and which way up its image is.

Names in files of annotations are written by others: one that leads out of the folder of
images is refused, and one that was composed otherwise (an umlaut as one character or as
two) is found.
"""

import os
import pathlib
import unicodedata
from typing import NamedTuple

from xguide_jax.data.images.formats import parsing

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)
_ORIENTATION = 0x0112  # EXIF's number for it; 5 to 8 swap height and width


class Folder(NamedTuple):
    """The images below a folder.

    Attributes:
      path: of the folder.
      by_name: the files of each name below it, in composed form; one unless two names
        differ in their form alone.
      by_stem: the same without the suffix.
    """

    path: pathlib.Path
    by_name: dict[str, list[pathlib.Path]]
    by_stem: dict[str, list[pathlib.Path]]


class Sizes(NamedTuple):
    """How large an image is.

    Attributes:
      stored: `(H, W)` of its pixels as they are stored.
      turned: `(H, W)` upright; None where the file does not ask to be turned.
    """

    stored: tuple[int, int]
    turned: tuple[int, int] | None


def folder_of(images: str | os.PathLike[str]) -> Folder:
    """All images in a folder and in those in it; hidden ones are left alone.

    Raises:
      FileNotFoundError: if there is no such folder.
    """
    top = parsing.existing(images)
    if not top.is_dir():
        raise FileNotFoundError(f"`images` (={str(images)!r}) must be a folder.")
    by_name: dict[str, list[pathlib.Path]] = {}
    by_stem: dict[str, list[pathlib.Path]] = {}
    for path in sorted(top.rglob("*")):
        below = path.relative_to(top)
        hidden = any(part.startswith(".") for part in below.parts)
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not hidden:
            by_name.setdefault(composed(below.as_posix()), []).append(path)
            stem = below.with_suffix("").as_posix()
            by_stem.setdefault(composed(stem), []).append(path)
    return Folder(top, by_name, by_stem)


def find(
    folder: Folder,
    name: str,
    *,
    stem: str | None = None,
    beside: pathlib.Path | None = None,
) -> pathlib.Path:
    """The image of a name below a folder.

    Args:
      folder: of `folder_of`.
      name: with slashes of either kind; '' where none is given.
      stem: what to look for, without a suffix, where there is no image of that name.
      beside: the folder that a name with '..' starts from, as a tool writes it that
        names images from where its own file lies; None refuses such a name.

    Raises:
      ValueError: saying why, if the name is absolute, holds '..' and does not lead into
        the folder from `beside`, or there is no such image or are several.
    """
    if beside is None:
        refuse_leading_out(name)
    else:
        name = _name_from(beside, name, folder)
    slashed = pathlib.PurePosixPath(name.replace("\\", "/")).as_posix()
    found = folder.by_name.get(composed(name)) or folder.by_name.get(composed(slashed))
    if not found and stem is not None:
        found = folder.by_stem.get(composed(stem))
    if not found:
        raise ValueError(f"there is no image {name or stem!r} below the folder")
    if len(found) > 1:  # prefer the one that is written exactly so
        found = [p for p in found if p == folder.path / name] or found
    if len(found) > 1:
        names = [path.name for path in found]
        raise ValueError(f"several images have the name {name or stem!r}: {names}")
    return found[0]


def refuse_leading_out(name: str) -> None:
    """Refuses a name that may lead out of its folder, on any system.

    Raises:
      ValueError: if it is absolute, has a drive, or holds '..'.
    """
    windows = pathlib.PureWindowsPath(name)  # takes both kinds of slashes
    if windows.drive or windows.root or ".." in windows.parts or "\0" in name:
        raise ValueError(f"the path {name!r} must be relative and without '..'")


def _name_from(beside: pathlib.Path, name: str, folder: Folder) -> str:
    """The name below a folder of images, of one that may hold '..'."""
    windows = pathlib.PureWindowsPath(name)  # takes both kinds of slashes
    if windows.drive or windows.root or "\0" in name:
        raise ValueError(f"the path {name!r} must be relative")
    if ".." not in windows.parts:
        return name
    # Links are followed before '..' is, as the system does: 'link/..' is no place in
    # the folder. The image itself may be one, as where it has a plain name.
    *parents, last = windows.parts
    place = os.path.realpath(beside.joinpath(*parents))
    found = pathlib.PurePath(composed(place), last)
    top = pathlib.PurePath(composed(os.path.realpath(folder.path)))
    if last == ".." or not found.is_relative_to(top):
        raise ValueError(f"the path {name!r} must lead into the folder of images")
    return found.relative_to(top).as_posix()


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC); some file systems take it apart."""
    return unicodedata.normalize("NFC", name)


def sizes_of(path: pathlib.Path) -> Sizes:
    """The sizes of an image, from the beginning of its file.

    Raises:
      ImportError: if pillow is not installed.
      ValueError: if it is none that Pillow reads.
    """
    try:
        import PIL.Image
    except ImportError as error:
        raise ImportError(
            "reading images needs pillow: install pillow, or xguide_jax[experiments]."
        ) from error
    try:
        with PIL.Image.open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError ...
        what = getattr(error, "strerror", None)  # of the operating system
        why = f": {path}: {what}" if what else ""
        raise ValueError(f"it cannot be read as an image{why}") from error
    if orientation not in range(2, 9):
        return Sizes((height, width), None)
    turned = (width, height) if orientation >= 5 else (height, width)
    return Sizes((height, width), turned)


def fitting(
    sizes: Sizes, recorded: tuple[int, int] | None, *, turning: bool = False
) -> tuple[tuple[int, int], bool]:
    """The size that annotations fit, and whether it is that of the upright image.

    As `record.upright_of` has it.

    Args:
      sizes: of the image.
      recorded: `(H, W)` as the annotations say, if they do.
      turning: whether the tool shows images upright, so that a size that fits both ways
        is that of the upright one, as is one that is not recorded.

    Raises:
      ValueError: naming the sizes, if the recorded one is neither.
    """
    if recorded is None and turning:
        recorded = sizes.turned
    upright = sizes.turned is not None and recorded == sizes.turned
    if upright and (turning or recorded != sizes.stored):
        return sizes.turned or sizes.stored, True
    if recorded not in (None, sizes.stored):
        raise ValueError(
            f"its recorded size {recorded} must be that of its image, (H, W) = "
            f"{sizes.stored}"
        )
    return sizes.stored, False
