"""Tests of integrated gradients. No bias-free ReLU network: it passes any of them."""

import functools
import unittest

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest
from absl.testing import parameterized

from xguide_jax import attributions

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(3, 5)).astype(np.float32)
BASELINES = INPUTS - RNG.uniform(1, 2, size=(3, 5)).astype(np.float32)
TARGETS = np.array([0, 2, 1])
PARAMS = {
    "first": (2 * RNG.normal(size=(5, 6))).astype(np.float32),
    "bias": RNG.normal(size=6).astype(np.float32),
    "second": RNG.normal(size=(6, 3)).astype(np.float32),
}


def network(params, inputs):
    return jax.nn.softplus(inputs @ params["first"] + params["bias"]) @ params["second"]


def cubic(inputs):
    score = jnp.sum(inputs**3, axis=-1)
    return jnp.stack([score, -score], axis=-1)


def explain(params, inputs, *, baselines=BASELINES, targets=TARGETS, **settings):
    return attributions.integrated_gradients(
        functools.partial(network, params),
        inputs,
        targets,
        baselines=baselines,
        score_fn=attributions.target_logit,
        **{"num_points": 5, **settings},
    )


class IntegratedGradientsTest(chex.TestCase):
    @parameterized.parameters(
        # x = 3, b = 1, two midpoints 1.5 and 2.5: 2 · 3 (1.5² + 2.5²) / 2 = 25.5
        (2, 25.5),
        # one midpoint 2: 2 · 3 · 2² = 24; the integral itself is 27 − 1 = 26
        (1, 24.0),
    )
    def test_midpoint_rule_on_a_cubic_by_hand(self, num_points, expected):
        actual = attributions.integrated_gradients(
            cubic,
            jnp.full((2, 1), 3.0),
            np.array([0, 1]),
            baselines=1.0,
            num_points=num_points,
            score_fn=attributions.target_logit,
        )
        np.testing.assert_allclose(actual, [[expected], [-expected]], rtol=1e-6)

    def test_linear_network_from_zero_gives_gradient_times_input(self):
        arguments = (lambda x: x @ PARAMS["first"] + 7.0, INPUTS, TARGETS)
        settings = {"score_fn": attributions.target_logit}
        expected = attributions.gradient_x_input(*arguments, **settings)
        for num_points in (1, 4):
            actual = attributions.integrated_gradients(
                *arguments, baselines=0.0, num_points=num_points, **settings
            )
            np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_sum_tends_to_the_change_of_the_score(self):
        gaps = []
        for num_points in (1, 8, 64):
            gap = attributions.completeness_gap(
                functools.partial(network, PARAMS),
                INPUTS,
                TARGETS,
                explain(PARAMS, INPUTS, num_points=num_points, chunk_size=num_points),
                baselines=BASELINES,
                score_fn=attributions.target_logit,
            )
            gaps.append(np.max(np.abs(gap)))
        self.assertGreater(gaps[0], 0.1)
        self.assertLess(gaps[1], 0.1 * gaps[0])
        self.assertLess(gaps[2], 2e-3)

    def test_feature_that_equals_its_baseline_gets_nothing(self):
        baselines = BASELINES.copy()
        baselines[:, 2] = INPUTS[:, 2]
        actual = explain(PARAMS, INPUTS, baselines=baselines)
        np.testing.assert_array_equal(actual[:, 2], 0)
        self.assertGreater(np.min(np.abs(np.delete(actual, 2, axis=1))), 0)

    @parameterized.parameters(2, 3, 5, 8)
    def test_chunks_change_nothing(self, chunk_size):
        np.testing.assert_allclose(
            explain(PARAMS, INPUTS, chunk_size=chunk_size),
            explain(PARAMS, INPUTS),
            rtol=1e-5,
            atol=1e-6,
        )

    @parameterized.parameters(1, 2)
    def test_the_function_sees_the_shape_of_the_inputs_only(self, chunk_size):
        shapes = set()

        def predict(inputs):
            shapes.add(inputs.shape)
            return network(PARAMS, inputs)

        attributions.integrated_gradients(
            predict,
            INPUTS,
            TARGETS,
            baselines=BASELINES,
            num_points=5,
            score_fn=attributions.target_logit,
            chunk_size=chunk_size,
        )
        self.assertEqual(shapes, {INPUTS.shape})

    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_baselines_broadcast(self):
        row = BASELINES[0]
        run = self.variant(lambda b: explain(PARAMS, INPUTS, baselines=b))
        expected = explain(PARAMS, INPUTS, baselines=np.tile(row, (3, 1)))
        np.testing.assert_allclose(run(row), expected, rtol=1e-5, atol=1e-6)

    def test_each_example_is_explained_by_itself(self):
        together = explain(PARAMS, INPUTS, chunk_size=2)
        for i in range(len(INPUTS)):
            one = slice(i, i + 1)
            alone = explain(
                PARAMS, INPUTS[one], baselines=BASELINES[one], targets=TARGETS[one]
            )
            np.testing.assert_allclose(together[one], alone, rtol=1e-5, atol=1e-6)

    def test_vmap_over_baselines_equals_a_loop(self):
        several = np.stack([BASELINES, 0.5 * BASELINES])
        mapped = jax.vmap(lambda b: explain(PARAMS, INPUTS, baselines=b))(several)
        for actual, baselines in zip(mapped, several, strict=True):
            expected = explain(PARAMS, INPUTS, baselines=baselines)
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)

    def test_bfloat16_points_are_added_up_in_float32(self):
        # The gradient is 134 / 128 everywhere. Six of them added up one by one in
        # bfloat16, with 8 bits, are 6.328125 and not 6.28125: the mean is 135 / 128.
        slope = jnp.array(134 / 128, jnp.bfloat16)
        actual = attributions.integrated_gradients(
            lambda x: jnp.repeat(x * slope, 2, axis=-1),
            jnp.ones((1, 1), jnp.bfloat16),
            np.array([0]),
            baselines=0.0,
            num_points=6,
            score_fn=attributions.target_logit,
        )
        chex.assert_type(actual, jnp.float32)
        np.testing.assert_array_equal(actual, [[134 / 128]])

    @unittest.skipIf(jax.__version_info__ < (0, 12), "XLA dropped barriers too early")
    def test_memory_grows_with_the_chunk_and_not_with_the_steps(self):
        def temporary_bytes(**settings):
            inputs = jnp.ones((64, 5))
            params = PARAMS | {
                "first": jnp.ones((5, 256)),
                "bias": jnp.ones(256),
                "second": jnp.ones((256, 3)),
            }
            run = lambda x: explain(
                params, x, baselines=-1.0, targets=jnp.zeros(64, int), **settings
            )
            return (
                jax.jit(run)
                .lower(inputs)
                .compile()
                .memory_analysis()
                .temp_size_in_bytes
            )

        short = temporary_bytes(num_points=4, chunk_size=1)
        long = temporary_bytes(num_points=16, chunk_size=1)
        whole = temporary_bytes(num_points=16, chunk_size=16)
        self.assertLess(long, 1.5 * short)
        loop = functools.partial(temporary_bytes, chunk_size=1, loop="compiled")
        self.assertLess(loop(num_points=16), 1.5 * loop(num_points=4))
        self.assertLess(loop(num_points=16), whole / 4)
        self.assertGreater(whole, 4 * long)

    def test_values_out_of_range_are_refused(self):
        with pytest.raises(ValueError, match=r"`num_points` \(=0\) must be at least 1"):
            explain(PARAMS, INPUTS, num_points=0)
        with pytest.raises(ValueError, match=r"`chunk_size` \(=0\) must be at least"):
            explain(PARAMS, INPUTS, chunk_size=0)
        for wrong in (2.5, None, np.ones(2, int)):
            with pytest.raises(
                ValueError, match=r"`num_points` \(=.*\) must be a whol"
            ):
                explain(PARAMS, INPUTS, num_points=wrong)
        traced = jax.jit(lambda n: explain(PARAMS, INPUTS, num_points=n))
        with pytest.raises(ValueError, match=r"`num_points` .* function is traced, s"):
            traced(3)
        with pytest.raises(ValueError, match="must not be the inputs themselves"):
            jax.jit(lambda x: explain(PARAMS, x, baselines=x))(INPUTS)
        for wrong in (np.zeros(4, np.float32), np.zeros((2, 3, 5), np.float32)):
            with pytest.raises(
                ValueError, match=r"`baselines` \(of shape .* must broa"
            ):
                explain(PARAMS, INPUTS, baselines=wrong)


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_derivatives_in_parameters_inputs_and_baselines_are_right(x64, chunk_size):
    del x64
    arguments = (PARAMS, INPUTS[:2], BASELINES[:2])
    wide = jax.tree.map(lambda w: w.astype(np.float64), arguments)

    def explanation(params, inputs, baselines):
        return explain(
            params,
            inputs,
            baselines=baselines,
            targets=TARGETS[:2],
            num_points=3,
            chunk_size=chunk_size,
        )

    explanation = jax.jit(explanation)
    jax.test_util.check_grads(explanation, wide, order=2, modes=["rev"])
    jax.test_util.check_grads(explanation, wide, order=1, modes=["fwd"])


