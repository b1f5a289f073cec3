"""Lines with bands: what removing features does, and how training went.

A line is the mean over repetitions, its band a 95 % interval of that mean. A single
repetition has no interval, and a value that is undefined is not drawn as a number.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from xguide_jax import intervals
from xguide_jax.reporting import style
from xguide_jax.tables import formatting

# values [R, P] -> (low [P], high [P])
IntervalFn = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def curves(
    values: Mapping[str, np.ndarray],
    *,
    fractions: np.ndarray,
    controls: Mapping[str, np.ndarray] | None = None,
    interval_fn: IntervalFn = intervals.t_interval,
    repetition: str = "seed",
    x_label: str = "fraction of features removed",
    y_label: str = "probability of the class",
    title: str | None = None,
) -> Figure:
    """Removal or insertion curves with bands and areas, and their random orders.

    Areas are trapezoids over the fractions divided by their span, so a constant curve
    has its own height as area. Rows with a NaN are left out and counted in the legend,
    and with them the same rows of the control: both lines are of the same repetitions.

    Args:
      values: {arm: [R, P]}, one row a repetition and one column a fraction; [P] counts
        as one row.
      fractions: [P], increasing.
      controls: {arm: [R, P]}, the same networks with features in random order; dashed
        in the arm's colour, with their areas beside the arm's. Row by row paired with
        the arm's, unless there are more or fewer. An arm may lack one.
      interval_fn: of the curves and of their areas; for many examples, e.g.
        `functools.partial(bootstrap_interval, seed=0)`.
      repetition: what a row is, in the singular.
      x_label: what the fractions are of.
      y_label: what is measured, with its unit.
      title: above the axes.

    Returns:
      A figure; the legend gives area, interval and number of rows of each arm.

    Raises:
      ValueError: if a curve and the fractions differ in length, or there is a control
        of no arm.
    """
    figure = Figure(figsize=(4.6, 3.9), layout="constrained")
    axis = figure.subplots()
    controls = controls or {}
    if unknown := sorted(controls.keys() - values.keys()):
        raise ValueError(f"`controls` holds {unknown}, which `values` do not.")
    for (arm, points), colour in style.coloured(values.items()):
        rows = _rows(points, len(fractions), arm)
        chance = None
        if arm in controls:
            chance = _rows(controls[arm], len(fractions), f"control of {arm}")
        defined, chance, missing = _paired(rows, chance)
        area = _area_text(defined, fractions, interval_fn, repetition)
        label = f"{arm}: {area}" + (f", {missing} undefined" if missing else "")
        if chance is not None:
            label += f"; random order {_chance_text(chance, fractions)}"
            line = _mean(chance[~_undefined(chance)])
            axis.plot(fractions, line, "--", color=colour, linewidth=1)
        _draw_band(axis, fractions, defined, interval_fn, color=colour, label=label)
    style.finish_axis(axis, x_label=x_label, y_label=y_label)
    axis.set_xlim(fractions[0], fractions[-1])
    _draw_legend(figure, columns=1, title="area under the curve [95 % interval]")
    style.set_title(figure, title, inches=3.1, axis=axis)
    return style.literal(figure)


def training_curves(
    metrics: Mapping[str, Mapping[str, np.ndarray]],
    *,
    steps: np.ndarray,
    x_label: str = "step",
    labels: Mapping[str, str] | None = None,
    title: str | None = None,
) -> Figure:
    """How metrics developed during training, one panel a metric and one line an arm.

    Args:
      metrics: {arm: {metric: [T], or [R, T] with one row a seed}}; an arm may lack a
        metric. Bands are 95 % t intervals; where a row is NaN there is a gap.
      steps: [T], increasing.
      x_label: what `steps` counts.
      labels: {metric: text for its axis, with its unit}; else the metric's name.
      title: above everything.

    Returns:
      A figure, at most three panels wide.

    Raises:
      ValueError: if there is no metric, or one and the steps differ in length.
    """
    names = list(dict.fromkeys(name for series in metrics.values() for name in series))
    if not names:
        raise ValueError("`metrics` holds no metric.")
    columns = 2 if len(names) in (2, 4) else min(3, len(names))
    rows = math.ceil(len(names) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)  # inches
    figure = Figure(figsize=(2.9 * columns, 2.3 * rows + 0.5), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        for (arm, series), colour in style.coloured(metrics.items()):
            if name in series:
                values = _rows(series[name], len(steps), f"{name} of {arm}")
                interval_fn = intervals.t_interval
                _draw_band(axis, steps, values, interval_fn, color=colour, label=arm)
        y_label = (labels or {}).get(name, name)
        style.finish_axis(axis, x_label=x_label, y_label=y_label)
        axis.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    for axis in axes[len(names) :]:
        axis.remove()
    _draw_legend(figure, columns=min(4, len(metrics)))
    style.set_title(figure, title, inches=figure.get_figwidth() - 0.3)
    return style.literal(figure)


def _rows(values: np.ndarray, length: int, name: str) -> np.ndarray:
    rows = np.atleast_2d(np.asarray(values, float))
    if rows.ndim != 2 or rows.shape[-1] != length:
        raise ValueError(f"{name!r} has shape {rows.shape}; [R, {length}] is needed.")
    return rows


def _undefined(rows: np.ndarray) -> np.ndarray:
    return np.isnan(rows).any(axis=1)


def _paired(
    rows: np.ndarray, chance: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None, int]:
    """The rows that are defined, in both where they are pairs, and how many are not."""
    left_out = _undefined(rows)
    if chance is not None and len(chance) == len(rows):
        left_out |= _undefined(chance)
        chance = chance[~left_out]
    return rows[~left_out], chance, int(left_out.sum())


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1:], np.nan)


def _chance_text(rows: np.ndarray, fractions: np.ndarray) -> str:
    defined = rows[~_undefined(rows)]
    if not len(defined):
        return "undefined"
    text = formatting.fixed(float(_area(defined, fractions).mean()))
    missing = len(rows) - len(defined)
    return f"{text} ({missing} undefined)" if missing else text


def _area(rows: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    span = fractions[-1] - fractions[0]
    return np.trapezoid(rows, fractions, axis=-1) / span


def _area_text(
    rows: np.ndarray, fractions: np.ndarray, interval_fn: IntervalFn, repetition: str
) -> str:
    if not len(rows):
        return "undefined"
    areas = _area(rows, fractions)[:, None]
    mean = formatting.fixed(float(areas.mean()))
    if len(rows) == 1:
        return f"{mean} (one {repetition}, no interval)"
    low, high = (float(bound[0]) for bound in interval_fn(areas))
    bounds = "no interval" if np.isnan([low, high]).any() else f"{low:.3f}, {high:.3f}"
    return f"{mean} [{bounds}] ({len(rows)} {repetition}s)"


def _draw_band(
    axis: Axes,
    x: np.ndarray,
    rows: np.ndarray,
    interval_fn: IntervalFn,
    *,
    color: str,
    label: str,
) -> None:
    axis.plot(x, _mean(rows), color=color, label=label, linewidth=1.6)
    if len(rows) > 1:
        low, high = interval_fn(rows)
        axis.fill_between(x, low, high, color=color, alpha=0.18, linewidth=0)


def _draw_legend(figure: Figure, *, columns: int, title: str | None = None) -> None:
    """One legend below all panels, with each label once, in lines that fit."""
    lines = {
        str(line.get_label()): line
        for axis in figure.axes
        for line in axis.lines
        if not str(line.get_label()).startswith("_")  # Matplotlib's mark for unnamed
    }
    inches = (figure.get_figwidth() - 0.3) / columns - 0.5
    folded = [style.legend_label(name, inches=inches) for name in lines]
    # A row of the legend is as high as its highest label; one column is the usual case.
    growth = sum(extra for _, extra in folded) / columns
    figure.set_figheight(figure.get_figheight() + growth)
    figure.legend(
        list(lines.values()),
        [label for label, _ in folded],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=style.SMALL,
        title=title,
        title_fontsize=style.SMALL,
    )
