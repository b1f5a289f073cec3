"""How all figures look: small legible type, quiet axes, and colours for everyone.

The palette is the one of Okabe and Ito, whose colours the colour-blind can tell apart.
Nothing here touches Matplotlib's global settings.
"""

import functools
import io
from collections.abc import Iterable
from typing import TypeVar, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from xguide_jax.reporting import lettering
from xguide_jax.tables import formatting

Item = TypeVar("Item")

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SMALL, NORMAL, LARGE = 8, 9, 10  # points


def coloured(items: Iterable[Item]) -> list[tuple[Item, str]]:
    """Each item with its colour; from the eighth on, colours repeat.

    Args:
      items: e.g. arms, in the order of the legend.

    Returns:
      (item, '#rrggbb') pairs.
    """
    return [(item, PALETTE[i % len(PALETTE)]) for i, item in enumerate(items)]


def finish_axis(axis: Axes, *, x_label: str, y_label: str, beside: float = 0.0) -> None:
    """Labels in readable type, no box, and a faint grid to read values by.

    Args:
      axis: of `figure.subplots`, changed in place; labels are folded to its share of
        the figure.
      x_label: with its unit.
      y_label: with its unit.
      beside: inches of the panel's share that something beside it takes.
    """
    width, height = _inches(axis)
    fold = functools.partial(lettering.folded, size=NORMAL, lines=3)
    axis.set_xlabel(fold(x_label, inches=width - beside - 1.2), fontsize=NORMAL)
    axis.set_ylabel(fold(y_label, inches=max(height - 1.6, 1.2)), fontsize=NORMAL)
    axis.tick_params(labelsize=SMALL, length=3, color="#999999")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("#999999")
    axis.grid(color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)


def set_title(
    figure: Figure, title: str | None, *, inches: float, axis: Axes | None = None
) -> None:
    """A title above the figure, or above one panel of it, in lines that fit.

    Args:
      figure: changed in place, higher by the lines behind the first.
      title: nothing is done if None or empty.
      inches: the longest line.
      axis: the panel.
    """
    if not title:
        return
    text = lettering.folded(title, inches=inches, size=LARGE, lines=3)
    figure.set_figheight(figure.get_figheight() + _extra_height(text, LARGE))
    set_text = figure.suptitle if axis is None else axis.set_title
    set_text(text, fontsize=LARGE)


def legend_label(text: str, *, inches: float) -> tuple[str, float]:
    """The text of a legend, folded, and how much higher that makes the legend.

    Args:
      text: any.
      inches: the room beside the legend's line or point.

    Returns:
      At most three lines; inches that a figure has to grow by.
    """
    label = lettering.folded(text, inches=inches, size=SMALL, lines=3)
    return label, _extra_height(label, SMALL)


def _inches(axis: Axes) -> tuple[float, float]:
    """Width and height of a panel's share of its figure."""
    figure, place = cast(Figure, axis.get_figure(root=True)), axis.get_subplotspec()
    rows, columns = place.get_gridspec().get_geometry() if place else (1, 1)
    return figure.get_figwidth() / columns, figure.get_figheight() / rows


def _extra_height(text: str, size: float) -> float:
    """Inches of the lines behind the first."""
    return (lettering.num_lines(text) - 1) * 1.25 * size / 72


def literal(figure: Figure) -> Figure:
    """The figure with every text shown as it is, a dollar sign too.

    Names come from data sets and configurations: they are not formulas, and control
    characters in them are written out. A character that the usual font lacks is drawn
    in an installed font that has it; where none has, its code is written, and a note
    above the figure says so.
    """
    missing: set[str] = set()
    for text in figure.findobj(Text):
        original = text.get_text()
        missing |= lettering.missing(formatting.printable(original))
        text.set_parse_math(False)
        text.set_text(lettering.drawable(original))
        if others := lettering.families(original):
            text.set_fontfamily([*text.get_fontfamily(), *others])
    if missing:
        note = "Characters that no installed font has stand as their codes."
        inches = figure.get_figwidth() - 0.3
        note = lettering.folded(note, inches=inches, size=SMALL)
        title = f"{figure.get_suptitle()}\n{note}".lstrip("\n")
        figure.suptitle(title, fontsize=LARGE if "\n" in title else SMALL)
    return figure


def to_png(figure: Figure, *, dpi: int = 200) -> bytes:
    """The figure as the bytes of a PNG file, equal for equal figures.

    Args:
      figure: any.
      dpi: pixels an inch.

    Returns:
      What `write_report` takes; also fit for a file.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
