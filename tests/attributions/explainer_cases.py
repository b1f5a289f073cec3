"""Every public explainer, called once, and the networks that all of them can explain.

A new explainer belongs into `CASES`; a public function that is none into
`NOT_EXPLAINERS`. `test_every_explainer.py` fails for a name that is in neither.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import attributions
from xguide_jax.types import Array, ModelOutput

NOT_EXPLAINERS = {
    # what is explained, and where
    "centred_logit", "regression_output", "sigmoid_log_probability", "sigmoid_logit",
    "sigmoid_probability", "sigmoid_sum_log_probabilities", "split_at", "split_each",
    "sum_log_probabilities", "target_log_probability", "target_logit",
    "target_probability",
    # of a series, around an explainer; `test_temporal.py` has it
    "temporal_rescaling",
    # against what
    "baseline_neutrality", "baselines", "layer_baseline", "sigmoid_baseline_neutrality",
    # what it adds up to
    "Attribution", "attribution_error", "attribution_of", "attribution_target",
    "completeness_error", "completeness_gap", "expected_target",
    # parts of maps
    "grad_cam_weights", "grid_segments", "segment_sums", "upsample_conserving",
    # rules of propagation
    "alpha_beta_rule", "composite", "epsilon_rule", "flat_rule", "gamma_rule",
    "z_box_rule", "z_plus_rule",
}  # fmt: skip

SHAPE = (6, 6, 2)
SCORE = {"score_fn": attributions.target_logit}
BASELINE = 0.25
SEGMENTS, NUM_SEGMENTS = attributions.grid_segments(SHAPE, (3, 3))
_KEY = {"key": jax.random.key(0)}
_BASELINES = {"baselines": BASELINE, **SCORE}
_COVERED = {"chunk_size": 16, **_BASELINES}
_SEGMENTS = {"segments": SEGMENTS, "num_segments": NUM_SEGMENTS, **_COVERED}
_LIME = {"kernel_width": 0.5, "ridge": 0.1}
_RISE = {"grid": (2, 2), "keep_probability": 0.5}


class Case(NamedTuple):
    """How an explainer is called, and what Captum calls it.

    Attributes:
      explain: (forward, inputs, targets) -> maps [B, 6, 6(, K)]; `forward` is
        (inputs, *, overrides=None) -> ModelOutput.
      network: the kind of network it explains, "convolutional" or "attention".
      captum: the name of its map in tests/golden/captum_cnn.npz, None where Captum has
        no counterpart.
    """

    explain: Callable[..., Array]
    network: str = "convolutional"
    captum: str | None = None


def _at_input(name: str, **settings) -> Callable[..., Array]:
    def explain(forward, inputs, targets):
        explainer = getattr(attributions, name)
        return explainer(lambda x: forward(x).logits, inputs, targets, **settings)

    return explain


def _smoothed(name: str) -> Callable[..., Array]:
    def explain(forward, inputs, targets):
        explainer = functools.partial(attributions.input_gradient, **SCORE)
        return getattr(attributions, name)(
            explainer, lambda x: forward(x).logits, inputs, targets,
            sigma=0.2, num_samples=2, **_KEY,
        )  # fmt: skip

    return explain


def _at_features(name: str) -> Callable[..., Array]:
    def explain(forward, inputs, targets):
        head, features = attributions.split_at(forward, inputs, "features")
        return getattr(attributions, name)(head, features, targets, **SCORE)

    return explain


def _over_background(name: str, **settings) -> Callable[..., Array]:
    def explain(forward, inputs, targets):
        return getattr(attributions, name)(
            lambda x: forward(x).logits, inputs, targets,
            background=jnp.full((2, *SHAPE), BASELINE), num_samples=2, **settings,
            **_KEY, **SCORE,
        )  # fmt: skip

    return explain


def _at_given_samples(forward, inputs, targets):
    return attributions.expected_gradients_at(
        lambda x: forward(x).logits, inputs, targets,
        starts=jnp.full((2, *inputs.shape), BASELINE),
        positions=jnp.tile(jnp.array([[0.25], [0.75]]), (1, len(inputs))),
        noise=None, **SCORE,
    )  # fmt: skip


def _propagated(forward, inputs, targets):
    rules = attributions.epsilon_rule(1e-6)
    return attributions.lrp(
        lambda x: forward(x).logits, inputs, targets, rules=rules, **SCORE
    )


def _of_tokens(explain: Callable[..., Array]) -> Callable[..., Array]:
    """The map of the tokens that are cells, without the class token's own entry."""

    def explain_cells(forward, inputs, targets):
        names = ["attention_0", "attention_1"]
        heads, attentions = attributions.split_each(forward, inputs, names)
        maps = explain(heads, attentions, targets)[:, 1:]
        return maps.reshape(len(inputs), 3, 3)

    return explain_cells


