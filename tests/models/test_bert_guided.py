"""Bert under guidance: its attention by marks, on devices, whole and in part."""

import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import guidance, losses, models, training

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "bert"
OPTIMIZER = optax.sgd(0.5, momentum=0.0)
TERMS = {
    "heads": guidance.attention_guided(
        layer="attention_1", heads=(1,), divergence=losses.attention_supervision
    ),
    "top": guidance.attention_guided(
        layer="attention_top", heads=None, divergence=losses.attention_divergence
    ),
}


@pytest.fixture(scope="module")
def network():
    """Of two layers the upper one is trained."""
    module, params = models.load_bert(
        FOLDER, num_classes=3, pooling="attention", key=jax.random.key(0)
    )
    module = module.clone(dropout=0.0, attention_dropout=0.0)
    trained = models.top_layers(params, num_layers=1)
    return models.freeze(models.linen_apply_fn(module), params, {}, trained=trained)


@pytest.fixture(scope="module")
def batch():
    """Eight texts, the first three annotated: none on most of eight devices."""
    lengths = 4 + np.arange(8) % 3
    place = np.arange(6)
    mask = place < lengths[:, None]
    special = mask & ((place == 0) | (place == lengths[:, None] - 1))
    tokens = np.where(special, 2, 3 + (np.arange(8)[:, None] + place) % 10) * mask
    return {
        "inputs": {
            "tokens": jnp.asarray(tokens, jnp.int32),
            "mask": jnp.asarray(mask),
            "segments": jnp.zeros((8, 6), jnp.int32),
        },
        "labels": jnp.arange(8) % 3,
        "special": jnp.asarray(special),
        "rationale": jnp.asarray(place == 2, jnp.float32) * jnp.ones((8, 1)),
        "rationale_valid": jnp.arange(8) < 3,
    }


def start(network, batch, optimizer=OPTIMIZER):
    _, params, state = network
    return training.init_train_state(
        jax.random.key(1), params, state, TERMS, optimizer, batch
    )


@pytest.mark.usefixtures("standard_promotion")
def test_attention_comes_to_what_is_marked(network, batch):
    apply_fn, _, _ = network
    optimizer = optax.adam(0.03)
    step = jax.jit(training.make_train_step(apply_fn, TERMS, optimizer))
    state = start(network, batch, optimizer)
    history = []
    for _ in range(30):
        state, metrics = step(state, batch)
        history.append({name: float(metrics[name]) for name in TERMS})
    assert metrics["heads/annotated"] == 3
    for name in TERMS:
        assert history[-1][name] < 0.5 * history[0][name]


@pytest.mark.thorough  # a program for eight devices
def test_devices_agree_and_what_is_frozen_keeps_every_bit(network, batch):
    apply_fn, _, frozen = network
    alone, metrics = jax.jit(training.make_train_step(apply_fn, TERMS, OPTIMIZER))(
        start(network, batch), batch
    )
    step = training.make_train_step(apply_fn, TERMS, OPTIMIZER, axis_name="devices")
    lifted = training.data_parallel(step, how="pmap", devices=jax.devices())
    state, found = lifted(start(network, batch), batch)
    chex.assert_trees_all_close(found, metrics, rtol=1e-5)
    chex.assert_trees_all_close(state.params, alone.params, atol=1e-5)
    chex.assert_trees_all_equal(state.model_state, frozen)
