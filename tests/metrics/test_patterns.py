"""Similarity of two maps, against SciPy, scikit-image and values by hand."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from xguide_jax import metrics

correlation = jax.jit(metrics.rank_correlation)
cosine = jax.jit(metrics.cosine_similarity)
ssim = jax.jit(metrics.structural_similarity)
overlap = jax.jit(metrics.top_k_intersection, static_argnames="k")
SYMMETRIC = {
    "correlation": metrics.rank_correlation,
    "cosine": metrics.cosine_similarity,
    "overlap": functools.partial(metrics.top_k_intersection, k=3),
    "ssim": functools.partial(metrics.structural_similarity, data_range=2.0),
}


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_values_by_hand():
    first = np.array([[3.0, 1.0, 2.0, 2.0]], np.float32)
    second = np.array([[0.0, 1.0, 5.0, -1.0]], np.float32)
    # Ranks 4, 1, 2.5, 2.5 and 2, 3, 4, 1; from 2.5: 1.5 -1.5 0 0, -0.5 0.5 1.5 -1.5.
    expected = (1.5 * -0.5 + -1.5 * 0.5) / np.sqrt(4.5 * 5)
    np.testing.assert_allclose(correlation(first, second), [expected], rtol=1e-6)
    expected = (0 + 1 + 10 - 2) / np.sqrt(18 * 27)
    np.testing.assert_allclose(cosine(first, second), [expected], rtol=1e-6)
    # The highest two are {0, and 2 or 3} and {2, 1}: half of cell 2, of two places.
    np.testing.assert_allclose(overlap(first, second, k=2), [0.25], rtol=1e-6)
    np.testing.assert_allclose(overlap(first, second, k=1), [0.0])
    np.testing.assert_allclose(overlap(first, second, k=4), [1.0])


TIED = hnp.arrays(
    np.float32, (3, 6), elements=st.sampled_from([-1.0, -0.0, 0.0, 2.0, 7.0])
)


@hypothesis.given(TIED, TIED)
def test_rank_correlation_is_scipys_with_ties(first, second):
    for row, found in enumerate(np.asarray(correlation(first, second))):
        if len(set(first[row])) == 1 or len(set(second[row])) == 1:
            assert np.isnan(found)
        else:
            expected = scipy.stats.spearmanr(first[row], second[row]).statistic
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rank_correlation_of_large_maps():
    first, second = normal(0, 2, 150, 150), normal(1, 2, 150, 150)
    second = (first + second).round(1)
    expected = [
        scipy.stats.spearmanr(a.ravel(), b.ravel()).statistic
        for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(correlation(first, second), expected, rtol=1e-5)


def test_ranks_see_order_alone_and_the_cosine_direction():
    first = normal(2, 2, 3, 5)
    np.testing.assert_allclose(correlation(first, np.exp(first) + 3), 1, rtol=1e-6)
    np.testing.assert_allclose(correlation(first, -first), -1, rtol=1e-6)
    np.testing.assert_allclose(cosine(first, 1e-25 * first), 1, rtol=1e-6)
    np.testing.assert_allclose(cosine(first, -3e30 * first), -1, rtol=1e-6)
    assert np.all(cosine(first, first + 1) < 0.99)


def test_ssim_equals_scikit_image():
    skimage = pytest.importorskip("skimage.metrics")
    for seed, shape, offset in ((3, (3, 16, 13), 0.0), (4, (3, 11, 11), 40.0)):
        first = normal(seed, *shape) + offset
        second = (0.7 * first + 0.3 * normal(seed + 5, *shape)).astype(np.float32)
        expected = [
            skimage.structural_similarity(
                a.astype(np.float64), b.astype(np.float64), data_range=3.0,
                gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            )
            for a, b in zip(first, second, strict=True)
        ]  # fmt: skip
        found = ssim(first, second, data_range=3.0)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.ptp(expected) > 1e-3
        each = ssim(first, second, data_range=np.array([3.0, 1.0, 0.0], np.float32))
        np.testing.assert_allclose(each[0], expected[0], atol=1e-5)
        assert abs(each[1] - expected[1]) > 1e-4
        assert np.isnan(each[2])


def test_ssim_of_one_window_and_of_constants_by_hand():
    ones = np.ones((1, 11, 11), np.float32)
    # (2 · 1 · 3 + C1) / (1 + 9 + C1), no pattern in either: C2 / C2.
    expected = (6 + 4e-4) / (10 + 4e-4)
    found = metrics.structural_similarity(ones, 3 * ones, data_range=2.0)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    np.testing.assert_allclose(ssim(ones, ones, data_range=2.0), [1.0], rtol=1e-6)
    wave = np.sin(np.arange(121, dtype=np.float32)).reshape(1, 11, 11)
    assert ssim(wave, -wave, data_range=2.0)[0] < -0.5


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_symmetric_and_1_for_equal_maps_and_less_for_others(name):
    first, second = normal(6, 3, 11, 12), normal(7, 3, 11, 12)
    metric = jax.jit(SYMMETRIC[name])
    np.testing.assert_allclose(metric(first, first), 1, rtol=1e-5)
    found = metric(first, second)
    np.testing.assert_allclose(metric(second, first), found, rtol=1e-4, atol=1e-6)
    assert np.all((found >= -1) & (found < 0.7))
    reference = [metric(first[i : i + 1], second[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(found, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
def test_what_says_nothing_is_nan_in_its_row_alone(name):
    first, second = normal(8, 4, 11, 12), normal(9, 4, 11, 12)
    metric = jax.jit(SYMMETRIC[name])
    expected = np.array(metric(first, second))
    first[1, 10, 11] = np.nan
    first[2] = 0
    expected[1:3] = np.nan
    if name == "ssim":
        expected[2] = metric(0 * first, second)[2]
    np.testing.assert_array_equal(metric(first, second), expected)
    np.testing.assert_allclose(metric(second, first), expected, rtol=1e-4, atol=1e-6)


def test_constant_maps_have_an_angle_and_no_order():
    first, second = (
        np.full((1, 4), 2, np.float32),
        np.array([[1.0, 2, 3, 4]], np.float32),
    )
    np.testing.assert_allclose(cosine(first, second), 10 / np.sqrt(4 * 30), rtol=1e-6)
    assert np.isnan(correlation(first, second))
    assert np.isnan(overlap(first, second, k=2))


def test_blank_parts_of_sparse_maps_do_not_agree():
    sparse = np.zeros((1, 10), np.float32)
    sparse[0, 4] = 1
    # The peak, and two places among nine that are tied in both: 4/81 each.
    np.testing.assert_allclose(
        overlap(sparse, sparse, k=3), [(1 + 9 * (2 / 9) ** 2) / 3], rtol=1e-6
    )


@pytest.mark.parametrize("name", sorted(set(SYMMETRIC) - {"ssim"}))
def test_padded_tokens_do_not_count(name):
    first, second = normal(10, 2, 9), normal(11, 2, 9)
    where = np.arange(9) < np.array([[9], [6]])
    padded = np.where(where, first, np.nan).astype(np.float32)
    metric = jax.jit(SYMMETRIC[name])
    found = metric(padded, np.where(where, second, 99), where=where)
    for row, length in enumerate((9, 6)):
        cut = metric(first[row : row + 1, :length], second[row : row + 1, :length])
        np.testing.assert_allclose(found[row], cut[0], rtol=1e-5)


def test_fewer_valid_cells_than_k_are_all_taken():
    maps = normal(12, 1, 6)
    where = np.arange(6)[None] < 2
    found = metrics.top_k_intersection(maps, -maps, k=4, where=where)
    np.testing.assert_allclose(found, [1.0])


def test_float64_stays_float64(x64):
    first, second = normal(13, 2, 11, 11), normal(14, 2, 11, 11)
    for metric in SYMMETRIC.values():
        metric = jax.jit(metric)
        found = metric(jnp.asarray(first, jnp.float64), jnp.asarray(second))
        assert found.dtype == jnp.float64
        np.testing.assert_allclose(found, metric(first, second), atol=1e-5)


def test_arguments_out_of_range_are_refused():
    maps = jnp.ones((1, 10, 12))
    with pytest.raises(ValueError, match=r"`first` \(of 10 x 12 cells\).* at least 11"):
        metrics.structural_similarity(maps, maps, data_range=1.0)
    with pytest.raises(ValueError, match=r"`data_range` \(=0.0\) must be above 0"):
        metrics.structural_similarity(
            jnp.ones((1, 11, 11)), jnp.ones((1, 11, 11)), data_range=0.0
        )
    with pytest.raises(ValueError, match=r"`k` \(=0\) must be at least 1"):
        metrics.top_k_intersection(maps, maps, k=0)
    with pytest.raises(ValueError, match=r"`k` \(=121\) must lie in \[0, n\]"):
        metrics.top_k_intersection(maps, maps, k=121)
    for metric in SYMMETRIC.values():
        with pytest.raises(AssertionError):
            metric(jnp.ones((1, 11, 11)), jnp.ones((1, 11, 12)))
