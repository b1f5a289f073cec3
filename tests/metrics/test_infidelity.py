"""Infidelity against affine and quadratic scores, and the draws that were made."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(3, 5)).astype(np.float32)
WEIGHTS = RNG.normal(size=(5, 2)).astype(np.float32)
TARGETS = np.array([0, 1, 1])
SLOPES = WEIGHTS.T[TARGETS]
gaussian = functools.partial(metrics.gaussian_perturbation, sigma=0.5)
settings = {
    "key": KEY, "perturb": gaussian, "num_samples": 6,
    "score_fn": lambda logits, targets: logits[jnp.arange(len(targets)), targets],
}  # fmt: skip


def affine(inputs):
    return inputs @ WEIGHTS + 1


def measure(attributions, inputs=INPUTS, predict_fn=affine, **changed):
    return metrics.infidelity(
        predict_fn, jnp.asarray(inputs), jnp.asarray(TARGETS[: len(inputs)]),
        jnp.asarray(attributions), **settings | changed,
    )  # fmt: skip


def draws(inputs=INPUTS, **changed):
    """The perturbations I, [samples, B, ...], and the falls of the affine score."""
    seen = []

    def record(values):
        seen.append(np.asarray(values))
        return affine(values)

    measure(SLOPES[: len(inputs)], inputs, record, **changed)
    found = inputs - np.stack([s for s in seen if not np.array_equal(s, inputs)])
    return found, np.einsum("sbi,bi->sb", found, SLOPES[: len(inputs)])


def test_the_gradient_of_an_affine_score_has_0():
    np.testing.assert_allclose(measure(SLOPES), [0, 0, 0], atol=1e-10)
    assert np.all(measure(0.5 * SLOPES) > 1e-3)


def test_values_by_hand():
    # I = (1, 2) of f = 3 x_0 + x_1: Δ = 5. A = (1, 1) says 3, (0, 0) says 0.
    perturb = lambda key, inputs: jnp.broadcast_to(jnp.array([1.0, 2.0]), inputs.shape)
    predict_fn = lambda inputs: inputs @ jnp.array([[3.0], [1.0]])
    inputs, targets = jnp.array([[4.0, -1.0]] * 3), jnp.zeros(3, int)
    maps = jnp.array([[1.0, 1.0], [0.0, 0.0], [3.0, 1.0]])
    changed = settings | {"perturb": perturb, "num_samples": 2}
    found = metrics.infidelity(predict_fn, inputs, targets, maps, **changed)
    np.testing.assert_allclose(found, [4, 25, 0], atol=1e-5)
    changed |= {"optimal_scaling": True}  # of one direction every map but 0 fits
    found = metrics.infidelity(predict_fn, inputs, targets, maps, **changed)
    np.testing.assert_allclose(found, [0, 25, 0], atol=1e-5)


def test_it_is_the_mean_square_over_the_draws_scaled_or_not():
    found, falls = draws()
    assert found.shape == (6, 3, 5)
    maps = RNG.normal(size=(3, 5)).astype(np.float32)
    predicted = np.einsum("sbi,bi->sb", found, maps)
    expected = np.square(predicted - falls).mean(0)
    np.testing.assert_allclose(measure(maps), expected, rtol=1e-4)
    scale = (predicted * falls).mean(0) / np.square(predicted).mean(0)
    expected = np.square(scale * predicted - falls).mean(0)
    scaled = measure(maps, optimal_scaling=True)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4)
    assert np.all(scaled <= measure(maps))
    for factor in (1e-25, -2.0, 1e20):
        again = measure(np.float32(factor) * maps, optimal_scaling=True)
        np.testing.assert_allclose(again, scaled, rtol=1e-4)


def test_a_quadratic_score_misses_by_its_curvature():
    # f = |x|² / 2 has the slope x and f(x) - f(x - I) = x I - |I|² / 2.
    predict_fn = lambda inputs: jnp.sum(inputs**2, -1, keepdims=True) / 2 * jnp.ones(2)
    found, _ = draws()
    expected = np.square(np.square(found).sum(-1) / 2).mean(0)
    np.testing.assert_allclose(measure(INPUTS, predict_fn=predict_fn), expected, 1e-4)


def test_a_map_of_effects_is_divided_by_the_change_first():
    baseline = np.linspace(-2, -1, 5, dtype=np.float32)
    effects = (INPUTS - baseline) * SLOPES
    to_baseline = lambda key, inputs: inputs - baseline
    found = measure(effects / (INPUTS - baseline), perturb=to_baseline)
    np.testing.assert_allclose(found, [0, 0, 0], atol=1e-9)
    assert np.all(measure(effects, perturb=to_baseline) > 1e-3)


def test_the_network_sees_the_input_less_the_perturbation():
    seen = []

    def record(values):
        seen.append(np.asarray(values))
        return affine(values)

    to_baseline = lambda key, inputs: inputs - 2
    measure(SLOPES, predict_fn=record, perturb=to_baseline, num_samples=1)
    np.testing.assert_array_equal(seen[0], INPUTS)
    np.testing.assert_allclose(seen[1], np.full((3, 5), 2), rtol=1e-6)


def test_draws_belong_to_examples_and_more_of_them_extend_the_sequence():
    found, _ = draws()
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(3))
    alone, _ = draws(INPUTS[:1], key=keys[:1])
    np.testing.assert_array_equal(alone[:, 0], found[:, 0])
    more, _ = draws(num_samples=9)
    np.testing.assert_array_equal(more[:6], found)
    assert len(np.unique(more[..., 0])) == 27


def test_chunks_and_jit_change_nothing():
    predict_fn = lambda inputs: jnp.tanh(affine(inputs))
    expected = measure(SLOPES, predict_fn=predict_fn)
    found = measure(SLOPES, predict_fn=predict_fn, chunk_size=4)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    compiled = jax.jit(lambda maps: measure(maps, predict_fn=predict_fn, chunk_size=6))
    np.testing.assert_allclose(compiled(SLOPES), expected, rtol=1e-4)


@pytest.mark.parametrize("optimal_scaling", [False, True])
def test_a_nan_is_undefined_in_its_row_alone(optimal_scaling):
    maps = SLOPES + 1
    maps[1, 2] = np.nan
    found = measure(maps, optimal_scaling=optimal_scaling)
    np.testing.assert_array_equal(np.isnan(found), [False, True, False])
    alone = measure(SLOPES + 1, optimal_scaling=optimal_scaling)
    np.testing.assert_allclose(found[::2], alone[::2], rtol=1e-5)
    broken = lambda inputs: jnp.where(inputs[:, :1] < -9, jnp.nan, affine(inputs))
    inputs = INPUTS.copy()
    inputs[2, 0] = -10
    found = measure(SLOPES, inputs, broken, optimal_scaling=optimal_scaling)
    np.testing.assert_array_equal(np.isnan(found), [False, False, True])


def test_noise_has_its_sigma_and_the_inputs_dtype():
    noise = metrics.gaussian_perturbation(KEY, jnp.full((4, 5000), 7.0), sigma=0.3)
    np.testing.assert_allclose(np.std(noise, axis=-1), [0.3] * 4, rtol=0.05)
    np.testing.assert_allclose(np.mean(noise, axis=-1), [0] * 4, atol=0.02)
    narrow = jnp.ones((2, 3), jnp.bfloat16)
    noise = metrics.gaussian_perturbation(KEY, narrow, sigma=0.3)
    assert noise.dtype == jnp.bfloat16


def test_narrow_inputs_are_judged_by_what_they_moved():
    inputs = jnp.asarray(100 * INPUTS, jnp.bfloat16)  # whose steps are about 0.5
    wide = lambda values: affine(values.astype(jnp.float32))
    found = measure(SLOPES, inputs, wide)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [0, 0, 0], atol=1e-6)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"`num_samples` \(=0\) must be at least 1"):
        measure(SLOPES, num_samples=0)
    with pytest.raises(ValueError, match="must be a typed key"):
        measure(SLOPES, key=jax.random.PRNGKey(0))
    with pytest.raises(AssertionError):
        measure(SLOPES[:, :1])
    with pytest.raises(AssertionError):
        measure(SLOPES, score_fn=lambda logits, targets: logits)
    with pytest.raises(AssertionError):
        measure(SLOPES, perturb=lambda key, inputs: jnp.ones(3))
