"""Both sides of a gap rest on the same examples."""

import functools
import warnings

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from xguide_jax import evaluation

FRACTIONS = tuple(np.round(np.arange(0.0, 0.95, 0.1), 1).tolist())
NAN = np.nan
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def area(curve):
    return np.trapezoid(curve, FRACTIONS, axis=-1) / 0.9


def flat(*heights):
    """Rows of one height each, [N, F]."""
    return np.stack([np.full(10, height, np.float32) for height in heights])


def both(rows):
    return evaluation.Views(rows, rows)


def compare(maps, chance):
    curves = evaluation.Curves(maps, chance)
    return evaluation.compare_with_chance(curves, fractions=FRACTIONS)


@hypothesis.given(strategies.integers(0, 2**31))
def test_a_gap_lies_between_minus_one_and_one_and_turns_with_its_sides(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(size=(2, 6, 10)).astype(np.float32)
    one[rng.integers(6), rng.integers(10)] = np.nan
    there = compare({"m": {"a": both(one)}}, {"a": both(other)}).maps["m"]["a"]
    back = compare({"m": {"a": both(other)}}, {"a": both(one)}).maps["m"]["a"]
    for view, turned in zip(there, back, strict=True):
        assert -1 <= view.gap.mean <= 1
        close(view.gap.mean, -turned.gap.mean)
        close(view.gap.mean_or_zero, view.gap.mean * 5 / 6)
        assert view.gap[2:] == (5, 6)
    close(there.removal.gap.mean, -there.insertion.gap.mean)


def test_a_gap_compares_the_same_examples():
    # The map orders nothing in the first two examples, which nothing can change.
    chance = evaluation.Views(flat(1.0, 1.0, 0.25, 0.75), flat(1.0, 1.0, 0.5, 0.5))
    own = evaluation.Views(flat(NAN, NAN, 0.5, 0.75), flat(NAN, NAN, 1.0, 0.625))
    found = compare({"gradient": {"black": own}}, {"black": chance})
    removal = found.maps["gradient"]["black"].removal
    # (.25 + .75) / 2 - (.5 + .75) / 2; over all examples chance would be .75: +.125.
    close(removal.gap.mean, -0.125)
    close(removal.area, 0.625)
    close(removal.chance.area, 0.5)
    close(found.chance["black"].removal.area, 0.75)
    # A gap of 0 for the two: -.125 * 2 / 4.
    close(removal.gap.mean_or_zero, -0.0625)
    assert removal.gap[2:] == (2, 4)
    assert found.num_undefined == 0
    close(removal.curve, 0.625)
    close(removal.chance.curve, 0.5)
    close(removal.rows, [NAN, NAN, -0.25, 0.0])
    # Of the insertion the higher curve is the better one: .8125 - .5.
    insertion = found.maps["gradient"]["black"].insertion
    close(insertion.gap[:2], [0.3125, 0.15625])
    close(insertion.rows, [NAN, NAN, 0.5, 0.125])


def test_forty_examples_of_which_twenty_are_saturated():
    rng = np.random.default_rng(0)
    chance = np.sort(rng.uniform(size=(40, 10)).astype(np.float32))[:, ::-1]
    correct = np.sort(rng.integers(2, size=(40, 10)).astype(np.float32))[:, ::-1]
    chance[:20], correct[:20] = 1.0, np.nan
    found = compare({"m": {"black": both(correct)}}, {"black": both(chance)})
    expected = np.mean(area(chance[20:]) - area(correct[20:]))
    across = np.mean(area(chance)) - np.mean(area(correct[20:]))
    assert across > expected + 0.2
    for view, sign in zip(found.maps["m"]["black"], (1, -1), strict=True):
        close(view.gap[:2], [sign * expected, sign * expected / 2])
        assert view.gap.num_undefined == 20


def test_the_gap_is_the_summary_of_its_rows():
    rng = np.random.default_rng(1)
    chance, correct = rng.uniform(size=(2, 9, 10)).astype(np.float32)
    correct[3] = np.nan
    found = compare({"m": {"black": both(correct)}}, {"black": both(chance)})
    for view in found.maps["m"]["black"]:
        close(view.gap, evaluation.summarise(view.rows))


def test_an_example_that_is_undefined_anywhere_is_left_out_everywhere():
    chance = {
        "a": evaluation.Views(flat(1.0, 1.0, 1.0, 0.5), flat(*[0.5] * 4)),
        "b": both(flat(0.0, 0.0, 0.0, 1.0)),
    }
    one = evaluation.Views(flat(0.0, 0.5, 1.0, 1.0), flat(*[1.0] * 4))
    two = evaluation.Views(one.removal.copy(), one.insertion)
    one.removal[0, 7] = np.nan  # a prediction that is none, at one fraction
    chance["a"].insertion[1, 3] = np.nan
    ones = both(flat(*[1.0] * 4))
    found = compare(
        {"one": {"a": one, "b": ones}, "two": {"a": two, "b": ones}}, chance
    )
    counts = [
        found.maps[name]["b"].removal.gap.num_undefined for name in ("one", "two")
    ]
    assert counts == [2, 1]
    assert found.num_undefined == 1
    for fill in "ab":
        for view in found.maps["one"][fill]:
            assert np.isnan(view.rows).tolist() == [True, True, False, False]
    close(found.maps["one"]["a"].removal.gap.mean, 0.75 - 1.0)
    close(found.maps["two"]["a"].removal.gap.mean, 2.5 / 3 - 2 / 3)
    close(found.maps["one"]["b"].removal.gap.mean, 0.5 - 1.0)
    close(found.chance["a"].removal.area, 2.5 / 3)
    close(found.maps["one"]["a"].removal.curve, 1.0)


def test_without_a_defined_example_a_gap_is_undefined_and_its_zero_is_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(
            {"m": {"a": both(flat(np.nan, np.nan))}}, {"a": both(flat(1.0, 0.5))}
        )
    removal = found.maps["m"]["a"].removal
    assert np.isnan([removal.gap.mean, removal.area, removal.chance.area]).all()
    assert removal.gap[1:] == (0.0, 0, 2)
    assert np.isnan(removal.curve).all()
    assert np.isnan(removal.rows).all()


def test_a_map_with_other_fills_than_chance_is_refused():
    with pytest.raises(ValueError, match=r"`curves.maps`\['m'\] must have the fills"):
        compare({"m": {"a": both(flat(1.0))}}, {"b": both(flat(1.0))})
