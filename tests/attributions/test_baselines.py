"""Tests of the baselines and of how neutral they are."""

import functools

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions, losses, ops
from xguide_jax.attributions import baselines

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 4, 5, 2)).astype(np.float32)
KEY = jax.random.key(0)
TEXTURES = RNG.normal(size=(4, 6, 7, 2)).astype(np.float32)

EVERY = {
    "zeros": baselines.zeros,
    "data_mean": functools.partial(baselines.data_mean, background=IMAGES[:2] + 1),
    "channel_mean": baselines.channel_mean,
    "blur": functools.partial(baselines.blur, sigma=1.5),
    "uniform_noise": functools.partial(
        baselines.uniform_noise, key=KEY, low=-1.0, high=2.0
    ),
    "background_crop": functools.partial(
        baselines.background_crop, key=KEY, backgrounds=TEXTURES
    ),
}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_a_baseline_is_like_its_inputs_whatever_their_dtype(name):
    for dtype in (jnp.float32, jnp.bfloat16):
        values = EVERY[name](jnp.asarray(IMAGES, dtype))
        chex.assert_shape(values, IMAGES.shape)
        assert values.dtype == dtype
    compiled = jax.jit(EVERY[name])(IMAGES)
    np.testing.assert_allclose(compiled, EVERY[name](IMAGES), rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(compiled))


class FormulasTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_means_by_hand(self):
        inputs = np.array([[[1.0, 10], [3, 30]], [[5, 0], [7, 8]]], np.float32)
        own = self.variant(baselines.channel_mean)(inputs)
        expected = [[[2, 20], [2, 20]], [[6, 4], [6, 4]]]
        np.testing.assert_allclose(own, expected)
        of_all = self.variant(baselines.data_mean)(inputs[:1], background=inputs)
        np.testing.assert_allclose(of_all, [[[3, 5], [5, 19]]])

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_blur_of_a_point_by_hand(self):
        # Weights exp(−d² / 2σ²), d = 0, 1, 2: row 0 sees (1, q, q⁴), row 1 (q, 1, q).
        q = np.exp(-0.5 / 0.8**2)
        point = np.array([0.0, 1, 0], np.float32)[None, :, None]
        blur = functools.partial(baselines.blur, sigma=0.8)
        expected = [q / (1 + q + q**4), 1 / (1 + 2 * q), q / (1 + q + q**4)]
        np.testing.assert_allclose(
            self.variant(blur)(point)[0, :, 0], expected, rtol=1e-5
        )

    def test_blur_is_separable_and_leaves_channels_apart(self):
        image = np.zeros((1, 7, 7, 2), np.float32)
        image[0, 3, 2, 0] = 1.0
        blurred = baselines.blur(image, sigma=1.0)[0]
        np.testing.assert_array_equal(blurred[..., 1], 0)
        rows, columns = np.sum(blurred[..., 0], 1), np.sum(blurred[..., 0], 0)
        expected = np.outer(rows, columns) / np.sum(rows)
        np.testing.assert_allclose(blurred[..., 0], expected, rtol=1e-4, atol=1e-6)

    def test_blur_keeps_what_is_constant_and_ends_in_the_mean(self):
        ones = np.full((1, 5, 6, 1), 3.0, np.float32)
        np.testing.assert_allclose(baselines.blur(ones, sigma=2.0), ones, rtol=1e-6)
        far = baselines.blur(IMAGES, sigma=1e4)
        np.testing.assert_allclose(far, baselines.channel_mean(IMAGES), atol=1e-5)
        near = jax.jit(lambda sigma: baselines.blur(IMAGES, sigma=sigma))(1e-3)
        np.testing.assert_allclose(near, IMAGES, rtol=1e-6)

    def test_noise_is_uniform_between_its_limits_and_channels_have_their_own(self):
        inputs = jnp.zeros((2, 4096, 2))
        limits = {"low": np.array([-1.0, 4.0]), "high": np.array([1.0, 6.0])}
        noise = baselines.uniform_noise(inputs, key=KEY, **limits)
        for channel, middle in enumerate((0.0, 5.0)):
            values = np.sort(noise[..., channel].ravel()) - middle
            # Of 8192 draws the largest gap of the distribution is about 0.01.
            np.testing.assert_allclose(values, np.linspace(-1, 1, 8192), atol=0.05)
        self.assertGreater(len(np.unique(noise)), 0.99 * noise.size)

    def test_a_crop_is_a_window_of_a_row_and_every_window_may_come(self):
        backgrounds = np.arange(2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 1)
        crops = baselines.background_crop(
            jnp.zeros((200, 2, 2, 1)), key=KEY, backgrounds=backgrounds
        )
        windows = np.lib.stride_tricks.sliding_window_view(
            backgrounds[..., 0], (2, 2), axis=(1, 2)
        ).reshape(-1, 4)
        seen = {tuple(crop) for crop in np.asarray(crops).reshape(-1, 4)}
        self.assertEqual(seen, {tuple(window) for window in windows})

    def test_draws_belong_to_examples_and_not_to_batches(self):
        keys = ops.example_keys(KEY, 3)
        for name in ("uniform_noise", "background_crop"):
            draw = EVERY[name].func
            given = {k: v for k, v in EVERY[name].keywords.items() if k != "key"}
            together = EVERY[name](IMAGES)
            for i in range(3):
                one = slice(i, i + 1)
                alone = draw(IMAGES[one], key=keys[one], **given)
                np.testing.assert_array_equal(together[one], alone)

    def test_values_out_of_range_are_refused(self):
        rows = np.ones((2, 3), np.float32)
        for sigma in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match=r"`sigma` \(=.*\) must be above 0"):
                baselines.blur(IMAGES, sigma=sigma)
        with pytest.raises(
            ValueError, match=r"`low` \(=2\) must be at most `high` \(="
        ):
            baselines.uniform_noise(IMAGES, key=KEY, low=2, high=np.array([1.0, 3.0]))
        for places in (baselines.channel_mean, EVERY["blur"]):
            with pytest.raises(ValueError, match=r"`inputs` .* an axis of places"):
                places(rows)
        for wrong in (np.ones((0, 3)), np.ones((4, 2))):
            with pytest.raises(ValueError, match=r"`background` .* one or more exam"):
                baselines.data_mean(rows, background=wrong)
        for wrong in (TEXTURES[:0], TEXTURES[:, :3], TEXTURES[0]):
            with pytest.raises(ValueError, match=r"`backgrounds` .* at least as large"):
                baselines.background_crop(IMAGES, key=KEY, backgrounds=wrong)


