"""Tests of cutting a network at a named activation."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions
from xguide_jax.types import ModelOutput

RNG = np.random.default_rng(0)
WIDTH = 32
INPUTS = RNG.normal(size=(2, WIDTH)).astype(np.float32)
TARGETS = np.array([0, 2])
PARAMS = {
    "deep": (RNG.normal(size=(6, WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32),
    "hidden": RNG.normal(size=(WIDTH, 4)).astype(np.float32),
    "skip": RNG.normal(size=(WIDTH, 3)).astype(np.float32),
    "head": RNG.normal(size=(4, 3)).astype(np.float32),
}
target_logit = attributions.target_logit


def apply_fn(params, model_state, inputs, *, train, key=None, overrides=None):
    """Six dense layers, 'features' of width 4, and a softplus head with a skip."""
    del train, key
    hidden = inputs
    for kernel in params["deep"]:
        hidden = jnp.tanh(hidden @ kernel)
    features = (overrides or {}).get("features", hidden @ params["hidden"])
    logits = jax.nn.softplus(features + 0.5) @ params["head"] + inputs @ params["skip"]
    return ModelOutput(logits, {"features": features}), model_state


def forward_of(params):
    return functools.partial(apply_fn, params, (), train=False)


class SplitAtTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_head_at_the_features_gives_the_logits(self):
        @self.variant
        def both(inputs):
            head_fn, features = attributions.split_at(
                forward_of(PARAMS), inputs, "features"
            )
            output = forward_of(PARAMS)(inputs)[0]
            return head_fn(features), output.logits, features, output.intermediates

        head_logits, logits, features, intermediates = both(INPUTS)
        np.testing.assert_allclose(head_logits, logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(features, intermediates["features"])

    def test_head_replaces_the_features_and_keeps_what_skips_them(self):
        head_fn, _ = attributions.split_at(forward_of(PARAMS), INPUTS, "features")
        # softplus(−0.5 + 0.5) = log 2 in each of the four features
        expected = np.log(2) * PARAMS["head"].sum(axis=0) + INPUTS @ PARAMS["skip"]
        actual = head_fn(jnp.full((2, 4), -0.5))
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)

    def test_forward_may_return_the_output_without_a_state(self):
        def forward(inputs, *, overrides=None):
            return forward_of(PARAMS)(inputs, overrides=overrides)[0]

        head_fn, features = attributions.split_at(forward, INPUTS, "features")
        other_fn, other = attributions.split_at(forward_of(PARAMS), INPUTS, "features")
        np.testing.assert_array_equal(features, other)
        np.testing.assert_array_equal(head_fn(2 * features), other_fn(2 * other))

    def test_gradient_reaches_the_parameters_on_both_sides(self):
        def total(params, part):
            head_fn, features = attributions.split_at(
                forward_of(params), INPUTS, "features"
            )
            return jnp.sum(
                features if part == "features" else head_fn(jnp.ones((2, 4)))
            )

        slope = jax.jit(jax.grad(total), static_argnums=1)
        before, behind = slope(PARAMS, "features"), slope(PARAMS, "head")
        reached = lambda tree: {name for name, g in tree.items() if np.any(g)}
        self.assertEqual(reached(before), {"deep", "hidden"})
        self.assertEqual(reached(behind), {"head", "skip"})

    def test_integrated_gradients_at_the_layer_are_complete(self):
        head_fn, features = attributions.split_at(
            forward_of(PARAMS), INPUTS, "features"
        )
        shared = {"baselines": -1.0, "score_fn": target_logit}
        values = attributions.integrated_gradients(
            head_fn, features, TARGETS, num_points=64, chunk_size=64, **shared
        )
        gap = attributions.completeness_gap(
            head_fn, features, TARGETS, values, **shared
        )
        chex.assert_equal_shape([values, features])
        np.testing.assert_allclose(gap, 0, atol=2e-3)

    def test_a_point_on_the_path_costs_the_head_only(self):
        def layer_map(num_points, inputs):
            head_fn, features = attributions.split_at(
                forward_of(PARAMS), inputs, "features"
            )
            return attributions.integrated_gradients(
                head_fn,
                features,
                TARGETS,
                baselines=-1.0,
                num_points=num_points,
                score_fn=target_logit,
            )

        network = flops(lambda inputs: forward_of(PARAMS)(inputs)[0].logits)
        few, many = (flops(functools.partial(layer_map, n)) for n in (4, 8))
        # The head: two small products, a softplus and its derivative on [2, 4].
        a_point = (many - few) / 4
        self.assertGreater(a_point, 2 * 2 * 4 * 3)
        self.assertLess(a_point, 0.05 * network)

    def test_unknown_name_is_refused_with_those_present(self):
        message = r"`name` \(='conv'\) must be .* exposes \['features'\]"
        with pytest.raises(ValueError, match=message):
            attributions.split_at(forward_of(PARAMS), INPUTS, "conv")


def flops(function):
    return jax.jit(function).lower(INPUTS).compile().cost_analysis()["flops"]


def test_a_pass_that_is_there_already_is_not_made_again():
    calls = []

    def forward(inputs, overrides=None):
        calls.append(overrides)
        return forward_of(PARAMS)(inputs, overrides=overrides)[0]

    output = forward(INPUTS)
    head_fn, features = attributions.split_at(
        forward, INPUTS, "features", output=output
    )
    assert calls == [None]
    assert features is output.intermediates["features"]
    np.testing.assert_allclose(head_fn(features), output.logits, rtol=1e-5, atol=1e-6)
