import functools

import chex
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import losses, ops

# The worked example: one image, one negative cell, one cell without annotation.
MAPS = np.array([[[0.9, 0.2], [0.6, 0.4]]])
ANNOTATIONS = np.array([[[1, -1], [1, 0]]])


@jax.jit
def value_and_gradient(maps, annotations):
    def total(maps):
        threshold = ops.balanced_threshold(maps, annotations)
        return jnp.sum(
            losses.robust_explanation(maps, annotations, threshold=threshold, slack=0.1)
        )

    return jax.value_and_grad(total)(maps)


class RobustExplanationTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_the_mean_error_beyond_the_slack(self):
        loss = self.variant(
            functools.partial(losses.robust_explanation, threshold=0.2001, slack=0.1)
        )(jnp.asarray(MAPS, jnp.float32), jnp.asarray(ANNOTATIONS))
        # tanh(5 (M - a)) = 0.998176, -0.0005, 0.963992 against 1, -1, 1:
        # (0.001824 + 0.9995 + 0.036008) / 3 = 0.345777, less 0.1.
        np.testing.assert_allclose(loss, [0.245777], atol=1e-6)


def test_the_published_threshold_and_error(x64):
    def published(maps, annotations):
        threshold = ops.balanced_threshold(maps, annotations)
        return threshold, losses.robust_error(maps, annotations, threshold=threshold)

    threshold, (error_sum, count) = jax.jit(published)(MAPS, ANNOTATIONS)
    np.testing.assert_allclose(threshold, 0.2001, rtol=1e-12)
    np.testing.assert_array_equal(count, [3.0])
    expected = abs(np.tanh(3.4995) - 1) + abs(np.tanh(-0.0005) + 1)
    expected += abs(np.tanh(1.9995) - 1)
    np.testing.assert_allclose(error_sum, [expected], rtol=1e-12)
    np.testing.assert_allclose(error_sum / count, [0.345777], atol=1e-6)


def test_the_parts_sum_to_the_error_of_the_pooled_batch():
    rng = np.random.default_rng(0)
    maps = rng.uniform(size=(3, 2, 4)).astype(np.float32)
    annotations = rng.choice([-1, 1], size=maps.shape)
    annotations[0, 0] = 0
    error_sum, count = losses.robust_error(maps, annotations, threshold=0.4)
    np.testing.assert_array_equal(count, [4.0, 8.0, 8.0])
    pooled = losses.robust_explanation(
        maps.reshape(1, 6, 4), annotations.reshape(1, 6, 4), threshold=0.4, slack=0.0
    )
    np.testing.assert_allclose(np.sum(error_sum) / np.sum(count), pooled[0], rtol=1e-6)
    single = losses.robust_explanation(maps, annotations, threshold=0.4, slack=0.0)
    np.testing.assert_allclose(single, error_sum / count, rtol=1e-6)
    assert abs(np.mean(single) - pooled[0]) > 1e-3  # not the same statistic


def test_gradients_equal_their_closed_form(x64):
    rng = np.random.default_rng(1)
    maps = rng.uniform(size=(2, 2, 3))
    annotations = np.array([[[1, 0, -1], [1, 1, 0]], [[0, 0, -1], [1, 0, 0]]])
    loss = jax.jit(
        lambda m, a: losses.robust_explanation(m, annotations, threshold=a, slack=0.05)
    )
    gradient, of_threshold = jax.grad(lambda m, a: jnp.sum(loss(m, a)), argnums=(0, 1))(
        maps, 0.4
    )
    # The tanh lies between the targets, so |T - Y| = 1 - Y T: slope -5 Y (1 - T²).
    slope = 5 * (1 - np.tanh(5 * (maps - 0.4)) ** 2)
    count = np.abs(annotations).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(gradient, -annotations * slope / count, rtol=1e-10)
    np.testing.assert_allclose(of_threshold, -np.sum(gradient), rtol=1e-10)
    jax.test_util.check_grads(loss, (maps, 0.4), 2, modes=["rev"])


def test_errors_within_the_slack_are_free():
    maps = jnp.asarray(MAPS, jnp.float32)
    loss = functools.partial(
        losses.robust_explanation,
        annotations=jnp.asarray(ANNOTATIONS),
        threshold=0.2001,
        slack=0.35,
    )
    value, gradient = jax.value_and_grad(lambda m: loss(m)[0])(maps)
    assert value == 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(maps))


