"""Noise and attacks on linear networks, whose worst inputs are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

KEY = jax.random.key(3)
FREE = (-np.inf, np.inf)
WEIGHTS = np.array([3.0, -4.0, 0.0], np.float32)
INPUTS = np.array([[0.5, 0.5, 0.5], [0.9, 0.2, 0.0]], np.float32)
PGD = {"linf": metrics.pgd_linf, "l2": metrics.pgd_l2}


def linear(inputs):
    return inputs @ WEIGHTS


def curved(inputs):
    return jnp.sum(jnp.sin(3 * inputs) - inputs**2, axis=-1)


def pgd(norm, loss_fn, inputs, **changed):
    arguments = {
        "key": KEY, "radius": 0.1, "step_size": 0.05, "num_steps": 6, "bounds": FREE,
    }  # fmt: skip
    attack = functools.partial(PGD[norm], loss_fn, **arguments | changed)
    return np.asarray(jax.jit(attack)(jnp.asarray(inputs)))


def test_fgsm_moves_every_coordinate_by_the_radius_up_the_loss():
    found = metrics.fgsm(linear, INPUTS, radius=0.25, bounds=FREE)
    np.testing.assert_allclose(found, np.add(INPUTS, [0.25, -0.25, 0]), rtol=1e-6)
    found = metrics.fgsm(lambda x: -linear(x), INPUTS, radius=0.25, bounds=(0.0, 1.0))
    np.testing.assert_allclose(found, [[0.25, 0.75, 0.5], [0.65, 0.45, 0]], rtol=1e-6)


def test_pgd_finds_the_corner_and_the_point_of_the_ball():
    found = pgd("linf", linear, INPUTS)
    np.testing.assert_allclose(found[:, :2], INPUTS[:, :2] + [0.1, -0.1], rtol=1e-5)
    found = pgd("l2", linear, INPUTS, num_steps=30) - INPUTS
    np.testing.assert_allclose(found, [[0.06, -0.08, 0]] * 2, atol=2e-3)


@pytest.mark.parametrize("norm", sorted(PGD))
def test_pgd_is_its_definition_step_by_step(norm):
    gradient = lambda x: 3 * np.cos(3 * x) - 2 * x
    bounds = (0.0, 0.95)
    flat = lambda x: jnp.sum(0 * x, axis=-1)
    start = pgd(norm, flat, INPUTS, num_steps=1, bounds=bounds)
    point = start
    for _ in range(3):
        slope = gradient(point)
        if norm == "linf":
            change = point + 0.03 * np.sign(slope) - INPUTS
            change = np.clip(change, -0.1, 0.1)
        else:
            slope /= np.linalg.norm(slope, axis=-1, keepdims=True)
            change = point + 0.03 * slope - INPUTS
            length = np.linalg.norm(change, axis=-1, keepdims=True)
            change = change * np.minimum(1, 0.1 / length)
        point = np.clip(INPUTS + change, 0, 0.95)
    found = pgd(norm, curved, INPUTS, step_size=0.03, num_steps=3, bounds=bounds)
    np.testing.assert_allclose(found, point, atol=1e-6)
    assert np.all(curved(found) > curved(INPUTS))


@pytest.mark.parametrize("norm", sorted(PGD))
def test_attacks_stay_in_the_ball_and_within_the_bounds(norm):
    rng = np.random.default_rng(0)
    inputs = rng.uniform(size=(4, 5, 2)).astype(np.float32)
    low = np.array([0.0, -0.5], np.float32)  # one bound a channel
    found = pgd(
        norm, lambda x: jnp.sum(jnp.square(x), axis=(1, 2)), inputs,
        radius=0.4, step_size=0.2, bounds=(low, 1.0),
    )  # fmt: skip
    assert np.all((found >= low) & (found <= 1))
    assert np.any(found == 1)
    change = (found - inputs).reshape(4, -1)
    size = np.abs(change).max(-1) if norm == "linf" else np.linalg.norm(change, axis=-1)
    assert np.all(size <= 0.4 + 1e-6)
    assert np.all(size > 0.2)


def test_starts_are_uniform_in_the_cube_and_in_the_ball():
    flat = lambda x: jnp.sum(0 * x, axis=-1)
    zeros = np.zeros((400, 2), np.float32)
    cube = pgd("linf", flat, zeros, radius=1.0, num_steps=1)
    assert np.abs(cube).max() <= 1
    np.testing.assert_allclose(np.abs(cube).mean(), 0.5, atol=0.04)
    assert np.abs(cube.mean()) < 0.05
    ball = np.linalg.norm(pgd("l2", flat, zeros, radius=1.0, num_steps=1), axis=-1)
    # In the plane the share within r is r², so the mean distance is 2/3.
    assert ball.max() <= 1 + 1e-6
    np.testing.assert_allclose(ball.mean(), 2 / 3, atol=0.04)


@pytest.mark.parametrize("norm", sorted(PGD))
def test_a_start_belongs_to_its_example(norm):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(2))
    both = pgd(norm, curved, INPUTS)
    np.testing.assert_allclose(
        pgd(norm, curved, INPUTS[1:], key=keys[1:]), both[1:], rtol=1e-5
    )
    other = pgd(norm, lambda x: 0 * curved(x), INPUTS, key=jax.random.key(9))
    assert np.all(np.abs(other - pgd(norm, lambda x: 0 * curved(x), INPUTS)) > 0)


def test_an_example_that_breaks_touches_no_other():
    loss = lambda x: jnp.where(x[:, 0] > 0.8, jnp.nan, 1.0) * linear(x)
    found = metrics.fgsm(loss, INPUTS, radius=0.1, bounds=(0.0, 1.0))
    np.testing.assert_array_equal(np.isnan(found).any(-1), [False, True])
    for norm in PGD:
        found = pgd(norm, loss, INPUTS, radius=0.01)
        np.testing.assert_array_equal(np.isnan(found).any(-1), [False, True])


def test_noise_has_its_size_and_the_bounds_hold():
    inputs = jnp.full((2, 2000), 0.5)
    noisy = np.asarray(metrics.gaussian_noise(inputs, key=KEY, sigma=0.2, bounds=FREE))
    np.testing.assert_allclose(noisy.std(-1), 0.2, rtol=0.05)
    np.testing.assert_allclose(noisy.mean(-1), 0.5, atol=0.02)
    clipped = metrics.gaussian_noise(inputs, key=KEY, sigma=0.2, bounds=(0.4, 0.7))
    np.testing.assert_array_equal(
        clipped, np.clip(noisy, np.float32(0.4), np.float32(0.7))
    )
    still = metrics.gaussian_noise(inputs, key=KEY, sigma=0, bounds=FREE)
    np.testing.assert_array_equal(still, inputs)


def test_what_counts_as_correct_under_an_attack():
    predict = lambda x: jnp.stack([linear(x), jnp.zeros(len(x))], axis=-1)
    right = lambda logits, labels: jnp.argmax(logits, axis=-1) == labels
    labels = np.array([1, 0])
    measure = functools.partial(metrics.correct_under, predict, correct=right)
    np.testing.assert_array_equal(measure(INPUTS, labels), [1, 1])
    # w · x = -0.5 and 1.9; 0.1 in every coordinate is worth 0.7, 0.3 is 2.1.
    against = lambda x: linear(x) * jnp.where(labels == 1, 1.0, -1.0)
    attacked = metrics.fgsm(against, INPUTS, radius=0.1, bounds=FREE)
    found = measure(attacked, labels)
    np.testing.assert_array_equal(found, [0, 1])
    assert found.dtype == jnp.float32
    attacked = metrics.fgsm(against, INPUTS, radius=0.3, bounds=FREE)
    np.testing.assert_array_equal(measure(attacked, labels), [0, 0])
    broken = jnp.asarray(INPUTS).at[1, 2].set(jnp.nan)
    np.testing.assert_array_equal(measure(broken, labels), [1, np.nan])
    log = lambda x: jnp.log(predict(x) + 0.1)  # of a negative number
    np.testing.assert_array_equal(
        metrics.correct_under(log, INPUTS, labels, correct=right), [np.nan, 1]
    )
    with pytest.raises(AssertionError):
        metrics.correct_under(
            predict, INPUTS, labels, correct=lambda logits, labels: logits
        )


def test_bfloat16_inputs_stay_so():
    inputs = jnp.asarray(INPUTS, jnp.bfloat16)
    loss = lambda x: jnp.sum(x**2, axis=-1)
    for norm in PGD:
        attack = functools.partial(
            PGD[norm], loss, key=KEY, radius=0.25, step_size=0.25, num_steps=1,
            bounds=FREE,
        )  # fmt: skip
        assert attack(inputs).dtype == jnp.bfloat16
    assert metrics.fgsm(loss, inputs, radius=0.25, bounds=FREE).dtype == jnp.bfloat16


def test_arguments_out_of_range_are_refused():
    inputs = jnp.asarray(INPUTS)
    fgsm = functools.partial(metrics.fgsm, linear, inputs)
    with pytest.raises(ValueError, match=r"`radius` \(=0\) must be above 0"):
        fgsm(radius=0, bounds=FREE)
    with pytest.raises(
        ValueError, match=r"`inputs`\[1, 0\] \(=0.8999.*within `bounds`"
    ):
        fgsm(radius=0.1, bounds=(0.0, 0.8))
    with pytest.raises(ValueError, match=r"`inputs`\[0, 0\] \(=0.5"):
        fgsm(radius=0.1, bounds=(0.6, 1.0))
    fgsm(radius=0.1, bounds=(0.0, np.float32(0.9)))  # the bounds are within
    with pytest.raises(AssertionError):
        metrics.fgsm(lambda x: jnp.sum(x), inputs, radius=0.1, bounds=FREE)
    with pytest.raises(AssertionError):
        fgsm(radius=0.1, bounds=(np.zeros(2, np.float32), 1.0))
    with pytest.raises(ValueError, match=r"`sigma` \(=-1\) must not be negative"):
        metrics.gaussian_noise(inputs, key=KEY, sigma=-1, bounds=FREE)
    for norm in PGD:
        for name, value in (("radius", 0), ("step_size", 0), ("num_steps", 0)):
            with pytest.raises(ValueError, match=rf"`{name}` \(=0\) must be"):
                pgd(norm, linear, INPUTS, **{name: value})
