"""Bert: its formula, its activations, its padding, its programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import models, testing

SIZES = {
    "vocabulary_size": 11,
    "num_layers": 2,
    "num_heads": 2,
    "width": 8,
    "hidden_width": 12,
    "num_positions": 9,
    "num_classes": 3,
}
POOLINGS = ["class_token", "pooler", "mean", "attention"]


def batch_of(lengths, *, num_tokens):
    size = len(lengths)
    place = np.arange(num_tokens)
    mask = place < np.asarray(lengths)[:, None]
    tokens = 1 + (3 * np.arange(size)[:, None] + place * (place + 1)) % 10
    return {
        "tokens": jnp.asarray(np.where(mask, tokens, 0), jnp.int32),
        "mask": jnp.asarray(mask),
        "segments": jnp.asarray((place >= 3) & mask, jnp.int32),
    }


@functools.cache
def network(pooling="mean", **fields):
    module = models.Bert(**SIZES, pooling=pooling, **fields)
    inputs = batch_of([6, 4], num_tokens=6)
    params, state = models.init_linen(module, jax.random.key(0), inputs)
    assert state == {}
    # Larger than the initial ones, so that attention is far from uniform.
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    return models.linen_apply_fn(module), params


def test_it_keeps_the_contract_of_a_network():
    apply_fn, params = network("attention", dropout=0.2, attention_dropout=0.2)
    # Texts of one form: mask and segments reach the logits past every activation.
    inputs = batch_of([6, 6], num_tokens=6)
    testing.check_apply_fn(
        apply_fn, params, {}, inputs, modes_differ=True,
        skips=["attention_0", "attention_1", "attention_top"],
    )  # fmt: skip


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_of_padding_alone_has_finite_logits_and_gradients(pooling):
    apply_fn, params = network(pooling)
    inputs = batch_of([5, 0], num_tokens=6)
    loss = lambda params: jnp.sum(apply_fn(params, {}, inputs, train=False)[0].logits)
    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
