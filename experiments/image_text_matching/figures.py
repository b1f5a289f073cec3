"""The figure of image-text matching: texts, and the images that were found for them."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.image_text_matching.measuring import NUM_FOUND, Shown
from xguide_jax.reporting import lettering, map_figures, style

_RIGHT, _WRONG = "#009E73", "#D55E00"
_TEXT = 2.4


def found_images(shown: Mapping[str, Shown]) -> Figure:
    """Of each text its own image, and the nearest ones by each arm.

    Args:
      shown: {arm: what it found}, all asked by the same texts.

    Returns:
      A figure; images of the same text have a green frame, others an orange one.
    """
    first = next(iter(shown.values()))
    wide = NUM_FOUND + 1  # the images of an arm, and what keeps them from the last
    count, columns = len(first.texts), 1 + wide * len(shown)
    size = (_TEXT + 0.75 * columns + 0.3, 0.5 + 0.8 * count)
    figure = Figure(figsize=size, layout="constrained")
    ratios = [_TEXT / 0.75, 1, *[0.15, *[1] * NUM_FOUND] * len(shown)]
    axes = figure.subplots(
        count, 1 + columns, squeeze=False, gridspec_kw={"width_ratios": ratios}
    )
    flat = [each.found.reshape(-1, *first.own.shape[1:]) for each in shown.values()]
    pictures = map_figures.displayable(np.concatenate([first.own, *flat]))
    own, rest = pictures[:count], pictures[count:]
    found = rest.reshape(len(shown), count, -1, *own.shape[1:])
    for row, text in enumerate(first.texts):
        axes[row, 0].set_axis_off()
        folded = lettering.folded(text, inches=_TEXT - 0.1, size=style.SMALL, lines=5)
        axes[row, 0].text(
            *(0.0, 0.5, folded), transform=axes[row, 0].transAxes, va="center",
            fontsize=style.SMALL,
        )  # fmt: skip
        map_figures.draw_picture(axes[row, 1], own[row])
        for axis in axes[row, 2::wide]:
            axis.set_axis_off()
        for place in range(found.shape[2]):
            for number, each in enumerate(shown.values()):
                axis = axes[row, 3 + number * wide + place]
                map_figures.draw_picture(axis, found[number, row, place])
                colour = _RIGHT if each.right[row, place] else _WRONG
                axis.spines[:].set(color=colour, linewidth=1.6)
    axes[0, 1].set_title("its image", fontsize=style.SMALL)
    for number, arm in enumerate(shown):
        name = lettering.folded(arm, inches=0.75 * NUM_FOUND, size=style.SMALL, lines=2)
        axes[0, 4 + number * wide].set_title(name, fontsize=style.SMALL)
    return style.literal(figure)
