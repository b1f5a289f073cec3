"""The explainers beside Captum's, on one network with copied weights.

`tests/golden/make_captum.py` made the network, its weights, the inputs, every random
draw and Captum's maps; here the network is written again as a plain function. Where a
definition is another one on purpose, a test says which.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions
from xguide_jax.attributions import smoothing
from xguide_jax.types import ModelOutput

GOLDEN = dict(np.load(pathlib.Path(__file__).parents[1] / "golden" / "captum_cnn.npz"))
SETTINGS = dict(setting.split("=") for setting in GOLDEN["settings"])
NUM_POINTS = int(SETTINGS["num_points"])
GAMMA, LARGE_EPSILON = float(SETTINGS["gamma"]), float(SETTINGS["large_epsilon"])
INPUTS, TARGETS = GOLDEN["inputs"], GOLDEN["targets"].astype(np.int32)
BASELINES, BACKGROUND = GOLDEN["baselines"], GOLDEN["background"]
PARAMS = {k.removeprefix("params/"): v for k, v in GOLDEN.items() if "params/" in k}
SCORE = {"score_fn": attributions.target_logit}
TOLERANCE = 1e-4  # of the largest value of a map


def convolution(params, name, images):
    axes = ("NHWC", "HWIO", "NHWC")
    convolved = jax.lax.conv_general_dilated(
        images, params[f"{name}.kernel"], (1, 1), "SAME", dimension_numbers=axes
    )
    return convolved + params[f"{name}.bias"]


def batch_norm(params, name, features):
    centred = features - params[f"{name}.mean"]
    deviation = jnp.sqrt(params[f"{name}.var"] + 1e-5)  # PyTorch's default
    return centred / deviation * params[f"{name}.scale"] + params[f"{name}.bias"]


def max_pool(features):
    return jax.lax.reduce_window(
        features, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )


def average_pool(features):
    batch, height, width, channels = features.shape
    windows = features.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return jnp.mean(windows, axis=(2, 4))


def dense(params, name, values):
    return values @ params[f"{name}.kernel"] + params[f"{name}.bias"]


def run(images, *, params=PARAMS, pool=max_pool, overrides=None):
    overrides = overrides or {}
    first = convolution(params, "first", images)
    first = jax.nn.relu(batch_norm(params, "first_norm", first))
    first = overrides.get("first", first)
    change = batch_norm(params, "second_norm", convolution(params, "second", first))
    features = overrides.get("features", jax.nn.relu(first + change))
    pooled = pool(features).reshape(len(features), -1)
    hidden = jax.nn.relu(dense(params, "dense", pooled))
    logits = dense(params, "output", hidden)
    return ModelOutput(logits, {"first": first, "features": features})


def predict(images):
    return run(images).logits


def assert_agrees(maps, name, *, tolerance=TOLERANCE):
    expected = GOLDEN[f"maps/{name}"]
    maps = np.asarray(maps).reshape(expected.shape)
    scale = np.max(np.abs(expected))
    assert scale > 0.1  # a map of zeros would agree with anything
    difference = np.max(np.abs(maps - expected)) / scale
    assert difference < tolerance, f"{name}: {difference:.1e} of the largest value"


def test_the_network_is_the_same():
    np.testing.assert_allclose(predict(INPUTS), GOLDEN["logits"], rtol=1e-5, atol=1e-5)


def test_gradient():
    maps = attributions.input_gradient(predict, INPUTS, TARGETS, **SCORE)
    assert_agrees(maps, "saliency")


def test_input_x_gradient():
    maps = attributions.gradient_x_input(predict, INPUTS, TARGETS, **SCORE)
    assert_agrees(maps, "input_x_gradient")


def test_integrated_gradients_by_the_midpoint_rule():
    settings = {"num_points": NUM_POINTS, "chunk_size": NUM_POINTS, **SCORE}
    maps = attributions.integrated_gradients(
        predict, INPUTS, TARGETS, baselines=BASELINES, **settings
    )
    assert_agrees(maps, "integrated_gradients")


def test_layer_integrated_gradients_from_the_features_of_an_input_baseline():
    settings = {"num_points": NUM_POINTS, "chunk_size": NUM_POINTS, **SCORE}
    head, features = attributions.split_at(run, INPUTS, "first")
    maps = attributions.integrated_gradients(
        head,
        features,
        TARGETS,
        baselines=attributions.layer_baseline(run, BASELINES, "first"),
        **settings,
    )
    assert_agrees(maps, "layer_integrated_gradients")


@pytest.fixture
def given_noise(monkeypatch):
    """Captum's draws of the noise in place of ours."""
    sigma = float(SETTINGS["sigma"])
    noise = jnp.asarray(GOLDEN["noise"]) / sigma
    monkeypatch.setattr(smoothing, "_noise", lambda keys, sample, inputs: noise[sample])
    return {"key": jax.random.key(0), "sigma": sigma, "num_samples": len(noise)}


@pytest.mark.parametrize(
    ("explainer", "name"),
    [
        ("smooth_grad", "smoothgrad"),
        ("smooth_grad_squared", "smoothgrad_sq"),
        ("var_grad", "vargrad"),
    ],
)
def test_smooth_grad_its_square_and_its_variance_with_given_noise(
    explainer, name, given_noise
):
    maps = getattr(attributions, explainer)(
        functools.partial(attributions.input_gradient, **SCORE),
        predict, INPUTS, TARGETS, **given_noise,
    )  # fmt: skip
    assert_agrees(maps, name)