def test_the_error_of_a_cell_lies_between_zero_and_two():
    maps = jnp.array([[[1.0, 0.0, 1.0, 0.0]]])
    annotations = jnp.array([[[1, -1, -1, 1]]])
    error_sum, _ = losses.robust_error(maps, annotations, threshold=0.5)
    # Two cells right and two wrong, tanh(±2.5): 2 (1 - t) + 2 (1 + t) = 4.
    np.testing.assert_allclose(error_sum, [4.0], rtol=1e-6)


class ImputationTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_is_the_mean_distance_over_all_cells(self):
        maps = jnp.array([[[0.9, 0.2], [0.6, 0.4]]])
        imputed = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
        # (0.1 + 0.2 + 0.4 + 0.4) / 4
        np.testing.assert_allclose(
            self.variant(losses.region_l1)(maps, imputed), [0.275], rtol=1e-6
        )


def test_imputation_trains_the_map_and_its_target_alike(x64):
    maps, imputed = np.random.default_rng(2).uniform(size=(2, 2, 2, 3))
    of_maps, of_imputed = jax.grad(
        lambda m, h: jnp.sum(losses.region_l1(m, h)), argnums=(0, 1)
    )(maps, imputed)
    np.testing.assert_allclose(of_maps, np.sign(maps - imputed) / 6)
    np.testing.assert_allclose(of_imputed, -of_maps)


def test_second_derivatives_of_the_imputation_loss_are_right(x64):
    # Products of the parameters, so that there are second derivatives to be wrong, and
    # distances of at least 0.1 on both sides of the target.
    rng = np.random.default_rng(3)
    maps = rng.uniform(0.3, 0.6, size=(2, 2, 3))
    imputed = maps + rng.choice([-1, 1], size=maps.shape) * rng.uniform(0.1, 0.3)
    loss = jax.jit(lambda m, h: losses.region_l1(m**2, h**2))
    jax.test_util.check_grads(loss, (maps, imputed), 2, modes=["rev"])


CELLS = hnp.arrays(np.int32, (2, 2, 3), elements=st.sampled_from([-1, 0, 1]))
EXTREMES = st.sampled_from([-1, 0, 1]).map(lambda y: np.full((2, 2, 3), y, np.int32))
GRIDS = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0]).map(lambda v: np.full((2, 2, 3), v, np.float32)),
    hnp.arrays(np.float32, (2, 2, 3), elements=st.floats(0, 1, width=32)),
)


@hypothesis.given(GRIDS, CELLS | EXTREMES)
def test_loss_and_gradient_are_finite_and_zero_without_annotation(maps, annotations):
    value, gradient = value_and_gradient(maps, annotations)
    chex.assert_tree_all_finite((value, gradient))
    assert 0 <= value <= 4
    bare = ~np.any(annotations != 0, axis=(1, 2))
    if bare.all():
        assert value == 0
        np.testing.assert_array_equal(gradient, 0.0)


def test_bfloat16_maps_give_float32():
    maps = jnp.asarray(MAPS, jnp.bfloat16)
    annotations = jnp.asarray(ANNOTATIONS)
    error_sum, count = losses.robust_error(maps, annotations, threshold=0.2)
    assert error_sum.dtype == count.dtype == jnp.float32
    assert losses.region_l1(maps, maps).dtype == jnp.float32


def test_a_negative_slack_is_refused():
    with pytest.raises(ValueError, match=r"`slack` \(=-0.1\) must not be negative"):
        losses.robust_explanation(MAPS, ANNOTATIONS, threshold=0.5, slack=-0.1)


def test_shapes_must_agree():
    with pytest.raises(AssertionError, match="shape"):
        losses.robust_error(jnp.ones((1, 2, 2)), jnp.ones((1, 2, 3)), threshold=0.5)
    with pytest.raises(AssertionError, match="rank"):
        losses.robust_error(
            jnp.ones((2, 2, 2)), jnp.ones((2, 2, 2)), threshold=jnp.ones(2)
        )
    with pytest.raises(AssertionError, match="shape"):
        losses.region_l1(jnp.ones((1, 2, 2)), jnp.ones((1, 2, 3)))


@pytest.mark.parametrize("bad", [255, 0.5, np.nan, -2])
def test_signs_that_are_none_are_refused(bad):
    annotations = np.array([[[1.0, -1.0], [0.0, bad]]])
    message = r"^`annotations`\[0, 1, 1\] \(=.*\) must be -1, 0 or 1"
    with pytest.raises(ValueError, match=message):
        losses.robust_error(MAPS, annotations, threshold=0.5)
    with pytest.raises(ValueError, match=message):
        losses.robust_explanation(MAPS, annotations, threshold=0.5, slack=0.1)
