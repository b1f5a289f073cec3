"""The curve over imputed pixels, by hand and beside its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics, ops

KEY = jax.random.key(0)
SPOT = np.zeros((2, 4, 4, 1), np.float32)
SPOT[:, 1, 2] = 1.0  # a bright pixel in the dark
settings = {"fractions": (0.0, 1 / 16, 0.5), "sigma": 0.0, "key": KEY}


def is_bright(inputs):
    """Class 1 if a pixel is above ½."""
    highest = jnp.max(inputs, axis=(1, 2, 3))
    return jnp.stack([jnp.full_like(highest, 0.5), highest], axis=-1)


def measure(attributions, labels=(1, 1), inputs=SPOT, predict_fn=is_bright, **changed):
    return metrics.road_curve(
        predict_fn, jnp.asarray(inputs), jnp.asarray(labels), jnp.asarray(attributions),
        **settings | changed,
    )  # fmt: skip


def test_a_spot_is_gone_with_its_pixel_and_stays_without():
    np.testing.assert_array_equal(measure(SPOT), [[1, 0, 0]] * 2)
    np.testing.assert_array_equal(measure(-SPOT), [[1, 1, 1]] * 2)


def test_each_fraction_is_imputed_from_what_is_left_at_it():
    rng = np.random.default_rng(0)
    inputs = rng.random((2, 4, 4, 1)).astype(np.float32)
    maps = rng.random((2, 4, 4, 1)).astype(np.float32)
    seen = []

    def record(values):
        seen.append(np.asarray(values))
        return is_bright(values)

    measure(maps, inputs=inputs, predict_fn=record, sigma=0.1)
    ranks = np.argsort(np.argsort(-maps.reshape(2, -1))).reshape(maps.shape)
    for values, size in zip(seen, (0, 1, 8), strict=True):
        expected = ops.noisy_linear_imputation(inputs, ranks < size, key=KEY, sigma=0.1)
        np.testing.assert_allclose(values, expected, atol=1e-6)


def test_undefined_rows_are_nan_alone():
    maps = np.random.default_rng(1).random((4, 4, 4, 1)).astype(np.float32)
    maps[0], maps[1, 0, 0] = 1.0, np.nan
    found = measure(maps, labels=(1, 1, 2, 0), inputs=np.concatenate([SPOT, SPOT]))
    np.testing.assert_array_equal(np.isnan(found), [[True] * 3] * 3 + [[False] * 3])


def test_a_share_may_be_measured_in_the_place_of_correctness():
    share = lambda logits, labels: jax.nn.sigmoid(logits[:, 1])
    found = measure(SPOT, value=share)
    expected = [[jax.nn.sigmoid(1.0), 0.5, 0.5]] * 2
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="below 1: at 1 no pixel is left"):
        measure(SPOT, fractions=(0.2, 0.5, 1.0))
    with pytest.raises(ValueError, match="must increase strictly"):
        measure(SPOT, fractions=(0.5, 0.5))
    with pytest.raises(AssertionError):
        measure(SPOT[..., 0], inputs=SPOT[..., 0])
