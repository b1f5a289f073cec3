"""Two processes taking turns on one job, and what is read off their clocks."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import numpy as np

from experiments.benchmarks.race import jobs

SIDES = ("ours", "peers")
# Calls of a round last at least so long, so that the clock's and the pipe's own
# fractions of a millisecond do not count.
_ROUND_SECONDS = 0.3
# The share of all processors that others may use in a round that counts.
_QUIET = 0.08
_TRIES = 4
_LEAVING_SECONDS = 20
_COMPILED = "JAX_COMPILATION_CACHE_DIR"


@dataclasses.dataclass(frozen=True)
class Timed:
    """One job's numbers.

    Attributes:
      wall: seconds of a call in each round that counts, by side.
      processor: the same of all its threads' processor time.
      first: seconds of the first call, by side.
      megabytes: the most memory beyond what the packages took, by side.
      noisy_rounds: that did not count, since others used the machine.
      difference: the largest of the outputs, as a share of the largest value.
      items: examples a call.
    """

    wall: dict[str, list[float]]
    processor: dict[str, list[float]]
    first: dict[str, float]
    megabytes: dict[str, float]
    noisy_rounds: int
    difference: float
    items: int

    def ratios(self) -> list[float]:
        """The peer's time over the library's, round by round: above 1 is ahead."""
        return [
            p / o for o, p in zip(self.wall["ours"], self.wall["peers"], strict=True)
        ]

    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios())


class _Side:
    """A worker process that waits for lines."""

    def __init__(self, side: str, name: str, arrays: pathlib.Path) -> None:
        # First calls compile, whatever was kept of an earlier race.
        environment = {k: v for k, v in os.environ.items() if k != _COMPILED}
        self.process = subprocess.Popen(
            _command(side, name, arrays), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment,
        )  # fmt: skip
        self.made = self._read()

    def ask(self, **asked: Any) -> dict[str, Any]:
        """What the worker answers to one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"a worker ended with status {self.process.wait()}; its own error "
                "stands above."
            )
        return json.loads(line)

    def stop(self) -> None:
        """Ends the worker; killed, it would leave those that it started."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(timeout=_LEAVING_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _command(side: str, name: str, arrays: pathlib.Path) -> list[str]:
    worker = "experiments.benchmarks.race.worker"
    return [sys.executable, "-m", worker, side, name, str(arrays)]


def race(name: str, folder: pathlib.Path, *, num_rounds: int) -> Timed:
    """Both sides of a job: first calls, outputs, then rounds in turns.

    Args:
      name: of the job.
      folder: for what the two hand over.
      num_rounds: that count; noisy ones are run again, up to four times as many in
        all, then the last ones count whatever they were.

    Returns:
      What was measured.

    Raises:
      AssertionError: if the sides do not agree on what they compute.
      RuntimeError: if a side fails.
    """
    arrays = folder / f"{name}.npz"
    subprocess.run(_command("arrays", name, arrays), check=True)
    workers: dict[str, _Side] = {}
    try:
        for side in SIDES:
            workers[side] = _Side(side, name, arrays)
        difference = _compared(workers, name, folder)
        wall, processor, noisy = _rounds(workers, num_rounds)
    finally:
        for worker in workers.values():
            worker.stop()
    made = {side: worker.made for side, worker in workers.items()}
    return Timed(
        wall, processor,
        first={side: each["first"] for side, each in made.items()},
        megabytes={side: each["megabytes"] for side, each in made.items()},
        noisy_rounds=noisy, difference=difference, items=made["ours"]["items"],
    )  # fmt: skip


def largest_difference(ours: jobs.Arrays, peers: jobs.Arrays) -> float:
    """The worst over all outputs of max |ours - peers| / max |peers|.

    Raises:
      AssertionError: if names or shapes differ, or a number is not finite.
    """
    assert ours.keys() == peers.keys(), (sorted(ours), sorted(peers))
    worst = 0.0
    for name, value in peers.items():
        assert ours[name].shape == value.shape, (name, ours[name].shape, value.shape)
        assert np.all(np.isfinite([ours[name], value])), name
        scale = float(np.max(np.abs(value))) or 1.0
        worst = max(worst, float(np.max(np.abs(ours[name] - value))) / scale)
    return worst


def _compared(workers: dict[str, _Side], name: str, folder: pathlib.Path) -> float:
    outputs = {}
    for side, worker in workers.items():
        path = folder / f"{name}-{side}.npz"
        worker.ask(do="outputs", path=str(path))
        with np.load(path) as file:
            outputs[side] = dict(file)
    difference = largest_difference(outputs["ours"], outputs["peers"])
    allowed = jobs.JOBS[name].tolerance
    assert difference <= allowed, (
        f"{name}: outputs differ by {difference:.1e} of the largest, over {allowed:g}."
    )
    return difference


def _rounds(
    workers: dict[str, _Side], num_rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], int]:
    """Seconds a call of each side in each round, and how many rounds did not count."""
    calls = {}
    for side, worker in workers.items():
        worker.ask(do="time", calls=2)
        once = worker.ask(do="time", calls=1)["wall"]
        calls[side] = max(1, round(_ROUND_SECONDS / max(once, 1e-6)))
    wall: dict[str, list[float]] = {side: [] for side in SIDES}
    processor: dict[str, list[float]] = {side: [] for side in SIDES}
    noisy = 0
    for number in range(_TRIES * num_rounds):
        if len(wall["ours"]) == num_rounds:
            break
        busy = _busy_seconds()
        turns = SIDES if number % 2 else SIDES[::-1]
        times = {
            side: workers[side].ask(do="time", calls=calls[side]) for side in turns
        }
        spent = {s: calls[s] * t["processor"] for s, t in times.items()}
        lasted = sum(calls[s] * t["wall"] for s, t in times.items())
        others = _busy_seconds() - busy - sum(spent.values())
        left = _TRIES * num_rounds - number  # with this one
        must_count = left <= num_rounds - len(wall["ours"])
        if others > _QUIET * lasted * (os.cpu_count() or 1) and not must_count:
            noisy += 1
            continue
        for side, time in times.items():
            wall[side].append(time["wall"])
            processor[side].append(time["processor"])
    return wall, processor, noisy


def _busy_seconds() -> float:
    """What all processors have worked since the machine started; 0 where unknown."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            fields = [int(field) for field in file.readline().split()[1:]]
    except OSError:
        return 0.0
    idle = fields[3] + fields[4]
    # Guests are counted in user time already.
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")
