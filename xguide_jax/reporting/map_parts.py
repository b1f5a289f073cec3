"""What figures of maps are put together from: one scale, a map on it, an outline."""

from collections.abc import Iterable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from xguide_jax.reporting import style

COLOURS = matplotlib.colormaps["RdBu_r"].with_extremes(bad="#b0b0b0")
_OUTLINE = "#009E73"


def shared_limit(maps: Iterable[np.ndarray], quantile: float) -> tuple[float, bool]:
    """The end of the scale, and whether anything lies beyond it.

    Args:
      maps: of one scale.
      quantile: in (0, 1], of the magnitudes.

    Returns:
      The limit, 1 for maps of zeros.

    Raises:
      ValueError: for another quantile.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"`quantile` (={quantile}) must lie in (0, 1].")
    magnitudes = np.abs(np.concatenate([values.ravel() for values in maps]))
    magnitudes = magnitudes[np.isfinite(magnitudes)]
    largest = float(magnitudes.max(initial=0.0))
    if largest == 0:
        return 1.0, False
    # Of maps that are mostly zero, so may be the quantile.
    limit = float(np.quantile(magnitudes, quantile)) or largest
    return limit, limit < largest


def draw_map(
    axis: Axes,
    values: np.ndarray,
    limit: float,
    *,
    note_of: np.ndarray | None = None,
) -> None:
    """A map in the colours of the scale, with a note if it is blank or undefined.

    Args:
      axis: drawn on.
      values: [H, W], signed.
      limit: where the scale ends.
      note_of: what is judged to be blank; the map if None.
    """
    words = note(values if note_of is None else note_of)
    shown = np.zeros_like(values) if words else np.ma.masked_invalid(values)
    colours = "Greys" if words else COLOURS  # 0 is white at the end of the greys
    low = 0 if words else -limit
    axis.imshow(shown, cmap=colours, vmin=low, vmax=limit, interpolation="nearest")
    if words:
        axis.text(
            *(0.5, 0.5, words),
            transform=axis.transAxes,
            ha="center",
            va="center",
            fontsize=style.SMALL,
            color="#666666",
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )
    frame(axis)


def draw_outline(axis: Axes, region: np.ndarray) -> None:
    """Along pixel edges: a contour would cut the corners of boxes.

    Args:
      axis: drawn on.
      region: [H, W], non-zero inside.
    """
    inside = np.pad(np.asarray(region) != 0, 1)
    above = np.argwhere(inside[1:, 1:-1] != inside[:-1, 1:-1]) - 0.5
    left = np.argwhere(inside[1:-1, 1:] != inside[1:-1, :-1]) - 0.5
    segments = [[(x, y), (x + 1, y)] for y, x in above]
    segments += [[(x, y), (x, y + 1)] for y, x in left]
    axis.add_collection(
        LineCollection(segments, colors=_OUTLINE, linewidths=1.2, capstyle="projecting")
    )


def draw_scale(
    figure: Figure, axes: Iterable[Axes], limit: float, saturated: bool
) -> None:
    """The scale at the side.

    Args:
      figure: changed in place.
      axes: those that share it.
      limit: where it ends.
      saturated: whether anything lies beyond.
    """
    scale = ScalarMappable(Normalize(-limit, limit), COLOURS)
    bar = figure.colorbar(
        scale,
        ax=axes,
        ticks=[-limit, 0, limit],
        format=lambda value, _: f"{value:.2g}".replace("-", "\u2212"),
        extend="both" if saturated else "neither",
        extendfrac=0.03,
        shrink=min(1.0, 3.0 / figure.get_figheight()),
        aspect=25,
        pad=0.02,
    )
    label = "attribution, values beyond saturate" if saturated else "attribution"
    bar.set_label(label, fontsize=style.SMALL)
    bar.ax.tick_params(labelsize=style.SMALL, length=2)
    bar.outline.set(linewidth=0.5, edgecolor="#999999")


def frame(axis: Axes) -> None:
    """A thin frame, and no ticks.

    Args:
      axis: changed in place.
    """
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set(color="#999999", linewidth=0.6)


def note(values: np.ndarray) -> str | None:
    """Why a map cannot be drawn.

    Args:
      values: of the map.

    Returns:
      A few words; None if it can.
    """
    if not np.isfinite(values).any():
        return "undefined map"
    return None if np.any(values != 0) else "blank map"
