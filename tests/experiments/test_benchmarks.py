"""Benchmarks say what they are without running."""

import pathlib
import subprocess
import sys

import pytest

from experiments import benchmarks

FOLDER = pathlib.Path(benchmarks.__file__).parent


def _run(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        capture_output=True,
        text=True,
        cwd=FOLDER.parents[1],
    )


def test_every_benchmark_is_listed_with_its_command():
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__"}
    assert files == set(benchmarks.NAMES)
    lines = _run("benchmarks").stdout.splitlines()
    names = (*benchmarks.NAMES, "race")
    commands = [f"    python -m experiments.benchmarks.{name}" for name in names]
    assert lines[1::2] == commands


def test_help_says_what_a_benchmark_measures_and_runs_nothing():
    shown = _run("benchmarks.selecting", "--help")
    assert shown.returncode == 0
    assert "bisection of the bits against `jax.lax.top_k`" in shown.stdout
    assert "bisection  " not in shown.stdout  # a row of its table
    refused = _run("benchmarks.selecting", "--rounds", "3")
    assert refused.returncode == 2


@pytest.mark.parametrize("name", benchmarks.NAMES)
def test_a_benchmark_answers_before_it_does_anything(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    body = source[source.index("def main() -> None:") :].splitlines()
    assert body[2] == "    benchmarks.begin(__doc__)"


def test_rates_are_compared_in_rounds_that_take_turns(capsys):
    taken = iter((9.0, 9.0, 2.0, 4.0, 5.0, 3.0, 2.0, 1.0))
    asked = []
    benchmarks.compare_rates(
        lambda source: (asked.append(source), next(taken))[1],
        {"real": "r", "resident": "s"},
        num_rounds=3,
        num_steps=12,
    )
    # The first of each compiles; then the second begins, the first, the second.
    assert asked == list("rs" + "sr" + "rs" + "sr")
    # real took 4, 5 and 1 seconds, resident 2, 3 and 2: 2/4, 3/5 and 2/1.
    assert capsys.readouterr().out.splitlines() == [
        "real 3.00 steps/s, resident 6.00 steps/s",
        "real 2.40 steps/s, resident 4.00 steps/s",
        "real 12.00 steps/s, resident 6.00 steps/s",
        "real / resident: median 0.600, of fastest 2.000",
    ]
