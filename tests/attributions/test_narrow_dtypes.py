"""Products and sums of explainers are of float32, whatever comes in.

Numbers beyond 65,504 do not exist in float16, and bfloat16 keeps 8 bits: neither may
decide what a map of float16 or bfloat16 activations adds up to.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, guidance, ops, testing, training

score_fn = attributions.target_logit
TARGET = np.array([0])
NARROW = [jnp.float16, jnp.bfloat16]


def linear(slope):
    """Logits (slope Σ x, 0), computed in the dtype of the input."""

    def predict(x):
        rows = x.reshape(len(x), -1)
        score = jnp.sum(jnp.asarray(slope, x.dtype) * rows, axis=-1)
        return jnp.stack([score, jnp.zeros_like(score)], axis=-1)

    return predict


def square(x):
    """Logits (½ Σ x², 0), in float32: a network that widens its inputs itself."""
    rows = ops.at_least_float32(x).reshape(len(x), -1)
    score = jnp.sum(jnp.square(rows), axis=-1) / 2
    return jnp.stack([score, jnp.zeros_like(score)], axis=-1)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("cam", [attributions.grad_cam, attributions.signed_grad_cam])
def test_a_class_activation_map_adds_512_products_up_in_float32(cam, dtype):
    features, weights = jnp.full((1, 7, 7, 512), 10, dtype), jnp.full((1, 512), 20)
    maps = cam(None, features, TARGET, score_fn=score_fn, weights=weights.astype(dtype))
    assert maps.dtype == jnp.float32
    np.testing.assert_array_equal(maps, np.full((1, 7, 7), 512 * 10 * 20))


@pytest.mark.parametrize("dtype", NARROW)
def test_channel_weights_are_means_in_float32(dtype):
    """Gradients 1 and 2049 / 2048 a place: their mean is no number of float16."""
    gradient = jnp.array([[1.0, 1 + 1 / 128]], dtype)[None, :, :, None]
    score = lambda x: jnp.sum(x * gradient, axis=(1, 2, 3))
    head = lambda x: jnp.stack([score(x), jnp.zeros(1, dtype)], axis=1)
    weights = attributions.grad_cam_weights(
        head, jnp.ones((1, 1, 2, 1), dtype), TARGET,
        score_fn=attributions.regression_output,  # one output
    )  # fmt: skip
    assert weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights, [[1 + 1 / 256]])


@pytest.mark.parametrize("dtype", NARROW)
def test_layer_cam_adds_products_up_in_float32(dtype):
    features = jnp.full((1, 2, 2, 512), 10, dtype)
    maps = attributions.layer_cam(linear(20), features, TARGET, score_fn=score_fn)
    assert maps.dtype == jnp.float32
    np.testing.assert_array_equal(maps, np.full((1, 2, 2), 512 * 10 * 20))


@pytest.mark.parametrize("dtype", NARROW)
def test_gradient_times_input_is_a_product_in_float32(dtype):
    inputs = jnp.full((1, 2), 320, dtype)
    maps = attributions.gradient_x_input(linear(320), inputs, TARGET, score_fn=score_fn)
    assert maps.dtype == jnp.float32
    np.testing.assert_array_equal(maps, [[102_400, 102_400]])


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("chunk_size", [1, 4])
def test_integrated_gradients_multiply_in_float32(dtype, chunk_size):
    inputs = jnp.full((1, 2), 320, dtype)
    maps = attributions.integrated_gradients(
        linear(320), inputs, TARGET,
        baselines=0.0, num_points=4, score_fn=score_fn, chunk_size=chunk_size,
    )  # fmt: skip
    assert maps.dtype == jnp.float32
    np.testing.assert_array_equal(maps, [[102_400, 102_400]])


def test_the_path_between_far_points_stays_finite():
    """x − b = 80,000 is no number of float16, though every point between is one."""
    maps = attributions.integrated_gradients(
        linear(0.25), jnp.full((1, 1), 40_000, jnp.float16), TARGET,
        baselines=-40_000.0, num_points=2, score_fn=score_fn,
    )  # fmt: skip
    np.testing.assert_array_equal(maps, [[20_000]])


def test_points_of_a_path_are_placed_in_float32():
    """(s + ½) / 100 in bfloat16 would be off by up to 1/512 and add up to another sum.

    The gradient of ½ x² at 256 a_s is 256 a_s, rounded to bfloat16 as the point is; the
    mean of 100 points is 128.
    """
    inputs = jnp.full((1, 1), 256, jnp.bfloat16)
    seen = []

    def recording(x):
        seen.append(x)
        return square(x)

    maps = attributions.integrated_gradients(
        recording, inputs, TARGET, baselines=0.0, num_points=100, score_fn=score_fn
    )
    exact = 256 * (np.arange(100) + 0.5) / 100
    rounded = jnp.asarray(exact, jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_allclose(maps, [[256 * np.mean(rounded)]], rtol=1e-6)
    assert all(x.dtype == jnp.bfloat16 for x in seen)  # the network's own dtype


@pytest.mark.parametrize("dtype", NARROW)
def test_smooth_grad_keeps_the_digits_of_its_mean(dtype):
    maps = attributions.smooth_grad(
        lambda f, x, y: attributions.input_gradient(f, x, y, score_fn=score_fn),
        square, jnp.zeros((1, 64), dtype), TARGET,
        key=jax.random.key(0), sigma=1.0, num_samples=3,
    )  # fmt: skip
    assert maps.dtype == jnp.float32
    # Thirds of sums of noise are hardly ever numbers of a narrow dtype.
    assert np.mean(np.asarray(maps.astype(dtype).astype(jnp.float32) != maps)) > 0.5


@pytest.mark.parametrize("dtype", NARROW)
def test_noise_is_that_of_float32_rounded_once(dtype):
    """So a network in bfloat16 is smoothed over the copies that one in float32 is."""

    def copies(inputs):
        seen = []
        explainer = lambda f, x, y: seen.append(x) or x
        attributions.smooth_grad(
            explainer, None, inputs, TARGET,
            key=jax.random.key(0), sigma=0.3, num_samples=2,
        )  # fmt: skip
        return seen

    wide = jnp.linspace(0, 4, 8)[None].astype(dtype).astype(jnp.float32)
    for narrow, exact in zip(copies(wide.astype(dtype)), copies(wide), strict=True):
        np.testing.assert_array_equal(narrow, exact.astype(dtype))


@pytest.mark.parametrize("dtype", NARROW)
def test_completeness_sums_attributions_and_scores_in_float32(dtype):
    """512 attributions of 200, of a score that is given in the narrow dtype."""
    inputs, attributed = jnp.ones((1, 512), dtype), jnp.full((1, 512), 200, dtype)
    first = lambda logits, targets: logits[:, 0]  # a score of the logits' own dtype
    predict = lambda x: 50_000 * jnp.sign(jnp.sum(x, axis=-1, keepdims=True) - 1)
    arguments = {"baselines": 0.0, "score_fn": first}
    # f(1) − f(0) = 50,000 − (−50,000), as the dtype writes it.
    change = 2 * float(jnp.asarray(50_000, dtype))
    gap = attributions.completeness_gap(
        predict, inputs, TARGET, attributed, **arguments
    )
    error = attributions.completeness_error(
        predict, inputs, TARGET, attributed, **arguments
    )
    assert gap.dtype == error.dtype == jnp.float32
    np.testing.assert_allclose(gap, [102_400 - change])
    np.testing.assert_allclose(error, [abs(102_400 - change) / change], rtol=1e-6)


CAM = functools.partial(attributions.grad_cam, score_fn=score_fn)
EXPLAINERS = {
    "grad_cam": CAM,
    "hi_res_cam": functools.partial(attributions.hi_res_cam, score_fn=score_fn),
    "layer_cam": functools.partial(attributions.layer_cam, score_fn=score_fn),
    "taylor": functools.partial(
        attributions.taylor, baselines=0.25, at="baseline", score_fn=score_fn
    ),
    "expected_gradients": functools.partial(
        attributions.expected_gradients,
        key=jax.random.key(0), background=jnp.zeros((2, 2, 2, 3)), num_samples=2,
        score_fn=score_fn,
    ),
    "gradient_x_input": functools.partial(
        attributions.gradient_x_input, score_fn=score_fn
    ),
    "integrated_gradients": functools.partial(
        attributions.integrated_gradients,
        score_fn=score_fn, baselines=0.0, num_points=2,
    ),
    "smooth_grad": functools.partial(
        attributions.smooth_grad, CAM, key=jax.random.key(0), sigma=0.1, num_samples=2
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(EXPLAINERS))
def test_a_narrow_map_is_near_the_one_of_float32_and_its_gradient_is_narrow(name):
    wide = jax.random.uniform(jax.random.key(1), (2, 2, 2, 3), minval=0.5, maxval=1.5)
    explain = EXPLAINERS[name]
    targets = np.array([0, 0])
    expected = explain(square, wide, targets)
    for dtype, rounding in ((jnp.float16, 2e-3), (jnp.bfloat16, 2e-2)):
        inputs = wide.astype(dtype)
        maps = explain(square, inputs, targets)
        assert maps.dtype == jnp.float32
        np.testing.assert_allclose(maps, expected, rtol=2 * rounding)
        gradient = jax.grad(lambda x: jnp.sum(explain(square, x, targets)))(inputs)
        assert gradient.dtype == dtype
        assert np.all(np.isfinite(gradient.astype(jnp.float32)))


def test_float32_arithmetic_is_the_formula_in_float32():
    """Widening is for narrow inputs: float32 comes out bit for bit as before."""
    inputs = jax.random.normal(jax.random.key(1), (2, 2, 2, 3))
    targets = np.array([0, 1])
    gradient = attributions.input_gradient(square, inputs, targets, score_fn=score_fn)
    cam = jnp.einsum("bhwk,bk->bhw", inputs, jnp.mean(gradient, axis=(1, 2)))
    layer_cam = jnp.sum(jax.nn.relu(gradient) * inputs, axis=-1)
    for name, expected in (
        ("gradient_x_input", inputs * gradient),
        ("grad_cam", jax.nn.relu(cam)),
        ("layer_cam", layer_cam),
    ):
        actual = EXPLAINERS[name](square, inputs, targets)
        np.testing.assert_array_equal(actual, expected)


def test_a_gradient_comes_in_the_dtype_of_its_inputs():
    gradient = attributions.input_gradient(
        square, jnp.ones((1, 2), jnp.bfloat16), TARGET, score_fn=score_fn
    )
    assert gradient.dtype == jnp.bfloat16


def test_a_localisation_term_adds_channels_up_in_float32():
    maps = jnp.full((4, 6, 6, 512), 200, jnp.float16)
    term = guidance.localisation(
        loss=lambda maps, region: jnp.mean(maps, axis=(1, 2)),
        explain=guidance.explain(lambda *point: maps),
    )
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1), batch_size=4)
    loss, _ = training.guidance_loss(
        apply_fn, {"term": term}, {"model": params}, (), {}, batch,
        key=jax.random.key(2), step=0,
    )  # fmt: skip
    np.testing.assert_array_equal(loss, 102_400)
