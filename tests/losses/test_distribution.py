"""Distances of sets of maps: values by hand, closed forms, rows that do not count."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from xguide_jax import losses

KEY = jax.random.key(0)
kl_to_prior = jax.jit(losses.kl_to_prior)
mmd = jax.jit(functools.partial(losses.maximum_mean_discrepancy, bandwidth=1.5))
sliced = jax.jit(
    functools.partial(losses.sliced_wasserstein, num_projections=16, key=KEY)
)


@jax.jit
def moments(x, y, *, where=None):
    return losses.moment_distance(
        x, jnp.mean(y, axis=0), jnp.std(y, axis=0, ddof=1), where=where
    )


SET_DISTANCES = {"mmd": mmd, "moments": moments, "sliced": sliced}
of_sets = pytest.mark.parametrize("distance", SET_DISTANCES.values(), ids=SET_DISTANCES)


def vectors(seed, rows, size=3):
    return np.random.default_rng(seed).normal(size=(rows, size))


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_divergence_from_a_prior_by_hand(self):
        # (1/2, 1/4, 1/4, 0) from (1/4, 1/4, 1/4, 1/4): 1/2 ln 2.
        maps = jnp.array([[[2.0, 1.0], [1.0, 0.0]], [[4.0, 4.0], [4.0, 4.0]]])
        prior = jnp.full((2, 2, 2), 7.0)
        loss = self.variant(losses.kl_to_prior)(maps, prior)
        np.testing.assert_allclose(loss, [np.log(2) / 2, 0], atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_moments_by_hand(self):
        # μ = (2, 5), σ² = (2, 0); m = (1, 5), s = (2, 1), ε = 1:
        # 1/5 and 0; ¼ ln²(3/5) and ¼ ln²(1/2); the mean over k.
        loss = self.variant(functools.partial(losses.moment_distance, epsilon=1.0))(
            jnp.array([[1.0, 5.0], [3.0, 5.0]]), jnp.array([1.0, 5.0]),
            jnp.array([2.0, 1.0]),
        )  # fmt: skip
        expected = (1 / 5 + np.log(3 / 5) ** 2 / 4 + np.log(2) ** 2 / 4) / 2
        np.testing.assert_allclose(loss, expected, rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_discrepancy_by_hand(self):
        # h = 1, k = exp(-d² / 2). Within {0, 2}: (1 + e⁻²) / 2; within {1}: 1; between
        # e^-½.
        loss = self.variant(
            functools.partial(losses.maximum_mean_discrepancy, bandwidth=1.0)
        )(jnp.array([[0.0], [2.0]]), jnp.array([[1.0]]))
        expected = (1 + np.exp(-2)) / 2 + 1 - 2 * np.exp(-0.5)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_transport_on_a_line_by_hand(self):
        # Quantiles of {0, 6} and {9, 0, 3}: 0 | 0 | 6 | 6 and 0 | 3 | 3 | 9 over steps
        # of 1/3, 1/6, 1/6, 1/3: 0 + 9/6 + 9/6 + 9/3 = 6.
        loss = self.variant(sliced)(
            jnp.array([[6.0], [0.0]]), jnp.array([[9.0], [0.0], [3.0]])
        )
        np.testing.assert_allclose(loss, 6, rtol=1e-5)


def test_a_scale_of_either_map_changes_no_divergence():
    maps, prior = (np.abs(vectors(seed, 2, 4)) for seed in (0, 1))
    found = kl_to_prior(3 * maps, prior / 5)
    np.testing.assert_allclose(found, kl_to_prior(maps, prior), rtol=1e-5)
    assert found > 0.01
    assert found.shape == ()


def test_the_slope_of_a_divergence_is_the_logarithm_of_the_ratio(x64):
    """d/d logits of KL(softmax || π) is P (log P / π − KL)."""
    logits, prior = vectors(0, 3, 4), np.abs(vectors(1, 3, 4))
    prior /= prior.sum()
    of = lambda logits: kl_to_prior(jax.nn.softmax(logits, axis=(0, 1)), prior)
    p = np.exp(logits) / np.exp(logits).sum()
    value, gradient = jax.jit(jax.value_and_grad(of))(logits)
    np.testing.assert_allclose(gradient, p * (np.log(p / prior) - value), atol=1e-12)


def test_without_a_map_or_a_prior_there_is_nothing_to_learn():
    full, empty = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.zeros((2, 2))
    maps, prior = jnp.stack([full, empty, empty, full]), jnp.stack([empty, full] * 2)
    prior = prior.at[3].set(jnp.array([[0.0, 1.0], [1.0, 1.0]]))
    total = lambda maps, prior: jnp.sum(losses.kl_to_prior(maps, prior))
    values = kl_to_prior(maps, prior)
    gradients = jax.jit(jax.grad(total, (0, 1)))(maps, prior)
    chex.assert_tree_all_finite((values, gradients))
    np.testing.assert_array_equal(values[:3], 0)
    np.testing.assert_array_equal(gradients[0][:3], 0)
    np.testing.assert_array_equal(gradients[1][:3], 0)
    # (1, 2, 3, 0) / 6 from (0, 1, 1, 1) / 3, and log 0 counts as −100.
    expected = (np.log(1 / 6) + 100 + 2 * np.log(1) + 3 * np.log(3 / 2)) / 6
    np.testing.assert_allclose(values[3], expected, rtol=1e-6)
    assert gradients[0][3, 0, 0] > 0  # away from where no person looked


def test_maps_that_are_none_are_refused():
    good = jnp.ones((1, 2, 2))
    for value in (-0.5, float("nan")):
        bad = good.at[0, 1, 0].set(value)
        message = rf"`\[0, 1, 0\] \(={value}\) must be finite and at least 0\.$"
        with pytest.raises(ValueError, match="^`map_mean" + message):
            losses.kl_to_prior(bad, good)
        with pytest.raises(ValueError, match="^`prior" + message):
            losses.kl_to_prior(good, bad)


@of_sets
def test_equal_sets_are_no_distance_apart(distance):
    x = vectors(0, 6)
    np.testing.assert_allclose(distance(x, x[::-1]), 0, atol=1e-6)
    assert distance(x, x + 0.5) > 0.01
    assert distance(x, 2 * (x - x.mean(axis=0)) + x.mean(axis=0)) > 0.01


@of_sets
def test_rows_that_do_not_count_may_be_nan(distance):
    x, y = vectors(0, 5), vectors(1, 7)
    where = np.array([True, False, True, True, False])
    padded = np.where(where[:, None], x, np.nan)
    value, gradient = jax.jit(
        jax.value_and_grad(lambda x: distance(x, y, where=where))
    )(padded)
    expected, slope = jax.jit(jax.value_and_grad(distance))(x[where], y)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient[where], slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(gradient[~where], 0)
    assert np.any(slope != 0)


@of_sets
def test_without_a_row_there_is_nothing_to_learn(distance):
    nobody = jnp.zeros(4, bool)
    value, gradients = jax.jit(
        jax.value_and_grad(lambda x, y: distance(x, y, where=nobody), (0, 1))
    )(np.full((4, 3), np.nan), vectors(1, 7))
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@of_sets
def test_the_order_of_the_rows_does_not_count(distance):
    x, y = vectors(0, 5), vectors(1, 7)
    found = distance(x[::-1], np.roll(y, 2, axis=0))
    np.testing.assert_allclose(found, distance(x, y), rtol=1e-5)


@of_sets
def test_derivatives_to_second_order_are_right(distance, x64):
    where = jnp.array([True, True, False, True])
    check_grads(
        jax.jit(lambda x, y: distance(x, y, where=where)),
        (vectors(0, 4), vectors(1, 3)), order=2, modes=["rev"],
    )  # fmt: skip


def test_so_are_those_of_the_divergence(x64):
    maps, prior = (np.abs(vectors(seed, 2)) + 0.1 for seed in (0, 1))
    check_grads(kl_to_prior, (maps, prior), order=2, modes=["rev"])


@of_sets
def test_narrow_sets_are_compared_in_float32(distance):
    x, y = vectors(0, 5).astype(jnp.bfloat16), vectors(1, 7)
    value, gradient = jax.jit(jax.value_and_grad(distance))(x, y)
    assert (value.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(value, distance(x.astype(np.float32), y), rtol=1e-6)
    maps = jnp.ones((2, 2), jnp.bfloat16)
    assert losses.kl_to_prior(maps, maps).dtype == jnp.float32


def test_one_row_has_a_mean_and_no_spread():
    x, means, deviations = jnp.array([[3.0]]), jnp.array([1.0]), jnp.array([2.0])
    value, gradient = jax.jit(jax.value_and_grad(losses.moment_distance))(
        x, means, deviations
    )
    np.testing.assert_allclose([value, gradient[0, 0]], [1, 1], rtol=1e-5)


def test_rows_that_are_all_alike_have_a_finite_slope():
    value, gradient = jax.jit(jax.value_and_grad(losses.moment_distance))(
        jnp.ones((3, 2)), jnp.ones(2), jnp.ones(2)
    )
    np.testing.assert_allclose(value, np.log(1e-6) ** 2 / 4, rtol=1e-5)
    np.testing.assert_allclose(gradient, np.zeros((3, 2)), atol=1e-6)


def test_halves_of_a_human_set_look_as_wide_as_the_whole(x64):
    """σ² by n − 1 has no bias; by n it would be halved in pairs."""
    maps = vectors(0, 6, 1)
    pairs = [maps[[i, j]] for i in range(6) for j in range(6)]  # with repetition
    variances = [np.var(pair, ddof=1) for pair in pairs]
    np.testing.assert_allclose(np.mean(variances), np.var(maps), rtol=1e-10)
    found = losses.moment_distance(
        jnp.asarray([[0.0], [2.0]]), jnp.ones(1), jnp.full(1, np.sqrt(2))
    )
    np.testing.assert_allclose(found, 0, atol=1e-12)


def test_a_wide_kernel_sees_the_means_alone(x64):
    """exp(−d² / 2h²) is 1 − d² / 2h² + ..., so MMD² is |x̄ − ȳ|² / h² + O(h⁻⁴)."""
    x, y = vectors(0, 5), vectors(1, 7)
    found = jax.jit(functools.partial(losses.maximum_mean_discrepancy, bandwidth=1e3))(
        x, y
    )
    expected = np.sum(np.square(x.mean(axis=0) - y.mean(axis=0)))
    np.testing.assert_allclose(1e6 * found, expected, rtol=1e-4)


def test_a_narrow_kernel_counts_what_is_in_both():
    # No two are near: 1/2 + 1/3 between disjoint sets; less 2/6 for each shared one.
    x, y = np.array([[0.0], [100.0]]), np.array([[0.0], [200.0], [300.0]])
    run = jax.jit(functools.partial(losses.maximum_mean_discrepancy, bandwidth=1e-3))
    np.testing.assert_allclose(run(x, y + 7), 5 / 6, rtol=1e-5)
    np.testing.assert_allclose(run(x, y), 5 / 6 - 1 / 3, rtol=1e-5)


def test_shifted_sets_are_as_far_apart_as_the_lines_see():
    x, shift = vectors(0, 9), np.array([1.0, -2.0, 2.0])
    many = jax.jit(functools.partial(losses.sliced_wasserstein, num_projections=4000))
    for seed in range(3):
        found = many(x, x + shift, key=jax.random.key(seed))
        # |v|² / K = 3; of θ·v, uniform in ±3 in three dimensions, deviation 2.7.
        np.testing.assert_allclose(found, 3, atol=5 * 2.7 / np.sqrt(4000))
    np.testing.assert_allclose(sliced(x * 2, (x + shift) * 2), 4 * sliced(x, x + shift),
                               rtol=1e-4)  # fmt: skip


def test_a_set_in_which_each_is_twice_is_the_same_set():
    x, y = vectors(0, 3), vectors(1, 4)
    for distance in (mmd, sliced):
        found = distance(np.repeat(x, 2, axis=0), y)
        np.testing.assert_allclose(found, distance(x, y), rtol=1e-4)


def test_a_line_is_drawn_from_the_key_alone():
    x, y = vectors(0, 3), vectors(1, 4)
    assert sliced(x, y) == sliced(x, y)
    other = losses.sliced_wasserstein(x, y, num_projections=16, key=jax.random.key(1))
    assert abs(sliced(x, y) - other) > 1e-3


def test_numbers_that_are_no_scale_are_refused():
    x, one = jnp.ones((2, 1)), jnp.ones(1)
    for value in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"^`bandwidth` \(={value}\) must be pos"):
            losses.maximum_mean_discrepancy(x, x, bandwidth=value)
        with pytest.raises(ValueError, match=rf"^`epsilon` \(={value}\) must be pos"):
            losses.moment_distance(x, one, one, epsilon=value)
    for value in (0, 1.5):
        with pytest.raises(ValueError, match=rf"^`num_projections` \(={value}\) must"):
            losses.sliced_wasserstein(x, x, num_projections=value, key=KEY)
    with pytest.raises(ValueError, match=r"^`deviations`\[0\] \(=-1.0\) must be"):
        losses.moment_distance(x, one, -one)


def test_shapes_must_be_those_documented():
    x = jnp.ones((3, 2))
    for distance in (mmd, sliced):
        for bad in (jnp.ones((3, 1)), jnp.ones(2), jnp.ones((0, 2))):
            with pytest.raises(AssertionError):
                distance(x, bad)
    for distance in SET_DISTANCES.values():
        with pytest.raises(AssertionError):
            distance(x, x, where=jnp.ones(2, bool))
    with pytest.raises(AssertionError):
        losses.moment_distance(x, jnp.ones(3), jnp.ones(3))
    for bad in (jnp.ones((3, 3)), jnp.ones((1, 3, 2))):
        with pytest.raises(AssertionError):
            losses.kl_to_prior(x, bad)
    with pytest.raises(AssertionError):
        losses.kl_to_prior(jnp.ones(3), jnp.ones(3))