def test_the_old_word_for_points_warns_and_gives_the_same():
    integrate = functools.partial(
        attributions.integrated_gradients, functools.partial(network, PARAMS), INPUTS,
        TARGETS, baselines=BASELINES, score_fn=attributions.target_logit,
    )  # fmt: skip
    with pytest.warns(DeprecationWarning, match="give `num_points` instead") as caught:
        old = integrate(num_steps=3)
    assert len(caught) == 1
    np.testing.assert_array_equal(old, integrate(num_points=3))


@pytest.mark.parametrize(("num_points", "chunk_size"), [(6, 1), (7, 3), (2, 2)])
def test_a_compiled_loop_gives_the_same_map_and_the_same_gradients(
    num_points, chunk_size
):
    def total(params, inputs, loop):
        maps = explain(
            params, inputs, num_points=num_points, chunk_size=chunk_size, loop=loop
        )
        return jnp.sum(maps**2), maps

    differentiate = jax.jit(
        jax.grad(total, argnums=(0, 1), has_aux=True), static_argnums=2
    )
    expected, actual = (
        differentiate(PARAMS, INPUTS, loop) for loop in ("unrolled", "compiled")
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, actual, expected)


def _num_equations(jaxpr):
    """How many equations there are to compile, those of inner functions included."""
    inner = [
        part
        for equation in jaxpr.eqns
        for value in equation.params.values()
        for part in (value if isinstance(value, (tuple, list)) else [value])
    ]
    inner = [getattr(part, "jaxpr", part) for part in inner]
    return len(jaxpr.eqns) + sum(_num_equations(p) for p in inner if hasattr(p, "eqns"))


