"""Terms from functions, and terms from terms.

This file is also a program: devices that wait for each other for ever would take the
other tests with them.
"""

import os
import pathlib
import subprocess
import sys

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


def sweep_of(scaled):
    """The loss of a term that is built in a compiled function, by its weight."""
    return jax.jit(lambda weight: scaled(weight).apply((), (), context()).loss)


def test_a_weight_that_is_data_is_compiled_once_for_a_sweep():
    traces = []

    def loss_fn(context):
        traces.append(None)
        return LOSS, WEIGHT

    term = guidance.stateless(loss_fn)
    loss = sweep_of(lambda weight: guidance.scale(term, weight))
    for weight in (0.0, 0.5, 2.0):
        np.testing.assert_array_equal(loss(jnp.float32(weight)), weight * LOSS)
    assert len(traces) == 1
    assert np.isnan(loss(jnp.float32(jnp.nan))).all()  # the step is skipped
    eager = guidance.scale(term, jnp.float32(0.5)).apply((), (), context()).loss
    np.testing.assert_array_equal(eager, 0.5 * LOSS)


@pytest.mark.parametrize("kind", [jnp.float32, np.float32])
def test_a_concrete_array_is_refused_as_a_number_is(kind):
    with pytest.raises(ValueError, match=r"^`weight` \(=nan\) must be finite\.$"):
        guidance.scale(counting(), kind(jnp.nan))
    message = r"^`weight` of shape \(3,\) must be one number"
    with pytest.raises(ValueError, match=message):
        guidance.scale(counting(), kind(1) * LOSS)
    with pytest.raises(ValueError, match=message):
        sweep_of(lambda weight: guidance.scale(counting(), weight))(LOSS)


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


def conditionals_in(term, *, axis_name="devices", synchronised=False):
    """Whether a step with this term has a branch."""
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0),
        batch_norm=synchronised,
        axis_name=axis_name if synchronised else None,
    )
    batch = core_terms.uneven_batch(8)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, {"a": term}, optax.identity(), batch
    )
    objective = training.make_objective(apply_fn, {"a": term}, axis_name=axis_name)
    if axis_name is not None:
        batch = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), batch)
        lift = jax.vmap(
            lambda b: objective(state.params, state, b)[0], axis_name=axis_name
        )
    else:
        lift = lambda b: objective(state.params, state, b)[0]
    return " cond[" in str(jax.make_jaxpr(lift)(batch))


def test_only_a_term_with_collectives_is_computed_between_its_steps():
    every = lambda term: guidance.every_k_steps(term, 2)
    robust = every(core_terms.robust_explanation(slack=0.05))
    assert not conditionals_in(robust)
    assert conditionals_in(robust, axis_name=None)
    energy = every(core_terms.grad_cam_energy())
    assert conditionals_in(energy)
    # Passes in train mode ask the other devices for their statistics.
    noisy = every(core_terms.saliency_guided())
    assert conditionals_in(noisy)
    assert not conditionals_in(noisy, synchronised=True)
    assert conditionals_in(energy, synchronised=True)  # explains in eval mode


def test_a_term_between_its_steps_has_no_annotated_example():
    """So that a log leaves the step out of the mean: 1 must not become 0.25."""
    term = guidance.every_k_steps(guidance.stateless(lambda c: (LOSS, WEIGHT)), 4)
    batch = {"inputs": jnp.ones((3, 2)), "labels": jnp.array([0, 1, 1])}
    for step, count in ((4, 2), (5, 0)):
        _, (_, metrics) = training.guidance_loss(
            lambda params, state, x, **named: (ModelOutput(x), state),
            {"a": term}, {"model": ()}, (), {}, batch,
            step=step, key=jax.random.key(0),
        )  # fmt: skip
        assert metrics["a/annotated"] == count


def six_terms():
    """Every second step, six terms in each of which the devices meet."""
    terms = {
        "robust": core_terms.robust_explanation(slack=0.05),
        "stricter": core_terms.robust_explanation(slack=0.0),
        "prior": core_terms.saliency_prior(rate=0.3),
        "slower": core_terms.saliency_prior(rate=0.1),
        "guided": core_terms.saliency_guided(),
        "frozen": core_terms.saliency_guided(frozen_teacher=True),
    }
    return {name: guidance.every_k_steps(term, 2) for name, term in terms.items()}


def four_steps(how, *, axis_name="devices"):
    """Parameters and metrics after each of four steps on eight devices, or on one."""
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True, axis_name=axis_name
    )
    optimizer = optax.sgd(0.05)
    batch, terms = core_terms.uneven_batch(16), six_terms()
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )
    step = training.make_train_step(apply_fn, terms, optimizer, axis_name=axis_name)
    lifted = training.data_parallel(step, how=how) if axis_name else jax.jit(step)
    history = []
    for _ in range(4):
        state, metrics = lifted(state, batch)
        history.append((state.params, state.guidance_state, metrics))
    return history


# Thorough: a process of its own, which compiles six terms for one device and, twice,
# for eight. The default run keeps what it rests on: which terms have a branch at all,
# and one of them on two devices.
@pytest.mark.thorough
def test_devices_do_not_wait_for_each_other_in_a_branch():
    here = pathlib.Path(__file__).parent
    paths = [str(here), str(here.parents[1]), os.environ.get("PYTHONPATH", "")]
    flags = "--xla_force_host_platform_device_count=8"
    program = subprocess.run(
        [sys.executable, __file__],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{flags} --xla_backend_optimization_level=0",
            "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
            "PYTHONPATH": os.pathsep.join(paths),
        },
        timeout=240,
        capture_output=True,
        text=True,
    )
    assert program.returncode == 0, program.stdout + program.stderr


def main():
    alone = four_steps("jit", axis_name=None)
    for how in ("pmap", "shard_map"):
        for number, (many, one) in enumerate(zip(four_steps(how), alone, strict=True)):
            counts = [many[2][f"{name}/annotated"] for name in six_terms()]
            assert all(counts) if number % 2 == 0 else not any(counts), counts
            for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
                np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-4)


if __name__ == "__main__":
    main()
