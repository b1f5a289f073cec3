"""One side of one job in a process of its own, which answers on standard output.

A line of JSON is read, a line of JSON is answered: {"do": "time", "calls": n} gives
seconds of the wall and of the processor, {"do": "outputs", "path": file} writes what
the sides must agree on. The driver starts it; by hand:

Command: python -m experiments.benchmarks.race.worker ours step_sgd arrays.npz
"""

import importlib
import json
import pathlib
import resource
import sys
import tempfile
import time
from typing import Any

import numpy as np

from experiments.benchmarks.race import clocks, jobs
from experiments.running import allocating


def _megabytes() -> float:
    """The most memory that the process ever had, without those it started."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _save(path: str, arrays: jobs.Arrays) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def _timed(prepared: jobs.Prepared, calls: int) -> dict[str, float]:
    wall, processor = time.perf_counter(), clocks.processor_seconds()
    for _ in range(calls):
        prepared.call()
    return {
        "wall": (time.perf_counter() - wall) / calls,
        "processor": (clocks.processor_seconds() - processor) / calls,
    }


def _answer(prepared: jobs.Prepared, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["do"] == "outputs":
        _save(asked["path"], prepared.outputs())
        return {}
    return _timed(prepared, asked["calls"])


def main() -> None:
    """Writes a job's arrays, or makes one side and answers until the input ends."""
    side, name, path = sys.argv[1:]
    allocating.keep_freed_memory()  # of both sides alike
    # So that the files of a side that is killed go with the folder of the arrays.
    tempfile.tempdir = str(pathlib.Path(path).resolve().parent)
    family = jobs.JOBS[name].family
    room = "peers" if side == "peers" else "ours"
    own = importlib.import_module(f"{jobs.__package__}.{room}.{family}")
    # What a package prints would not be JSON.
    answers, sys.stdout = sys.stdout, sys.stderr
    if side == "arrays":
        _save(path, own.JOBS[name].arrays())
        return
    with np.load(path) as file:
        arrays = dict(file)
    before = _megabytes()
    make = own.JOBS[name].make if side == "ours" else own.JOBS[name]
    prepared = make(arrays)
    first = _timed(prepared, 1)
    made = {
        "first": first["wall"],
        "megabytes": _megabytes() - before,
        "items": prepared.items,
    }
    print(json.dumps(made), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(prepared, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
