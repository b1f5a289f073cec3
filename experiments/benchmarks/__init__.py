"""Timings that the design rests on; each prints its own table.

`python -m experiments.benchmarks` lists them.
"""

import argparse

NAMES = (
    "decoding",
    "deletion_curve",
    "double_backward",
    "feeding",
    "integrated_gradients",
    "measured_scaling",
    "scaling",
    "selecting",
    "step_flops",
    "streaming",
)


def answer_help(doc: str | None) -> None:
    """Answers `--help` with what a benchmark measures, and refuses any other flag.

    Without it `--help` would run the benchmark, for minutes.

    Args:
      doc: the benchmark's `__doc__`.
    """
    argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
