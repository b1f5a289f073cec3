"""Tests of DeepLIFT: each rule by hand, completeness, and networks with biases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from xguide_jax import attributions, testing

SCORE = attributions.target_logit
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(2, 4)).astype(np.float32)
BASELINES = RNG.normal(size=(2, 4)).astype(np.float32)
TARGETS = np.array([0, 2])
PARAMS = {
    "first": RNG.normal(size=(4, 5)).astype(np.float32),
    "bias": RNG.normal(size=5).astype(np.float32),
    "second": RNG.normal(size=(5, 3)).astype(np.float32),
}


def explain(predict, inputs, targets=None, *, baselines, score_fn=SCORE, **settings):
    targets = jnp.zeros(len(inputs), int) if targets is None else jnp.asarray(targets)

    @jax.jit  # compiled, some hundred small steps are quick
    def explained(inputs):
        return attributions.deep_lift(
            predict,
            inputs,
            targets,
            baselines=baselines,
            score_fn=score_fn,
            **settings,
        )

    return explained(inputs)


def first_output(outputs, targets):
    del targets
    return outputs[:, 0]


def network(params, x):
    return jax.nn.relu(x @ params["first"] + params["bias"]) @ params["second"]


@pytest.mark.parametrize(
    ("predict", "x", "b", "expected"),
    [
        # Δf / Δx · Δx = 3 − 0 across the kink; the gradient says 3 + 1 = 4
        (jax.nn.relu, [3.0], [-1.0], [3]),
        # Without a change there is nothing to share out
        (jax.nn.relu, [3.0], [3.0], [0]),
        # 2 · 3 − 1 · 1 = 5: the mean factors are 2 and 1.5
        (lambda x: x[:, :1] * x[:, 1:], [2.0, 3.0], [1.0, 1.0], [2, 3]),
        # a square is a function of one value: 9 − 1
        (lambda x: x * x, [3.0], [1.0], [8]),
        # 6 / 3 − 2 / 1 = 0: Δu = 4 by the mean of 1/3 and 1; Δ(1/v) = −2/3 by 4
        (lambda x: x[:, :1] / x[:, 1:], [6.0, 3.0], [2.0, 1.0], [8 / 3, -8 / 3]),
        # the maximum rises from 2 to 5, all by the place that has it now
        (lambda x: x.max(-1, keepdims=True), [5.0, 1.0], [0.0, 2.0], [3, 0]),
        # and falls from 5 to 2, all by the place that had it then
        (lambda x: x.max(-1, keepdims=True), [0.0, 2.0], [5.0, 1.0], [-3, 0]),
        (lambda x: x.min(-1, keepdims=True), [5.0, 1.0], [0.0, 2.0], [1, 0]),
        (lambda x: jnp.maximum(x[:, :1], x[:, 1:]), [5.0, 1.0], [0.0, 2.0], [3, 0]),
        # 0.5 · -2 and 4 are the two ends: where(x > 0, x, x / 2)
        (lambda x: jnp.where(x > 0, x, x / 2), [4.0], [-2.0], [5]),
        # a condition made a factor is still a function of x
        (lambda x: x * (x > 0).astype(x.dtype), [4.0], [-2.0], [4]),
        # a written row brings what it wrote
        (lambda x: x.at[:, 0].set(x[:, 1] * 2), [9.0, 3.0], [1.0, 1.0], [0, 4]),
    ],
    ids=[
        "relu",
        "no_change",
        "product",
        "square",
        "quotient",
        "max_rises",
        "max_falls",
        "min",
        "maximum",
        "where",
        "factor",
        "written",
    ],
)
def test_each_rule_by_hand(predict, x, b, expected):
    x, b = np.array([x], np.float32), np.array([b], np.float32)
    found = explain(predict, x, baselines=b, score_fn=first_output)
    np.testing.assert_allclose(found, [expected], rtol=1e-5, atol=1e-6)


def test_matrix_products_share_as_products_do():
    """Σ_k q_k k_k with q = (x, x²), k = (y, 2): each factor by the other's mean."""

    def predict(x):
        q = jnp.stack([x[:, 0], x[:, 0] ** 2], -1)[:, None]
        k = jnp.stack([x[:, 1], 0 * x[:, 1] + 2], -1)[:, :, None]
        return (q @ k)[:, 0]

    x, b = np.array([[3.0, 5.0]], np.float32), np.array([[1.0, 1.0]], np.float32)
    # x: Δx · mean y + Δx² · 2 = 2 · 3 + 8 · 2; y: Δy · mean x = 4 · 2
    found = explain(predict, x, baselines=b, score_fn=first_output)
    np.testing.assert_allclose(found, [[22, 8]], rtol=1e-5)


