"""Attention against a target: values by hand, laws, gradients, rows without marks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from xguide_jax import losses

# The words of the paper's figure, one of them marked twice as much, and one unmarked.
TARGET = jnp.array([[1.0, 2.0, 1.0, 2.0, 0.0]]) / 6
UNIFORM = jnp.full((1, 2, 5), 0.2)


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_squared_distance_by_hand(self):
        # 2 (1/5 - 1/6)² + 2 (1/5 - 1/3)² + (1/5)² = 2/900 + 32/900 + 36/900 = 7/90.
        loss = self.variant(losses.attention_supervision)(UNIFORM, TARGET)
        np.testing.assert_allclose(loss, [7 / 90], rtol=1e-5)

    @chex.variants(with_jit=True, without_jit=True)
    def test_divergence_by_hand(self):
        # 2 (1/6 ln 5/6) + 2 (1/3 ln 5/3).
        loss = self.variant(losses.attention_divergence)(UNIFORM, TARGET)
        expected = np.log(5 / 6) / 3 + 2 * np.log(5 / 3) / 3
        np.testing.assert_allclose(loss, [expected], rtol=1e-5)


def test_the_mean_is_over_heads_and_the_sum_over_tokens():
    # Head 1 is the target; head 2 puts all on token 1: (1/2)² + (1/2)² = 1/2, halved.
    target = jnp.array([[0.5, 0.5]])
    attention = jnp.array([[[0.5, 0.5], [1.0, 0.0]]])
    np.testing.assert_allclose(losses.attention_supervision(attention, target), [0.25])
    # Their mean is (3/4, 1/4): 1/2 ln 2/3 + 1/2 ln 2 = 1/2 ln 4/3.
    divergence = losses.attention_divergence(attention, target)
    np.testing.assert_allclose(divergence, [np.log(4 / 3) / 2], rtol=1e-6)


def test_a_layer_without_heads_is_one_head_and_further_axes_are_heads():
    attention = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 3, 2, 5)))
    target = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, 5)))
    for loss in (losses.attention_supervision, losses.attention_divergence):
        np.testing.assert_allclose(
            loss(attention, target), loss(attention.reshape(2, 6, 5), target), rtol=1e-6
        )
        one = attention[:, 0, 0]
        np.testing.assert_array_equal(loss(one, target), loss(one[:, None], target))


def test_padding_counts_in_no_sum():
    attention = jnp.array([[[0.3, 0.5, 0.2]]])
    target, where = jnp.array([[0.5, 0.5, 0.0]]), jnp.array([[True, True, False]])
    squared = losses.attention_supervision(attention, target, where=where)
    np.testing.assert_allclose(squared, [0.2**2], rtol=1e-5)
    # (3/8, 5/8) once the padding is gone: 1/2 ln 4/3 + 1/2 ln 4/5.
    divergence = losses.attention_divergence(attention, target, where=where)
    np.testing.assert_allclose(divergence, [np.log(16 / 15) / 2], rtol=1e-4)


def test_epsilon_stands_for_the_zeros_of_the_normalised_target():
    # d = (1/2, 1/2, 0) becomes (5, 5, 1) / 11 with 0.1; b = (1, 1, 2) / 4.
    attention, target = jnp.array([[0.25, 0.25, 0.5]]), jnp.array([[3.0, 3.0, 0.0]])
    expected = 10 / 11 * np.log(20 / 11) + 1 / 11 * np.log(2 / 11)
    loss = losses.attention_divergence(attention, target, epsilon=0.1)
    np.testing.assert_allclose(loss, [expected], rtol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, 1e-4])
def test_rows_without_a_mark_are_finite_where_the_published_ones_are_not(epsilon):
    attention = jnp.array([[[0.5, 0.5, 0.0]], [[1.0, 0.0, 0.0]], [[0.2, 0.3, 0.5]]])
    target = jnp.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    where = jnp.array([[True] * 3, [True] * 3, [False] * 3])

    def total(attention, target):
        values = losses.attention_divergence(
            attention, target, where=where, epsilon=epsilon
        )
        return jnp.sum(values), values

    gradients, values = jax.jit(jax.grad(total, (0, 1), has_aux=True))(
        attention, target
    )
    chex.assert_tree_all_finite((gradients, values))
    assert values[0] == values[2] == 0
    np.testing.assert_array_equal(gradients[0][np.array([0, 2])], 0)
    assert values[1] > 90  # the logarithm of 0 is −100


def test_the_gradient_is_twice_the_distance_over_the_heads(x64):
    attention = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 3, 4)))
    target = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, 4)))
    total = lambda attention: jnp.sum(losses.attention_supervision(attention, target))
    expected = 2 * (attention - target[:, None]) / 3
    np.testing.assert_allclose(jax.grad(total)(attention), expected, rtol=1e-10)


def test_the_divergence_moves_logits_by_their_difference(x64):
    """d/d logits of KL(d || softmax(logits)) is softmax(logits) − d."""
    logits = jax.random.normal(jax.random.key(0), (2, 4))
    target = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, 4)))
    total = lambda logits: jnp.sum(
        losses.attention_divergence(jax.nn.softmax(logits), target)
    )
    expected = jax.nn.softmax(logits) - target
    np.testing.assert_allclose(jax.grad(total)(logits), expected, atol=1e-10)


@pytest.mark.parametrize(
    "loss", [losses.attention_supervision, losses.attention_divergence]
)
def test_derivatives_to_second_order_are_right(loss, x64):
    attention = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 2, 4)))
    target = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, 4)))
    where = jnp.array([[True] * 4, [True, True, True, False]])
    check_grads(
        lambda attention, target: loss(attention, target, where=where),
        (attention, target), order=2, modes=["rev"],
    )  # fmt: skip


def test_narrow_attention_is_compared_in_float32():
    attention = UNIFORM.astype(jnp.bfloat16)
    for loss in (losses.attention_supervision, losses.attention_divergence):
        assert loss(attention, TARGET).dtype == jnp.float32
        gradient = jax.grad(lambda a, loss=loss: jnp.sum(loss(a, TARGET)))(attention)
        assert gradient.dtype == jnp.bfloat16


def test_the_published_sum_is_the_mean_times_the_batch():
    """λ Σ_b l_b beside a mean task is λ B times the mean over the batch."""
    attention = jax.nn.softmax(jax.random.normal(jax.random.key(0), (8, 3, 5)))
    target = jax.nn.softmax(jax.random.normal(jax.random.key(1), (8, 5)))
    flagged = np.array([False] * 6 + [True] * 2)
    published = 0.0
    for example in range(8):  # a loop over the examples and their heads, undivided
        if not flagged[example]:
            squares = (np.asarray(attention[example]) - target[example]) ** 2
            published += 1.4 / 3 * float(squares.sum())
    values = np.where(flagged, 0, losses.attention_supervision(attention, target))
    np.testing.assert_allclose(1.4 * 8 * values.mean(), published, rtol=1e-5)
    np.testing.assert_allclose(1.4 * 6 * values[:6].mean(), published, rtol=1e-5)


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
def test_marks_that_are_none_are_refused(value):
    target = jnp.array([[0.5, value]])
    message = rf"^`target`\[0, 1\] \(={value}\) must be finite and at least 0\.$"
    for loss in (losses.attention_supervision, losses.attention_divergence):
        with pytest.raises(ValueError, match=message):
            loss(jnp.ones((1, 2)), target)
        loss(jnp.ones((1, 2)), target, where=jnp.array([[True, False]]))


@pytest.mark.parametrize("epsilon", [-1e-4, float("nan"), float("inf")])
def test_an_epsilon_that_is_no_small_number_is_refused(epsilon):
    with pytest.raises(ValueError, match=rf"^`epsilon` \(={epsilon}\) must be finite"):
        losses.attention_divergence(UNIFORM, TARGET, epsilon=epsilon)


def test_shapes_must_be_those_documented():
    for loss in (losses.attention_supervision, losses.attention_divergence):
        for attention in (jnp.ones((1, 2, 4)), jnp.ones((2, 2, 5)), jnp.ones(5)):
            with pytest.raises(AssertionError):
                loss(attention, TARGET)
        with pytest.raises(AssertionError):
            loss(UNIFORM, TARGET, where=jnp.ones((1, 5)))
