"""Temporal rescaling, and every explainer on the cells of a series."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, models

MODULE = models.TemporalConvolutionNetwork(
    widths=(3,), kernel_size=2, num_classes=3, pooling="last", activation=jnp.tanh
)
MASK = np.arange(4) < np.array([4, 3])[:, None]
TARGETS = jnp.array([0, 2])
KEY = jax.random.key(2)
SCORE = {"score_fn": attributions.target_logit}
GRADIENT = functools.partial(attributions.input_gradient, **SCORE)
PRODUCT = functools.partial(attributions.gradient_x_input, **SCORE)
ZEROS = {"baselines": 0.0, **SCORE}
CELLS = np.arange(8).reshape(1, 4, 2) * np.ones((2, 1, 1), int)
OF_CELLS = {"segments": jnp.asarray(CELLS, jnp.int32), "num_segments": 8}
NOISE = {"key": KEY, "sigma": 0.1, "num_samples": 2}
EXPLAINERS = {
    "gradient_x_input": PRODUCT,
    "input_gradient": GRADIENT,
    "smooth_grad": functools.partial(attributions.smooth_grad, GRADIENT, **NOISE),
    "smooth_grad_squared": functools.partial(
        attributions.smooth_grad_squared, GRADIENT, **NOISE
    ),
    "var_grad": functools.partial(attributions.var_grad, GRADIENT, **NOISE),
    "integrated_gradients": functools.partial(
        attributions.integrated_gradients, baselines=jnp.zeros((2, 4, 2)), num_points=2,
        **SCORE,
    ),
    "expected_gradients": functools.partial(
        attributions.expected_gradients, key=KEY, background=jnp.ones((3, 4, 2)),
        num_samples=2, **SCORE,
    ),
    "gradient_shap": functools.partial(
        attributions.gradient_shap, key=KEY, background=jnp.ones((3, 4, 2)), sigma=0.1,
        num_samples=2, **SCORE,
    ),
    "taylor": functools.partial(
        attributions.taylor, baselines=jnp.zeros((2, 4, 2)), at="input", **SCORE
    ),
    "deep_lift": functools.partial(
        attributions.deep_lift, baselines=jnp.zeros((2, 4, 2)), **SCORE
    ),
    "lrp": functools.partial(
        attributions.lrp, rules=attributions.epsilon_rule(epsilon=1e-3), **SCORE
    ),
    "occlusion": functools.partial(
        attributions.occlusion, window=(1, 1), strides=(1, 1), **ZEROS
    ),
    "occlusion_of_steps": functools.partial(
        attributions.occlusion, window=(1,), strides=(1,), **ZEROS
    ),
    "shapley_sampling": functools.partial(
        attributions.shapley_sampling, key=KEY, num_samples=1, **OF_CELLS, **ZEROS
    ),
    "kernel_shap": functools.partial(
        attributions.kernel_shap, key=KEY, num_samples=20, **OF_CELLS, **ZEROS
    ),
    "shapley_values": functools.partial(
        attributions.shapley_values, segments=OF_CELLS["segments"] // 2, num_segments=4,
        chunk_size=16, **ZEROS,
    ),
    "lime": functools.partial(
        attributions.lime, key=KEY, num_samples=20, kernel_width=0.5, ridge=0.1,
        chunk_size=20, **OF_CELLS, **ZEROS,
    ),
    "rise": functools.partial(
        attributions.rise, key=KEY, num_masks=4, grid=(2, 2), keep_probability=0.5,
        chunk_size=4, **ZEROS,
    ),
    "temporal_rescaling": functools.partial(
        attributions.temporal_rescaling, PRODUCT, baselines=0.0
    ),
}  # fmt: skip
# These draw cells together, so a cell of no effect has a share of the others' noise.
APPROXIMATE = ("kernel_shap", "lime", "rise")


@functools.cache
def series():
    values = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    return {"series": jnp.asarray(values), "mask": jnp.asarray(MASK)}


@functools.cache
def network():
    return models.init_linen(MODULE, jax.random.key(1), series())[0]


def predict(values):
    """Logits of the series, of which the second has a padded step."""
    apply_fn = models.linen_apply_fn(MODULE)
    forward = functools.partial(apply_fn, network(), {}, train=False)
    head, _ = attributions.split_at(forward, series(), "series")
    return head(values)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_an_explainer_takes_a_series_and_leaves_padding_alone(name):
    network()
    explain = jax.jit(functools.partial(EXPLAINERS[name], predict))
    maps = np.asarray(explain(series()["series"], TARGETS))
    assert maps.shape == (2, 4, 2)
    assert np.all(np.isfinite(maps))
    assert np.all(np.abs(maps).sum((1, 2)) > 0)
    if name not in APPROXIMATE:
        np.testing.assert_allclose(maps[~MASK], 0, atol=1e-6)


def test_a_rescaled_map_of_an_affine_function_by_hand():
    """R = w x: without a step its own |w x| are lost, without a cell that one."""
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2, 2)), jnp.float32)
    inputs = jnp.asarray(np.random.default_rng(2).normal(size=(2, 3, 2)), jnp.float32)
    affine = lambda values: jnp.einsum("btf,tfc->bc", values, weights) + 1.0
    targets = jnp.array([0, 1])
    rescaled = functools.partial(attributions.temporal_rescaling, baselines=0.0)
    maps = rescaled(PRODUCT, affine, inputs, targets)
    own = np.abs(np.moveaxis(np.asarray(weights), -1, 0) * inputs)
    np.testing.assert_allclose(maps, own.sum(-1, keepdims=True) * own, rtol=1e-5)
    constant = rescaled(GRADIENT, affine, inputs, targets)
    np.testing.assert_array_equal(constant, np.zeros((2, 3, 2)))
    compiled = rescaled(PRODUCT, affine, inputs, targets, loop="compiled")
    np.testing.assert_allclose(compiled, maps, rtol=1e-6)


def test_the_change_of_a_map_is_summed_over_all_of_it():
    """f = x₀ x₁, R its gradient (x₁, x₀): without step 0 it is (x₁, b)."""
    product = lambda values: jnp.pad(values[:, 0] * values[:, 1], ((0, 0), (0, 1)))
    inputs = jnp.array([[[3.0], [5.0]]])
    maps = attributions.temporal_rescaling(
        GRADIENT, product, inputs, jnp.array([0]), baselines=1.0
    )
    # |3 − 1| and |5 − 1|, squared, since a step is one cell.
    np.testing.assert_allclose(maps[0, :, 0], [4.0, 16.0])


def test_inputs_that_are_no_series_are_refused():
    with pytest.raises(ValueError, match=r"must be \[B, T, F\]"):
        attributions.temporal_rescaling(
            GRADIENT, lambda values: values, jnp.ones((2, 3)), TARGETS, baselines=0.0
        )
