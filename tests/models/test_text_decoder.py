"""TextDecoder: its formulas, what may see what, its cache, its derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import models

MODULE = models.TextDecoder(
    vocabulary_size=9, num_layers=2, num_heads=2, width=8, hidden_width=12,
    num_positions=9,
)  # fmt: skip
HEAD = models.linen_text_head(MODULE)
NAMES = ["attention_0", "attention_1", "embeddings", "hidden_0", "hidden_1"]
LENGTHS = (5, 3, 0)  # the last row is padding only
MASK = jnp.asarray(np.arange(5) < np.array(LENGTHS)[:, None])
PREFIXES = pytest.mark.parametrize("num_prefix", [4, 0])


@functools.cache
def params():
    """Initial weights, moved: biases and norms that are not those of no effect."""
    start = HEAD.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(start)
    noise = np.random.default_rng(1)
    move = lambda leaf: leaf + noise.normal(scale=0.2, size=leaf.shape)
    return jax.tree.unflatten(tree, [jnp.asarray(move(x), x.dtype) for x in leaves])


def given(num_prefix=4):
    rng = np.random.default_rng(0)
    prefix = rng.normal(size=(3, num_prefix, 8)).astype(np.float32)
    tokens = rng.integers(3, 9, size=(3, 5), dtype=np.int32)
    tokens[:, 0] = 1
    return jnp.asarray(prefix), jnp.where(MASK, tokens, 0), MASK


@jax.jit
def output_of(params, inputs, overrides):
    variables = {"params": params}
    return MODULE.apply(variables, *inputs, overrides=overrides, method="output")


def output(inputs, overrides=None):
    return output_of(params(), inputs, overrides)


def normalised(values, leaves):
    centred = values - values.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / deviation * leaves["scale"] + leaves["bias"]


def reference(prefix, words):
    """The formulas in float64, of one text without padding: (states, attentions)."""
    weights = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params())
    num_prefix, num_places = len(prefix), len(prefix) + len(words)
    dense = lambda x, leaves: x @ leaves["kernel"] + leaves["bias"]
    table = weights["word_embeddings"]["embedding"]
    x = np.concatenate([prefix, table[words]])
    x = x + weights["position_embeddings"]["embedding"][:num_places]
    x = normalised(x, weights["embeddings_norm"])
    attentions = []
    for number in range(2):
        layer = weights[f"layer_{number}"]
        query, key, value = (dense(x, layer[n]) for n in ("query", "key", "value"))
        attention = np.zeros((2, num_places, num_places))
        mixed = np.zeros_like(x)
        for head, own in enumerate((slice(0, 4), slice(4, 8))):
            for place in range(num_places):
                seen = max(place + 1, num_prefix)
                scores = key[:seen, own] @ query[place, own] / 2
                scores = np.exp(scores - scores.max())
                attention[head, place, :seen] = scores / scores.sum()
                mixed[place, own] = attention[head, place] @ value[:, own]
        x = normalised(x + dense(mixed, layer["output"]), layer["attention_norm"])
        inner = MODULE.activation(jnp.asarray(dense(x, layer["expand"])))
        inner = dense(np.asarray(inner, np.float64), layer["contract"])
        x = normalised(x + inner, layer["output_norm"])
        attentions.append(attention)
    return x, attentions, x[num_prefix:] @ table.T


@PREFIXES
def test_logits_and_activations_are_those_of_a_loop_over_places(num_prefix):
    prefix, tokens, mask = given(num_prefix)
    logits, exposed = output((prefix, tokens, mask))
    assert logits.shape == (3, 5, 9)
    assert sorted(exposed) == NAMES
    for row, length in enumerate(LENGTHS[:2]):
        words, places = tokens[row, :length], num_prefix + length
        states, attentions, expected = reference(np.asarray(prefix[row]), words)
        np.testing.assert_allclose(logits[row, :length], expected, atol=2e-5)
        np.testing.assert_allclose(exposed["hidden_1"][row, :places], states, atol=2e-5)
        for number in range(2):
            attention = exposed[f"attention_{number}"][row]
            shown = attention[:, :places, :places]
            np.testing.assert_allclose(shown, attentions[number], atol=1e-5)
            assert (np.asarray(attention)[:, :, places:] == 0).all()
    table = params()["word_embeddings"]["embedding"]
    np.testing.assert_array_equal(exposed["embeddings"], table[tokens])
    assert np.isfinite(logits).all()


def test_the_call_and_the_head_give_the_logits():
    expected = output(given()).logits
    np.testing.assert_allclose(HEAD.apply(params(), *given()), expected, atol=1e-6)
    assert HEAD.width == 8
