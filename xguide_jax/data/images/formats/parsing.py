"""Files of annotations as json, XML and numbers, or an error with file and place."""

import json
import math
import os
import pathlib
import xml.etree.ElementTree as ElementTree
from typing import Any

Path = str | os.PathLike[str]


def json_content(path: Path) -> Any:
    """What a json file holds.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file and line, if it is no json in UTF-8.
    """
    file = existing(path)
    try:
        return json.loads(file.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file.name} must be json in UTF-8 ({error}).") from error


def xml_root(path: Path) -> ElementTree.Element:
    """The outermost element of an XML file without a DTD.

    Entities that a DTD declares can grow without limit, and no tool writes one.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: naming file and line, if it is no XML or has a DTD.
    """
    file = existing(path)
    try:
        parser = ElementTree.XMLParser(target=_WithoutDtd())
        return ElementTree.fromstring(file.read_bytes(), parser=parser)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{file.name} must be XML without a DTD ({error}).") from error


def existing(path: Path) -> pathlib.Path:
    """The path of a file or folder that is there.

    Raises:
      FileNotFoundError: if it is not.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no {os.fspath(path)}.")
    return pathlib.Path(path)


def files_below(path: Path, suffix: str) -> dict[str, pathlib.Path]:
    """The files with a suffix in a folder and those in it, by their names below it.

    Args:
      path: of the folder, or of one file, which is then the only one.
      suffix: such as '.xml', in small or capital letters.

    Raises:
      FileNotFoundError: if there is no such file or folder.
    """
    top = existing(path)
    if top.is_file():
        return {top.name: top}
    return {
        file.relative_to(top).as_posix(): file
        for file in sorted(top.rglob("*"))
        if file.suffix.lower() == suffix and file.is_file()
    }


def number(value: Any, where: str, name: str) -> float:
    """A finite number, from json or text.

    Raises:
      ValueError: naming where it stands and what it is called.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        shown = str(value)[:40]
        raise ValueError(f"{where}: {name!r} (={shown!r}) must be a number.")
    return found


def size(height: Any, width: Any, where: str) -> tuple[int, int] | None:
    """`(H, W)` as a file records it; None where it does not, or writes 0.

    Raises:
      ValueError: naming where it stands, if it is something else.
    """
    if height is None and width is None:
        return None
    found = number(height, where, "height"), number(width, where, "width")
    if any(side != int(side) or side < 0 for side in found):
        raise ValueError(f"{where}: 'height' and 'width' (={found}) must be pixels.")
    return (int(found[0]), int(found[1])) if any(found) else None


class _WithoutDtd(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """The parser calls this before it reads what a DTD declares."""
        raise ValueError(f"it has one, of {name!r}")
