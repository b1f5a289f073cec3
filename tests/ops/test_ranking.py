import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax import test_util

from xguide_jax import ops

KEY = jax.random.key(0)
RANKS = {
    "signed_channel_mean": ops.signed_channel_mean,
    "magnitude_of_mean": ops.magnitude_of_mean,
    "mean_magnitude": ops.mean_magnitude,
}
RANDOM = functools.partial(ops.random_rank, key=KEY)


def attributions(shape=(3, 4, 2, 5)):
    return jax.random.normal(jax.random.key(1), shape)


def test_three_orders_by_hand():
    # Two positions of three channels: 1 - 4 + 0 and 2 + 3 + 1.
    a = jnp.array([[[1.0, -4.0, 0.0], [2.0, 3.0, 1.0]]])
    np.testing.assert_array_equal(ops.signed_channel_mean(a), [[[-1.0], [2.0]]])
    np.testing.assert_array_equal(ops.magnitude_of_mean(a), [[[1.0], [2.0]]])
    # (1 + 4 + 0) / 3 and (2 + 3 + 1) / 3.
    np.testing.assert_allclose(ops.mean_magnitude(a), [[[5 / 3], [2.0]]], rtol=1e-6)


def test_each_order_masks_another_position_first():
    # Means: -3, 0.5, 1; magnitudes of them: 3, 0.5, 1; mean magnitudes: 3, 9.5, 1.
    a = jnp.array([[[-3.0, -3.0], [10.0, -9.0], [1.0, 1.0]]])
    first = [jnp.argmin(rank(a)) for rank in RANKS.values()]
    np.testing.assert_array_equal(first, [0, 1, 2])


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    @parameterized.named_parameters(*RANKS.items())
    def test_equals_numpy_and_keeps_the_channel_axis(self, rank):
        a = np.asarray(attributions())
        expected = {
            ops.signed_channel_mean: a.mean(-1, keepdims=True),
            ops.magnitude_of_mean: np.abs(a.mean(-1, keepdims=True)),
            ops.mean_magnitude: np.abs(a).mean(-1, keepdims=True),
        }[rank]
        scores = self.variant(rank)(a)
        chex.assert_shape(scores, (3, 4, 2, 1))
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-7)

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_random_scores_belong_to_examples(self):
        rank = self.variant(lambda a, key: ops.random_rank(a, key=key))
        keys = jax.random.split(KEY, 3)
        scores = rank(attributions(), keys)
        order = jnp.array([2, 0, 1])
        np.testing.assert_array_equal(rank(attributions(), keys[order]), scores[order])
        alone = ops.random_rank(attributions()[1:2], key=keys[1:2])
        np.testing.assert_array_equal(alone[0], scores[1])


@pytest.mark.parametrize("rank", RANKS.values())
def test_a_single_channel_and_a_permutation_of_channels_change_nothing(rank):
    a = attributions((3, 7, 1))
    expected = a if rank is ops.signed_channel_mean else jnp.abs(a)
    np.testing.assert_array_equal(rank(a), expected)
    a = attributions((3, 7, 4))
    np.testing.assert_allclose(rank(a[..., ::-1]), rank(a), rtol=1e-5, atol=1e-7)


def test_random_scores_are_uniform_and_ignore_the_attributions():
    a = attributions((2, 10000, 3))
    scores = RANDOM(a)
    chex.assert_shape(scores, (2, 10000, 1))
    np.testing.assert_array_equal(RANDOM(jnp.zeros_like(a)), scores)
    # U(0, 1): mean 1/2 and variance 1/12, standard errors 0.003 and 0.001.
    np.testing.assert_allclose(scores.mean((1, 2)), 0.5, atol=0.015)
    np.testing.assert_allclose(scores.var((1, 2)), 1 / 12, atol=0.005)
    assert np.abs(np.corrcoef(scores[..., 0])[0, 1]) < 0.05


def test_random_scores_of_one_key_are_those_of_its_folds():
    keys = jnp.stack([jax.random.fold_in(KEY, i) for i in range(3)])
    np.testing.assert_array_equal(
        RANDOM(attributions()), ops.random_rank(attributions(), key=keys)
    )


@pytest.mark.parametrize("rank", [*RANKS.values(), RANDOM])
def test_bfloat16_is_ranked_in_float32(rank):
    # 1 + 1/256 is no bfloat16; the mean of 1 and 1 + 1/128 is.
    a = jnp.array([[[1.0, 1.0 + 1 / 128]]], jnp.bfloat16)
    scores = rank(a)
    assert scores.dtype == jnp.float32
    if rank is not RANDOM:
        np.testing.assert_array_equal(scores, [[[1 + 1 / 256]]])


@pytest.mark.parametrize("rank", RANKS.values())
def test_gradients(x64, rank):
    a = attributions((2, 3, 4))
    test_util.check_grads(jax.jit(rank), (a,), order=2, modes=["rev"])
    at_zero = jax.grad(lambda a: rank(a).sum())(jnp.zeros((1, 2, 4)))
    assert np.all(np.abs(at_zero) <= 0.25)  # 1/C at most, and no NaN


@pytest.mark.parametrize("rank", [*RANKS.values(), RANDOM])
def test_attributions_must_be_float_with_a_channel_axis(rank):
    with pytest.raises(AssertionError, match="has type int32"):
        rank(jnp.ones((2, 3), jnp.int32))
    with pytest.raises(AssertionError, match="assert_axis_dimension_gt"):
        rank(jnp.ones(3))


def test_random_rank_refuses_keys_as_fills_do():
    with pytest.raises(ValueError, match="`key` must be a typed key"):
        ops.random_rank(attributions(), key=jax.random.PRNGKey(0))
