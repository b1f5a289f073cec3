"""What is said of saliency-guided training on images, and how it is to be read."""

from typing import Literal

from experiments.running import report, results
from experiments.saliency_guided_images import figures, tables
from experiments.saliency_guided_images.tables import CONTROL, Found

JUDGE = ("removal", "black"), "integrated_gradients"
BEST: dict[str, Literal["max", "min"]] = {"test accuracy": "max"}
LOGGED = {
    "task": "cross-entropy (nats)",
    "sgt": "consistency loss (nats)",
    "gradient_norm": "gradient norm",
}
SUMMARY = """\
The published CNN was trained unguided and with a consistency loss between the
prediction on an image and on the image whose lowest-ranked pixels were replaced by
noise ({seeds}). All arms of a seed share split, initial weights and batches; nothing
was selected.

Areas are under the accuracy curve as pixels are removed (most salient first; low is
steep) or inserted (high is steep). A gap is by how much the explainer's order beats
random orders of the same network on the same images, averaged over draws; it is what
compares networks. An image that an explainer cannot rank is left out of its curve, of
the random order that is subtracted, and of both arms of a comparison; 'undefined as 0'
gives it a gap of 0.
'random' replaces pixels without looking at saliency; 'k=0' replaces none, and with
dropout is a consistency regulariser. Training filled with the uniform noise, never with
black.
"""


def make_report(found: Found) -> report.Report:
    """The report of a finished run.

    Args:
      found: results of all arms.

    Returns:
      A `report.Report`.
    """
    seeds = results.seeds_text(len(next(iter(found.values()))))
    return report.Report(
        title="Saliency-guided training on images",
        summary=SUMMARY.format(seeds=seeds),
        findings=report.findings(
            found,
            "gap of integrated gradients (removal with black, 0 where undefined)",
            lambda m: tables.against(m, *JUDGE).gap.mean_or_zero,
            guided=[a for a in found if a in ("signed", "magnitude")],
            unguided="unguided",
            control_of=lambda f, arm: CONTROL,
        ),
        tables={
            f"{caption} ({seeds})": rows
            for caption, rows in tables.make_tables(found).items()
        },
        figures=figures.draw(found),
        undefined=tables.undefined_counts(found),
        logged=LOGGED,
        best=BEST,
        apart=("unguided", CONTROL, "k=0"),
    )
