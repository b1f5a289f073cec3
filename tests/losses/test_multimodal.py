"""Likelihoods of texts and matching: values by hand, laws, gradients, missing rows."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from xguide_jax import losses

# BOS, two words, EOS; BOS, a word, padding of any id; no text at all.
TOKENS = np.array([[1, 3, 0, 2], [1, 3, 9, -5], [7, 7, 7, 7]], np.int32)
MASK = np.array([[True] * 4, [True, True, False, False], [False] * 4])
# softmax (1/2, 1/4, 1/8, 1/8) at each position.
LOGITS = np.log(np.tile([0.5, 0.25, 0.125, 0.125], (3, 4, 1))).astype(np.float32)


likelihood = jax.jit(losses.token_negative_log_likelihood)
info_nce = jax.jit(losses.info_nce)


@jax.jit
def likelihood_and_gradient(logits, tokens, mask):
    total = lambda logits: jnp.sum(
        losses.token_negative_log_likelihood(logits, tokens, mask)
    )
    return losses.token_negative_log_likelihood(logits, tokens, mask), jax.grad(total)(
        logits
    )


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_likelihood_by_hand(self):
        # Row 0 predicts 3, 0, 2: (ln 8 + ln 2 + ln 8) / 3 = 7/3 ln 2; row 1 predicts 3.
        loss = self.variant(losses.token_negative_log_likelihood)(LOGITS, TOKENS, MASK)
        expected = [7 / 3 * np.log(2), 3 * np.log(2), 0]
        np.testing.assert_allclose(loss, expected, rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_info_nce_by_hand(self):
        # Cosines of (1, 0) with the keys: 0.6, 0, -1. τ = 0.5.
        queries, keys = (
            jnp.array([[2.0, 0.0]] * 3),
            jnp.array([[3, 4], [0, 5], [-1, 0]]),
        )
        negatives = jnp.array([[True] * 3, [True, False, False], [False] * 3])
        loss = self.variant(
            functools.partial(losses.info_nce, temperature=0.5, negatives=negatives)
        )(queries, keys.astype(jnp.float32), jnp.array([0, 1, 1]))
        expected = [
            -np.log(np.exp(1.2) / (np.exp(1.2) + 1 + np.exp(-2))),
            np.log(1 + np.exp(1.2)),
            0.0,
        ]
        np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-7)


def test_logits_are_about_the_next_token():
    """Sure of each next token, the cost is 0; sure of each own token, it is large."""
    tokens, mask = np.array([[1, 3, 0, 2]]), np.ones((1, 4), bool)
    sure = np.float32(50) * (tokens[..., None] == np.arange(4))
    of_next = likelihood(np.roll(sure, -1, axis=1), tokens, mask)
    np.testing.assert_allclose(of_next, [0], atol=1e-6)
    of_own = likelihood(sure, tokens, mask)
    np.testing.assert_allclose(of_own, [50], rtol=1e-6)


def test_the_slope_of_a_likelihood_is_what_is_foretold_less_what_comes(x64):
    logits = np.random.default_rng(0).normal(size=(3, 4, 4))
    _, gradient = likelihood_and_gradient(logits, TOKENS, MASK)
    shares = np.array([[1 / 3] * 3, [1, 0, 0], [0] * 3])[..., None]
    followed = np.asarray(TOKENS)[:, 1:, None] == np.arange(4)
    odds = np.exp(logits[:, :-1])
    expected = shares * (odds / odds.sum(axis=-1, keepdims=True) - followed)
    np.testing.assert_allclose(gradient[:, :-1], expected, atol=1e-12)
    np.testing.assert_array_equal(gradient[:, -1], 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_logits_hold_where_no_token_is_predicted_counts_for_nothing(value):
    predicted = np.pad(MASK[:, 1:], ((0, 0), (0, 1)))
    logits = np.where(predicted[..., None], LOGITS, np.float32(value))
    loss, gradient = likelihood_and_gradient(logits, TOKENS, MASK)
    expected, slope = likelihood_and_gradient(LOGITS, TOKENS, MASK)
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(gradient, slope)
    assert loss[2] == 0
    np.testing.assert_array_equal(gradient[2], 0)


def test_the_first_token_is_given_whatever_its_mask_says():
    without = MASK & (np.arange(4) > 0)
    found = likelihood(LOGITS, TOKENS, without)
    expected = likelihood(LOGITS, TOKENS, MASK)
    np.testing.assert_array_equal(found, expected)
    one = likelihood(LOGITS[:, :1], TOKENS[:, :1], MASK[:, :1])
    np.testing.assert_array_equal(one, [0, 0, 0])


def test_more_padding_changes_nothing():
    wide = lambda array: np.pad(array, ((0, 0), (0, 3)) + ((0, 0),) * (array.ndim - 2))
    found = likelihood(*map(wide, (LOGITS, TOKENS, MASK)))
    expected = likelihood(LOGITS, TOKENS, MASK)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_both_losses_are_in_float32_of_narrow_arrays():
    loss, gradient = likelihood_and_gradient(LOGITS.astype(jnp.bfloat16), TOKENS, MASK)
    assert (loss.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    vectors = jnp.eye(3, dtype=jnp.bfloat16)
    loss = info_nce(vectors, vectors, jnp.arange(3), temperature=1.0)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, np.log(1 + 2 / np.e), rtol=1e-6)


def test_tokens_outside_the_vocabulary_are_refused_or_nan():
    for token in (4, -1):
        tokens = TOKENS.copy()
        tokens[1, 1] = token
        message = rf"^`tokens`\[1, 1\] \(={token}\) must lie in \[0, 4\)\.$"
        with pytest.raises(ValueError, match=message):
            losses.token_negative_log_likelihood(LOGITS, tokens, MASK)
        loss = likelihood(LOGITS, tokens, MASK)
        np.testing.assert_array_equal(np.isnan(loss), [False, True, False])


def random_vectors(seed, rows, size=5):
    return np.random.default_rng(seed).normal(size=(rows, size))


def test_equal_cosines_cost_the_logarithm_of_their_number():
    found = info_nce(
        jnp.zeros((2, 3)), random_vectors(0, 7, 3), jnp.array([0, 6]), temperature=0.1
    )
    np.testing.assert_allclose(found, [np.log(7)] * 2, rtol=1e-6)


def test_a_key_left_out_is_as_good_as_absent():
    queries, keys = random_vectors(0, 3), random_vectors(1, 6)
    negatives = np.tile([True, True, True, False, True, False], (3, 1))
    run = functools.partial(info_nce, temperature=0.3)
    masked = run(queries, keys, jnp.arange(3), negatives=negatives)
    kept = keys[np.array([0, 1, 2, 4])]
    np.testing.assert_allclose(masked, run(queries, kept, jnp.arange(3)), rtol=1e-6)
    # The positive counts although it is no negative: its own text, twice in the batch.
    own = negatives & ~np.eye(3, 6, dtype=bool)
    np.testing.assert_array_equal(
        run(queries, keys, jnp.arange(3), negatives=own), masked
    )


def test_keys_nobody_looks_at_may_be_nan():
    queries, keys = random_vectors(0, 3), random_vectors(1, 4)
    keys[3] = np.nan
    negatives = np.tile([True, True, True, False], (3, 1))

    def total(queries, keys):
        found = info_nce(
            queries, keys, jnp.arange(3), temperature=0.3, negatives=negatives
        )
        return jnp.sum(found)

    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(queries, keys)
    chex.assert_tree_all_finite((value, gradients))
    np.testing.assert_array_equal(gradients[1][3], 0)
    assert np.all(np.any(gradients[1][:3] != 0, axis=1))


def test_a_query_without_negatives_has_nothing_to_learn():
    total = lambda queries, keys: jnp.sum(
        info_nce(
            queries, keys, jnp.array([0, 1]), temperature=0.01,
            negatives=jnp.zeros((2, 2), bool),
        )
    )  # fmt: skip
    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(
        random_vectors(0, 2), random_vectors(1, 2)
    )
    assert value == 0
    chex.assert_trees_all_equal(gradients, jax.tree.map(jnp.zeros_like, gradients))


def test_lengths_of_vectors_do_not_count_and_zeros_are_finite():
    queries, keys = random_vectors(0, 4), random_vectors(1, 4)
    run = functools.partial(info_nce, temperature=0.2)
    expected = run(queries, keys, jnp.arange(4))
    for size in (1e-20, 1e20):
        found = run(queries * size, keys / size, jnp.arange(4))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    queries[0] = keys[1] = 0
    total = lambda *vectors: jnp.sum(run(*vectors, jnp.arange(4)))
    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(queries, keys)
    chex.assert_tree_all_finite((value, gradients))
    np.testing.assert_array_equal(gradients[0][0], 0)
    np.testing.assert_array_equal(gradients[1][1], 0)


def test_the_order_of_the_keys_does_not_count():
    queries, keys = random_vectors(0, 3), random_vectors(1, 5)
    order = np.array([3, 0, 4, 1, 2])
    run = functools.partial(info_nce, temperature=0.2)
    found = run(queries, keys[order], jnp.asarray(np.argsort(order)[:3]))
    np.testing.assert_allclose(found, run(queries, keys, jnp.arange(3)), rtol=1e-5)


def test_a_small_temperature_ends_at_the_worst_negative():
    queries, keys = random_vectors(0, 3), random_vectors(1, 3)
    unit = lambda v: v / np.linalg.norm(v, axis=-1, keepdims=True)
    cosines = unit(queries) @ unit(keys).T
    worst = np.max(cosines - np.diag(cosines)[:, None], axis=1)
    found = info_nce(queries, keys, jnp.arange(3), temperature=1e-5)
    np.testing.assert_allclose(1e-5 * found, worst, atol=2e-5)


def test_a_small_temperature_costs_no_digits():
    """Cosines of 0.6 over 1e-5 are 60000, where float32 has steps of 0.004."""
    keys = jnp.array([[3.0, 4.0], [3.0, -4.0]])
    found = info_nce(jnp.array([[1.0, 0.0]]), keys, jnp.array([0]), temperature=1e-5)
    np.testing.assert_allclose(found, [np.log(2)], rtol=1e-5)


def test_a_positive_out_of_range_is_refused_or_nan():
    run = functools.partial(losses.info_nce, temperature=0.2)
    for index in (3, -1):
        positives = jnp.array([0, index])
        message = rf"^`positives`\[1\] \(={index}\) must lie in \[0, 3\)\.$"
        with pytest.raises(ValueError, match=message):
            run(random_vectors(0, 2), random_vectors(1, 3), positives)
        found = info_nce(
            random_vectors(0, 2), random_vectors(1, 3), positives, temperature=0.2
        )
        np.testing.assert_array_equal(np.isnan(found), [False, True])


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match=r"`temperature` \(=.*\) must be positive"):
        losses.info_nce(
            jnp.ones((1, 2)), jnp.ones((1, 2)), jnp.zeros(1, int),
            temperature=temperature,
        )  # fmt: skip


def test_derivatives_to_second_order_are_right(x64):
    logits = np.random.default_rng(0).normal(size=(3, 4, 4))
    check_grads(
        jax.jit(lambda logits: likelihood(logits, TOKENS, MASK)),
        (logits,), order=2, modes=["rev"],
    )  # fmt: skip
    negatives = jnp.array([[True, True, False], [False, True, True]])
    check_grads(
        jax.jit(
            lambda queries, keys, temperature: losses.info_nce(
                queries, keys, jnp.array([0, 2]), temperature=temperature,
                negatives=negatives,
            )
        ),
        (random_vectors(1, 2, 3), random_vectors(2, 3, 3), 0.5),
        order=2, modes=["rev"],
    )  # fmt: skip


def test_shapes_must_be_those_documented():
    for logits, tokens, mask in (
        (LOGITS[:, :3], TOKENS, MASK),
        (LOGITS, TOKENS[:, :3], MASK),
        (LOGITS, TOKENS, MASK.astype(jnp.float32)),
        (LOGITS, TOKENS.astype(jnp.float32), MASK),
    ):
        with pytest.raises(AssertionError):
            losses.token_negative_log_likelihood(logits, tokens, mask)
    run = functools.partial(losses.info_nce, temperature=1.0)
    for queries, keys, positives in (
        (jnp.ones((2, 3)), jnp.ones((2, 4)), jnp.zeros(2, int)),
        (jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.zeros(3, int)),
        (jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.zeros(2)),
    ):
        with pytest.raises(AssertionError):
            run(queries, keys, positives)
    with pytest.raises(AssertionError):
        run(
            jnp.ones((2, 3)), jnp.ones((2, 3)), jnp.zeros(2, int),
            negatives=jnp.ones((2, 3), bool),
        )  # fmt: skip
