"""The figures of saliency-guided training on images: maps and curves."""

from typing import Any

import numpy as np

from experiments.running import report
from experiments.saliency_guided_images import measures, tables
from experiments.saliency_guided_images.tables import LONG, Found, Place
from xguide_jax import reporting


def draw(found: Found) -> report.Figures:
    """The figures of the report.

    Args:
      found: results of all arms.

    Returns:
      {file name: (caption, figure)}.
    """
    maps = {f"maps_{name}": _maps(found, name) for name in LONG}
    curves = {
        f"{view}_{fill}_{name}": _curves(found, (view, fill), name)
        for view, fill in sorted(tables.places(found))
        for name in sorted(LONG)
    }
    return {**maps, **curves}


def _maps(found: Found, name: str) -> tuple[str, Any]:
    """One explainer's maps of the first images, by every arm of the first seed."""
    first = {arm: repeats[0].measured.shown for arm, repeats in found.items()}
    images = next(iter(first.values()))
    caption = (
        f"{report.sentence(LONG[name])} of the label's logit, the same test images by "
        "every arm, one scale"
    )
    maps = {arm: shown.maps[name] for arm, shown in first.items()}
    return caption, reporting.saliency_grid(
        images.inputs, maps, labels=images.labels, quantile=0.995
    )


def _curves(found: Found, place: Place, name: str) -> tuple[str, Any]:
    """Accuracy as pixels go or come, beside the network's own random orders."""
    view, fill = place
    of = {
        arm: [tables.against(r.measured, place, name) for r in repeats]
        for arm, repeats in found.items()
    }
    caption = (
        f"{view.capitalize()} by {LONG[name]}, {fill} fill; dashed: random orders of "
        "the same network"
    )
    verb = "removed" if view == "removal" else "inserted"
    return caption, reporting.curves(
        {arm: np.stack([one.curve for one in seeds]) for arm, seeds in of.items()},
        controls={
            arm: np.stack([one.chance.curve for one in seeds])
            for arm, seeds in of.items()
        },
        fractions=np.asarray(measures.FRACTIONS),
        x_label=f"fraction of pixels {verb}, most salient first",
        y_label="accuracy",
    )
