"""Results over seeds: what is undefined is said, dropped on both sides, and counted."""

import numpy as np

from experiments.running import arms
from experiments.running import results as over_seeds

NAN = np.nan
itself = lambda measured: measured
mean_of = lambda rows: NAN if np.isnan(rows).all() else float(np.nanmean(rows))


def of_seeds(**given):
    """{arm: what is measured of each seed} as results."""
    make = lambda arm, m: over_seeds.Result(arms.Arm(arm, arm), 0, 1, 0.0, m)
    return {arm: [make(arm, m) for m in measured] for arm, measured in given.items()}


def versus(results, one, other):
    return over_seeds.versus(results, one, other, itself)


def test_a_mean_says_of_how_many_seeds_it_is():
    results = of_seeds(a=[0.5, NAN, 0.25, NAN, 0.75], b=[0.5, 1.0], c=[NAN, NAN])
    assert over_seeds.mean(results["a"], itself) == "0.5 (3 of 5 seeds)"
    assert over_seeds.mean(results["b"], itself) == 0.75
    assert np.isnan(over_seeds.mean(results["c"], itself))


def test_one_seed_without_a_number_is_undefined_and_not_nan():
    results = of_seeds(a=[NAN], b=[0.5], c=[0.75])
    assert versus(results, "a", "b") == "undefined"
    assert versus(results, "c", "b") == "+0.250"
    assert versus(results, "b", "b") == "reference"


def test_a_comparison_of_three_of_five_seeds_says_so():
    results = of_seeds(a=[1, NAN, 2, 3, 4], b=[0, 0, 0, 0, NAN])
    assert versus(results, "a", "b") == "+2.000 [-0.484, +4.484] (3 of 5 seeds)"


def test_a_comparison_of_arms_leaves_an_image_out_of_both():
    # 'a' has no answer on its hard image, on which 'b' is bad.
    results = of_seeds(a=[np.array([NAN, 0.75, 0.5])], b=[np.array([0.0, 1.0, 0.5])])
    paired = lambda *pair: over_seeds.versus(results, *pair, mean_of, rows=itself)
    # (.75 - 1 + .5 - .5) / 2; the means, .625 - .5, would say the opposite.
    assert paired("a", "b") == "-0.125"
    assert paired("b", "a") == "+0.125"
