"""Sensitivity of maps, against linear explainers with closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

KEY = jax.random.key(0)
INPUTS = np.array([[1.0, -2.0, 0.5], [0.3, 0.1, 4.0]], np.float32)
BOTH = (metrics.max_sensitivity, metrics.local_lipschitz)
run = {
    metric.__name__: jax.jit(
        metric, static_argnames=("explain", "num_samples", "radius")
    )
    for metric in BOTH
}
settings = {"key": KEY, "radius": 0.1, "num_samples": 4}


def cubed(inputs):
    return inputs**3


def recorded(explain, inputs, **changed):
    """The inputs that an explainer is called with: the clean ones and the copies."""
    seen = []

    def record(values):
        seen.append(np.asarray(values, np.float32))
        return explain(values)

    metrics.local_lipschitz(record, jnp.asarray(inputs), **settings | changed)
    return seen[0], np.stack(seen[1:])


def test_both_equal_their_definition_over_the_copies():
    clean, copies = recorded(cubed, INPUTS)
    np.testing.assert_array_equal(clean, INPUTS)
    change = np.linalg.norm(copies**3 - clean**3, axis=-1)
    expected = change.max(0) / np.linalg.norm(clean**3, axis=-1)
    found = run["max_sensitivity"](cubed, INPUTS, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    expected = (change / np.linalg.norm(copies - clean, axis=-1)).max(0)
    found = run["local_lipschitz"](cubed, INPUTS, **settings)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert len(copies) == 4
    assert np.ptp(change, axis=0).min() > 1e-3


def test_a_linear_map_has_its_slope_and_a_constant_one_none():
    np.testing.assert_allclose(
        run["local_lipschitz"](lambda x: -3 * x, INPUTS, **settings), 3, rtol=1e-4
    )
    constant = lambda x: jnp.ones_like(x)
    for metric in run.values():
        np.testing.assert_array_equal(metric(constant, INPUTS, **settings), [0, 0])


def test_copies_fill_the_cube_of_the_radius_and_no_more():
    inputs = np.zeros((2, 200), np.float32)
    _, copies = recorded(lambda x: x, inputs, radius=0.5, num_samples=3)
    assert np.abs(copies).max() <= 0.5
    assert copies.min() < -0.48
    assert copies.max() > 0.48
    assert abs(copies.mean()) < 0.05
    flat = copies.reshape(6, -1)
    assert len(np.unique(flat[:, 0])) == 6  # no draw twice


def test_relative_to_the_map_and_in_units_of_the_map():
    larger = lambda x: 8 * cubed(x)
    for name, factor in (("max_sensitivity", 1), ("local_lipschitz", 8)):
        before = run[name](cubed, INPUTS, **settings)
        after = run[name](larger, INPUTS, **settings)
        np.testing.assert_allclose(after, factor * before, rtol=1e-5)
    # Squares of 1e-25 would be 0 in float32.
    faint = lambda x: 1e-25 * cubed(x)
    np.testing.assert_allclose(
        run["max_sensitivity"](faint, INPUTS, **settings),
        run["max_sensitivity"](cubed, INPUTS, **settings), rtol=1e-4,
    )  # fmt: skip


def test_more_copies_never_lower_the_maximum_and_keys_belong_to_examples():
    for metric in run.values():
        few = metric(cubed, INPUTS, **settings)
        more = metric(cubed, INPUTS, **settings | {"num_samples": 7})
        assert np.all(more >= few)
        assert np.any(more > few)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(2))
        alone = metric(cubed, INPUTS[1:], **settings | {"key": keys[1:]})
        np.testing.assert_allclose(alone, few[1:], rtol=1e-5)


def test_undefined_is_nan_in_its_row_alone():
    def explain(values):
        rows = jnp.arange(len(values))[:, None]
        broken = jnp.where(values > 1.0, jnp.nan, values)  # in some copies of row 1
        return jnp.where(rows == 0, values, jnp.where(rows == 1, broken, 0.0))

    inputs = np.array([[0.3, 0.2], [0.99, 0.1], [0.5, 0.5]], np.float32)
    found = run["max_sensitivity"](explain, inputs, **settings)
    np.testing.assert_array_equal(np.isnan(found), [False, True, True])
    found = run["local_lipschitz"](explain, inputs, **settings)
    np.testing.assert_array_equal(np.isnan(found), [False, True, False])
    assert found[2] == 0


@pytest.mark.parametrize("name", sorted(run))
def test_a_nan_of_a_noisy_map_shows_among_many_maps(name):
    # Of 4096 numbers or more a maximum on a CPU overlooks a NaN.
    inputs = jnp.ones((2000, 4))
    first = jnp.arange(inputs.size).reshape(inputs.shape) == 0
    explain = lambda values: jnp.where(first & (values != 1), jnp.nan, 1.0)
    found = run[name](explain, inputs, **settings)
    np.testing.assert_array_equal(found, [np.nan, *[0.0] * 1999])


def test_a_radius_below_the_precision_of_the_inputs_is_undefined():
    inputs = np.array([[1e8, 2e8], [0.1, 0.2]], np.float32)
    found = run["local_lipschitz"](cubed, inputs, **settings | {"radius": 1e-3})
    np.testing.assert_array_equal(np.isnan(found), [True, False])


def test_bfloat16_inputs_are_compared_as_they_were_rounded():
    inputs = jnp.asarray(INPUTS, jnp.bfloat16)
    seen = []

    def explain(values):
        seen.append(values.dtype)
        return 2 * values

    found = metrics.local_lipschitz(explain, inputs, **settings)
    assert found.dtype == jnp.float32
    assert set(seen) == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_allclose(found, 2, rtol=1e-6)


@pytest.mark.parametrize("metric", BOTH)
def test_arguments_out_of_range_are_refused(metric):
    call = functools.partial(metric, cubed, jnp.asarray(INPUTS))
    with pytest.raises(ValueError, match=r"`radius` \(=0\) must be above 0"):
        call(**settings | {"radius": 0})
    with pytest.raises(ValueError, match=r"`num_samples` \(=0\) must be at least 1"):
        call(**settings | {"num_samples": 0})
    with pytest.raises(ValueError, match="typed key"):
        call(**settings | {"key": np.zeros(2, np.uint32)})
    with pytest.raises(AssertionError):
        metric(lambda x: x[:1], jnp.asarray(INPUTS), **settings)
    with pytest.raises(AssertionError):
        metric(lambda x: x.astype(jnp.float32), jnp.ones((2, 3), jnp.int32), **settings)
