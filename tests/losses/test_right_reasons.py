import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import losses


class RightForRightReasonsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_sums_the_squares_of_marked_attributions(self):
        attributions = jnp.array([[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]])
        irrelevant = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.5]])
        # 1 + 4 and (0.5 * 6)²
        np.testing.assert_allclose(
            self.variant(losses.right_for_right_reasons)(attributions, irrelevant),
            [5.0, 9.0],
        )


class OutsideEnergyTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_sums_the_squares_outside_relative_to_the_largest_magnitude(self):
        attributions = jnp.array([[[2.0, -1.0], [1.0, 1.0]], [[-4.0, 0.0], [2.0, 1.0]]])
        region = jnp.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 0.5]]])
        # (1² + 1²) / 2² and (4² + 0.5 * 1²) / 4²
        np.testing.assert_allclose(
            self.variant(losses.outside_energy)(attributions, region),
            [0.5, 16.5 / 16],
        )


def test_one_mask_serves_all_channels():
    rng = np.random.default_rng(0)
    attributions = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    irrelevant = rng.choice([False, True], size=(2, 3, 4, 1))
    np.testing.assert_allclose(
        losses.right_for_right_reasons(attributions, irrelevant),
        np.sum((attributions * irrelevant) ** 2, axis=(1, 2, 3)),
        rtol=1e-5,
    )


def test_the_gradient_is_twice_the_marked_attributions(x64):
    rng = np.random.default_rng(1)
    attributions, irrelevant = rng.normal(size=(2, 5)), rng.uniform(size=(2, 5))
    loss = jax.jit(lambda a: losses.right_for_right_reasons(a, irrelevant))
    gradient = jax.grad(lambda a: jnp.sum(loss(a)))(attributions)
    np.testing.assert_allclose(gradient, 2 * irrelevant**2 * attributions, rtol=1e-12)
    jax.test_util.check_grads(loss, (attributions,), 2, modes=["rev"])


def test_the_gradient_of_outside_energy_passes_through_the_maximum(x64):
    attributions = np.array([[[2.0, -1.0], [1.0, 0.5]]])
    region = np.array([[[1.0, 0.0], [1.0, 0.0]]])
    loss = jax.jit(lambda a: losses.outside_energy(a, region)[0])
    gradient = jax.jit(jax.grad(loss))(attributions)
    # 2 (1 - M) A / 4, and -2 Σ (1 - M) A² / 8 at the maximum, Σ = 1.25.
    np.testing.assert_allclose(
        gradient, [[[-0.3125, -0.5], [0.0, 0.25]]], rtol=1e-12, atol=1e-15
    )


def test_outside_energy_knows_neither_scale_nor_sign(x64):
    rng = np.random.default_rng(2)
    attributions, region = rng.normal(size=(2, 3, 4)), rng.uniform(size=(2, 3, 4))
    loss = losses.outside_energy(attributions, region)
    np.testing.assert_allclose(
        losses.outside_energy(-7 * attributions, region), loss, rtol=1e-12
    )
    chex.assert_shape(loss, (2,))


def test_zero_attributions_have_zero_loss_and_gradient():
    zeros, mask = jnp.zeros((1, 2, 2)), jnp.full((1, 2, 2), 0.5)
    for loss in (losses.outside_energy, losses.right_for_right_reasons):
        total = jax.jit(jax.value_and_grad(lambda a, loss=loss: loss(a, mask)[0]))
        value, gradient = total(zeros)
        assert value == 0
        np.testing.assert_array_equal(gradient, zeros)


def test_shapes_must_fit():
    with pytest.raises(AssertionError, match="broadcast"):
        losses.right_for_right_reasons(jnp.ones((2, 3)), jnp.ones((2, 2)))
    with pytest.raises(AssertionError, match="rank"):
        losses.right_for_right_reasons(jnp.ones((2, 3)), jnp.ones(3))
    with pytest.raises(AssertionError, match="broadcast"):
        losses.right_for_right_reasons(jnp.ones((2, 1)), jnp.ones((2, 3)))


def test_marks_of_a_mask_of_255_are_refused():
    mask = jnp.array([[[255.0], [0.0]]])
    message = r"^`irrelevant`\[0, 0, 0\] \(=-254.0\) must lie in \[0, 1\]"
    with pytest.raises(ValueError, match=message):
        losses.right_for_right_reasons(jnp.ones((1, 2, 1)), 1 - mask)
    right = losses.right_for_right_reasons(jnp.ones((1, 2, 1)), mask == 0)
    np.testing.assert_array_equal(right, [1.0])
