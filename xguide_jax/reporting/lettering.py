"""Names in figures: folded to the room they have, in a font that has their characters.

Names come from data sets and configurations, in any script and of any length. No font
is shipped: of those installed, one that has a character is taken, and where there is
none the character is written as its code.
"""

import functools
import re

from matplotlib import font_manager

from xguide_jax.tables import formatting

# Bundled with Matplotlib for formulas, with letters at other places than Unicode's, and
# a font of boxes that has everything.
_NO_TEXT = re.compile(r"cm[a-z]+10|STIXNonUnicode|Last ?Resort.*")
# Joiners and variants that are not drawn.
_UNDRAWN = re.compile("[\u200b-\u200d\u2060\ufe00-\ufe0f]")
_PIECES = re.compile(r"[^\s_@=/,;:\-]*[\s_@=/,;:\-]*")


def folded(text: str, *, inches: float, size: float, lines: int | None = None) -> str:
    """A text in lines that fit, broken behind what joins words, else within a word.

    Args:
      text: any; its own line breaks stay.
      inches: the longest line.
      size: of the type, in points.
      lines: at most as many, at least 1; of a longer text the beginning and the end are
        kept, with an ellipsis between them.

    Returns:
      Lines without control characters.
    """
    limit = 72 * inches
    text = formatting.printable(text).replace("\t", " ")
    rows = [row for line in text.split("\n") for row in _wrapped(line, limit, size)]
    if lines is None or len(rows) <= lines:
        return "\n".join(rows)
    end, rest = "", "".join(rows[lines - 1 :])
    used = width("\u2026", size)
    while rest and (used := used + width(rest[-1], size)) <= limit:
        end, rest = rest[-1] + end, rest[:-1]
    return "\n".join([*rows[: lines - 1], f"\u2026{end}"])


def num_lines(text: str) -> int:
    """How many lines a text has, at least 1."""
    return text.count("\n") + 1


def width(text: str, size: float) -> float:
    """The width of a line as it is drawn, in points; kerning left out.

    Args:
      text: without line breaks.
      size: of the type, in points.

    Returns:
      Points.
    """
    return size * sum(map(_advance, drawable(text)))


def drawable(text: str) -> str:
    r"""A text in characters that can be drawn, e.g. `\u732b` for one that cannot.

    Args:
      text: any.

    Returns:
      Text without control characters.
    """
    text = formatting.printable(text).replace("\t", " ")
    hopeless = missing(text)
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if character in hopeless
        else character
        for character in text
        if not (_UNDRAWN.match(character) and family(character) != "")
    )


def missing(text: str) -> set[str]:
    """The characters of a text that no installed font has.

    Args:
      text: any.

    Returns:
      A set, without line breaks and characters that are not drawn anyway.
    """
    return {
        character
        for character in text
        if character != "\n"
        and not _UNDRAWN.match(character)
        and family(character) is None
    }


def families(text: str) -> list[str]:
    """The fonts that a text needs besides the usual one.

    Args:
      text: any.

    Returns:
      Family names, each once; empty for what the usual font has.
    """
    found = [family(character) for character in drawable(text)]
    return [name for name in dict.fromkeys(found) if name]


@functools.cache
def family(character: str) -> str | None:
    """The installed font that has a character.

    Args:
      character: one.

    Returns:
      Its family name, '' for the usual font; None if there is none.
    """
    code = ord(character)
    if code in _characters(_usual()):
        return ""
    fonts = _others().items()
    return next((name for name, path in fonts if code in _characters(path)), None)


def _usual() -> str:
    return str(font_manager.findfont(font_manager.FontProperties()))


@functools.lru_cache(maxsize=1)
def _others() -> dict[str, str]:
    """{family: file} of every installed font, those without serifs first."""
    fonts: dict[str, str] = {}
    order = lambda font: ("Sans" not in font.name, font.name, font.style != "normal")
    for font in sorted(font_manager.fontManager.ttflist, key=order):
        if not _NO_TEXT.fullmatch(font.name):
            fonts.setdefault(font.name, str(font.fname))
    return fonts


@functools.cache
def _characters(path: str) -> frozenset[int]:
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):  # removed since, or of a format that is not drawn
        return frozenset()


@functools.cache
def _advance(character: str) -> float:
    """The width of a character in type of one point."""
    name = family(character)
    path = _others()[name] if name else _usual()
    font = font_manager.get_font(path)
    font.set_size(100, 72)
    font.set_text(character)
    # Of a space the ink has no width.
    advance = font.load_char(ord(character)).linearHoriAdvance / 65536
    return float(max(advance, font.get_width_height()[0] / 64)) / 100


def _wrapped(text: str, limit: float, size: float) -> list[str]:
    rows, line = [], ""
    for piece in _PIECES.findall(text):
        if line and width((line + piece).rstrip(), size) > limit:
            rows.append(line.rstrip())
            line = ""
        *full, piece = _broken(piece, limit, size)
        rows += full
        line += piece
    return [*rows, line.rstrip()] if line or not rows else rows


def _broken(word: str, limit: float, size: float) -> list[str]:
    """A word in parts that fit; a space at its end needs no room."""
    parts, used = [""], 0.0
    for character in word:
        wide = width(character, size)
        if parts[-1] and used + wide > limit and not character.isspace():
            parts.append("")
            used = 0.0
        parts[-1] += character
        used += wide
    return parts
