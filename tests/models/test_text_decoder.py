"""TextDecoder: its formulas, what may see what, its cache, its derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.test_util import check_grads

from xguide_jax import models
from xguide_jax.types import ModelOutput

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


@pytest.mark.parametrize("name", NAMES)
def test_a_replaced_activation_is_what_the_rest_sees(name):
    """The clean values change nothing, and others do."""
    clean = output(given())
    value = clean.intermediates[name]
    same = output(given(), {name: value}).logits
    np.testing.assert_allclose(same, clean.logits, atol=2e-6)
    replaced = output(given(), {name: jnp.roll(value, 1, axis=-1)})
    moved = np.abs(replaced.logits - clean.logits).max(axis=(1, 2))
    assert moved[:2].min() > 1e-3
    np.testing.assert_array_equal(
        replaced.intermediates[name], jnp.roll(value, 1, axis=-1)
    )


def test_a_text_is_causal_and_a_prefix_sees_itself_whole():
    prefix, tokens, mask = given()
    clean = output((prefix, tokens, mask))
    later = output((prefix, tokens.at[0, 2].set(3 + tokens[0, 2] % 6), mask))
    changed = np.any(later.logits != clean.logits, axis=-1)[0]
    assert changed.tolist() == [False, False, True, True, True]
    of_text = np.any(
        later.intermediates["hidden_1"] != clean.intermediates["hidden_1"], axis=-1
    )
    assert not of_text[0, :6].any()
    assert not of_text[1:].any()
    last = output((prefix.at[0, 3, 0].add(1.0), tokens, mask))
    states = last.intermediates["hidden_0"] - clean.intermediates["hidden_0"]
    assert np.abs(states[0]).max(axis=-1).min() > 1e-3
    np.testing.assert_array_equal(states[1:], 0)


def test_logits_know_neither_what_padding_holds_nor_how_long_it_is():
    prefix, tokens, mask = given()
    clean = output((prefix, tokens, mask)).logits
    filled = output((prefix, jnp.where(mask, tokens, 7), mask)).logits
    np.testing.assert_array_equal(filled[mask], clean[mask])
    short = output((prefix, tokens[:, :3], mask[:, :3])).logits
    np.testing.assert_allclose(short[1], clean[1, :3], atol=5e-6)


def test_a_token_out_of_the_vocabulary_is_not_taken_for_another():
    prefix, tokens, mask = given()
    logits = output((prefix, tokens.at[1, 2].set(9), mask)).logits
    assert np.isnan(logits).any(axis=(1, 2)).tolist() == [False, True, False]


@PREFIXES
def test_a_token_at_a_time_gives_the_logits_of_the_text(num_prefix):
    prefix, tokens, mask = given(num_prefix)
    expected = output((prefix, tokens, mask)).logits
    cache, step = HEAD.begin(params(), prefix, 5)
    assert {leaf.shape for leaf in jax.tree.leaves(cache)} == {
        (3, num_prefix + 5, 2, 4)
    }
    step = jax.jit(step)
    for place in range(5):
        logits, cache = step(cache, tokens[:, place], jnp.int32(place))
        rows = np.asarray(mask[:, place])
        np.testing.assert_allclose(
            logits[rows], expected[rows, place], atol=1e-5, err_msg=str(place)
        )


@pytest.mark.usefixtures("x64", "standard_promotion")
def test_first_and_second_derivatives_in_the_prefix():
    prefix, tokens, mask = given()
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params())

    @jax.jit
    def score(prefix):
        logits = HEAD.apply(wide, prefix, tokens[:2], mask[:2])
        log_p = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.where(mask[:2], log_p[..., 4], 0.0), axis=-1)

    prefix = prefix[:2].astype(jnp.float64)
    assert score(prefix).dtype == jnp.float64
    check_grads(score, (prefix,), order=2, modes=["rev"], rtol=1e-5, atol=1e-6)


def test_padding_has_gradients_of_zero_and_a_text_of_it_finite_ones():
    prefix, tokens, mask = given()

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1, 2), has_aux=True)
    def of_squares(params, prefix, words):
        """Gradients of a gradient's squares, and beside them the gradient itself."""

        def total(prefix, words):
            given = (prefix, tokens, mask)
            run = functools.partial(MODULE.apply, {"params": params}, method="output")
            logits = run(*given, overrides={"embeddings": words}).logits
            return jnp.sum(jnp.where(mask[..., None], logits, 0.0) ** 2)

        first = jax.grad(total, argnums=(0, 1))(prefix, words)
        return sum(jnp.sum(leaf**2) for leaf in first), first

    words = params()["word_embeddings"]["embedding"][tokens]
    (_, *second), first = gradients = of_squares(params(), prefix, words)
    for of_prefix, of_words in (first, second):
        assert (np.abs(of_words).max(axis=-1)[mask] > 0).all()
        assert (np.asarray(of_words)[~np.asarray(mask)] == 0).all()
        assert (np.abs(of_prefix[:2]).max(axis=-1) > 0).all()
        assert (np.asarray(of_prefix[2]) == 0).all()  # nothing is said after it
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()


