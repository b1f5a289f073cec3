"""What is said of multimodal guidance: tables, figures and the findings."""

from typing import Any, Literal

import numpy as np

from experiments.multimodal_guidance import tables, terms
from experiments.multimodal_guidance.tables import Found
from experiments.running import report, results
from xguide_jax import reporting

BEST: dict[str, Literal["max", "min"]] = {
    "worst group": "max", "group balanced": "max", "energy, undefined as 0": "max",
}  # fmt: skip
LOGGED = {
    "task": "cross-entropy (nats)",
    "visual/unscaled": "energy outside the map",
    "grounding/unscaled": "text (nats a token)",
    "gradient_norm": "gradient norm",
}
# Arms of which maps and texts are drawn.
SHOWN = ("unguided", "visual@10", "text@0", "grounded@10", "grounded@0", "aligned@10")
SUMMARY = """\
Digits on photographs of grass and gravel ({seeds}). In training and validation the
texture agrees with the class at {rho:.0%}; in the balanced test it says nothing, and
groups are class and texture. N of an arm is the percentage of training images with a
map of the digit; all have three texts of what is measured of the digit: holes, strokes,
width and place, and the class at last.

'visual' asks the Grad-CAM of the label for energy in the map. 'text' trains a decoder
to say the text from the features, without a map; 'both' is both. 'grounded' tells the
decoder the network's own Grad-CAM, so that the text supervises the map as well;
'aligned' adds a contrastive loss between salient features and text, 'distributed' the
consistency of maps nobody drew with those that people drew. '-shuffled-maps' and
'-shuffled-texts' give each image those of another. Weights: that of the maps is what
the pilot of region guidance chose, those of the rest are where the design began;
nothing was selected here. All arms of a seed share digits, places, textures, initial
weights and batches.

Networks write, and given texts are judged, from the map of the class that the network
predicts. The grounding gap is what the map of another image costs a given text over
that of its own, in nats a token: with a gap of 0 the texts do not hang on the saliency
at all.
Integrated gradients judge where a network looks: no arm is trained on them.
"""


def make_report(found: Found, *, rho: float) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.
      rho: the correlation in training.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    guided = _guided(found)
    made = {
        "Accuracy": tables.accuracies(found),
        "Where networks look: energy in the box and IoU": tables.looking(),
        "What networks write, beside the texts given": tables.texts(),
        "How much of a text hangs on the map": tables.grounding(),
    }
    writing = [arm for arm in found if found[arm][0].measured.told is not None]
    without = dict.fromkeys(made, ()) | {
        caption: [arm for arm in found if arm not in writing]
        for caption in list(made)[2:]
        if writing
    }
    return report.Report(
        title="Guided by maps and texts",
        summary=SUMMARY.format(seeds=seeds, rho=rho),
        findings=[
            *_findings(found, guided),
            *_gaps(found, writing),
        ],
        tables={
            f"{caption} ({seeds})": report.table(
                columns, found, without=without[caption]
            )
            for caption, columns in made.items()
        },
        figures=_figures(found),
        undefined=tables.undefined_counts(found),
        logged=LOGGED,
        drawn=_shown(found),
        best=BEST,
        apart=[arm for arm in found if arm not in guided],
    )


def _findings(found: Found, guided: list[str]) -> list[str]:
    numbers = {
        "worst-group accuracy": tables.worst,
        "energy of integrated gradients in the box": tables.energy,
    }
    lines = []
    for what, get in numbers.items():
        lines += report.findings(
            found, what, get,
            guided=guided, unguided=terms.UNGUIDED, control_of=tables.control_of,
        )  # fmt: skip
        # With texts and without maps: does one modality help the other?
        for arm in ("grounded@0", "grounded@10"):
            other = tables.without_texts(found, arm) if arm in found else None
            if other is not None:
                value = results.versus(found, arm, other, get)
                lines.append(
                    report.sentence(f"{what}, texts beside the maps of {other}: ")
                    + f"{arm} {value}."
                )
    return lines


def _gaps(found: Found, writing: list[str]) -> list[str]:
    """One sentence: the grounding gap of each arm that is told its saliency."""
    column = tables.grounding()[-1]
    told = {
        arm: column.cell(found, arm)
        for arm in writing
        if terms.telling_of(found[arm][0].arm) == "grounding"
    }
    if not told:
        return []
    listed = ", ".join(
        f"{arm} {reporting.format_value(value)}" for arm, value in told.items()
    )
    return [f"Grounding gap, nats a token: {listed}."]


def _guided(found: Found) -> list[str]:
    arms = {name: repeats[0].arm for name, repeats in found.items()}
    return [
        name
        for name, arm in arms.items()
        if arm.weight is not None and "-" not in str(arm.annotation)
    ]


def _shown(found: Found) -> list[str]:
    return [arm for arm in SHOWN if arm in found] or list(found)[: len(SHOWN)]


def _figures(found: Found) -> report.Figures:
    points = {
        arm: np.array(
            [results.values(repeats, g) for g in (tables.energy, tables.worst)]
        ).T
        for arm, repeats in found.items()
    }
    return {
        "tradeoff": (
            "Worst-group accuracy and localisation; small points are seeds",
            reporting.tradeoff(
                points,
                x_label="energy of integrated gradients in the box (0 if undefined)",
                y_label="worst-group accuracy",
            ),
        ),
        "described": (
            "Grad-CAM of the label, each arm over its largest magnitude; the text "
            "that is given, and what networks write",
            _described(found),
        ),
    }


def _described(found: Found) -> Any:
    first = {arm: found[arm][0].measured for arm in _shown(found)}
    one = next(iter(first.values()))
    size = one.shown.inputs.shape[1]
    maps = {arm: m.shown.maps["grad_cam"] for arm, m in first.items()}
    texts = {"given": one.texts}
    for arm, m in first.items():
        if m.told is not None:
            texts[arm] = m.told.texts[: len(one.texts)]
    return reporting.described_images(
        one.shown.inputs,
        {arm: _enlarged(values, size) for arm, values in maps.items()},
        texts,
        regions=one.shown.region,
    )


def _enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    largest = np.abs(maps).max()
    cells = maps / (largest if largest > 0 else 1)
    return np.kron(cells, np.ones((1, size // maps.shape[1], size // maps.shape[2])))
