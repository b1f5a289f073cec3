"""Terms from functions, and terms from terms."""

import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import guidance, testing, training
from xguide_jax.types import (
    GuidanceTerm,
    ModelOutput,
    StepContext,
    TermOutput,
)

LOSS = jnp.array([1.0, 2.0, 4.0])
WEIGHT = jnp.array([1.0, 0.0, 3.0])


def context(step=0):
    """All that these terms read is the step."""
    unused = lambda *arguments, **named: None
    return StepContext(
        forward=unused,
        task_input_gradient=unused,
        batch={},
        output=ModelOutput(jnp.zeros((3, 2))),
        step=jnp.int32(step),
        key=jax.random.split(jax.random.key(0), 3),
        axis_name=None,
    )


def counting():
    """A term with parameters, state and a metric."""

    def apply(params, state, context):
        loss = params * LOSS
        return TermOutput(loss, WEIGHT, state + 1, {"twice": 2 * loss})

    return GuidanceTerm(lambda key, batch: (jnp.ones(()), jnp.zeros(())), apply)


def test_a_function_is_a_term_without_parameters_or_state():
    term = guidance.stateless(lambda context: (LOSS, WEIGHT))
    assert term.init(jax.random.key(0), {}) == ((), ())
    out = term.apply((), (), context())
    np.testing.assert_array_equal(out.loss, LOSS)
    np.testing.assert_array_equal(out.weight, WEIGHT)
    assert out.state == ()
    assert out.metrics == {}


def test_a_scaled_term_logs_its_loss_unscaled_and_keeps_the_rest():
    out = guidance.scale(counting(), 0.5).apply(
        jnp.float32(1), jnp.zeros(()), context()
    )
    np.testing.assert_array_equal(out.loss, [0.5, 1.0, 2.0])
    np.testing.assert_array_equal(out.weight, WEIGHT)  # the mean is not reweighted
    np.testing.assert_array_equal(out.metrics["unscaled"], LOSS)
    np.testing.assert_array_equal(out.metrics["twice"], 2 * LOSS)
    assert out.state == 1


def test_a_scaled_term_has_its_own_parameters_and_state():
    term = guidance.scale(counting(), 2.0)
    params, state = term.init(jax.random.key(0), {})
    assert (params, state) == (1, 0)
    gradient = jax.grad(lambda p: jnp.sum(term.apply(p, state, context()).loss))(params)
    assert gradient == 14  # 2 (1 + 2 + 4)


def test_a_weight_may_follow_an_optax_schedule_of_the_step():
    # From 0 to 2 in 4 steps: 1.5 after 3.
    schedule = optax.linear_schedule(0.0, 2.0, transition_steps=4)
    term = guidance.scale(counting(), schedule)
    at = lambda step: term.apply(jnp.float32(1), jnp.zeros(()), context(step)).loss
    np.testing.assert_array_equal(at(0), jnp.zeros(3))
    np.testing.assert_allclose(at(3), 1.5 * LOSS)
    np.testing.assert_allclose(jax.jit(at)(9), 2 * LOSS)


def test_scaled_terms_keep_the_dtype_of_their_loss():
    term = guidance.stateless(lambda context: (LOSS.astype(jnp.bfloat16), WEIGHT))
    out = guidance.scale(term, lambda step: jnp.float32(3)).apply((), (), context())
    assert out.loss.dtype == jnp.bfloat16


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_refused(weight):
    with pytest.raises(ValueError, match=rf"^`weight` \(={weight}\) must be finite\.$"):
        guidance.scale(counting(), weight)


def test_every_third_step_counts_and_the_others_keep_the_state():
    term = guidance.every_k_steps(counting(), 3)
    apply = jax.jit(lambda state, step: term.apply(jnp.ones(()), state, context(step)))
    state = jnp.zeros(())
    for step, active in enumerate([1, 0, 0, 1, 0]):
        out = apply(state, jnp.int32(step))
        state = out.state
        np.testing.assert_array_equal(out.loss, active * LOSS)
        np.testing.assert_array_equal(out.weight, active * WEIGHT)
        np.testing.assert_array_equal(out.metrics["twice"], active * 2 * LOSS)
    assert state == 2


def test_between_its_steps_a_term_leaves_unguided_gradients():
    """On two devices and with collectives inside: both take the same branch."""
    term = guidance.every_k_steps(core_terms.robust_explanation(slack=0.05), 2)
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = core_terms.uneven_batch(8)
    optimizer = optax.sgd(1.0, momentum=0.0)

    def steps(terms, devices):
        state = training.init_train_state(
            jax.random.key(2), params, model_state, terms, optimizer, batch
        )
        step = training.make_train_step(apply_fn, terms, optimizer, axis_name="d")
        step = training.data_parallel(step, devices=devices)
        return [step(state._replace(step=jnp.int32(n)), batch) for n in (0, 1)]

    (active, metrics), (silent, _) = steps({"a": term}, jax.devices()[:2])
    (unguided, plain), _ = steps({}, jax.devices()[:1])
    assert metrics["a"] > 0
    expected = float(plain["loss"]) + float(metrics["a"])
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)
    gradient = lambda state: state.opt_state[0].trace["model"]["head"]
    np.testing.assert_allclose(gradient(silent), gradient(unguided), atol=1e-7)
    assert not np.allclose(gradient(active), gradient(unguided), atol=1e-3)


@pytest.mark.parametrize("k", [0, -1])
def test_a_period_below_one_is_refused(k):
    with pytest.raises(ValueError, match=rf"^`k` \(={k}\) must be at least 1\.$"):
        guidance.every_k_steps(counting(), k)
