"""What is said of image-text matching: tables, the figure and the findings."""

import numpy as np

from experiments.image_text_matching import figures, sources, tables, terms
from experiments.image_text_matching.tables import Found
from experiments.running import report, results
from xguide_jax import reporting

LOGGED = {
    "matching": "matching (nats)",
    "matching/temperature": "temperature",
    "guidance/unscaled": "contrast (nats)",
    "gradient_norm": "gradient norm",
}
_COMMON = """\
R@k is the share of texts whose image, or of images whose text, is among the first k of
all pairs of the test part; whatever has the same text is right, and ties count at their
mean rank. A column that names no way is the mean of both. 'region_contrast' asks that
the features of the whole image be nearer to those of the region than to those of the
rest; '@random' is its control, the same with each region moved to a random place of its
image. Both have the weight that the pilot of region guidance chose for true boxes:
nothing was selected here. All arms of a seed share pairs, initial weights and batches.

Energy is the share of the positive map of a pair's similarity, at the last features of
the image, that lies in the region. No arm is trained on these maps.
"""
_DIGITS = """\
Digits on photographs of grass and gravel ({seeds}), with captions of what is measured
of the digit; {named:.0%} of the training captions, and all of the test, name the ground
as well, and truly. In training the ground agrees with the class, which captions also
name; in the test it says nothing of it. 'unnamed' is trained without these words.

'without the ground' strikes it from the captions of the test, 'the ground alone' all
else; with 'another ground named' the caption speaks of grass where there is gravel, and
its image is still to be found. A match that does not hang on the ground loses nothing
to that. 'among one ground' looks among the images of the same ground only, where naming
it is no help; 'correlated' is the test in which ground and class agree as in training.
"""
_PHOTOGRAPHS = """\
Photographs with captions of people ({seeds}), people as regions; those without people
have none. The test has a few photographs: no number here is worth a claim.
"""


def make_report(found: Found, *, dataset: str, named: float) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.
      dataset: the flag.
      named: the flag.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    made = {"Partners found": tables.retrieval(found)}
    if sources.SWAPPED in tables.asked(found):
        made["Other words in the captions: R@1"] = tables.words(found)
    made["Where the similarity of a pair lies: energy in the region"] = tables.looking(
        found
    )
    about = _PHOTOGRAPHS if dataset == "coco_captions" else _DIGITS
    return report.Report(
        title="Matching images with texts",
        summary=f"{about.format(seeds=seeds, named=named)}\n{_COMMON}",
        findings=_findings(found, claims=dataset != "coco_captions"),
        tables={
            f"{caption} ({seeds})": report.table(columns, found)
            for caption, columns in made.items()
        },
        figures=_figures(found),
        undefined=tables.undefined_counts(found),
        logged=LOGGED,
        best={sources.ONE_GROUND: "max", "lost to another ground": "max"},
        apart=[arm for arm in found if arm not in tables.guided(found)],
    )


def _findings(found: Found, *, claims: bool) -> list[str]:
    """The sentences of what came out; one that there is no claim on few photographs."""
    if not claims:
        return ["Too few photographs for a claim: look at the figure."]
    numbers = {
        "R@1 among images of one ground": tables.recall(sources.ONE_GROUND, k=1),
        "R@1 as written": tables.recall(sources.AS_WRITTEN, k=1),
        "energy of Grad-CAM in the box": tables.energy("grad_cam"),
        "energy of HiResCAM in the box": tables.energy("hi_res_cam"),
    }
    lines = _reliance(found)
    for what, get in numbers.items():
        lines += report.findings(
            found, what, get, guided=tables.guided(found), unguided=terms.UNGUIDED,
            control_of=tables.control_of,
        )  # fmt: skip
    return lines


def _reliance(found: Found) -> list[str]:
    """How much each arm loses when captions name the other ground."""
    get = tables.change(sources.SWAPPED)
    listed = ", ".join(
        f"{arm} {reporting.format_value(results.mean(repeats, get))}"
        for arm, repeats in found.items()
    )
    alone = tables.over_chance(sources.GROUND_ALONE)
    named = ", ".join(
        f"{arm} {reporting.format_value(results.mean(repeats, alone))}"
        for arm, repeats in found.items()
    )
    return [
        f"R@1 with another ground named, minus R@1 as written: {listed}.",
        f"R@1 of a caption that is the ground alone, over chance: {named}.",
        *(_paired(found, arm, get) for arm in tables.guided(found)),
    ]


def _paired(found: Found, arm: str, get: results.Get[tables.Measured]) -> str:
    others = [terms.UNGUIDED, tables.control_of(found, arm)]
    text = " and ".join(
        f"{results.versus(found, arm, other, get)} against {other}"
        for other in others
        if other in found and other is not None
    )
    seeds = len(found[arm])
    claim = "One seed: no claim." if seeds == 1 else f"Paired over {seeds} seeds."
    if not text:
        return f"Nothing to compare {arm} with."
    return f"What another ground costs, {arm}: {text} (above 0 is less). {claim}"


def _figures(found: Found) -> report.Figures:
    chosen = [terms.UNGUIDED, *tables.guided(found)]
    few = [arm for arm in chosen if arm in found][:2] or list(found)[:1]
    points = {
        arm: np.array(
            [
                results.values(repeats, get)
                for get in (
                    tables.energy("grad_cam"),
                    tables.recall(tables.asked(found)[0], k=1),
                )
            ]
        ).T
        for arm, repeats in found.items()
    }
    return {
        "found": (
            "Texts, their images, and the three nearest images by each arm: a green "
            "frame where the text is the same, an orange one where it is not",
            figures.found_images({arm: found[arm][0].measured.shown for arm in few}),
        ),
        "tradeoff": (
            "Recall at 1 as written, and energy; small points are seeds",
            reporting.tradeoff(
                points,
                x_label="energy of Grad-CAM in the region (0 if undefined)",
                y_label="R@1, the mean of both ways",
            ),
        ),
    }
