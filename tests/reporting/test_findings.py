"""What the findings say, and that they claim no more than the intervals hold."""

import numpy as np

from xguide_jax import evaluation, reporting


def estimate(value, half=np.nan, seeds=5):
    return evaluation.Estimate(value, value - half, value + half, seeds, seeds)


def test_the_arm_that_is_ahead_is_named_with_its_interval_and_its_price():
    text = reporting.finding(
        "Worst-group accuracy",
        {"a": estimate(0.1, 0.05), "b": estimate(0.4, 0.1), "c": estimate(-0.2, 0.1),
         "d": estimate(0.3, 0.5)},
        reference="the unguided arm",
        paid={"accuracy": {"b": estimate(-0.02, 0.01)}, "speed": {"a": estimate(1.0)}},
    )  # fmt: skip
    assert text == (
        "Worst-group accuracy: b does better than the unguided arm, by +0.400 "
        "[+0.300, +0.500] over 5 seeds, the most of 4 arms, its interval not corrected "
        "for the choice. Better as well: a. Worse: c. Not told apart from the unguided "
        "arm: d. Beside it: accuracy -0.020 [-0.030, -0.010]."
    )


def test_an_interval_that_holds_zero_is_no_claim():
    text = reporting.finding("F1", {"a": estimate(0.1, 0.2)}, reference="GRADIA")
    assert text == (
        "F1: a cannot be told apart from GRADIA: +0.100 [-0.100, +0.300] over 5 seeds."
    )
    text = reporting.finding(
        "F1", {"a": estimate(0.1, 0.2), "b": estimate(-0.1, 0.01)}, reference="GRADIA"
    )
    assert text == (
        "F1: no arm can be told to be better than GRADIA; the best of 2 arms is a with "
        "+0.100 [-0.100, +0.300] over 5 seeds, its interval not corrected for the "
        "choice. Worse: b."
    )


def test_one_seed_is_no_claim():
    one = lambda value: estimate(value, seeds=1)
    text = reporting.finding(
        "Accuracy",
        {"a": one(0.1), "b": one(0.3)},
        reference="unguided",
        paid={"images/s": {"b": one(-80.0)}},
    )
    assert text == (
        "Accuracy: one seed, no claim. Minus unguided, the best of 2 arms is b with "
        "+0.300. Beside it: images/s -80.000 (one seed, no interval)."
    )


def test_less_may_be_better():
    text = reporting.finding(
        "Error", {"a": estimate(0.1, 0.05), "b": estimate(-0.4, 0.1)},
        reference="unguided", best="min", digits=1,
    )  # fmt: skip
    assert text.startswith("Error: b does better than unguided, by -0.4 [-0.5, -0.3]")
    assert text.endswith("Worse: a.")


def test_a_harm_of_one_seed_is_told_as_one():
    one = lambda value: evaluation.Estimate(value, np.nan, np.nan, 1, 1)
    text = reporting.finding(
        "F1", {"a": one(-0.2), "b": one(-0.1)}, reference="unguided"
    )
    assert text == (
        "F1: one seed, no claim. None of 2 arms is better than unguided; the nearest, "
        "b, has -0.100 against it."
    )


def test_undefined_differences_are_named():
    text = reporting.finding("F1", {"a": estimate(np.nan)}, reference="unguided")
    assert text == "F1: no difference to unguided is defined."
    text = reporting.finding(
        "F1", {"a": estimate(np.nan), "b": estimate(0.2, 0.1)}, reference="unguided"
    )
    assert text == (
        "F1: b does better than unguided, by +0.200 [+0.100, +0.300] over 5 seeds. "
        "Undefined: a."
    )


def test_seeds_that_lack_are_told():
    missing = evaluation.Estimate(0.2, 0.1, 0.3, 4, 5)
    text = reporting.finding("F1", {"a": missing}, reference="unguided")
    assert "+0.200 [+0.100, +0.300] (4 of 5 seeds) over 5 seeds" not in text
    assert "+0.200 [+0.100, +0.300] over 4 of 5 seeds." in text