LOGITS = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-3.0, 5.0, 1.0]], np.float32)
PRIOR = np.array([0.5, 0.3, 0.2], np.float32)
same = lambda logits: logits


class NeutralityTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_divergence_by_hand(self):
        # π = (½, ½), p = (¾, ¼): ½ log(½ / ¾) + ½ log(½ / ¼) = ½ log(4 / 3).
        logits = np.log(np.array([[3.0, 1.0], [1.0, 1.0]], np.float32))
        measure = self.variant(
            lambda b: attributions.baseline_neutrality(same, b, prior=np.full(2, 0.5))
        )
        np.testing.assert_allclose(
            measure(logits), [np.log(4 / 3) / 2, 0], rtol=1e-5, atol=1e-6
        )

    def test_it_is_zero_at_the_prior_only_and_the_prior_comes_first(self):
        at_prior = attributions.baseline_neutrality(
            same, np.log(PRIOR)[None] + 7, prior=PRIOR
        )
        np.testing.assert_allclose(at_prior, [0], atol=1e-6)
        actual = attributions.baseline_neutrality(same, LOGITS, prior=PRIOR)
        p = np.asarray(jax.nn.softmax(LOGITS))
        np.testing.assert_allclose(
            actual, np.sum(PRIOR * np.log(PRIOR / p), axis=-1), rtol=1e-4
        )

    def test_a_class_that_the_data_do_not_have_counts_nothing(self):
        prior, row = np.array([0.5, 0.5, 0.0]), np.array([[0.0, 0.0, -np.inf]])
        arguments = (same, row.astype(np.float32))
        zero = attributions.baseline_neutrality(*arguments, prior=prior)
        np.testing.assert_allclose(zero, [0], atol=1e-6)
        slope = jax.grad(
            lambda p: attributions.baseline_neutrality(same, LOGITS, prior=p).sum()
        )(jnp.asarray(prior, jnp.float32))
        chex.assert_tree_all_finite(slope)

    def test_one_logit_is_two_classes(self):
        logits = LOGITS[:, :1]
        one = attributions.sigmoid_baseline_neutrality(
            same, logits, prior=np.array([0.3])
        )
        two = attributions.baseline_neutrality(
            lambda s: jnp.concatenate([jnp.zeros_like(s), s], axis=1),
            logits,
            prior=np.array([0.7, 0.3]),
        )
        np.testing.assert_allclose(one, two, rtol=1e-5)

    def test_many_labels_are_independent_answers(self):
        prior = np.array([0.1, 0.5, 0.9], np.float32)
        actual = attributions.sigmoid_baseline_neutrality(same, LOGITS, prior=prior)
        expected = losses.bernoulli_consistency(
            np.tile(np.log(prior / (1 - prior)), (3, 1)), LOGITS
        )
        np.testing.assert_allclose(actual, expected, rtol=1e-4)

    def test_descent_finds_a_neutral_baseline(self):
        kernel = RNG.normal(size=(4, 3)).astype(np.float32)
        measure = lambda b: attributions.baseline_neutrality(
            lambda x: x @ kernel, b, prior=PRIOR
        )
        descend = jax.jit(lambda b: b - 0.3 * jax.grad(lambda b: measure(b).sum())(b))
        values = np.ones((1, 4), np.float32)
        before = measure(values)[0]
        for _ in range(100):
            values = descend(values)
        self.assertGreater(before, 0.05)
        self.assertLess(measure(values)[0], 1e-4)

    def test_a_prior_that_is_none_is_refused(self):
        measure = attributions.baseline_neutrality
        for wrong in (np.array([0.5, 0.5, 0.5]), np.array([1.5, -0.5, 0.0])):
            with pytest.raises(ValueError, match=r"`prior` .* shares that add up to 1"):
                measure(same, LOGITS, prior=wrong)
        with pytest.raises(
            AssertionError, match=r"`prior` \(of shape \(2,\)\) must be"
        ):
            measure(same, LOGITS, prior=np.full(2, 0.5))
        with pytest.raises(ValueError, match="a sigmoid take `attr"):
            measure(same, LOGITS[:, :1], prior=np.ones(1))
        with pytest.raises(ValueError, match=r"`prior` .* must lie in \[0, 1\]"):
            attributions.sigmoid_baseline_neutrality(same, LOGITS, prior=np.full(3, 2))