def test_affine_functions_are_exact():
    predict = lambda x: x @ PARAMS["first"] + PARAMS["bias"]
    arguments = (predict, INPUTS, TARGETS)
    gradient = attributions.input_gradient(*arguments, score_fn=SCORE)
    found = explain(*arguments, baselines=BASELINES)
    expected = gradient * (INPUTS - BASELINES)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_without_biases_and_from_0_it_is_gradient_times_input():
    params = {**PARAMS, "bias": np.zeros(5, np.float32)}
    arguments = (functools.partial(network, params), INPUTS, TARGETS)
    expected = attributions.gradient_x_input(*arguments, score_fn=SCORE)
    found = explain(*arguments, baselines=0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


class Everything(nn.Module):
    """Convolution, norms, residual, pooling, concatenation, attention and biases."""

    @nn.compact
    def __call__(self, x):
        hidden = nn.Conv(4, (3, 3), bias_init=nn.initializers.normal(1))(x)
        hidden = nn.relu(nn.BatchNorm(use_running_average=True)(hidden))
        hidden = hidden + nn.gelu(nn.Conv(4, (3, 3))(hidden))
        hidden = nn.max_pool(hidden, (2, 2), (2, 2))
        # Flax's own `avg_pool` divides by an integer, which strict promotion refuses.
        pooled = nn.pooling.pool(hidden, 0.0, jax.lax.add, (2, 2), (1, 1), "SAME") / 4.0
        hidden = jnp.concatenate([hidden, nn.leaky_relu(pooled - 0.2)], -1)
        tokens = nn.LayerNorm()(hidden).reshape(hidden.shape[0], -1, 8)
        tokens = tokens + nn.SelfAttention(2)(tokens)
        return nn.Dense(3)(nn.silu(tokens).mean(1))


def everything():
    x, b = RNG.normal(size=(2, 2, 4, 4, 2)).astype(np.float32)
    variables = Everything().init(jax.random.key(0), x)
    return lambda x: Everything().apply(variables, x), x, b


@pytest.mark.parametrize(
    "score_fn", [SCORE, attributions.target_log_probability], ids=["logit", "softmax"]
)
def test_complete_on_a_network_of_everything(score_fn):
    predict, x, b = everything()
    found = explain(predict, x, TARGETS, baselines=b, score_fn=score_fn)
    settings = {"baselines": b, "score_fn": score_fn}
    gap = attributions.completeness_gap(predict, x, TARGETS, found, **settings)
    change = score_fn(predict(x), TARGETS) - score_fn(predict(b), TARGETS)
    assert np.abs(change).min() > 0.01
    np.testing.assert_allclose(gap, 0, atol=1e-5)


def test_differentiable_in_the_parameters_to_second_order():
    with jax.enable_x64(True):
        x, b = (jnp.asarray(each, jnp.float64) for each in (INPUTS, BASELINES))
        second = jnp.asarray(PARAMS["second"], jnp.float64)

        def magnitude(first):
            predict = lambda x: jax.nn.softmax(jnp.tanh(x @ first)) @ second
            return jnp.sum(explain(predict, x, TARGETS, baselines=b) ** 2)

        first = jnp.asarray(PARAMS["first"], jnp.float64)
        direction = jnp.asarray(np.random.default_rng(1).normal(size=first.shape))

        @jax.jit
        def taylor(step):
            """The value on a line, with its first and second derivative."""
            value = lambda step: magnitude(first + step * direction)
            slope = jax.grad(value)
            return value(step), slope(step), jax.grad(slope)(step)

        h = 1e-5
        below, here, above = (np.array(taylor(step)) for step in (-h, 0.0, h))
        assert np.abs(here[1:]).min() > 1e-3
        np.testing.assert_allclose((above - below)[:2] / (2 * h), here[1:], rtol=1e-5)


def test_vmap_over_parameters():
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, 2 * leaf]), PARAMS)
    explain_with = lambda params: explain(
        functools.partial(network, params), INPUTS, TARGETS, baselines=BASELINES
    )
    found = jax.vmap(explain_with)(stacked)
    np.testing.assert_allclose(found[0], explain_with(PARAMS), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_finite_with_its_gradient_where_nothing_changes(value):
    x = np.full((2, 4), value, np.float32)

    @jax.jit
    @jax.value_and_grad
    def magnitude(params):
        predict = lambda x: jax.nn.softmax(network(params, x))
        return jnp.sum(explain(predict, x, TARGETS, baselines=value))

    for leaf in jax.tree.leaves(magnitude(PARAMS)):
        assert np.isfinite(leaf).all()


@pytest.mark.thorough  # compiles seven programs
def test_keeps_what_every_explainer_promises():
    explainer = functools.partial(attributions.deep_lift, baselines=0.1, score_fn=SCORE)
    testing.check_explainer(explainer)


def test_inputs_that_are_their_own_baselines_are_refused():
    with pytest.raises(ValueError, match="must not be the inputs"):
        attributions.deep_lift(
            lambda x: x, INPUTS, TARGETS, baselines=INPUTS, score_fn=SCORE
        )


def test_an_index_that_depends_on_the_inputs_is_refused():
    def predict(x):
        return x[:, jnp.argmax(x[0])][:, None]

    with pytest.raises(NotImplementedError, match="index that depends"):
        explain(predict, INPUTS, baselines=BASELINES, score_fn=first_output)


def test_a_rule_for_a_primitive_can_be_given():
    predict = lambda x: jnp.sort(x, axis=-1)[:, ::-1]
    back = lambda walk, op, carried: [
        (op.inputs[0], walk.pull_back(op, carried, op.inputs, walk.values())[0])
    ]
    x = np.array([[1.0, 4.0, 2.0]], np.float32)
    found = explain(
        predict,
        x,
        baselines=0.0,
        score_fn=first_output,
        primitive_rules={"sort": back},
    )
    np.testing.assert_array_equal(found, [[0, 4, 0]])
