"""Timings that the design rests on; each prints its own table.

`python -m experiments.benchmarks` lists them.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping
from typing import TypeVar

from experiments.running import allocating

T = TypeVar("T")

NAMES = (
    "batch_sizes",
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
    "weight_gradients",
)


def begin(doc: str | None) -> None:
    """Answers `--help`, refuses any other flag, and keeps memory as experiments do.

    Without it `--help` would run the benchmark, for minutes.

    Args:
      doc: the benchmark's `__doc__`.
    """
    argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    allocating.keep_freed_memory()


def compare_rates(
    seconds: Callable[[T], float],
    sources: Mapping[str, T],
    *,
    num_rounds: int,
    num_steps: int,
) -> None:
    """Prints steps a second with two sources, round by round, and their ratio.

    The first run of each compiles and is not counted. Which comes first alternates, so
    that a machine that slows down favours neither.

    Args:
      seconds: the wall time of all steps with a source.
      sources: {name: source}, two; the second is what the first is held against.
      num_rounds: how many times each is run.
      num_steps: of a run.
    """
    times: dict[str, list[float]] = {name: [] for name in sources}
    for source in sources.values():
        seconds(source)
    for number in range(num_rounds):
        order = list(sources) if number % 2 else list(sources)[::-1]
        for name in order:
            times[name].append(seconds(sources[name]))
        now = {name: num_steps / values[-1] for name, values in times.items()}
        print(", ".join(f"{name} {rate:.2f} steps/s" for name, rate in now.items()))
    first, second = times.values()
    median = statistics.median(b / a for a, b in zip(first, second, strict=True))
    fastest = min(second) / min(first)
    print(f"{' / '.join(times)}: median {median:.3f}, of fastest {fastest:.3f}")
