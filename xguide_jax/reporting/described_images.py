"""Images beside their maps and what is said of them, row by row."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xguide_jax.reporting import lettering, map_figures, map_parts, style

_CELL, _TEXT = 1.15, 4.2  # inches of a picture, and of the texts
_LINE = 0.15  # of small type


def described_images(
    images: np.ndarray,
    maps: Mapping[str, np.ndarray],
    texts: Mapping[str, Sequence[str]],
    *,
    regions: np.ndarray | None = None,
    title: str | None = None,
) -> Figure:
    """The same images explained by several models, and said by people and models.

    A row is an image: itself, its map of each arm, and at the right the texts, each
    behind the name of who says it. The limit of the colours is the largest |a| of all
    maps together.

    Args:
      images: [N, H, W, channels], one or three channels of any one range.
      maps: {arm: [N, H, W]}, signed attributions in any one unit.
      texts: {who says it: N texts}, from above to below.
      regions: [N, H, W], non-zero inside; outlined on image and maps.
      title: above everything.

    Returns:
      A figure. A text too long for its place keeps its beginning and its end.

    Raises:
      ValueError: if shapes or lengths do not match, or there is no map or no text.
    """
    maps = {arm: np.asarray(values, float) for arm, values in maps.items()}
    map_figures.check_grid(images, maps, [""] * len(images))
    for who, said in texts.items():
        if len(said) != len(images):
            raise ValueError(
                f"the texts of {who!r} are {len(said)}, the images {len(images)}."
            )
    if not texts:
        raise ValueError("`texts` holds no text.")
    limit, saturated = map_parts.shared_limit(maps.values(), 1.0)
    columns = 1 + len(maps)
    height = max(_CELL, 0.1 + 3 * _LINE * len(texts))
    size = (columns * _CELL + _TEXT + 1.0, 0.5 + height * len(images))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(
        len(images),
        columns + 1,
        squeeze=False,
        width_ratios=[_CELL] * columns + [_TEXT],
    )
    for row, picture in enumerate(map_figures.displayable(images)):
        map_figures.draw_picture(axes[row, 0], picture)
        for axis, values in zip(axes[row, 1:], maps.values(), strict=False):
            map_parts.draw_map(axis, values[row], limit)
        if regions is not None:
            for axis in axes[row, :columns]:
                map_parts.draw_outline(axis, regions[row])
        _write(axes[row, -1], {who: said[row] for who, said in texts.items()})
    for axis, name in zip(axes[0], ("input", *maps), strict=False):
        folded = lettering.folded(name, inches=1.05, size=style.NORMAL, lines=4)
        axis.set_title(folded, fontsize=style.NORMAL)
    map_parts.draw_scale(figure, axes[:, :columns].ravel(), limit, saturated)
    style.set_title(figure, title, inches=size[0] - 0.3)
    return style.literal(figure)


def _write(axis: Axes, texts: Mapping[str, str]) -> None:
    """Texts one below the other, each in its share of the height."""
    axis.set_axis_off()
    for number, (who, text) in enumerate(texts.items()):
        axis.text(
            0.0,
            1 - number / len(texts),
            lettering.folded(
                f"{who}: {text}", inches=_TEXT - 0.2, size=style.SMALL, lines=3
            ),
            transform=axis.transAxes,
            va="top",
            fontsize=style.SMALL,
            color=style.PALETTE[-1] if number == 0 else "#444444",
        )
