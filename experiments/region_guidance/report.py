"""What is said of region guidance: tables, figures and the finding."""

from typing import Any, Literal

import numpy as np

from experiments.digits import measures
from experiments.region_guidance import columns
from experiments.region_guidance.columns import LOCALISED, LONG, Found
from experiments.running import report, results
from xguide_jax import reporting

# Arms whose maps are drawn; all of them would be too many to look at.
SHOWN = (
    "unguided", "energy_cam", "l1_cam", "region_consistency", "swapped",
    "right_reasons", "energy_cam@random", "energy_input", "region_contrast", "oracle",
)  # fmt: skip
BEST: dict[str, Literal["max", "min"]] = {
    "worst group": "max", "group balanced": "max", "in distribution": "max",
    "EPG, integrated gradients": "max", "EPG, undefined as 0": "max",
}  # fmt: skip
LOGGED = {
    "task": "cross-entropy (nats)",
    "guidance/unscaled": "guidance loss",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
Digits on photographs of grass and gravel ({seeds}). In training and validation the
texture agrees with the class at {rho:.0%}; in the balanced test it says nothing, and
groups are class and texture. All arms of a seed share digits, places, textures, initial
weights and batches. Each term's weight and warm-up were chosen before, on the
validation part, which has the training correlation and no group labels.

Gap closed is (worst group - unguided) / (oracle - unguided), a ratio of means over
seeds with a paired bootstrap; it is unbounded where the seeds leave open whether the
oracle is better at all. The oracle is the same network trained without the
correlation; 'blanked' is trained and tested with everything outside the box at the
mean, so that its numbers are no numbers of the same test. '@random' is guided by boxes
of the same size at random places, which still cover a good half of the true box; an
arm's control is that of its own term, at the weight that was chosen for it, and where
there is none that of another term. 'swapped' sees the boxes' content on other
backgrounds with its label, and is asked for no more.

Integrated gradients judge where a network looks: no arm is trained on them.
"""


def make_report(found: Found, *, rho: float, warmup: float | None) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.
      rho: the correlation in training.
      warmup: the flag.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    tables = {
        "Accuracy": columns.accuracies(found),
        "Where networks look: energy in the box and IoU": columns.LOOKING,
        "Where networks look, undefined maps counted as 0, and their number": (
            columns.AS_ZERO
        ),
        "Accuracy on the balanced test with a part covered": columns.COVERED,
        "Accuracy by group, texture agreeing in the first and last": (
            columns.groups(found)
        ),
        "What selection saw, and the price": columns.price(warmup),
    }
    return report.Report(
        title="Region guidance",
        summary=SUMMARY.format(seeds=seeds, rho=rho),
        findings=report.findings(
            found, "worst-group accuracy", columns.worst,
            guided=_guided(found),
            unguided=columns.UNGUIDED,
            control_of=columns.control_of,
        ),
        tables={f"{k} ({seeds})": report.table(c, found) for k, c in tables.items()},
        figures=_figures(found),
        undefined=_undefined(found),
        logged=LOGGED,
        drawn=_shown_of(found)[:7],
        best=BEST,
        apart=[arm for arm in found if arm not in _guided(found)],
    )  # fmt: skip


def _guided(found: Found) -> list[str]:
    arms = {name: repeats[0].arm for name, repeats in found.items()}
    return [n for n, a in arms.items() if a.annotation not in (None, "random")]


def _undefined(found: Found) -> dict[str, int]:
    counts = {}
    for arm, repeats in found.items():
        counts[f"{arm}: images without a prediction"] = results.total(
            repeats, lambda m: m.accuracies.num_undefined
        )
        for text, kind in LOCALISED.items():
            for name, long in LONG.items():
                counts[f"{arm}: maps without {text} by {long}"] = sum(
                    getattr(r.measured.localisation[name], kind).num_undefined
                    for r in repeats
                )
    return counts


def _figures(found: Found) -> dict[str, tuple[str, Any]]:
    figures: dict[str, tuple[str, Any]] = {}
    # 0 where undefined: who kills its maps must not win.
    energy = lambda m: m.localisation["integrated_gradients"].box.mean_or_zero
    for name, (text, get) in {
        "worst_group": ("worst-group accuracy", columns.worst),
        "group_balanced": (
            "group-balanced accuracy",
            lambda m: m.accuracies.group_balanced,
        ),
    }.items():
        points = {
            arm: np.array([results.values(repeats, g) for g in (energy, get)]).T
            for arm, repeats in found.items()
            if arm != "blanked"  # it is tested on other images
        }
        figures[f"pareto_{name}"] = (
            f"{text.capitalize()} and localisation; small points are seeds",
            reporting.tradeoff(
                points,
                x_label="energy of integrated gradients in the box (0 if undefined)",
                y_label=text,
            ),
        )
    first = {arm: found[arm][0].measured.shown for arm in _shown_of(found)}
    images = next(iter(first.values()))
    for name in measures.EXPLAINERS:
        maps = {arm: s.maps[name] for arm, s in first.items()}
        size = images.inputs.shape[1]
        figures[f"maps_{name}"] = (
            f"{LONG[name].capitalize()} of the label's logit; the true box outlined; "
            "each map over its largest magnitude",
            reporting.saliency_grid(
                images.inputs,
                {arm: _enlarged(_largest_one(m), size) for arm, m in maps.items()},
                labels=[f"image {i}" for i in range(len(images.inputs))],
                regions=images.region,
            ),
        )
    return figures


def _shown_of(found: Found) -> list[str]:
    return [arm for arm in SHOWN if arm in found] or list(found)[: len(SHOWN)]


def _largest_one(maps: np.ndarray) -> np.ndarray:
    """Guidance changes the size of maps by orders of magnitude: one scale an arm."""
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    return np.kron(maps, np.ones((1, size // maps.shape[1], size // maps.shape[2])))
