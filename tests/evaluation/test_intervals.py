"""Intervals of means."""

import functools
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import evaluation


def test_the_t_interval_by_hand():
    # 1 .. 5: mean 3, s = sqrt(10 / 4), half width 2.776445 * s / sqrt(5) = 1.963243.
    low, high = evaluation.t_interval(np.arange(1.0, 6.0)[:, None])
    np.testing.assert_allclose([low[0], high[0]], [1.036757, 4.963243], rtol=1e-6)


def test_the_t_interval_covers_the_mean_in_95_of_100_cases():
    samples = np.random.default_rng(0).normal(size=(5, 20_000))
    low, high = evaluation.t_interval(samples)
    # The standard error of a share of 0.95 in 20,000 is 0.0015.
    assert abs(np.mean((low < 0) & (high > 0)) - 0.95) < 0.006


def test_the_bootstrap_agrees_with_theory_on_many_rows():
    values = np.random.default_rng(0).normal(loc=2, scale=3, size=(2000, 2))
    low, high = evaluation.bootstrap_interval(values, seed=0, num_resamples=2000)
    error = 1.96 * values.std(axis=0) / np.sqrt(2000)
    np.testing.assert_allclose(low, values.mean(axis=0) - error, atol=0.01)
    np.testing.assert_allclose(high, values.mean(axis=0) + error, atol=0.01)


def test_the_bootstrap_is_decided_by_its_seed():
    values = np.random.default_rng(0).normal(size=(20, 1))
    first, again, other = (
        evaluation.bootstrap_interval(values, seed=seed)[0] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_rows_that_agree_have_no_width():
    values = np.full((6, 2), 0.25)
    for low, high in (
        evaluation.t_interval(values),
        evaluation.bootstrap_interval(values, seed=0),
    ):
        np.testing.assert_allclose(low, 0.25, rtol=1e-12)
        np.testing.assert_allclose(high, 0.25, rtol=1e-12)


def test_one_row_has_no_interval():
    for low, high in (
        evaluation.t_interval(np.ones((1, 3))),
        evaluation.bootstrap_interval(np.ones((1, 3)), seed=0),
    ):
        assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True] * 3


def test_a_bootstrap_without_draws_is_refused():
    with pytest.raises(ValueError, match=r"`num_resamples` \(=0\) must be at least 1"):
        evaluation.bootstrap_interval(np.ones((2, 1)), seed=0, num_resamples=0)


@pytest.mark.parametrize("dtype", [bool, np.int32, np.float16, "bfloat16"])
def test_intervals_of_any_type_are_those_of_float64(dtype):
    values = (np.arange(6) % 2)[:, None].astype(jnp.dtype(dtype))
    wide = np.asarray(values, np.float64)
    for interval in (
        evaluation.t_interval,
        functools.partial(evaluation.bootstrap_interval, seed=0),
    ):
        np.testing.assert_array_equal(interval(values), interval(wide))


def test_a_column_with_something_undefined_has_no_interval():
    values = np.arange(12.0).reshape(4, 3)
    values[1, 1], values[2, 2] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for low, high in (
            evaluation.t_interval(values),
            evaluation.bootstrap_interval(values, seed=0),
        ):
            assert np.isnan(low).tolist() == np.isnan(high).tolist()
            assert np.isnan(low).tolist() == [False, True, True]


def test_a_wider_confidence_is_a_wider_interval():
    values = np.arange(1.0, 6.0)[:, None]
    # t_{0.995, 4} = 4.604095; s / sqrt(5) = 0.707107.
    low, high = evaluation.t_interval(values, confidence=0.99)
    np.testing.assert_allclose([low[0], high[0]], [-0.255587, 6.255587], rtol=1e-5)
    interval = functools.partial(evaluation.bootstrap_interval, values, seed=0)
    for narrow, wide in ((0.5, 0.9), (0.9, 0.95)):
        inner, outer = interval(confidence=narrow), interval(confidence=wide)
        assert outer[0] < inner[0] < 3 < inner[1] < outer[1]
    for same in (interval, functools.partial(evaluation.t_interval, values)):
        assert same() == same(confidence=0.95)


@pytest.mark.parametrize("confidence", [0, 1, -0.5, np.nan])
def test_a_confidence_outside_the_unit_interval_is_refused(confidence):
    for interval in (
        evaluation.t_interval,
        functools.partial(evaluation.bootstrap_interval, seed=0),
    ):
        with pytest.raises(ValueError, match=r"`confidence` .* must lie in \(0, 1\)"):
            interval(np.ones((2, 1)), confidence=confidence)
