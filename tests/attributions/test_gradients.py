"""Tests of the input gradient and of gradient times input."""

import functools

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(4, 5)).astype(np.float32)
TARGETS = np.array([0, 2, 1, 1])
PARAMS = {
    "first": RNG.normal(size=(5, 6)).astype(np.float32),
    "bias": RNG.normal(size=6).astype(np.float32),
    "second": RNG.normal(size=(6, 3)).astype(np.float32),
}


def network(params, inputs):
    return jax.nn.softplus(inputs @ params["first"] + params["bias"]) @ params["second"]


def explain(explainer, params, inputs, targets=TARGETS):
    return explainer(
        functools.partial(network, params),
        inputs,
        targets,
        score_fn=attributions.target_log_probability,
    )


class GradientsTest(chex.TestCase):
    def test_values_computed_by_hand(self):
        # logits = (x_0 x_1, x_0²): d s_0 = (x_1, x_0), d s_1 = (2 x_0, 0)
        def predict(x):
            return jnp.stack([x[:, 0] * x[:, 1], x[:, 0] ** 2], axis=-1)

        inputs = np.array([[2.0, 5.0], [2.0, 5.0]], np.float32)
        arguments = (predict, inputs, np.array([0, 1]))
        score_fn = attributions.target_logit
        gradient = attributions.input_gradient(*arguments, score_fn=score_fn)
        np.testing.assert_allclose(gradient, [[5, 2], [4, 0]])
        product = attributions.gradient_x_input(*arguments, score_fn=score_fn)
        np.testing.assert_allclose(product, [[10, 10], [8, 0]])

    @chex.variants(with_jit=True, without_jit=True)
    def test_softplus_network_agrees_with_its_closed_form(self):
        hidden = INPUTS @ PARAMS["first"] + PARAMS["bias"]
        p = jax.nn.softmax(network(PARAMS, INPUTS))
        upstream = (np.eye(3)[TARGETS] - p) @ PARAMS["second"].T
        expected = (upstream / (1 + np.exp(-hidden))) @ PARAMS["first"].T

        run = self.variant(functools.partial(explain, attributions.input_gradient))
        np.testing.assert_allclose(run(PARAMS, INPUTS), expected, rtol=1e-4, atol=1e-5)

    def test_gradient_times_input_of_a_linear_network_adds_up_to_its_logit(self):
        product = attributions.gradient_x_input(
            lambda x: x @ PARAMS["first"],
            INPUTS,
            TARGETS,
            score_fn=attributions.target_logit,
        )
        logits = INPUTS @ PARAMS["first"]
        picked = np.take_along_axis(logits, TARGETS[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(jnp.sum(product, axis=-1), picked, rtol=1e-5)

    def test_each_example_is_explained_by_itself(self):
        for explainer in (attributions.input_gradient, attributions.gradient_x_input):
            together = explain(explainer, PARAMS, INPUTS)
            for i in range(len(INPUTS)):
                one = slice(i, i + 1)
                alone = explain(explainer, PARAMS, INPUTS[one], TARGETS[one])
                np.testing.assert_allclose(together[one], alone, rtol=1e-5, atol=1e-6)

    def test_nan_in_one_example_stays_there(self):
        inputs = INPUTS.copy()
        inputs[1, 0] = np.nan
        gradient = explain(attributions.input_gradient, PARAMS, inputs)
        rows = np.isnan(gradient).any(axis=-1)
        np.testing.assert_array_equal(rows, [False, True, False, False])

    def test_bfloat16_inputs_give_bfloat16_attributions(self):
        inputs = jnp.asarray(INPUTS, jnp.bfloat16)
        params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), PARAMS)
        gradient = explain(attributions.input_gradient, params, inputs)
        chex.assert_type(gradient, jnp.bfloat16)

    def test_a_penalty_on_the_explanation_is_lowered_by_moving_the_parameters(self):
        def penalty(params):
            gradient = explain(attributions.input_gradient, params, INPUTS)
            return jnp.mean(gradient[:, 0] ** 2)

        before, slope = jax.value_and_grad(penalty)(PARAMS)
        moved = jax.tree.map(lambda w, g: w - 0.3 * g, PARAMS, slope)
        self.assertLess(penalty(moved), 0.9 * before)

    def test_mismatched_arguments_are_refused(self):
        score_fn = attributions.target_logit
        predict = functools.partial(network, PARAMS)
        with pytest.raises(AssertionError, match="shape"):
            attributions.input_gradient(predict, INPUTS, TARGETS[:3], score_fn=score_fn)
        with pytest.raises(AssertionError, match="type"):
            attributions.input_gradient(
                predict, INPUTS.astype(np.int32), TARGETS, score_fn=score_fn
            )
        with pytest.raises(AssertionError, match="shape"):
            attributions.input_gradient(
                predict, INPUTS, TARGETS, score_fn=lambda logits, targets: logits
            )


@pytest.mark.parametrize(
    "explainer", [attributions.input_gradient, attributions.gradient_x_input]
)
def test_second_derivatives_in_parameters_and_inputs_are_right(x64, explainer):
    del x64
    wide = jax.tree.map(lambda w: w.astype(np.float64), (PARAMS, INPUTS[:2]))

    @jax.jit
    def explanation(params, inputs):
        return explain(explainer, params, inputs, TARGETS[:2])

    jax.test_util.check_grads(explanation, wide, order=2, modes=["rev"])
