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
    @chex.variants(with_jit=True, without_jit=True)
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


DEEP = {
    name: (RNG.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
    for name, shape in {"a": (5, 6), "b": (6, 6), "c": (6, 4), "head": (4, 3)}.items()
}
ROWS = RNG.normal(size=(3, 5)).astype(np.float32)
CLASSES = np.array([0, 1, 2], np.int32)


def deep(inputs, *, overrides=None, skip=0.0, params=DEEP):
    """Three layers 'a', 'b', 'c'; 'b' has a skip of its own; `skip` passes them all."""
    given = overrides or {}
    a = given.get("a", jax.nn.softplus(inputs @ params["a"] + 0.3))
    b = given.get("b", a + jnp.tanh(a @ params["b"] + 0.1))
    c = given.get("c", jax.nn.softplus(b @ params["c"]))
    past = given.get("past", skip * inputs[:, :3])
    logits = c @ params["head"] + past
    return ModelOutput(logits, {"a": a, "b": b, "c": c, "past": past})


class SeveralLayersTest(chex.TestCase):
    def test_several_names_give_their_activations_in_that_order(self):
        names = ("c", "a")
        head_fn, features = attributions.split_at(deep, ROWS, names)
        output = deep(ROWS)
        self.assertIsInstance(features, tuple)
        for name, feature in zip(names, features, strict=True):
            np.testing.assert_array_equal(feature, output.intermediates[name])
        np.testing.assert_allclose(head_fn(features), output.logits, rtol=1e-5)
        c, a = features
        # 'c' is replaced, so that 'a' has nowhere to go.
        np.testing.assert_array_equal(head_fn((c, a + 1)), head_fn(features))
        np.testing.assert_allclose(
            head_fn((jnp.ones_like(c), a)),
            np.tile(DEEP["head"].sum(0), (3, 1)),
            rtol=1e-5,
        )

    def test_one_name_in_a_sequence_is_a_tuple_of_one(self):
        head_fn, features = attributions.split_at(deep, ROWS, ["b"])
        other_fn, other = attributions.split_at(deep, ROWS, "b")
        self.assertLen(features, 1)
        np.testing.assert_array_equal(features[0], other)
        np.testing.assert_array_equal(head_fn((2 * other,)), other_fn(2 * other))

    def test_overridden_together_a_gradient_is_partial_and_each_alone_total(self):
        """The chain rule by hand: dY/da = ∂Y/∂a + dY/db db/da, and here ∂Y/∂a = 0."""
        together, features = attributions.split_at(deep, ROWS, ("a", "b"))
        score = lambda values: jnp.sum(target_logit(together(values), CLASSES))
        partial_a, partial_b = jax.grad(score)(features)
        np.testing.assert_array_equal(partial_a, 0)

        heads, features = attributions.split_each(deep, ROWS, ("a", "b"))
        total_a, total_b = (
            attributions.input_gradient(head, a, CLASSES, score_fn=target_logit)
            for head, a in zip(heads, features, strict=True)
        )
        np.testing.assert_allclose(total_b, partial_b, rtol=1e-5)
        inner = 1 - np.tanh(features[0] @ DEEP["b"] + 0.1) ** 2
        by_hand = total_b + (total_b * inner) @ DEEP["b"].T
        np.testing.assert_allclose(total_a, by_hand, rtol=1e-4)
        self.assertGreater(np.min(np.abs(total_a)), 0)

    def test_the_layers_share_one_pass(self):
        calls = []

        def counted(inputs, overrides=None):
            calls.append(overrides)
            return deep(inputs, overrides=overrides)

        attributions.split_each(counted, ROWS, ("a", "b", "c"))
        self.assertEqual(calls, [None])
        attributions.split_each(counted, ROWS, ("a", "b"), output=deep(ROWS))
        self.assertLen(calls, 1)

    def test_names_that_do_not_fit_are_refused(self):
        for split in (attributions.split_at, attributions.split_each):
            with pytest.raises(ValueError, match=r"`name` \(='z'\) must be an activ"):
                split(deep, ROWS, ("a", "z"))
            for wrong in ((), ("a", "a")):
                with pytest.raises(ValueError, match="one or more different names"):
                    split(deep, ROWS, wrong)
        head_fn, (a, _) = attributions.split_at(deep, ROWS, ("a", "b"))
        with pytest.raises(ValueError, match=r"`values` \(1 of them\) must be one for"):
            head_fn((a,))


class LayerBaselineTest(chex.TestCase):
    def target(self, name, *, forward=deep, baselines):
        head_fn, features = attributions.split_at(forward, ROWS, name)
        return attributions.attribution_target(
            head_fn, features, CLASSES, baselines=baselines, score_fn=target_logit
        )

    def test_the_target_is_the_same_at_every_layer(self):
        baselines = 0.2 * ROWS - 0.5
        expected = attributions.attribution_target(
            lambda x: deep(x).logits, ROWS, CLASSES,
            baselines=baselines, score_fn=target_logit,
        )  # fmt: skip
        zero = []
        for name in ("a", "b", "c"):
            carried = attributions.layer_baseline(deep, baselines, name)
            actual = self.target(name, baselines=carried)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
            zero.append(self.target(name, baselines=0.0))
        # Features of 0 are those of no input: a target for each layer.
        self.assertGreater(np.max(np.abs(zero[0] - zero[2])), 0.1)

    def test_integrated_gradients_add_up_to_it_at_every_layer(self):
        baselines = np.zeros_like(ROWS)
        expected = attributions.attribution_target(
            lambda x: deep(x).logits, ROWS, CLASSES,
            baselines=0.0, score_fn=target_logit,
        )  # fmt: skip
        for name in ("a", "b", "c"):
            head_fn, features = attributions.split_at(deep, ROWS, name)
            maps = attributions.integrated_gradients(
                head_fn, features, CLASSES,
                baselines=attributions.layer_baseline(deep, baselines, name),
                num_points=64, chunk_size=64, score_fn=target_logit,
            )  # fmt: skip
            np.testing.assert_allclose(maps.sum(axis=1), expected, rtol=1e-3, atol=1e-4)

    def test_past_a_skip_the_layer_has_its_own_share_only_and_cutting_both_has_all(
        self,
    ):
        forward = functools.partial(deep, skip=1.0)
        baselines = np.zeros_like(ROWS)
        expected = attributions.attribution_target(
            lambda x: forward(x).logits, ROWS, CLASSES,
            baselines=0.0, score_fn=target_logit,
        )  # fmt: skip
        carried = attributions.layer_baseline(forward, baselines, "c")
        share = self.target("c", forward=forward, baselines=carried)
        # What is missing is what the skip carries, x_y − 0.
        missing = np.take_along_axis(ROWS[:, :3], CLASSES[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(expected - share, missing, rtol=1e-4)

        cut = ("c", "past")
        head_fn, features = attributions.split_at(forward, ROWS, cut)
        carried = attributions.layer_baseline(forward, baselines, cut)
        chex.assert_trees_all_equal_shapes(carried, features)
        change = head_fn(features) - head_fn(carried)
        np.testing.assert_allclose(target_logit(change, CLASSES), expected, rtol=1e-4)

    def test_gradients_reach_the_parameters_before_the_layer(self):
        def total(params):
            forward = functools.partial(deep, params=params)
            return jnp.sum(attributions.layer_baseline(forward, ROWS, "b"))

        slope = jax.grad(total)(DEEP)
        reached = {name for name, g in slope.items() if np.any(g)}
        self.assertEqual(reached, {"a", "b"})

    def test_unknown_name_is_refused(self):
        with pytest.raises(ValueError, match=r"`name` \(='z'\) must be an activation"):
            attributions.layer_baseline(deep, ROWS, "z")
