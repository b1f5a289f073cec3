"""The figures of guided photographs: maps, and accuracy over localisation."""

from typing import Any

import numpy as np

from experiments.guide_photographs.choosing import Found
from experiments.guide_photographs.measuring import EXPLAINERS, Measured, Shown
from experiments.running import report, results
from xguide_jax import reporting

LONG = {"grad_cam": "Grad-CAM", "integrated_gradients": "integrated gradients"}


def energy(measured: Measured) -> float:
    """How much of integrated gradients lies in the region, 0 where undefined.

    Args:
      measured: of one network.

    Returns:
      In [0, 1].
    """
    return measured.energy["integrated_gradients"].mean_or_zero


def draw(best: Found) -> report.Figures:
    """The figures of the report.

    Args:
      best: results of the chosen arms.

    Returns:
      {file name: (caption, figure)}.
    """
    first = {name: repeats[0].measured.shown for name, repeats in best.items()}
    return {
        **{f"maps_{e}": _maps(first, e) for e in EXPLAINERS},
        "accuracy_and_localisation": _tradeoff(best),
    }


def _maps(first: dict[str, Shown], explainer: str) -> tuple[str, Any]:
    """Where the networks of the first seed look on the same photographs."""
    shown = next(iter(first.values()))
    size = shown.pixels.shape[1]
    caption = (
        f"{LONG[explainer]} of the true class on test photographs; what was drawn is "
        "outlined; each map over its largest magnitude; below it what the network says"
    )
    figure = reporting.saliency_grid(
        shown.pixels / 255.0,
        {
            name: _enlarged(_largest_one(one.maps[explainer]), size)
            for name, one in first.items()
        },
        labels=[f"{t}\n{n}" for t, n in zip(shown.truth, shown.names, strict=True)],
        captions={name: one.said for name, one in first.items()},
        regions=shown.region,
    )
    return caption, figure


def _tradeoff(best: Found) -> tuple[str, Any]:
    points = {
        name: np.array(
            [results.values(repeats, g) for g in (energy, lambda m: m.swapped)]
        ).T
        for name, repeats in best.items()
    }
    return "Accuracy with backgrounds swapped, and localisation", reporting.tradeoff(
        points,
        x_label="energy of integrated gradients in the region (0 if undefined)",
        y_label="accuracy, backgrounds swapped",
    )


def _largest_one(maps: np.ndarray) -> np.ndarray:
    """Guidance changes the size of maps by orders of magnitude: one scale an arm."""
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """Cells as squares of pixels, also where their number divides no side."""
    rows, columns = (np.arange(size) * side // size for side in maps.shape[1:])
    return maps[:, rows][:, :, columns]
