"""A function of any make as a list of primitives, entered and never passed by."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from xguide_jax import attributions, ops

SCORE = attributions.target_logit
KERNEL = np.asarray(jax.random.normal(jax.random.key(0), (4, 4))) / 2
INPUTS = jax.random.normal(jax.random.key(1), (2, 4))
BASELINES = jax.random.normal(jax.random.key(2), (2, 4))
TARGETS = jnp.array([0, 3])
EXPLAINERS = {
    "deep_lift": functools.partial(attributions.deep_lift, baselines=BASELINES),
    "lrp": functools.partial(attributions.lrp, rules=attributions.gamma_rule(0.5)),
}
each_explainer = pytest.mark.parametrize("explain", EXPLAINERS.values(), ids=EXPLAINERS)


def explained(explain, predict):
    return jax.jit(lambda x: explain(predict, x, TARGETS, score_fn=SCORE))(INPUTS)


def layer(x):
    return jax.nn.relu(x @ KERNEL + 0.1)


def plain(x):
    return layer(layer(x)) @ KERNEL


@jax.custom_vjp
def with_custom_vjp(x):
    return layer(x)


with_custom_vjp.defvjp(lambda x: (layer(x), None), lambda kept, ct: (0 * ct,))


@jax.custom_jvp
def with_custom_jvp(x):
    return layer(x)


with_custom_jvp.defjvp(lambda primals, tangents: (layer(*primals), 0 * tangents[0]))


def by_scan(x):
    return jax.lax.scan(lambda h, _: (layer(h), None), x, length=2)[0] @ KERNEL


def by_scan_over_kernels(x):
    kernels = jnp.stack([KERNEL, KERNEL])
    step = lambda h, kernel: (jax.nn.relu(h @ kernel + 0.1), h.sum())
    return jax.lax.scan(step, x, kernels)[0] @ KERNEL


def by_cond(x):
    twice = lambda h: layer(layer(h))
    return jax.lax.cond(TARGETS[0] == 0, twice, jnp.negative, x) @ KERNEL


SAME = {
    "jit": lambda x: jax.jit(plain)(x),
    "remat": lambda x: jax.checkpoint(layer)(layer(x)) @ KERNEL,
    "custom_vjp": lambda x: with_custom_vjp(layer(x)) @ KERNEL,
    "custom_jvp": lambda x: with_custom_jvp(layer(x)) @ KERNEL,
    "scan": by_scan,
    "scan_over_kernels": by_scan_over_kernels,
    "cond": by_cond,
    "stop_gradient": lambda x: jax.lax.stop_gradient(layer(layer(x))) @ KERNEL,
    "vmap": lambda x: jax.vmap(plain)(x),
}


@pytest.fixture(scope="module")
def expected():
    return {name: explained(fn, plain) for name, fn in EXPLAINERS.items()}


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("form", SAME)
def test_how_a_function_is_written_changes_nothing(expected, name, form):
    found = explained(EXPLAINERS[name], SAME[form])
    np.testing.assert_allclose(found, expected[name], atol=1e-6)
    assert np.abs(found).max() > 0.01


def test_what_is_stacked_by_a_scan_is_moved_back():
    def predict(x):
        _, rows = jax.lax.scan(lambda h, a: (h, a * a), 0.0, x.T)
        return rows.T

    found = explained(EXPLAINERS["deep_lift"], predict)
    rows = np.arange(2)
    expected = np.zeros((2, 4), np.float32)
    change = INPUTS**2 - BASELINES**2
    expected[rows, TARGETS] = change[rows, TARGETS]
    np.testing.assert_allclose(found, expected, atol=1e-6)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(4)(nn.relu(nn.Dense(4)(x)))


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = (nnx.Linear(4, 4, rngs=rngs) for _ in range(2))

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


def linen_network():
    params = Linen().init(jax.random.key(0), INPUTS)
    return lambda x: Linen().apply(params, x)


def equinox_network():
    eqx = pytest.importorskip("equinox")
    network = eqx.nn.MLP(4, 4, 4, 1, key=jax.random.key(0))
    return jax.vmap(network)


@pytest.mark.parametrize(
    "make",
    [linen_network, lambda: Nnx(nnx.Rngs(0)), equinox_network],
    ids=["linen", "nnx", "equinox"],
)
def test_networks_of_every_library_are_functions(make):
    predict = make()
    found = explained(EXPLAINERS["deep_lift"], predict)
    change = SCORE(predict(INPUTS), TARGETS) - SCORE(predict(BASELINES), TARGETS)
    np.testing.assert_allclose(found.sum(-1), change, atol=1e-5)


@each_explainer
def test_a_primitive_without_a_rule_is_refused_by_name_and_line(explain):
    def predict(x):
        return jnp.sort(x, axis=-1)  # this line

    line = predict.__code__.co_firstlineno + 1
    with pytest.raises(NotImplementedError) as error:
        explain(predict, INPUTS, TARGETS, score_fn=SCORE)
    assert "'sort'" in str(error.value)
    assert f"{__file__}:{line}" in str(error.value)


@each_explainer
def test_a_loop_that_depends_on_the_inputs_is_refused(explain):
    def predict(x):
        return jax.lax.while_loop(lambda h: h.sum() < 9, lambda h: h + 1, x)

    with pytest.raises(NotImplementedError, match="'while'"):
        explain(predict, INPUTS, TARGETS, score_fn=SCORE)


@each_explainer
def test_a_choice_by_other_values_is_refused(explain):
    def predict(x):
        return jnp.where(x[:, ::-1] > 0, x, -x)

    with pytest.raises(NotImplementedError, match="'select_n'"):
        explain(predict, INPUTS, TARGETS, score_fn=SCORE)


@each_explainer
def test_a_score_that_does_not_see_the_inputs_gives_zeros(explain):
    found = explained(explain, lambda x: jnp.ones((2, 4)))
    np.testing.assert_array_equal(found, np.zeros((2, 4)))


@each_explainer
def test_integers_are_refused(explain):
    with pytest.raises(AssertionError):
        explain(plain, jnp.ones((2, 4), int), TARGETS, score_fn=SCORE)


def test_our_own_convolution_and_pooling_are_entered():
    inputs = jax.random.normal(jax.random.key(1), (2, 4, 4, 2))
    kernel = jax.random.normal(jax.random.key(2), (3, 3, 2, 3))

    def predict(x, convolve, pool):
        numbers = ("NHWC", "HWIO", "NHWC")
        hidden = convolve(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        return pool(jax.nn.relu(hidden)).sum((1, 2))

    explain = lambda predict: jax.jit(
        lambda x: attributions.deep_lift(
            predict, x, jnp.array([0, 2]), baselines=0.1, score_fn=SCORE
        )
    )(inputs)
    own = functools.partial(
        predict,
        convolve=ops.conv_general_dilated,
        pool=functools.partial(ops.max_pool, window=(2, 2)),
    )
    usual = functools.partial(
        predict,
        convolve=jax.lax.conv_general_dilated,
        pool=lambda x: nn.max_pool(x, (2, 2), (2, 2)),
    )
    np.testing.assert_allclose(explain(own), explain(usual), atol=1e-5)