@pytest.mark.usefixtures("standard_promotion")
def test_a_small_one_learns_to_copy_its_prefix_and_its_step_is_lowered_elsewhere():
    """Three words of six by their codes: held-out triples, in 60 steps."""
    module = models.TextDecoder(
        vocabulary_size=10, num_layers=2, num_heads=2, width=16, hidden_width=16,
        num_positions=8,
    )  # fmt: skip
    head = models.linen_text_head(module)
    codes = jax.random.normal(jax.random.key(9), (10, 16)) / 4
    words = np.stack(np.meshgrid(*[np.arange(4, 10)] * 3), axis=-1).reshape(-1, 3)
    words = np.random.default_rng(0).permutation(words).astype(np.int32)
    tokens = np.pad(
        np.pad(words, ((0, 0), (1, 0)), constant_values=1), ((0, 0), (0, 1))
    )
    tokens[:, -1] = 2
    optimizer = optax.adam(1e-2)

    def loss(params, tokens):
        prefix, mask = codes[tokens[:, 1:4]], jnp.ones(tokens.shape, bool)
        logits = head.apply(params, prefix, tokens, mask)[:, :-1]
        targets = tokens[:, 1:]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return jnp.mean(losses)

    @jax.jit
    def step(params, state, tokens):
        value, gradient = jax.value_and_grad(loss)(params, tokens)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    weights = head.init(jax.random.key(0))
    state, trained = optimizer.init(weights), jnp.asarray(tokens[:180])
    exported = jax.export.export(step, platforms=("tpu", "cuda"))(
        weights, state, trained
    )
    assert exported.platforms == ("tpu", "cuda")
    assert "dot_general" in exported.mlir_module()
    first = None
    for _ in range(60):
        weights, state, value = step(weights, state, trained)
        first = value if first is None else first
    assert first > 1.8  # log 10 = 2.3 where nothing is known
    held_out = codes[words[180:]]
    texts = models.greedy_decode(head, weights, held_out, length=5)
    np.testing.assert_array_equal(texts.tokens, tokens[180:])


def test_parameters_start_as_they_say():
    wide = models.linen_text_head(MODULE.clone(vocabulary_size=1000, width=64))
    start = wide.init(jax.random.key(0))
    table = np.asarray(start["word_embeddings"]["embedding"])
    assert table.shape == (1000, 64)
    np.testing.assert_allclose(table.std(), 1 / 8, rtol=0.02)
    top = models.top_layers(start, num_layers=1)
    chosen = {name for name, leaves in top.items() if any(jax.tree.leaves(leaves))}
    assert chosen == {"layer_1"}


class Recurrent(nn.Module):
    """Anybody's head: the mean of the prefix beside each token, and a `ModelOutput`."""

    @nn.compact
    def __call__(self, prefix, tokens, mask):
        del mask
        words = nn.Embed(9, 3)(tokens) + jnp.mean(prefix, axis=1, keepdims=True)
        return ModelOutput(nn.Dense(9)(words), {})


def test_a_head_of_another_module():
    head = models.linen_text_head(Recurrent(), width=3)
    start = head.init(jax.random.key(0))
    assert (head.width, head.begin) == (3, None)
    prefix, tokens, mask = given()
    logits = head.apply(start, prefix[..., :3], tokens, mask)
    assert logits.shape == (3, 5, 9)
    texts = models.greedy_decode(head, start, prefix[..., :3], length=4)
    assert texts.tokens.shape == (3, 4)
    with pytest.raises(ValueError, match=r"`width` \(=None\) .* Recurrent has no such"):
        models.linen_text_head(Recurrent())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"num_heads": 3}, r"`width` \(=8\) must be a multiple of `num_heads` \(=3\)"),
        ({"num_positions": 8}, r"of 4 and a text of 5 .* `num_positions` \(=8\)"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change, error):
    with pytest.raises(ValueError, match=error):
        jax.eval_shape(MODULE.clone(**change).init, jax.random.key(0), *given())


def test_inputs_of_another_form_are_refused():
    prefix, tokens, mask = given()
    run = lambda *given: jax.eval_shape(MODULE.init, jax.random.key(0), *given)
    for wrong, match in (
        ((prefix[..., :6], tokens, mask), "shape"),
        ((prefix[:2], tokens, mask), "shape"),
        ((prefix[:, 0], tokens, mask), "rank"),
        ((prefix, tokens, mask[:, :3]), "shape"),
        ((prefix, tokens, tokens), "type"),
    ):
        with pytest.raises(AssertionError, match=match):
            run(*wrong)
    with pytest.raises(ValueError, match=r"names \['hidden_2'\]; the decoder exposes"):
        output(given(), {"hidden_2": prefix})
