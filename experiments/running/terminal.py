"""What the terminal can show."""

import os
from typing import TextIO


def has_colour(stream: TextIO) -> bool:
    """Whether escape sequences for colours may be written.

    Args:
      stream: where to.

    Returns:
      True for a terminal, unless it is a dumb one or the environment has a `NO_COLOR`
      that is not empty (no-color.org).
    """
    allowed = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return allowed and stream.isatty()
