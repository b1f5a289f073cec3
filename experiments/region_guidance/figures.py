"""The figures of region guidance: accuracy over localisation, and maps."""

from typing import Any

import numpy as np

from experiments.digits import explaining
from experiments.region_guidance import columns
from experiments.region_guidance.columns import LONG, Found
from experiments.region_guidance.measuring import Measured
from experiments.running import report, results
from xguide_jax import reporting

# Arms whose maps are drawn; all of them would be too many to look at.
SHOWN = (
    "unguided", "energy_cam", "l1_cam", "region_consistency", "swapped",
    "right_reasons", "energy_cam@random", "energy_input", "region_contrast", "oracle",
)  # fmt: skip


def draw(found: Found) -> report.Figures:
    """The figures of the report.

    Args:
      found: results of all arms.

    Returns:
      {file name: (caption, figure)}.
    """
    balanced = lambda m: m.accuracies.group_balanced
    return {
        "pareto_worst_group": _tradeoff(found, "worst-group accuracy", columns.worst),
        "pareto_group_balanced": _tradeoff(found, "group-balanced accuracy", balanced),
        **{f"maps_{name}": _maps(found, name) for name in explaining.EXPLAINERS},
    }


def shown_of(found: Found) -> list[str]:
    """The arms whose maps are drawn.

    Args:
      found: results of all arms.

    Returns:
      All of a few; else those of `SHOWN` that there are, the first ones if there are
      none.
    """
    if len(found) <= len(SHOWN):
        return list(found)
    return [arm for arm in SHOWN if arm in found] or list(found)[: len(SHOWN)]


def _tradeoff(found: Found, text: str, get: results.Get[Measured]) -> tuple[str, Any]:
    # 0 where undefined: who kills its maps must not win.
    energy = lambda m: m.localisation["integrated_gradients"].box.mean_or_zero
    points = {
        arm: np.array([results.values(repeats, g) for g in (energy, get)]).T
        for arm, repeats in found.items()
        if arm != "blanked"  # it is tested on other images
    }
    caption = f"{report.sentence(text)} and localisation; small points are seeds"
    return caption, reporting.tradeoff(
        points,
        x_label="energy of integrated gradients in the box (0 if undefined)",
        y_label=text,
    )


def _maps(found: Found, name: str) -> tuple[str, Any]:
    """One explainer's maps of the first images, by the arms of the first seed."""
    first = {arm: found[arm][0].measured.shown for arm in shown_of(found)}
    images = next(iter(first.values()))
    size = images.inputs.shape[1]
    caption = (
        f"{report.sentence(LONG[name])} of the label's logit; the true box outlined; "
        "each map over its largest magnitude"
    )
    maps = {arm: shown.maps[name] for arm, shown in first.items()}
    return caption, reporting.saliency_grid(
        images.inputs,
        {arm: _enlarged(_largest_one(m), size) for arm, m in maps.items()},
        labels=[f"image {i}" for i in range(len(images.inputs))],
        regions=images.region,
    )


def _largest_one(maps: np.ndarray) -> np.ndarray:
    """Guidance changes the size of maps by orders of magnitude: one scale an arm."""
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    return np.kron(maps, np.ones((1, size // maps.shape[1], size // maps.shape[2])))