def test_a_compiled_loop_is_as_large_at_256_points_as_at_8():
    def size(num_points, loop):
        maps = functools.partial(explain, PARAMS, num_points=num_points, loop=loop)
        slope = jax.grad(lambda inputs: jnp.sum(maps(inputs) ** 2))
        return _num_equations(jax.make_jaxpr(slope)(INPUTS).jaxpr)

    assert size(256, "compiled") == size(8, "compiled")
    assert size(16, "unrolled") > 1.5 * size(8, "unrolled")


def test_explainers_of_random_samples_are_the_same_in_a_compiled_loop(monkeypatch):
    """Their numbers are traced there: samples must not depend on that."""
    predict = functools.partial(network, PARAMS)
    shared = {"key": jax.random.key(0), "num_samples": 3}
    gradient = functools.partial(
        attributions.input_gradient, score_fn=attributions.target_logit
    )
    explainers = {
        name: functools.partial(
            getattr(attributions, name), gradient, predict, sigma=0.3, **shared
        )
        for name in ("smooth_grad", "smooth_grad_squared", "var_grad")
    }
    explainers["gradient_shap"] = functools.partial(
        attributions.gradient_shap, predict,
        background=BASELINES, sigma=0.3, score_fn=attributions.target_logit, **shared,
    )  # fmt: skip
    explainers["expected_target"] = functools.partial(
        attributions.expected_target, predict,
        background=BASELINES, score_fn=attributions.target_logit,
    )  # fmt: skip
    expected = {n: jax.jit(e)(INPUTS, TARGETS) for n, e in explainers.items()}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for name, explainer in explainers.items():
        # Anew, since JAX would find the unrolled loop that it has traced before.
        again = jax.jit(lambda inputs, e=explainer: e(inputs, TARGETS))
        assert "scan[" in str(jax.make_jaxpr(again)(INPUTS)), name
        np.testing.assert_allclose(again(INPUTS), expected[name], rtol=1e-4, atol=1e-5)