@pytest.mark.parametrize(
    "name", ["grad_cam", "signed_grad_cam", "hi_res_cam", "odam", "layer_cam"]
)
def test_class_activation_maps_behind_a_residual_block(name):
    head, features = attributions.split_at(run, INPUTS, "features")
    maps = getattr(attributions, name)(head, features, TARGETS, **SCORE)
    assert_agrees(maps, name)


def test_gradient_shap_with_given_samples():
    maps = attributions.expected_gradients_at(
        predict, INPUTS, TARGETS,
        starts=GOLDEN["shap_starts"], positions=GOLDEN["shap_positions"],
        noise=GOLDEN["shap_noise"], **SCORE,
    )  # fmt: skip
    assert_agrees(maps, "gradient_shap")


@pytest.mark.parametrize(
    ("name", "window", "strides"),
    [("occlusion", (3, 3), (2, 2)), ("occlusion_one_channel", (4, 3, 1), (3, 1, 1))],
)
def test_occlusion_with_windows_cut_at_the_border(name, window, strides):
    maps = attributions.occlusion(
        predict, INPUTS, TARGETS,
        window=window, strides=strides, baselines=BASELINES, chunk_size=16, **SCORE,
    )  # fmt: skip
    assert_agrees(maps, name)


SEGMENTS = {"segments": GOLDEN["segments"][..., None], "num_segments": 8}


SHAPLEY = {"baselines": BASELINES, "chunk_size": 128, **SEGMENTS, **SCORE}


@pytest.fixture(scope="module")
def shapley_maps():
    return attributions.shapley_values(predict, INPUTS, TARGETS, **SHAPLEY)


def test_shapley_values_of_eight_segments_by_enumeration(shapley_maps):
    sums = attributions.segment_sums(shapley_maps, **SEGMENTS)
    assert_agrees(sums[:, GOLDEN["segments"]][..., None].repeat(2, axis=-1), "shapley")


def test_kernel_shap_of_all_coalitions_is_the_shapley_value():
    maps = attributions.kernel_shap(
        predict, INPUTS, TARGETS, key=jax.random.key(0), num_samples=2**8 - 2, **SHAPLEY
    )
    sums = attributions.segment_sums(maps, **SEGMENTS)
    assert_agrees(sums[:, GOLDEN["segments"]][..., None].repeat(2, axis=-1), "shapley")


def test_ours_share_a_segment_out_where_captum_repeats_its_value(shapley_maps):
    features = 4 * 2 * 2  # of each segment, both channels
    assert_agrees(features * shapley_maps, "shapley")
    gap = attributions.completeness_gap(
        predict, INPUTS, TARGETS, shapley_maps, baselines=BASELINES, **SCORE
    )
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def predict_with_average_pool(images):
    return run(images, pool=average_pool).logits


def test_deep_lift_with_average_pooling():
    maps = attributions.deep_lift(
        predict_with_average_pool, INPUTS, TARGETS, baselines=BASELINES, **SCORE
    )
    assert_agrees(maps, "deep_lift_average_pool")


def test_deep_lift_averaged_over_a_background():
    explain = functools.partial(
        attributions.deep_lift, predict_with_average_pool, INPUTS, TARGETS, **SCORE
    )
    maps = jax.vmap(lambda row: explain(baselines=row))(BACKGROUND)
    assert_agrees(np.mean(maps, axis=0), "deep_lift_background")


def test_deep_lift_with_max_pooling_is_complete_where_captum_is_not():
    settings = {"baselines": BASELINES, **SCORE}
    maps = attributions.deep_lift(predict, INPUTS, TARGETS, **settings)
    gap = attributions.completeness_gap(predict, INPUTS, TARGETS, maps, **settings)
    np.testing.assert_allclose(gap, 0, atol=1e-5)
    captum = GOLDEN["maps/deep_lift"]
    gap = attributions.completeness_gap(predict, INPUTS, TARGETS, captum, **settings)
    assert np.max(np.abs(gap)) > 1  # of targets of 0.9 to 11


@pytest.mark.parametrize(
    ("convolution", "dense", "name"),
    [
        (attributions.epsilon_rule(1e-9), attributions.epsilon_rule(1e-9), "epsilon"),
        (
            attributions.epsilon_rule(LARGE_EPSILON),
            attributions.epsilon_rule(LARGE_EPSILON),
            "large_epsilon",
        ),
        (attributions.gamma_rule(GAMMA), attributions.epsilon_rule(1e-9), "gamma"),
    ],
)
def test_lrp_through_batch_norm_and_residual(convolution, dense, name, x64):
    # Float64, since a share of a z near 0 amplifies rounding, to 1.5e-4 in float32.
    wide = {name: value.astype(np.float64) for name, value in PARAMS.items()}
    rules = attributions.composite(
        first=convolution, convolution=convolution, dense=dense
    )
    predict_wide = lambda images: run(images, params=wide).logits
    explain = functools.partial(attributions.lrp, predict_wide, rules=rules, **SCORE)
    maps = jax.jit(explain)(INPUTS.astype(np.float64), targets=TARGETS)
    assert_agrees(maps, f"lrp_{name}")
