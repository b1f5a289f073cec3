"""Two goals at once: which arms no other arm beats in both."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xguide_jax.reporting import style


def tradeoff(
    points: Mapping[str, np.ndarray],
    *,
    x_label: str,
    y_label: str,
    title: str | None = None,
) -> Figure:
    """Arms as numbered points, both axes better to the right and up, and their front.

    A large point is the mean over repetitions, the small ones around it the repetitions
    themselves. The grey steps join the arms of which no other mean is at least as good
    in both and better in one, the Pareto front. Repetitions that are not finite are not
    drawn and not averaged, and the legend says '3 of 5'; an arm without any other is
    listed as undefined.

    Args:
      points: {arm: [R, 2]}, (x, y) of each repetition.
      x_label: what x is, with its unit.
      y_label: what y is.
      title: above the axes.

    Returns:
      A figure; the legend beside it says which number is which arm and marks those of
      the front with an asterisk.

    Raises:
      ValueError: if an arm's points are not pairs, or there is none.
    """
    given = {arm: _pairs(arm, values) for arm, values in points.items()}
    rows = {arm: p[np.isfinite(p).all(axis=1)] for arm, p in given.items()}
    if not rows:
        raise ValueError("`points` holds no arm.")
    means = {arm: pairs.mean(axis=0) for arm, pairs in rows.items() if len(pairs)}
    front = pareto_front(means)
    height = max(4.2, 0.7 + 0.19 * len(rows))  # inches; a line of the legend an arm
    figure = Figure(figsize=(6.8, height), layout="constrained")
    axis = figure.subplots()
    if front:
        steps = np.array([means[arm] for arm in front])
        axis.step(*steps.T, where="pre", color="#b0b0b0", linewidth=1.2, zorder=1)
    entries = []
    for number, ((arm, pairs), colour) in enumerate(style.coloured(rows.items()), 1):
        text = f"{number} {arm}" + (" *" if arm in front else "")
        if 0 < len(pairs) < len(given[arm]):
            text += f" ({len(pairs)} of {len(given[arm])})"
        entries.append(Line2D([], [], marker="o", linestyle="", color=colour))
        text = text if len(pairs) else f"{text}: undefined"
        label, extra = style.legend_label(text, inches=2.4)
        entries[-1].set_label(label)
        figure.set_figheight(figure.get_figheight() + extra)
        if len(pairs):
            _draw_points(axis, pairs, colour, name=str(number))
    style.finish_axis(axis, x_label=x_label, y_label=y_label, beside=2.9)
    figure.legend(
        handles=entries, loc="outside right upper", frameon=False,
        fontsize=style.SMALL, title="* on the front", title_fontsize=style.SMALL,
    )  # fmt: skip
    style.set_title(figure, title, inches=3.1, axis=axis)
    return style.literal(figure)


def pareto_front(means: Mapping[str, np.ndarray]) -> list[str]:
    """The arms that no other arm beats, from left to right.

    Args:
      means: {arm: (x, y)}, both better when larger.

    Returns:
      Names; of two equal arms both.
    """
    beaten = lambda arm: any(
        np.all(other >= means[arm]) and np.any(other > means[arm])
        for other in means.values()
    )
    return sorted((a for a in means if not beaten(a)), key=lambda a: float(means[a][0]))


def _draw_points(axis: Axes, pairs: np.ndarray, colour: str, *, name: str) -> None:
    x, y = pairs.mean(axis=0).tolist()
    axis.scatter(pairs[:, 0], pairs[:, 1], s=7, color=colour, alpha=0.5, zorder=2)
    axis.scatter([x], [y], s=95, color=colour, edgecolor="white", zorder=3)
    axis.annotate(
        name, (x, y), color="white", fontsize=6.5, zorder=4,
        ha="center", va="center", fontweight="bold",
    )  # fmt: skip


def _pairs(arm: str, values: np.ndarray) -> np.ndarray:
    pairs = np.asarray(values, float)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"{arm!r} has shape {pairs.shape}; [R, 2] is needed.")
    return pairs
