"""Tests of layer-wise relevance propagation: each rule by hand, then networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, testing

SCORE = attributions.target_logit
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(2, 4)).astype(np.float32)
TARGETS = np.array([0, 2])
PARAMS = {
    "first": RNG.normal(size=(4, 5)).astype(np.float32),
    "bias": RNG.normal(size=5).astype(np.float32),
    "second": RNG.normal(size=(5, 3)).astype(np.float32),
}
# One layer, a = (1, 2, -1), w = (2, -1, -3), c = 0.5: the parts of z are 2, -2 and 3,
# so that z = 3 without and 3.5 with the bias, and R = z.
POINT = np.array([[1.0, 2.0, -1.0]], np.float32)
WEIGHTS = np.array([[2.0], [-1.0], [-3.0]], np.float32)
BIAS = 0.5


def explain(predict, inputs, targets=None, *, rules, score_fn=SCORE, **settings):
    targets = jnp.zeros(len(inputs), int) if targets is None else jnp.asarray(targets)

    @jax.jit  # compiled, some hundred small steps are quick
    def explained(inputs):
        return attributions.lrp(
            predict, inputs, targets, rules=rules, score_fn=score_fn, **settings
        )

    return explained(inputs)


def first_output(outputs, targets):
    del targets
    return outputs[:, 0]


def layer(x, bias=BIAS):
    return x @ WEIGHTS + bias


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # a w R / (z + ε) with R = z = 3.5
        (attributions.epsilon_rule(0.0), [2, -2, 3]),
        (attributions.epsilon_rule(0.5), np.array([2, -2, 3]) * 3.5 / 4),
        # w + w⁺ = (4, -1, -3): parts 4, -2, 3, with the bias 5.5
        (attributions.gamma_rule(1.0, epsilon=0), np.array([4, -2, 3]) * 3.5 / 5.5),
        # parts above 0: 2 and 3, no bias
        (attributions.z_plus_rule(), np.array([2, 0, 3]) * 3.5 / 5),
        # z⁺ = 2 + 3 + 0.5, z⁻ = -2
        (
            attributions.alpha_beta_rule(2.0, 1.0),
            np.array([2 * 2 / 5.5, -1, 2 * 3 / 5.5]) * 3.5,
        ),
        (attributions.flat_rule(), np.full(3, 3.5 / 3)),
        # l = -1, h = 2: a w − l w⁺ − h w⁻ = 2 + 2, -2 + 2, 3 + 6; the sum is 13
        (attributions.z_box_rule(-1.0, 2.0), np.array([4, 0, 9]) * 3.5 / 13),
    ],
    ids=["zero", "epsilon", "gamma", "z_plus", "alpha_beta", "flat", "z_box"],
)
def test_each_rule_by_hand(rule, expected):
    found = explain(layer, POINT, rules=rule, score_fn=first_output)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("rule", "conserves"),
    [
        (attributions.epsilon_rule(0.0), False),  # the bias keeps its part
        (attributions.z_plus_rule(), True),
        (attributions.flat_rule(), True),
        (attributions.z_box_rule(-3.0, 3.0), True),
    ],
    ids=["epsilon", "z_plus", "flat", "z_box"],
)
def test_conservation_with_and_without_a_bias(rule, conserves):
    for bias in (0.0, BIAS):
        predict = functools.partial(layer, bias=bias)
        found = explain(predict, POINT, rules=rule, score_fn=first_output)
        lost = abs(float(found.sum()) - (3 + bias))
        assert (lost < 1e-5) == (conserves or bias == 0)


def test_epsilon_moves_a_negative_output_away_from_0_too():
    """z = R = 3 − 6.5 = −3.5 and the divisor −4, where −3 would enlarge the shares."""
    predict = functools.partial(layer, bias=-6.5)
    rule = attributions.epsilon_rule(0.5)
    found = explain(predict, POINT, rules=rule, score_fn=first_output)
    np.testing.assert_allclose(found, [np.array([2, -2, 3]) * 3.5 / 4], rtol=1e-5)


def test_a_convolution_is_the_layer_that_it_writes_out():
    kernel = WEIGHTS.reshape(3, 1, 1)
    numbers = ("NWC", "WIO", "NWC")

    def convolved(x):
        out = jax.lax.conv_general_dilated(
            x[:, :, None], kernel, (1,), "VALID", dimension_numbers=numbers
        )
        return (out + BIAS)[:, :, 0]

    for rule in (attributions.gamma_rule(0.5), attributions.flat_rule()):
        found = explain(convolved, POINT, rules=rule, score_fn=first_output)
        expected = explain(layer, POINT, rules=rule, score_fn=first_output)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_composite_takes_each_rule_where_it_belongs():
    """Each layer leaves its own mark: the last one multiplies by 2, 3 or 5."""
    mark = lambda factor: (
        lambda layer, relevance: (
            factor * layer.share(jnp.ones_like(layer.kernel), relevance)
        )
    )
    rule = attributions.composite(first=mark(2), convolution=mark(3), dense=mark(5))
    one, kernel = np.ones((1, 1), np.float32), np.ones((1, 1, 1), np.float32)
    numbers = ("NWC", "WIO", "NWC")

    def convolve(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (1,), "VALID", dimension_numbers=numbers
        )

    x = np.ones((1, 1), np.float32)
    settings = {"rules": rule, "score_fn": first_output}
    assert float(explain(lambda x: x @ one, x, **settings)[0, 0]) == 2
    assert float(explain(lambda x: x @ one @ one, x, **settings)[0, 0]) == 10
    through = lambda x: convolve(jnp.tanh(x @ one)[:, :, None])[:, :, 0] @ one
    # R = tanh(1), then dense 5, convolution 3 and first 2
    expected = 30 * np.tanh(1)
    assert abs(float(explain(through, x, **settings)[0, 0]) - expected) < 1e-5


@pytest.mark.parametrize(
    ("predict", "expected"),
    [
        # R = 8 in proportion 2 : 6 through a residual sum
        (lambda x: x[:, :1] + 3 * x[:, 1:2], [2, 6, 0]),
        # R = 2, all to the largest
        (lambda x: jnp.max(x, axis=-1, keepdims=True), [0, 2, 0]),
        # mean 4 / 3, in proportion 2 : 2 : 0
        (lambda x: jnp.mean(x, axis=-1, keepdims=True), [2 / 3, 2 / 3, 0]),
        # a product of two activations: half of 4 to each
        (lambda x: x[:, :1] * x[:, 1:2], [2, 2, 0]),
        # ReLU and any other function of one value: unchanged
        (lambda x: jnp.exp(x[:, :1]), [np.exp(2), 0, 0]),
        (lambda x: jax.nn.silu(x[:, :1]), [2 / (1 + np.exp(-2)), 0, 0]),
        # batch norm in eval mode, (x − 1) 3 + 2 = 5 at x = 2: x · 3 of it
        (lambda x: (x[:, :1] - 1) * 3 + 2, [6, 0, 0]),
        # concatenated and moved
        (lambda x: jnp.concatenate([x[:, ::-1], x], 1)[:, 1:2], [0, 2, 0]),
    ],
    ids=["sum", "max", "mean", "product", "exp", "silu", "batch_norm", "moves"],
)
def test_what_has_no_kernel_by_hand(predict, expected):
    x = np.array([[2.0, 2.0, 0.0]], np.float32)
    if expected[1] == 2 and expected[0] == 0:
        x[0, 0] = 1.0
    settings = {"rules": attributions.epsilon_rule(0.0), "score_fn": first_output}
    np.testing.assert_allclose(explain(predict, x, **settings), [expected], rtol=1e-5)


def test_softmax_by_its_taylor_rule():
    """R_i = z_i (R_i − s_i Σ R), for R = s_0 at the first place alone."""
    z = np.array([[1.0, 2.0, 0.5]], np.float32)
    s = np.exp(z[0]) / np.exp(z[0]).sum()
    expected = z[0] * (np.array([s[0], 0, 0]) - s * s[0])
    settings = {"rules": attributions.epsilon_rule(0.0), "score_fn": first_output}
    found = explain(jax.nn.softmax, z, **settings)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_layer_norm_holds_its_scale_constant():
    """(x − mean) / std: the relevance of x_i is its linear part, none is of the std."""
    x = np.array([[1.0, 2.0, 6.0]], np.float32)

    def normalised(x):
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True))

    scale = 1 / np.sqrt(np.mean((x - 3) ** 2))
    expected = x * np.array([2 / 3, -1 / 3, -1 / 3]) * scale
    settings = {"rules": attributions.epsilon_rule(0.0), "score_fn": first_output}
    np.testing.assert_allclose(explain(normalised, x, **settings), expected, rtol=1e-5)


def network(params, x):
    return jax.nn.relu(x @ params["first"] + params["bias"]) @ params["second"]


def test_epsilon_near_0_without_biases_is_gradient_times_input():
    params = {**PARAMS, "bias": np.zeros(5, np.float32)}
    arguments = (functools.partial(network, params), INPUTS, TARGETS)
    expected = attributions.gradient_x_input(*arguments, score_fn=SCORE)
    for epsilon in (0.0, 1e-9):
        found = explain(*arguments, rules=attributions.epsilon_rule(epsilon))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_rule_of_ones_own():
    """A rule is a function; this one gives everything to the first input."""
    rule = lambda layer, relevance: (
        jnp.zeros_like(layer.inputs).at[:, 0].set(relevance.sum(-1))
    )
    found = explain(layer, POINT, rules=rule, score_fn=first_output)
    np.testing.assert_allclose(found, [[3.5, 0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    "rule",
    [
        attributions.epsilon_rule(1e-2),
        attributions.gamma_rule(0.3),
        attributions.alpha_beta_rule(2.0, 1.0),
    ],
    ids=["epsilon", "gamma", "alpha_beta"],
)
def test_differentiable_in_the_parameters_to_second_order(rule):
    # Softplus and inputs and weights above 0: no kink near.
    with jax.enable_x64(True):
        x = jnp.asarray(1 + np.abs(INPUTS) / 4, jnp.float64)
        second = jnp.asarray(PARAMS["second"], jnp.float64)

        def magnitude(first):
            predict = lambda x: jax.nn.softplus(x @ first) @ second
            return jnp.sum(explain(predict, x, TARGETS, rules=rule) ** 2)

        first = jnp.asarray(0.3 + np.abs(PARAMS["first"]), jnp.float64)
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
    rule = attributions.gamma_rule(0.5)
    explain_with = lambda params: explain(
        functools.partial(network, params), INPUTS, TARGETS, rules=rule
    )
    found = jax.vmap(explain_with)(stacked)
    np.testing.assert_allclose(found[0], explain_with(PARAMS), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_finite_with_its_gradient_at_constant_inputs(value):
    rules = attributions.composite(
        first=attributions.flat_rule(),
        convolution=attributions.z_plus_rule(),
        dense=attributions.alpha_beta_rule(2.0, 1.0),
    )
    x = np.full((2, 4), value, np.float32)

    @jax.jit
    @jax.value_and_grad
    def magnitude(params):
        predict = functools.partial(network, params)
        return jnp.sum(explain(predict, x, TARGETS, rules=rules) ** 2)

    for leaf in jax.tree.leaves(magnitude(PARAMS)):
        assert np.isfinite(leaf).all()


@pytest.mark.thorough  # compiles seven programs
@pytest.mark.parametrize(
    "rule",
    [
        attributions.epsilon_rule(1e-6),
        attributions.gamma_rule(0.25),
        attributions.alpha_beta_rule(2.0, 1.0),
        attributions.composite(
            first=attributions.z_box_rule(-3.0, 3.0),
            convolution=attributions.z_plus_rule(),
            dense=attributions.epsilon_rule(1e-3),
        ),
    ],
    ids=["epsilon", "gamma", "alpha_beta", "composite"],
)
def test_keeps_what_every_explainer_promises(rule):
    testing.check_explainer(
        functools.partial(attributions.lrp, rules=rule, score_fn=SCORE)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: attributions.epsilon_rule(-1.0),
        lambda: attributions.gamma_rule(-1.0),
        lambda: attributions.alpha_beta_rule(2.0, 0.5),
        lambda: attributions.z_box_rule(1.0, 0.0),
    ],
)
def test_settings_that_make_no_rule_are_refused(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_a_rule_for_a_primitive_can_be_given():
    predict = lambda x: jnp.sort(x, axis=-1)
    back = lambda walk, op, carried: [
        (op.inputs[0], walk.pull_back(op, carried, op.inputs, walk.values())[0])
    ]
    settings = {"rules": attributions.epsilon_rule(0.0), "score_fn": first_output}
    found = explain(predict, POINT, primitive_rules={"sort": back}, **settings)
    np.testing.assert_array_equal(found, [[0, 0, -1]])
