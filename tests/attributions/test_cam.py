"""Tests of the class activation maps."""

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions, ops

score_fn = attributions.target_logit
RNG = np.random.default_rng(0)

# One image, 2x2 places, two channels; the head is linear with a gradient of its own at
# every place for class 0, and minus that for class 1.
FEATURES = np.stack([[[1.0, 2], [3, 4]], [[4, 3], [2, 1]]], axis=-1)[None]
FEATURES = FEATURES.astype(np.float32)
GRADIENT = np.stack([[[1.0, 0], [0, 3]], [[-2, 0], [0, -2]]], axis=-1)
GRADIENT = GRADIENT.astype(np.float32)


def linear_head(features):
    score = jnp.einsum("bhwk,hwk->b", features, GRADIENT)
    return jnp.stack([score, -score], axis=-1)


def smooth_head(params, features):
    hidden = jax.nn.softplus(jnp.einsum("bhwk,hwkd->bd", features, params["first"]))
    return hidden @ params["second"]


PARAMS = {
    "first": RNG.normal(size=(2, 2, 2, 3)).astype(np.float32),
    "second": RNG.normal(size=(3, 2)).astype(np.float32),
}
SEVERAL = RNG.uniform(0.5, 2, size=(3, 2, 2, 2)).astype(np.float32)
TARGETS = np.array([0, 1, 0])


class HandComputedTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_maps_of_two_by_two_features(self):
        expected = {
            # w = (mean(1, 0, 0, 3), mean(−2, 0, 0, −2)) = (1, −1); A_0 − A_1
            attributions.signed_grad_cam: [[-3, -1], [1, 3]],
            attributions.grad_cam: [[0, 0], [1, 3]],
            # relu(g_0) A_0 = (1 · 1, 0, 0, 3 · 4); relu(g_1) = 0
            attributions.layer_cam: [[1, 0], [0, 12]],
            # g_0 A_0 + g_1 A_1 = (1 · 1 − 2 · 4, 0, 0, 3 · 4 − 2 · 1)
            attributions.hi_res_cam: [[-7, 0], [0, 10]],
            attributions.odam: [[0, 0], [0, 10]],
        }
        opposite = {
            attributions.signed_grad_cam: [[3, 1], [-1, -3]],
            attributions.grad_cam: [[3, 1], [0, 0]],
            # relu(−g_1) A_1 = (2 · 4, 0, 0, 2 · 1)
            attributions.layer_cam: [[8, 0], [0, 2]],
            attributions.hi_res_cam: [[7, 0], [0, -10]],
            attributions.odam: [[7, 0], [0, 0]],
        }
        features = np.tile(FEATURES, (2, 1, 1, 1))
        for explainer, value in expected.items():
            run = self.variant(
                lambda x, y, e=explainer: e(linear_head, x, y, score_fn=score_fn)
            )
            maps = run(features, np.array([0, 1]))
            np.testing.assert_allclose(maps, [value, opposite[explainer]], atol=1e-6)

    def test_weights_are_the_mean_gradients(self):
        weights = attributions.grad_cam_weights(
            linear_head, FEATURES, np.array([1]), score_fn=score_fn
        )
        np.testing.assert_allclose(weights, [[-1, 1]])

    def test_given_weights_are_used_without_the_head(self):
        maps = attributions.signed_grad_cam(
            None, FEATURES, np.array([0]), score_fn=score_fn, weights=jnp.ones((1, 2))
        )
        np.testing.assert_allclose(maps, np.full((1, 2, 2), 5))

    def test_layer_cam_of_signed_features_drops_gradients_and_not_products(self):
        # g_0 = (1, 0, 0, 3) and g_1 = (−2, 0, 0, −2): −1 · 1 and −4 · 3 stay, and the
        # products of two negative numbers in the second channel do not come in.
        maps = attributions.layer_cam(
            linear_head, -FEATURES, np.array([0]), score_fn=score_fn
        )
        np.testing.assert_allclose(maps, [[[-1, 0], [0, -12]]])


