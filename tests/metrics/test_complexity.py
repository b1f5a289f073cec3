"""Entropy, effective number of features and Gini index, by hand and by SciPy."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from xguide_jax import metrics

NAMES = ("effective_number_of_features", "entropy", "gini")
run = {name: jax.jit(getattr(metrics, name)) for name in NAMES}
# The one-hot map, the constant one, and what they score of 6 cells.
ONE_HOT = {"effective_number_of_features": 1.0, "entropy": 0.0, "gini": 5 / 6}
CONSTANT = {"effective_number_of_features": 6.0, "entropy": np.log(6), "gini": 0.0}


def test_values_by_hand():
    maps = np.array([[1.0, -2.0, 0.0, 5.0]], np.float32)
    # Shares 1/8, 2/8, 0, 5/8; in order 0, 1, 2, 5 with weights -3, -1, 1, 3.
    expected = np.log(8) - (2 * np.log(2) + 5 * np.log(5)) / 8
    np.testing.assert_allclose(run["entropy"](maps), [expected], rtol=1e-6)
    found = run["effective_number_of_features"](maps)
    np.testing.assert_allclose(found, [8 / (4 * 5**5) ** (1 / 8)], rtol=1e-6)
    expected = (-3 * 0 - 1 * 1 + 1 * 2 + 3 * 5) / (4 * 8)
    np.testing.assert_allclose(run["gini"](maps), [expected], rtol=1e-6)


def test_two_cells_equal_in_magnitude_are_two_features():
    maps = np.array([[0.0, -3.0, 0.0, 3.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(run["entropy"](maps), [np.log(2)], rtol=1e-6)
    found = run["effective_number_of_features"](maps)
    np.testing.assert_allclose(found, [2], rtol=1e-6)
    np.testing.assert_allclose(run["gini"](maps), [4 / 6], rtol=1e-6)  # 1 - 2/6


@pytest.mark.parametrize("name", NAMES)
def test_a_single_cell_and_a_constant_map_are_the_extremes(name):
    maps = np.zeros((2, 2, 3), np.float32)
    maps[0, 1, 2], maps[1] = -7.0, 0.1
    expected = [ONE_HOT[name], CONSTANT[name]]
    np.testing.assert_allclose(run[name](maps), expected, rtol=1e-6, atol=1e-7)
    maps[1, 0] *= -1  # equal in magnitude
    np.testing.assert_allclose(run[name](maps), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_undefined_is_nan_in_its_row_alone(name):
    maps = np.array([[0, 0, 0], [1, np.nan, 2], [1, np.inf, 2], [4, 0, 0]], np.float32)
    found = run[name](maps)
    np.testing.assert_array_equal(np.isnan(found), [True, True, True, False])
    np.testing.assert_allclose(found[3:], run[name](maps[3:]), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_padding_is_no_part_of_the_map(name):
    maps = np.array([[1, np.nan, 2, 5], [1, 9, 2, 5], [3, 0, 0, 0]], np.float32)
    where = np.array([[True, False, True, True]] * 2 + [[False] * 4])
    found = run[name](maps, where=where)
    short = run[name](np.array([[1, 2, 5]], np.float32))
    np.testing.assert_allclose(found[:2], [short[0]] * 2, rtol=1e-6)
    assert np.isnan(found[2])


MAPS = hnp.arrays(
    np.float32, (3, 5), elements=st.sampled_from([-3.0, -1.0, 0.0, 0.5, 1.0, 40.0])
)


@hypothesis.given(MAPS)
def test_entropy_is_scipys_and_gini_the_mean_difference(maps):
    entropies, ginis = np.asarray(run["entropy"](maps)), np.asarray(run["gini"](maps))
    for row, values in enumerate(np.abs(maps).astype(np.float64)):
        if not values.any():
            assert np.isnan(entropies[row])
            assert np.isnan(ginis[row])
            continue
        expected = scipy.stats.entropy(values)
        np.testing.assert_allclose(entropies[row], expected, atol=1e-6)
        # Half the mean difference of two cells, relative to their mean.
        differences = np.abs(values[:, None] - values).mean()
        expected = differences / (2 * values.mean())
        np.testing.assert_allclose(ginis[row], expected, atol=1e-6)
        # The published form, from the lowest to the highest.
        share = np.sort(values) / values.sum()
        published = 1 - 2 * np.sum(share * (5 - np.arange(1, 6) + 0.5) / 5)
        np.testing.assert_allclose(ginis[row], published, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_does_not_matter_however_far(name):
    maps = np.array([[1.0, -2.0, 0.5, 5.0]], np.float32)
    for factor in (1e-36, 1e-20, 3.0, 1e30, 5e37):
        found = run[name](np.float32(factor) * maps)
        np.testing.assert_allclose(found, run[name](maps), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_with_zeros_and_empty_maps(name):
    maps = jnp.array([[0.0, 1.0, -2.0], [0.0, 0.0, 0.0]])
    total = lambda maps: jnp.nansum(getattr(metrics, name)(maps))
    assert np.all(np.isfinite(jax.grad(total)(maps)))


def test_a_large_map_keeps_its_digits():
    maps = np.ones((1, 300, 300), np.float32)
    np.testing.assert_allclose(run["entropy"](maps), [np.log(90000)], rtol=1e-6)
    np.testing.assert_allclose(run["gini"](maps), [0], atol=1e-6)
    maps = np.arange(90000, dtype=np.float32).reshape(1, 300, 300)
    np.testing.assert_allclose(run["gini"](maps), [90001 / 270000], rtol=1e-5)


def test_narrow_maps_are_summed_in_float32():
    maps = jnp.ones((1, 1000), jnp.bfloat16)
    found = metrics.entropy(maps)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [np.log(1000)], rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_and_maps_without_cells_are_refused(name):
    for maps in (np.ones((2, 3), np.int32), np.ones(3, np.float32)):
        with pytest.raises(AssertionError):
            getattr(metrics, name)(maps)
