"""The library's time beside PyTorch's, Captum's and Quantus's, job by job.

Question: is a step, an explanation or a metric of this library as fast as what its
user would otherwise run? One process a side with the same weights and inputs, which
take turns: A B, B A, A B. Before anything is timed both must agree on what they
compute. A round in which others use the machine does not count.

Prints for each job the medians of both sides, the ratio peer / ours of each round,
median and range (above 1 is ahead), first calls and memory. A job whose peer is not
installed is skipped, saying so: `pip install -e '.[race]'`.

Cost: half a minute a job on two CPU cores, of which the first calls are a third.
Command: python -m experiments.benchmarks.race
    python -m experiments.benchmarks.race --jobs right_reasons energy --out race.json
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import pathlib
import statistics
import tempfile

from experiments.benchmarks.race import driving, jobs

_PACKAGES = ("jax", "flax", "torch", "captum", "quantus")


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", nargs="+", choices=sorted(jobs.JOBS), metavar="JOB")
    parser.add_argument("--rounds", type=int, default=9, help="that count, a job")
    parser.add_argument("--out", type=pathlib.Path, help="json of every round")
    flags = parser.parse_args()
    if flags.rounds < 1:
        parser.error(f"--rounds (={flags.rounds}) must be at least 1.")
    return flags


def _versions() -> str:
    found = {name for name in _PACKAGES if importlib.util.find_spec(name)}
    return ", ".join(
        f"{n} {importlib.metadata.version(n)}" for n in _PACKAGES if n in found
    )


def _row(name: str, timed: driving.Timed) -> str:
    ours, peers = (1e3 * statistics.median(timed.wall[side]) for side in driving.SIDES)
    ratios = timed.ratios()
    work = [sum(timed.processor[side]) for side in driving.SIDES]
    return (
        f"| {name} | {ours:.4g} | {peers:.4g} | **{timed.ratio():.2f}** "
        f"[{min(ratios):.2f}, {max(ratios):.2f}] | {work[1] / work[0]:.2f} "
        f"| {timed.first['ours']:.1f} / {timed.first['peers']:.1f} "
        f"| {timed.megabytes['ours']:.0f} / {timed.megabytes['peers']:.0f} "
        f"| {timed.noisy_rounds} |"
    )


def main() -> None:
    """Races the jobs and prints the table.

    Raises:
      SystemExit: once all are done, naming the jobs without a time.
    """
    flags = _flags()
    print(_versions())
    print(
        "| job | ours, ms | peer, ms | peer / ours | of CPU time | first call, s "
        "| memory, MB | noisy |\n| --- | ---: | ---: | --- | ---: | --- | --- | ---: |"
    )
    results, failed = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in flags.jobs or jobs.JOBS:
            if importlib.util.find_spec(jobs.JOBS[name].peer) is None:
                print(f"| {name} | skipped: {jobs.JOBS[name].peer} is not installed |")
                continue
            try:
                timed = driving.race(
                    name, pathlib.Path(folder), num_rounds=flags.rounds
                )
            except (AssertionError, RuntimeError) as error:
                failed.append(name)
                print(f"| {name} | no time: {error} |", flush=True)
                continue
            results[name] = dataclasses.asdict(timed)
            print(_row(name, timed), flush=True)
            if flags.out:
                flags.out.write_text(json.dumps(results, indent=1), "utf-8")
    if failed:
        raise SystemExit(f"{', '.join(failed)}: the sides do not agree, or one failed.")


if __name__ == "__main__":
    main()