CASES = {
    "attention_rollout": Case(
        _of_tokens(lambda heads, layers, y: attributions.attention_rollout(layers)),
        "attention",
    ),
    "attention_x_gradient": Case(
        _of_tokens(
            lambda heads, layers, y: attributions.attention_x_gradient(
                heads, layers, y, **SCORE
            )
        ),
        "attention",
    ),
    "class_token_attention": Case(
        _of_tokens(lambda heads, layers, y: attributions.class_token_attention(layers)),
        "attention",
    ),
    "deep_lift": Case(_at_input("deep_lift", **_BASELINES), captum="deep_lift"),
    "expected_gradients": Case(
        _over_background("expected_gradients"), captum="gradient_shap"
    ),
    "expected_gradients_at": Case(_at_given_samples, captum="gradient_shap"),
    "grad_cam": Case(_at_features("grad_cam"), captum="grad_cam"),
    "gradient_shap": Case(
        _over_background("gradient_shap", sigma=0.1), captum="gradient_shap"
    ),
    "gradient_x_input": Case(
        _at_input("gradient_x_input", **SCORE), captum="input_x_gradient"
    ),
    "hi_res_cam": Case(_at_features("hi_res_cam"), captum="hi_res_cam"),
    "input_gradient": Case(_at_input("input_gradient", **SCORE), captum="saliency"),
    "integrated_gradients": Case(
        _at_input("integrated_gradients", num_points=2, chunk_size=2, **_BASELINES),
        captum="integrated_gradients",
    ),
    "kernel_shap": Case(
        _at_input("kernel_shap", num_samples=14, **_KEY, **_SEGMENTS),
        captum="shapley",
    ),
    "layer_cam": Case(_at_features("layer_cam"), captum="layer_cam"),
    "lime": Case(_at_input("lime", num_samples=12, **_LIME, **_KEY, **_SEGMENTS)),
    "lrp": Case(_propagated, captum="lrp_epsilon"),
    "occlusion": Case(
        _at_input("occlusion", window=(3, 3), strides=(3, 3), **_COVERED),
        captum="occlusion",
    ),
    "odam": Case(_at_features("odam"), captum="odam"),
    "rise": Case(_at_input("rise", num_masks=4, **_RISE, **_KEY, **_COVERED)),
    "shapley_sampling": Case(
        _at_input("shapley_sampling", num_samples=2, **_KEY, **_SEGMENTS),
        captum="shapley",
    ),
    "shapley_values": Case(_at_input("shapley_values", **_SEGMENTS), captum="shapley"),
    "signed_grad_cam": Case(_at_features("signed_grad_cam"), captum="signed_grad_cam"),
    "smooth_grad": Case(_smoothed("smooth_grad"), captum="smoothgrad"),
    "smooth_grad_squared": Case(
        _smoothed("smooth_grad_squared"), captum="smoothgrad_sq"
    ),
    "taylor": Case(_at_input("taylor", at="baseline", **_BASELINES)),
    "var_grad": Case(_smoothed("var_grad"), captum="vargrad"),
}


def convolutional_network():
    """One convolution, tanh, a ReLU layer and 3 classes: (apply_fn, params)."""
    draw = functools.partial(np.random.default_rng(0).normal)
    shaped = lambda *shape, scale: jnp.asarray(scale * draw(size=shape), jnp.float32)
    params = {
        "kernel": shaped(3, 3, 2, 4, scale=0.3),
        "bias": shaped(4, scale=0.3),
        "hidden": shaped(144, 5, scale=0.2),
        "hidden_bias": shaped(5, scale=0.3),
        "head": shaped(5, 3, scale=0.7),
        "head_bias": shaped(3, scale=0.3),
    }

    def apply_fn(params, model_state, inputs, *, train, key=None, overrides=None):
        del train, key  # deterministic
        features = jax.lax.conv_general_dilated(
            inputs, params["kernel"], (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        features = jnp.tanh(features + params["bias"])
        features = (overrides or {}).get("features", features)
        flat = features.reshape(len(features), -1)
        hidden = jax.nn.relu(flat @ params["hidden"] + params["hidden_bias"])
        logits = hidden @ params["head"] + params["head_bias"]
        return ModelOutput(logits, {"features": features}), model_state

    return apply_fn, params


def attention_network():
    """Two layers of attention over 3 x 3 patches and a class token, 3 classes."""
    draw = functools.partial(np.random.default_rng(1).normal)
    shaped = lambda *shape: jnp.asarray(0.5 * draw(size=shape), jnp.float32)
    params = {"embed": shaped(8, 4), "token": shaped(1, 4), "head": shaped(4, 3)}
    for name in ("query", "key", "value"):
        params |= {f"{name}_{layer}": shaped(4, 4) for layer in range(2)}

    def apply_fn(params, model_state, inputs, *, train, key=None, overrides=None):
        del train  # deterministic
        batch, seen = len(inputs), {}
        patches = inputs.reshape(batch, 3, 2, 3, 2, 2).transpose(0, 1, 3, 2, 4, 5)
        tokens = patches.reshape(batch, 9, 8) @ params["embed"]
        first = jnp.broadcast_to(params["token"], (batch, 1, 4))
        tokens = jnp.concatenate([first, tokens], axis=1)
        for layer in range(2):
            query, key, value = (
                tokens @ params[f"{name}_{layer}"] for name in ("query", "key", "value")
            )
            scores = jnp.einsum("bid,bjd->bij", query, key)
            name, weights = f"attention_{layer}", jax.nn.softmax(scores)[:, None]
            seen[name] = weights = (overrides or {}).get(name, weights)
            tokens = tokens + jnp.tanh(weights[:, 0] @ value)
        return ModelOutput(tokens[:, 0] @ params["head"], seen), model_state

    return apply_fn, params


NETWORKS = {
    "convolutional": convolutional_network,
    "attention": attention_network,
}


def decoy_batch(batch_size: int = 4) -> dict[str, Array]:
    """Images with a shape in the middle, the region, and a decoy in a corner."""
    labels = np.arange(batch_size) % 3
    images = 0.2 * np.random.default_rng(2).normal(size=(batch_size, *SHAPE))
    images[:, 2:4, 2:4] += (labels[:, None] - np.arange(2))[:, None, None]
    images[:, 0, 0] += labels[:, None]
    region = np.zeros((batch_size, 6, 6))
    region[:, 2:4, 2:4] = 1
    as_float = lambda x: jnp.asarray(x, jnp.float32)
    return {
        "inputs": as_float(images),
        "labels": jnp.asarray(labels, jnp.int32),
        "region": as_float(region),
        "region_valid": jnp.ones(batch_size, bool),
    }