class LawsTest(chex.TestCase):
    def test_exact_behind_average_pooling_and_a_linear_head(self):
        kernel = RNG.normal(size=(2, 3)).astype(np.float32)
        head = lambda features: jnp.mean(features, axis=(1, 2)) @ kernel + 1.0
        arguments = (head, SEVERAL, np.array([0, 1, 2]))
        maps = attributions.signed_grad_cam(*arguments, score_fn=score_fn)
        gap = attributions.completeness_gap(
            *arguments, maps, baselines=0.0, score_fn=score_fn
        )
        np.testing.assert_allclose(gap, 0, atol=1e-5)
        # The same gradient at every place, so that LayerCAM keeps what is positive.
        expected = SEVERAL @ np.maximum(kernel, 0) / 4
        maps = attributions.layer_cam(*arguments, score_fn=score_fn)
        for i in range(3):
            np.testing.assert_allclose(maps[i], expected[i, ..., i], rtol=1e-5)

    def test_layer_cam_over_attributes_on_positive_features(self):
        arguments = (lambda a: smooth_head(PARAMS, a), SEVERAL, TARGETS)
        maps = attributions.layer_cam(*arguments, score_fn=score_fn)
        product = attributions.gradient_x_input(*arguments, score_fn=score_fn)
        self.assertTrue(np.all(maps >= np.sum(product, axis=-1)))
        self.assertTrue(np.all(maps >= 0))

    def test_an_affine_head_is_complete_at_once_and_those_that_clip_attribute_more(
        self,
    ):
        head = lambda features: linear_head(features) + 5.0
        arguments = (head, SEVERAL, TARGETS)
        gaps = {
            explainer: attributions.completeness_gap(
                *arguments, explainer(*arguments, score_fn=score_fn),
                baselines=0.0, score_fn=score_fn,
            )
            for explainer in (
                attributions.hi_res_cam, attributions.odam, attributions.layer_cam
            )
        }  # fmt: skip
        np.testing.assert_allclose(gaps[attributions.hi_res_cam], 0, atol=1e-5)
        # relu(Σ_k g A) <= Σ_k relu(g) A for features that are at least 0.
        odam, layer_cam = gaps[attributions.odam], gaps[attributions.layer_cam]
        self.assertTrue(np.all((odam >= -1e-5) & (layer_cam >= odam - 1e-5)))
        self.assertGreater(np.max(odam), 0.5)
        # Grad-CAM averages a gradient that differs from place to place.
        maps = attributions.signed_grad_cam(*arguments, score_fn=score_fn)
        gap = attributions.completeness_gap(
            *arguments, maps, baselines=0.0, score_fn=score_fn
        )
        self.assertGreater(np.max(np.abs(gap)), 0.1)

    def test_each_example_is_explained_by_itself(self):
        head = lambda features: smooth_head(PARAMS, features)
        for explainer in (attributions.grad_cam, attributions.layer_cam):
            together = explainer(head, SEVERAL, TARGETS, score_fn=score_fn)
            for i in range(3):
                one = slice(i, i + 1)
                alone = explainer(head, SEVERAL[one], TARGETS[one], score_fn=score_fn)
                np.testing.assert_allclose(together[one], alone, rtol=1e-5, atol=1e-6)

    def test_frozen_weights_give_the_same_map_and_another_gradient(self):
        def total(features, *, frozen):
            head = lambda features: smooth_head(PARAMS, features)
            weights = None
            if frozen:
                weights = jax.lax.stop_gradient(
                    attributions.grad_cam_weights(
                        head, features, TARGETS, score_fn=score_fn
                    )
                )
            maps = attributions.signed_grad_cam(
                head, features, TARGETS, score_fn=score_fn, weights=weights
            )
            return jnp.sum(maps), weights

        (frozen, weights), frozen_slope = jax.value_and_grad(total, has_aux=True)(
            SEVERAL, frozen=True
        )
        (live, _), live_slope = jax.value_and_grad(total, has_aux=True)(
            SEVERAL, frozen=False
        )
        np.testing.assert_allclose(frozen, live, rtol=1e-6)
        # Frozen, the map is linear in the features: its slope is the weight itself.
        expected = np.broadcast_to(weights[:, None, None], SEVERAL.shape)
        np.testing.assert_allclose(frozen_slope, expected, rtol=1e-5)
        self.assertGreater(np.max(np.abs(live_slope - frozen_slope)), 1e-2)

    def test_blank_features_have_finite_gradients(self):
        for explainer in (attributions.grad_cam, attributions.layer_cam):
            slope = jax.grad(
                lambda a, e=explainer: jnp.sum(
                    e(linear_head, a, np.array([0]), score_fn=score_fn)
                )
            )(jnp.zeros_like(FEATURES))
            chex.assert_tree_all_finite(slope)

    def test_wrong_shapes_are_refused(self):
        for explainer in (
            attributions.grad_cam,
            attributions.layer_cam,
            attributions.hi_res_cam,
            attributions.odam,
        ):
            with pytest.raises(AssertionError, match="rank"):
                explainer(linear_head, FEATURES[0], TARGETS, score_fn=score_fn)
        with pytest.raises(AssertionError, match="shape"):
            attributions.grad_cam(
                linear_head,
                FEATURES,
                np.array([0]),
                score_fn=score_fn,
                weights=jnp.ones((1, 3)),
            )


