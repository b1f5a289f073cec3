"""What is said of region guidance: tables, figures and the finding."""

from typing import Literal

from experiments.region_guidance import columns, figures
from experiments.region_guidance.columns import Found
from experiments.running import report, results

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
        figures=figures.draw(found),
        undefined=columns.undefined_counts(found),
        logged=LOGGED,
        drawn=figures.shown_of(found)[:7],
        best=BEST,
        apart=[arm for arm in found if arm not in _guided(found)],
    )  # fmt: skip


def _guided(found: Found) -> list[str]:
    arms = {name: repeats[0].arm for name, repeats in found.items()}
    return [n for n, a in arms.items() if a.annotation not in (None, "random")]
