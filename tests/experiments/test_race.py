"""The race's jobs are where they are said to be, and outputs are compared."""

import importlib
import pathlib

import numpy as np
import pytest

from experiments.benchmarks import race
from experiments.benchmarks.race import driving, jobs

FOLDER = pathlib.Path(race.__file__).parent
FAMILIES = sorted({job.family for job in jobs.JOBS.values()})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_its_jobs_and_no_other(family):
    own = importlib.import_module(f"{jobs.__package__}.ours.{family}")
    assert set(own.JOBS) == {
        name for name, job in jobs.JOBS.items() if job.family == family
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_a_peer(family):
    """Found, not imported: PyTorch need not be there."""
    assert (FOLDER / "peers" / f"{family}.py").is_file()


def test_the_difference_is_a_share_of_the_largest_value_of_an_output():
    ours = {"a": np.array([1.0, 4.5]), "b": np.array([100.0])}
    peers = {"a": np.array([1.0, 5.0]), "b": np.array([101.0])}
    # 0.5 / 5 = 0.1, above 1 / 101.
    assert driving.largest_difference(ours, peers) == pytest.approx(0.1)


def test_outputs_of_zeros_differ_by_what_stands_beside_them():
    zeros = {"a": np.zeros(2)}
    assert driving.largest_difference(zeros, zeros) == 0
    assert driving.largest_difference({"a": np.array([0.0, 0.5])}, zeros) == 0.5


@pytest.mark.parametrize(
    "ours",
    [{"b": np.ones(2)}, {"a": np.ones((2, 1))}, {"a": np.array([1.0, np.nan])}],
    ids=["name", "shape", "nan"],
)
def test_outputs_that_cannot_be_compared_are_refused(ours):
    with pytest.raises(AssertionError):
        driving.largest_difference(ours, {"a": np.ones(2)})


def test_the_ratio_is_the_median_of_the_rounds():
    timed = driving.Timed(
        wall={"ours": [1.0, 2.0, 4.0], "peers": [3.0, 2.0, 8.0]},
        processor={}, first={}, megabytes={},
        noisy_rounds=0, difference=0.0, items=1,
    )  # fmt: skip
    assert timed.ratios() == [3.0, 1.0, 2.0]
    assert timed.ratio() == 2.0
