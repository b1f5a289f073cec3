"""Pictures of explained series: each feature as a line over a strip of its map.

The colours are those of the map figures: signed, centred at zero, one scale for all
arms of a figure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xguide_jax.reporting import lettering, map_parts, style

_LINE = "#222222"
_PADDING = "#d9d9d9"


def series_strips(
    series: np.ndarray,
    maps: Mapping[str, np.ndarray],
    *,
    feature_names: Sequence[str] | None = None,
    mask: np.ndarray | None = None,
    region: np.ndarray | None = None,
    title: str | None = None,
    quantile: float = 1.0,
) -> Figure:
    """One series explained by several models or methods, on one scale.

    Columns are arms. In a column every feature has a strip of T cells in the colours of
    its map, behind the feature as a line. Lines of one feature have one range in all
    columns, from its least to its greatest value. The limit of the colours is the
    `quantile` of |a| over all maps together.

    Args:
      series: [T, F], of any range.
      maps: {arm: [T, F]}, signed attributions in any one unit.
      feature_names: F texts, written beside the first column; numbers if None.
      mask: bool [T], False on padding, which is grey, and counts in no range.
      region: [T, F], non-zero on the true cells, which are outlined.
      title: above everything.
      quantile: in (0, 1]; less than 1 saturates outliers, and the scale says so.

    Returns:
      A figure. A map of zeros is left white and noted as blank, one that is nowhere
      finite as undefined; single cells that are not finite are grey.

    Raises:
      ValueError: if shapes or lengths do not match, there is no map or no step, or
        `quantile` lies outside (0, 1].
    """
    series = np.asarray(series, float)
    valid = np.ones(len(series), bool) if mask is None else np.asarray(mask, bool)
    maps = {arm: np.asarray(values, float) for arm, values in maps.items()}
    names = [*map(str, feature_names or range(series.shape[-1]))]
    _check(series, maps, names, valid, region)
    shown = [values[valid] for values in maps.values()]
    limit, saturated = map_parts.shared_limit(shown, quantile)
    num_steps, num_features = series.shape
    size = (2.6 * len(maps) + 1.6, max(0.32 * num_features, 1.0) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    for axis, (arm, values) in zip(axes, maps.items(), strict=True):
        # Features are rows and time runs to the right.
        map_parts.draw_map(
            axis,
            np.where(valid[:, None], values, np.nan).T,
            limit,
            note_of=values[valid],
        )
        axis.set_aspect("auto")
        _draw_lines(axis, series, valid)
        for step in np.flatnonzero(~valid):
            axis.axvspan(step - 0.5, step + 0.5, color=_PADDING, linewidth=0, zorder=2)
        for feature in range(1, num_features):
            axis.axhline(feature - 0.5, color="white", linewidth=1.5, zorder=2)
        if region is not None:
            map_parts.draw_outline(axis, np.asarray(region).T)
        axis.set_title(
            lettering.folded(arm, inches=2.4, size=style.NORMAL, lines=3),
            fontsize=style.NORMAL,
        )
        ticks = sorted({0, (num_steps - 1) // 2, num_steps - 1})
        axis.set_xticks(ticks)
        axis.tick_params(labelsize=style.SMALL, length=2, color="#999999")
        axis.set_xlabel("step", fontsize=style.SMALL)
    labels = [
        lettering.folded(name, inches=0.9, size=style.SMALL, lines=1) for name in names
    ]
    axes[0].set_yticks(range(num_features), labels, fontsize=style.SMALL)
    map_parts.draw_scale(figure, axes, limit, saturated)
    style.set_title(figure, title, inches=size[0] - 0.3)
    return style.literal(figure)


def _draw_lines(axis: Axes, series: np.ndarray, valid: np.ndarray) -> None:
    """Each feature within its strip, from its least value below to its greatest."""
    for feature, values in enumerate(series.T):
        values = np.where(valid & np.isfinite(values), values, np.nan)
        if not np.isfinite(values).any():
            continue
        low, high = np.nanmin(values), np.nanmax(values)
        place = (values - low) / (high - low) if high > low else 0 * values + 0.5
        axis.plot(feature + 0.4 - 0.8 * place, color=_LINE, linewidth=0.9, zorder=3)


def _check(
    series: np.ndarray,
    maps: Mapping[str, np.ndarray],
    names: Sequence[str],
    valid: np.ndarray,
    region: np.ndarray | None,
) -> None:
    if series.ndim != 2:
        raise ValueError(f"`series` of shape {series.shape} must be [T, F].")
    if not maps:
        raise ValueError("`maps` holds no map.")
    regions = {} if region is None else {"region": np.asarray(region)}
    for name, values in {**maps, **regions}.items():
        if values.shape != series.shape:
            raise ValueError(
                f"{name!r} has shape {values.shape}, the series {series.shape}."
            )
    if len(names) != series.shape[1]:
        raise ValueError(
            f"`feature_names` has {len(names)} texts for {series.shape[1]} features."
        )
    if valid.shape != series.shape[:1] or not valid.any():
        raise ValueError(f"`mask` must be [{len(series)}] with a step that is True.")
