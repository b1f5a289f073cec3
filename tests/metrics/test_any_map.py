"""All metrics of maps: any map, any region, any part of it that counts."""

import functools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from xguide_jax import metrics

SHAPE = (3, 2, 4)
# {name: (metric, how the second argument is made, lowest and highest value)}
METRICS = {
    "average_precision": (metrics.average_precision, "region", 0.0, 1.0),
    "cosine_similarity": (metrics.cosine_similarity, "map", -1.0, 1.0),
    "effective_number_of_features": (
        metrics.effective_number_of_features, None, 1.0, 8.0,
    ),
    "energy_pointing_game": (metrics.energy_pointing_game, "region", 0.0, 1.0),
    "entropy": (metrics.entropy, None, 0.0, np.log(8)),
    "gini": (metrics.gini, None, 0.0, 7 / 8),
    "iou": (functools.partial(metrics.iou, threshold=0.5), "region", 0.0, 1.0),
    "pointing_game": (metrics.pointing_game, "region", 0.0, 1.0),
    "rank_correlation": (metrics.rank_correlation, "map", -1.0, 1.0),
    "relevance_mass_accuracy": (metrics.relevance_mass_accuracy, "region", 0.0, 1.0),
    "relevance_rank_accuracy": (metrics.relevance_rank_accuracy, "region", 0.0, 1.0),
    "top_k_intersection": (
        functools.partial(metrics.top_k_intersection, k=3), "map", 0.0, 1.0,
    ),
}  # fmt: skip
cells = strategies.one_of(
    strategies.integers(-2, 2).map(float),  # ties, zeros and constant maps
    strategies.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    strategies.just(float("nan")),
)
maps = arrays.arrays(np.float32, SHAPE, elements=cells)
masks = arrays.arrays(np.bool_, SHAPE)


@functools.cache
def compiled(name):
    return jax.jit(METRICS[name][0])


@pytest.mark.parametrize("name", sorted(METRICS))
@hypothesis.settings(max_examples=15)
@hypothesis.given(first=maps, second=maps, region=masks, where=masks)
def test_what_every_metric_of_maps_keeps(name, first, second, region, where):
    _, kind, low, high = METRICS[name]
    others = {None: (), "map": (second,), "region": (region.astype(np.float32),)}[kind]
    measure = compiled(name)
    found = np.asarray(measure(first, *others, where=where))
    defined = found[~np.isnan(found)]
    assert np.all((low - 1e-5 <= defined) & (defined <= high + 1e-5))
    # What does not count may hold anything, a NaN too.
    other = np.where(where, first, np.float32(np.nan))
    np.testing.assert_array_equal(measure(other, *others, where=where), found)
    # A NaN where it counts is NaN, and in its row alone.
    broken = first.copy()
    broken[0] = np.nan
    expected = np.concatenate([[np.nan], found[1:]])
    found = np.asarray(measure(broken, *others, where=where))
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    # Rows in another order are the same rows.
    turned = measure(broken[::-1], *(o[::-1] for o in others), where=where[::-1])
    np.testing.assert_array_equal(turned[::-1], found)
