"""The figures of attribution baselines."""

import re
from typing import Any

import numpy as np

from experiments.attribution_baselines import convergence, stats
from experiments.attribution_baselines.measuring import COMMON, LAYERS
from xguide_jax import reporting

_METHODS = (
    "gradient", "gradient x input", "integrated gradients", "DeepLIFT", "LRP, gamma",
    "expected gradients", "occlusion", "Shapley, sampled", "Grad-CAM, layer_1",
    "LayerCAM, layer_1", "ODAM, layer_1",
)  # fmt: skip
_OF_PHOTOGRAPHS = (
    "gradient x input, input", "integrated gradients", "LayerCAM, block_10",
    "ODAM, block_10", "DeepLIFT, block_10", "Grad-CAM, features",
    "HiResCAM, features", "LayerCAM, features",
)  # fmt: skip


def make_figures(found: stats.Found) -> dict[str, tuple[str, Any]]:
    """Maps by layer and by method, convergence, and the photographs.

    Args:
      found: results of all arms.

    Returns:
      {file name: (caption, figure)}.
    """
    figures: dict[str, tuple[str, Any]] = {}
    for arm in list(found)[:2]:
        shown = found[arm][0].measured.shown
        for name, maps, what in (
            ("layers", shown.layers, f"integrated gradients from {COMMON!r} by layer"),
            ("methods", _chosen(shown.methods, _METHODS), "maps by method"),
        ):
            figures[f"{name}_{arm}"] = (
                f"{arm}, {what}; the box outlined; each map over its largest magnitude",
                _grid(shown.inputs, maps, shown.region),
            )
    seen = next(iter(found.values()))[0].measured.photographs
    if seen is not None and seen.judged:
        figures["photographs"] = (
            "EfficientNet-Lite0's first class on photographs; masks outlined where "
            "there are some; each map over its largest magnitude",
            _grid(
                seen.inputs[:8],
                {n: m[:8] for n, m in _chosen(seen.maps, _OF_PHOTOGRAPHS).items()},
                seen.region[:8],
                labels=[
                    f"{name}: class {c}"
                    for name, c in zip(seen.names, seen.classes, strict=True)
                ][:8],
            ),
        )
    for arm, repeats in found.items():
        # Behind the average pooling there is nothing to converge.
        errors = {
            rule: {
                layer: np.log10(
                    [r.measured.convergence[layer][rule] + 1e-8 for r in repeats]
                )
                for layer in LAYERS[:-1]
            }
            for rule in convergence.RULES
        }
        first = next(iter(errors.values()))[LAYERS[0]]
        figures[f"convergence_{arm}"] = (
            f"{arm}: attribution error of integrated gradients by the number of points",
            reporting.training_curves(
                errors,
                steps=np.arange(first.shape[1]),
                x_label="log2 of the number of points",
                labels={layer: f"{layer}, log10 of the error" for layer in LAYERS},
            ),
        )
    return figures


def _chosen(
    maps: dict[str, np.ndarray], names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Those of the names, or, where a number follows, the one with the largest."""
    found: dict[str, np.ndarray] = {}
    number_in = lambda key: [int(digits) for digits in re.findall(r"\d+", key)]
    for name in names:
        fitting = [key for key in maps if key.startswith(f"{name}, ")]
        key = name if name in maps else max(fitting, key=number_in, default="")
        if key:
            found[key] = maps[key]
    return found


def _grid(
    inputs: np.ndarray,
    maps: dict[str, np.ndarray],
    region: np.ndarray,
    *,
    labels: list[str] | None = None,
) -> Any:
    size = inputs.shape[1]
    return reporting.saliency_grid(
        inputs,
        {name: _at_size(_largest_one(m), size) for name, m in maps.items()},
        labels=labels or [f"image {number}" for number in range(len(inputs))],
        regions=region,
    )


def _largest_one(maps: np.ndarray) -> np.ndarray:
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _at_size(maps: np.ndarray, size: int) -> np.ndarray:
    """Cells repeated, or every second pixel taken."""
    if maps.shape[1] > size:
        step = maps.shape[1] // size
        return maps[:, ::step, ::step]
    return np.kron(maps, np.ones((1, size // maps.shape[1], size // maps.shape[2])))