@pytest.mark.parametrize(
    "explainer",
    [attributions.signed_grad_cam, attributions.layer_cam, attributions.odam],
)
def test_second_derivatives_in_parameters_and_features_are_right(x64, explainer):
    del x64
    wide = jax.tree.map(lambda w: w.astype(np.float64), (PARAMS, SEVERAL))

    @jax.jit
    def maps(params, features):
        head = lambda features: smooth_head(params, features)
        return explainer(head, features, TARGETS, score_fn=score_fn)

    jax.test_util.check_grads(maps, wide, order=2, modes=["rev"])


@hypothesis.given(
    shapes=st.sampled_from(
        [((1, 1), (3, 2)), ((2, 3), (2, 3)), ((3, 4), (10, 5)), ((4, 2), (7, 7))]
    ),
    seed=st.integers(0, 99),
)
def test_an_upsampled_map_has_the_sum_of_every_map_at_any_factor(shapes, seed):
    cells, shape = shapes
    maps = np.random.default_rng(seed).normal(size=(2, *cells)).astype(np.float32)
    large = attributions.upsample_conserving(maps, shape)
    chex.assert_shape(large, (2, *shape))
    total = maps.sum(axis=(1, 2))
    np.testing.assert_allclose(large.sum(axis=(1, 2)), total, rtol=1e-4, atol=1e-5)
    if shape == cells:
        np.testing.assert_allclose(large, maps, rtol=1e-6)


class UpsamplingTest(chex.TestCase):
    def test_whole_factors_are_bilinear_interpolation_divided(self):
        maps = RNG.normal(size=(2, 3, 2)).astype(np.float32)
        for factors in ((2, 3), (4, 1), (3, 3)):
            shape = (3 * factors[0], 2 * factors[1])
            expected = ops.bilinear_resize(maps, shape=shape) / float(np.prod(factors))
            actual = attributions.upsample_conserving(maps, shape)
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_two_cells_on_three_pixels_by_hand(self):
        # Centres at 1/6, 1/2 and 5/6 of the map are −1/6, 1/2 and 7/6 in cells, cut to
        # 0 and 1: the first cell has weights 1, ½, 0, which are shares ⅔, ⅓, 0.
        resize = lambda maps: attributions.upsample_conserving(maps, (1, 3))
        actual = self.variant(resize)(jnp.array([[[3.0, 6.0]]]))
        np.testing.assert_allclose(actual, [[[2, 3, 4]]], rtol=1e-6)

    def test_every_cell_keeps_its_own_sum(self):
        slope = jax.grad(
            lambda m: jnp.sum(attributions.upsample_conserving(m, (5, 7)))
        )(jnp.ones((1, 3, 3)))
        np.testing.assert_allclose(slope, np.ones((1, 3, 3)), rtol=1e-6)

    def test_a_smaller_grid_is_refused(self):
        for shape in ((2, 4), (4, 2), (4,)):
            with pytest.raises(
                ValueError, match=r"`shape` \(=.*\) must be \(H, W\), at"
            ):
                attributions.upsample_conserving(np.ones((1, 3, 3)), shape)
