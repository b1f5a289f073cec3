"""What the compiler makes of a step: its cost, its collectives, one trace.

Floating-point operations are counted by the compiler, and so repeat where times do not.
"""

import functools
import math
import re

import chex
import core_terms
import jax
import jax.numpy as jnp
import optax
import pytest

from xguide_jax import (
    attributions,
    guidance,
    losses,
    models,
    testing,
    training,
)

OPTIMIZER = optax.sgd(0.1)
CHEAP = {name: core_terms.four_terms()[name] for name in ("imputation", "prior")}


def make(terms, *, axis_name=None):
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True, axis_name=axis_name
    )
    batch = core_terms.uneven_batch(8)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, axis_name=axis_name)
    return step, state, batch


def convolutional(terms, *, dropout=(0.0, 0.0), batch_size=8):
    module = models.SaliencyGuidedCNN(dropout=dropout)
    batch = {
        "inputs": jax.random.normal(jax.random.key(0), (batch_size, 14, 14, 1)),
        "labels": jnp.arange(batch_size) % 10,
    }
    params, model_state = models.init_linen(module, jax.random.key(1), batch["inputs"])
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    apply_fn = models.linen_apply_fn(module)
    return training.make_train_step(apply_fn, terms, OPTIMIZER), state, batch


def flops(terms):
    step, state, batch = convolutional(terms)
    return jax.jit(step).lower(state, batch).compile().cost_analysis()["flops"]


@pytest.fixture(scope="module")
def unguided_flops():
    return flops({})


@pytest.mark.parametrize(
    ("frozen_teacher", "limit"),
    # 7 and 6 forward passes against 3, and a little for the mask.
    [(False, 2.35), (True, 2.02)],
)
def test_a_guided_step_costs_little_more_than_two(
    frozen_teacher, limit, unguided_flops
):
    """Saliency and loss share the clean pass; a frozen teacher, its pullback too."""
    term = core_terms.saliency_guided(frozen_teacher=frozen_teacher)
    assert 1.9 < flops({"guided": term}) / unguided_flops <= limit


@pytest.mark.parametrize(("num_devices", "times"), [(2, 1), (1, 0)])
@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_gradients_cross_the_devices_once(how, num_devices, times):
    """One all-reduce is as large as the parameters; the others carry statistics."""
    step, state, batch = make(CHEAP, axis_name="devices")
    devices = jax.devices()[:num_devices]
    lifted = training.data_parallel(step, how=how, devices=devices)
    text = lifted.lower(state, batch).compile().as_text()
    results = re.findall(r"= (.*?) all-reduce(?:-start)?\(", text)
    sizes = [
        sum(
            math.prod(int(n) for n in shape.split(",") if n)
            for shape in re.findall(r"\w+\[([\d,]*)\]", result)
        )
        for result in results
    ]
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert num_params == 2 * 4 + 4 + 3 * 3 * 4 * 3 + 3 + 9
    assert len([size for size in sizes if size >= num_params]) == times
    assert sum(sizes) < 2 * num_params


@pytest.mark.parametrize("how", [None, "pmap", "shard_map"])
def test_a_run_traces_and_compiles_its_step_once(how):
    axis_name = None if how is None else "devices"
    step, state, batch = make(CHEAP, axis_name=axis_name)
    chex.clear_trace_counter()
    once = chex.assert_max_traces(step, n=1)
    if how is None:
        lifted = jax.jit(once)
    else:
        lifted = training.data_parallel(once, how=how, devices=jax.devices()[:2])
    state, _ = lifted(state, batch)
    compiled = []
    listen = lambda event, duration, **details: (
        compiled.append(event) if "backend_compile" in event else None
    )
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(2):
            state, _ = lifted(state, batch)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert state.step == 3
    assert compiled == []


def test_a_step_never_waits_for_the_host():
    terms = {"guided": core_terms.saliency_guided(), **core_terms.four_terms()}
    step, state, batch = make(terms)
    jaxpr = str(jax.make_jaxpr(step)(state, batch))
    assert not re.findall(r"\w*(?:callback|infeed|outfeed|debug)\w*", jaxpr)


def test_a_guided_step_is_lowered_for_other_accelerators():
    terms = {"guided": core_terms.saliency_guided()}
    step, state, batch = convolutional(terms, dropout=(0.25, 0.5))
    exported = jax.export.export(jax.jit(step), platforms=("tpu", "cuda"))(state, batch)
    assert exported.platforms == ("tpu", "cuda")
    assert len(exported.mlir_module_serialized) > 0
    assert "convolution" in exported.mlir_module()


@pytest.mark.parametrize(
    ("explain_in", "limit"),
    # The head once more; a second backward pass through the layers before it as well.
    [("train", 1.2), ("eval", 1.9)],
)
def test_a_late_layer_of_the_clean_pass_is_explained_for_the_cost_of_the_head(
    explain_in, limit
):
    module = models.SmallCNN(num_classes=10, strides=(1, 1, 1))
    batch = {
        "inputs": jax.random.normal(jax.random.key(0), (8, 12, 12, 1)),
        "labels": jnp.arange(8),
        "region": jnp.ones((8, 12, 12)).at[:, :6].set(0.0),
    }
    params, model_state = models.init_linen(module, jax.random.key(1), batch["inputs"])
    apply_fn = models.linen_apply_fn(module)
    term = guidance.localisation(
        loss=losses.energy,
        explain=guidance.explain(
            functools.partial(
                attributions.grad_cam, score_fn=attributions.centred_logit
            ),
            layer="features",
            explain_in=explain_in,
        ),
    )

    def cost(terms):
        state = training.init_train_state(
            jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
        )
        step = training.make_train_step(apply_fn, terms, OPTIMIZER)
        compiled = jax.jit(step).lower(state, batch).compile()
        return compiled.cost_analysis()["flops"]

    assert 1 < cost({"energy": term}) / cost({}) < limit
