"""Tables, figures and report of region guidance."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments import common, region_data, region_measures, tables
from xguide_jax import evaluation, reporting

COMPETITOR = "swapped"  # the same boxes, a task loss and no more
LONG = {
    "grad_cam": "Grad-CAM",
    "gradient": "gradient",
    "integrated_gradients": "integrated gradients",
}
# (what is measured of where maps point, its key, prefix of its count)
LOCALISED = (
    ("EPG", "epg/{}/box", ""),
    ("EPG on strokes", "epg/{}/strokes", "strokes/"),
    ("IoU", "iou/{}", "iou/"),
)
LIMITS = ("oracle", "blanked")
# Arms whose maps are drawn; all of them would be too many to look at.
SHOWN = (
    "unguided", "energy_cam", "l1_cam", "region_consistency", "swapped",
    "right_reasons", "energy_cam@random", "energy_input", "region_contrast", "oracle",
)  # fmt: skip
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


def write(run: common.Run, arm_names: Sequence[str], *, rho: float) -> None:
    """Writes metrics.json, tables, figures and report.html, and prints the summary.

    Args:
      run: a run of which every arm and seed is finished.
      arm_names: the arms, in the order of the tables.
      rho: the correlation in training.
    """
    results = tables.collect(run, arm_names)
    undefined = {
        f"{arm}: {text}": tables.total(results, arm, key)
        for arm in results
        for key, text in undefined_texts().items()
    }
    seeds = tables.seeds_text(run.config.seeds)
    figures = draw(results)
    figures["training"] = (
        "Training of some arms",
        tables.training_figure(run, shown_of(results)[:7], LOGGED),
    )
    tables.finish(
        run,
        results,
        title="Region guidance",
        summary=SUMMARY.format(seeds=seeds, rho=rho),
        tables={f"{name} ({seeds})": rows for name, rows in make_tables(results)},
        figures=figures,
        undefined=undefined,
        num_printed=2,
    )


def make_tables(results: tables.Results) -> list[tuple[str, list[dict[str, Any]]]]:
    """The tables of the report.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      (caption, rows) pairs; the first two are for the terminal as well.
    """
    at = lambda arm, key: tables.mean(results, arm, key)
    return [
        ("Accuracy", accuracies(results)),
        ("Where networks look: energy in the box and IoU", [
            {
                "arm": arm,
                **{f"EPG, {LONG[e]}": at(arm, f"epg/{e}/box") for e in LONG},
                "EPG, undefined as 0": at(arm, "epg/integrated_gradients/box/zero"),
                "EPG on strokes": at(arm, "epg/integrated_gradients/strokes"),
                **{f"IoU, {LONG[e]}": at(arm, f"iou/{e}") for e in LONG},
                "IoU, undefined as 0": at(arm, "iou/integrated_gradients/zero"),
                "undefined maps": sum(
                    tables.values(results, arm, "undefined/integrated_gradients")
                ),
            }
            for arm in results
        ]),
        ("Where networks look, undefined maps counted as 0, and their number", [
            {
                "arm": arm,
                **{
                    f"{text}, {LONG[e]}": tables.as_zero(
                        results, arm, f"{key.format(e)}/zero",
                        undefined=f"undefined/{prefix}{e}",
                    )
                    for text, key, prefix in LOCALISED
                    for e in LONG
                },
            }
            for arm in results
        ]),
        ("Accuracy on the balanced test with a part covered", [
            {
                "arm": arm,
                "nothing": at(arm, "group_balanced"),
                "random box": at(arm, "masked/without_random_box"),
                "background (box only)": at(arm, "masked/box_only"),
                "box (background only)": at(arm, "masked/background_only"),
                "background alone goes by its texture": at(
                    arm, "masked/background_follows_texture"
                ),
            }
            for arm in results
        ]),
        ("Accuracy by group, texture agreeing in the first and last", [
            {
                "arm": arm,
                **{
                    f"class {g // 2}, texture {g % 2} (n = {count(results, g)})": at(
                        arm, f"group/{g}"
                    )
                    for g in range(region_data.NUM_GROUPS)
                },
            }
            for arm in results
        ]),
        ("What selection saw, and the price", [
            {
                "arm": arm,
                "weight": at(arm, "weight"),
                "warm-up": at(arm, "warmup"),
                "validation accuracy": at(arm, "validation"),
                "validation EPG, integrated gradients": at(
                    arm, "validation_epg/integrated_gradients"
                ),
                "images/s": at(arm, "images_per_second"),
            }
            for arm in results
        ]),
    ]  # fmt: skip


def undefined_texts() -> dict[str, str]:
    """What the counts of undefined values are of.

    Returns:
      {key: text}.
    """
    texts = {"undefined/predictions": "images without a prediction"}
    for text, _, prefix in LOCALISED:
        for name, long in LONG.items():
            texts[f"undefined/{prefix}{name}"] = f"maps without {text} by {long}"
    return texts


def accuracies(results: tables.Results) -> list[dict[str, Any]]:
    """Worst group, averages, gap closed and bias, a row an arm.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Rows.
    """
    rows = []
    for arm in results:
        row: dict[str, Any] = {"arm": arm}
        for name in ("worst_group", "group_balanced", "in_distribution"):
            row[name.replace("_", " ")] = tables.mean(results, arm, name)
        row["gap closed"] = gap_closed(results, arm)
        for reference in ("unguided", COMPETITOR):
            if reference in results:
                row[f"worst group, minus {reference}"] = tables.versus(
                    results, arm, reference, "worst_group"
                )
        control = control_of(results, arm)
        if any(name.endswith("@random") for name in results):
            row["its control"] = control or "-"
            row["worst group, minus its control"] = (
                tables.versus(results, arm, control, "worst_group") if control else "-"
            )
        if "unguided" in results:
            row["group balanced, minus unguided"] = tables.versus(
                results, arm, "unguided", "group_balanced"
            )
        row["bias amplification"] = tables.mean(results, arm, "bias_amplification")
        rows.append(row)
    return rows


def control_of(results: tables.Results, arm: str) -> str | None:
    """The arm with random boxes that another is compared with.

    Args:
      results: {arm: what was measured of each seed}.
      arm: its name.

    Returns:
      The first '@random' arm of the same term, else the first of any; None if there is
      none, and for the arms without guidance.
    """
    if arm in ("unguided", *LIMITS):
        return None
    term = lambda name: name.partition("@")[0].partition("=")[0]
    controls = [name for name in results if name.endswith("@random")]
    own = [name for name in controls if term(name) == term(arm)]
    return next(iter(own or controls), None)


def gap_closed(results: tables.Results, arm: str) -> str:
    """(worst group − unguided) / (oracle − unguided), with its interval.

    Args:
      results: {arm: what was measured of each seed}.
      arm: its name.

    Returns:
      Text; a dash for the limits and where one of them is missing.
    """
    if arm in ("unguided", *LIMITS) or not {"unguided", "oracle"} <= results.keys():
        return "-"
    worst = {
        name: np.array(tables.values(results, name, "worst_group"))
        for name in (arm, "unguided", "oracle")
    }
    estimate = evaluation.ratio_of_means(
        worst[arm] - worst["unguided"], worst["oracle"] - worst["unguided"]
    )
    if len(worst[arm]) == 1:
        return tables.signed(estimate.value, digits=2)
    return str(estimate)


def count(results: tables.Results, group: int) -> str:
    """The test images of a group, over seeds.

    Args:
      results: {arm: what was measured of each seed}.
      group: its number.

    Returns:
      'n' or 'smallest-largest'.
    """
    counts = tables.values(results, next(iter(results)), f"count/{group}")
    low, high = int(min(counts)), int(max(counts))
    return str(low) if low == high else f"{low}-{high}"


def draw(results: tables.Results) -> dict[str, tuple[str, Any]]:
    """The figures of the report.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      {file name: (caption, figure)}.
    """
    figures: dict[str, tuple[str, Any]] = {}
    for key, text in {
        "worst_group": "worst-group accuracy",
        "group_balanced": "group-balanced accuracy",
    }.items():
        points = {
            arm: np.stack(
                [
                    # 0 where undefined: who kills its maps must not win.
                    tables.values(results, arm, "epg/integrated_gradients/box/zero"),
                    tables.values(results, arm, key),
                ],
                axis=1,
            )
            for arm in results
            if arm != "blanked"  # it is tested on other images
        }
        figures[f"pareto_{key}"] = (
            f"{text.capitalize()} and localisation; small points are seeds",
            reporting.tradeoff(
                points,
                x_label="energy of integrated gradients in the box (0 if undefined)",
                y_label=text,
            ),
        )
    first = {arm: results[arm][0][1] for arm in shown_of(results)}
    shown = first[next(iter(first))]
    for name in region_measures.EXPLAINERS:
        maps = {
            arm: _largest_one(arrays[f"maps/{name}"]) for arm, arrays in first.items()
        }
        figures[f"maps_{name}"] = (
            f"{LONG[name].capitalize()} of the label's logit; the true box outlined; "
            "each map over its largest magnitude",
            reporting.saliency_grid(
                shown["inputs"],
                {
                    arm: _enlarged(m, shown["inputs"].shape[1])
                    for arm, m in maps.items()
                },
                labels=[f"image {i}" for i in range(len(shown["inputs"]))],
                regions=shown["region"],
            ),
        )
    return figures


def shown_of(results: tables.Results) -> list[str]:
    """The arms that figures of single arms show.

    Args:
      results: {arm: what was measured of each seed}.

    Returns:
      Names, at most as many as `SHOWN`.
    """
    return [arm for arm in SHOWN if arm in results] or list(results)[: len(SHOWN)]


def _largest_one(maps: np.ndarray) -> np.ndarray:
    """Guidance changes the size of maps by orders of magnitude; here is where."""
    largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return maps / np.where(largest > 0, largest, 1)


def _enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    return np.kron(maps, np.ones((1, size // maps.shape[1], size // maps.shape[2])))
