"""Tests of RISE, against masks made by resizing and cutting."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, ops, testing

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
TARGETS = np.zeros(2, int)
IMAGES = RNG.normal(size=(2, 5, 6, 2)).astype(np.float32)


def explain(predict, inputs, targets=TARGETS, *, key=KEY, **settings):
    @jax.jit
    def run(inputs, targets, key):
        return attributions.rise(
            predict,
            inputs,
            targets,
            key=key,
            **{
                "num_masks": 6,
                "grid": (2, 3),
                "keep_probability": 0.5,
                "baselines": 0.3,
                "score_fn": attributions.regression_output,
                "chunk_size": 3,
                **settings,
            },
        )

    return run(inputs, targets, key)


def curved(inputs):
    total = jnp.sum(jnp.sin(3 * inputs), axis=range(1, inputs.ndim))
    return (total + total**2)[:, None]


def resized_mask(key, number, grid, sizes, probability):
    """The published recipe: a grid drawn up to one cell more, cut at a shift."""
    cell_key, shift_key = jax.random.split(jax.random.fold_in(key, number))
    cells = jax.random.bernoulli(cell_key, probability, grid).astype(jnp.float32)
    widths = [math.ceil(n / g) for n, g in zip(sizes, grid, strict=True)]
    shape = [(g + 1) * w for g, w in zip(grid, widths, strict=True)]
    large = jax.image.resize(cells, shape, "bilinear")
    shifts = jax.random.randint(shift_key, (len(grid),), 0, np.array(widths, np.int32))
    cut = [slice(s, s + n) for s, n in zip(shifts.tolist(), sizes, strict=True)]
    return large[tuple(cut)]


def test_it_is_the_mean_score_weighted_by_the_masks_of_the_documented_keys():
    expected = []
    for i, image in enumerate(IMAGES):
        key = jax.random.fold_in(KEY, i)
        masks = [resized_mask(key, n, (2, 3), (5, 6), 0.5) for n in range(6)]
        masks = np.stack(masks)[..., None]
        scores = np.asarray(curved(masks * image + (1 - masks) * 0.3))[:, 0]
        weighted = np.tensordot(scores, masks, 1) / np.sum(masks, axis=0)
        expected.append(np.broadcast_to(weighted, image.shape))
    actual = explain(curved, IMAGES)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_masks_that_show_everything_give_the_score_everywhere():
    actual = explain(curved, IMAGES, keep_probability=1.0)
    expected = np.broadcast_to(curved(IMAGES)[:, :, None, None], IMAGES.shape)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_constant_score_gives_a_constant_map():
    actual = explain(lambda x: jnp.full((len(x), 1), 7.0), IMAGES)
    np.testing.assert_allclose(actual, np.full(IMAGES.shape, 7.0), rtol=1e-6)


def test_the_place_that_counts_stands_out_of_a_sequence():
    # Only step 9 of 12 counts. Given M_9 = m the score is m; its mean weighted by M_9
    # is E[M²] / E[M], above the mean ½ that steps of other cells get.
    sequences = jnp.ones((2, 12, 3))
    actual = explain(
        lambda x: x[:, 9, :1], sequences,
        grid=(4,), baselines=0.0, num_masks=400, chunk_size=400,
    )  # fmt: skip
    np.testing.assert_array_equal(np.argmax(actual[..., 0], axis=1), [9, 9])
    np.testing.assert_array_equal(actual[..., 0], actual[..., 2])
    np.testing.assert_allclose(actual[:, :3], 0.5, atol=0.08)
    assert np.all(actual[:, 9] > 0.65)


def test_the_key_of_an_example_decides_its_masks_and_chunks_change_nothing():
    keys = ops.example_keys(KEY, 2)
    together = explain(curved, IMAGES)
    np.testing.assert_array_equal(explain(curved, IMAGES, key=keys), together)
    swapped = explain(curved, IMAGES[::-1], key=keys[::-1], chunk_size=4)
    np.testing.assert_allclose(swapped[::-1], together, rtol=1e-4, atol=1e-4)


def test_it_keeps_what_every_explainer_promises():
    def with_own_keys(predict_fn, inputs, targets):
        first = inputs.reshape(len(inputs), -1)[:, 0].astype(jnp.float32)
        bits = jax.lax.bitcast_convert_type(first, jnp.uint32)
        return attributions.rise(
            predict_fn, inputs, targets, num_masks=4, grid=(3, 3),
            key=jax.vmap(functools.partial(jax.random.fold_in, KEY))(bits),
            keep_probability=0.5, baselines=0.1, chunk_size=4,
            score_fn=attributions.target_logit,
        )  # fmt: skip

    testing.check_explainer(with_own_keys)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_masks": 0}, r"`num_masks` \(=0\) must be at least 1"),
        ({"grid": (2, 7)}, r"`grid` \(=\(2, 7\)\) must not be larger than the inputs"),
        ({"grid": (0, 2)}, r"`grid` \(=\(0, 2\)\) must be 1 to 3 positive numbers"),
        ({"keep_probability": 0.0}, r"`keep_probability` \(=0.0\) must be in \(0, 1\]"),
        ({"keep_probability": 1.5}, r"`keep_probability` \(=1.5\) must be in"),
        ({"baselines": np.ones(3)}, r"`baselines` \(of shape \(3,\)\) must broad"),
        ({"chunk_size": 0}, r"`chunk_size` \(=0\) must be at least 1"),
        ({"key": jax.random.PRNGKey(0)}, "`key` must be a typed key"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        explain(curved, IMAGES, **settings)
