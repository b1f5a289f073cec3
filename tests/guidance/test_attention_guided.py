"""Attention guided by rationales: by hand, on devices, with its controls."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import region_cases
import sequence_cases

from xguide_jax import guidance, losses, testing, training
from xguide_jax.types import ModelOutput

SQUARED = losses.attention_supervision
DIVERGENCE = losses.attention_divergence


def term_of(**changes):
    arguments = {"layer": "attention_0", "heads": None, "divergence": SQUARED}
    return guidance.attention_guided(**{**arguments, **changes})


TERMS = {
    "heads": term_of(heads=(1,)),
    "eval": term_of(explain_in="eval"),
    "extra": term_of(layer="attention_top"),
    "divergence": term_of(divergence=DIVERGENCE),
    "permuted": term_of(heads=(1,), permuted=True),
    "published": guidance.attention_guided_published(
        variant="extra_layer", layer="attention_top"
    ),
}


@pytest.fixture(scope="module")
def network():
    return sequence_cases.attention_network()


@pytest.mark.parametrize("name", ["divergence", "permuted"])
def test_a_term_keeps_the_promises_of_the_core(name, network):
    testing.check_guidance_term(
        TERMS[name], batch=sequence_cases.token_batch(), network=network
    )


def test_the_network_of_these_tests_is_one(network):
    testing.check_apply_fn(
        *network, sequence_cases.token_batch(3)["inputs"],
        skips=("attention_0", "attention_top", "embeddings"),
    )  # fmt: skip


def applied(term, attention, batch, *, layer="attention_0"):
    """Loss and weight of a term on activations by hand."""
    size = len(batch["labels"])
    output = ModelOutput(jnp.zeros((size, 2)), {layer: attention})
    context = region_cases.context_of(
        {**batch, "inputs": batch["inputs"]}, output
    )._replace(key=jax.random.split(jax.random.key(0), size))
    out = term.apply((), (), context)
    return out.loss, out.weight


def by_hand():
    """Two heads of four tokens; [CLS] a b [PAD] with b marked, and a row unmarked."""
    attention = jnp.zeros((2, 2, 4, 4)).at[:, :, 1:].set(9.0)  # other rows: not read
    attention = attention.at[:, 0, 0].set(jnp.array([0.5, 0.25, 0.25, 0.0]))
    attention = attention.at[:, 1, 0].set(jnp.array([0.0, 0.0, 0.5, 0.5]))
    batch = {
        "inputs": {"mask": jnp.array([[True, True, True, False]] * 2)},
        "labels": jnp.array([0, 1]),
        "special": jnp.array([[True, False, False, False]] * 2),
        # Marks of any size; on [CLS] and on padding they are none.
        "rationale": jnp.array([[7.0, 0.0, 3.0, 9.0], [0.0, 0.0, 0.0, 5.0]]),
    }
    return attention, batch


def test_the_class_tokens_row_is_compared_with_the_marks_that_count():
    attention, batch = by_hand()
    # d = (0, 0, 1, 0). Head 0: 1/4 + 1/16 + 9/16 = 14/16; head 1: 1/4, padding out.
    loss, weight = applied(term_of(), attention, batch)
    np.testing.assert_allclose(loss, [(14 / 16 + 1 / 4) / 2, 0], rtol=1e-6)
    np.testing.assert_array_equal(weight, [1, 0])
    for head, expected in ((0, 14 / 16), (1, 1 / 4)):
        loss, _ = applied(term_of(heads=(head,)), attention, batch)
        np.testing.assert_allclose(loss, [expected, 0], rtol=1e-6)
    # Of the mean (1/4, 1/8, 3/8) over 3/4, token 2 has a half.
    loss, _ = applied(term_of(divergence=DIVERGENCE), attention, batch)
    np.testing.assert_allclose(loss, [np.log(2), 0], rtol=1e-6)


def test_a_layer_without_heads_is_read_as_it_is():
    attention, batch = by_hand()
    top = functools.partial(applied, layer="attention_top")
    loss, _ = top(term_of(layer="attention_top"), attention[:, 0, 0], batch)
    np.testing.assert_allclose(loss, [14 / 16, 0], rtol=1e-6)
    message = r"^`heads` \(=\(0,\)\) must be None for a layer without heads: `layer` "
    with pytest.raises(ValueError, match=message):
        top(term_of(layer="attention_top", heads=(0,)), attention[:, 0, 0], batch)


@pytest.fixture(scope="module")
def uneven():
    """16 examples, 4 of them annotated: none on most of eight devices."""
    annotated = jnp.isin(jnp.arange(16), jnp.array([0, 1, 2, 13]))
    batch = sequence_cases.token_batch(
        16, weight=jnp.linspace(0.1, 1.3, 16), rationale_valid=annotated
    )
    return batch


ON_DEVICES = {name: TERMS[name] for name in ("heads", "permuted", "published")}


@pytest.fixture(scope="module")
def alone(uneven, network):
    return sequence_cases.step_of(ON_DEVICES, network, uneven)


@pytest.mark.parametrize(
    ("how", "count"),
    [
        ("shard_map", 2),
        # The same law by another program; test_parallel keeps it by default.
        pytest.param("pmap", 8, marks=pytest.mark.thorough),
    ],
)
def test_devices_agree_about_uneven_annotations(how, count, network, uneven, alone):
    one, metrics = alone
    state, found = sequence_cases.step_of(
        ON_DEVICES, network, uneven, how=how, count=count
    )
    assert metrics["heads/annotated"] == 4
    gradient, expected = state.opt_state[0].trace, one.opt_state[0].trace
    size = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected))
    chex.assert_trees_all_close(gradient, expected, rtol=0, atol=1e-5 * size)
    chex.assert_trees_all_close(found, metrics, rtol=1e-5)


def test_rows_without_a_rationale_add_exactly_nothing(network):
    nobody = sequence_cases.token_batch(4, rationale_valid=jnp.zeros(4, bool))
    for name in ("heads", "divergence"):
        loss, gradient = sequence_cases.value_and_gradient(TERMS[name], network, nobody)
        assert loss == 0
        assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))


def test_the_published_term_is_the_sum_over_the_annotated(network):
    """λ Σ l beside a mean task: of a mean over N annotated examples, λ N."""
    published = guidance.attention_guided_published
    terms = {
        "heads": TERMS["heads"],
        "extra": TERMS["extra"],
        "divergence": term_of(divergence=functools.partial(DIVERGENCE, epsilon=1e-4)),
        "1.0 heads": published(variant="heads", layer="attention_0", heads=(1,)),
        "1.4 extra": published(variant="extra_layer", layer="attention_top"),
        "0.01 divergence": published(variant="divergence", layer="attention_0"),
    }
    apply_fn, params, _ = network
    batch = sequence_cases.token_batch(8)
    metrics = jax.jit(
        lambda batch: training.guidance_loss(
            apply_fn, terms, {"model": params}, (), {}, batch,
            step=0, key=jax.random.key(0),
        )[1][1]
    )(batch)  # fmt: skip
    assert int(metrics["heads/annotated"]) == 6
    for name in list(terms)[3:]:
        weight, ours = name.split()
        expected = float(weight) * 6 * metrics[ours]
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-5)


def test_permuted_targets_stay_in_their_text_and_are_drawn_anew():
    """The target is seen by a loss of one's own."""
    seen = []

    def spying(attention, target, *, where):
        seen.append(target)
        return losses.attention_supervision(attention, target, where=where)

    num_tokens = 12
    batch = testing.token_batch(jax.random.key(1), batch_size=4, num_tokens=num_tokens)
    marks = jnp.arange(4.0 * num_tokens).reshape(4, num_tokens) % 5
    batch = {**batch, "rationale": marks, "rationale_valid": jnp.ones(4, bool)}
    attention = jnp.full((4, 1, num_tokens, num_tokens), 1 / num_tokens)
    output = ModelOutput(jnp.zeros((4, 2)), {"attention_0": attention})
    context = region_cases.context_of(batch, output)
    context = context._replace(key=jax.random.split(jax.random.key(0), 4))
    other = context._replace(key=jax.random.split(jax.random.key(1), 4))
    term_of(divergence=spying).apply((), (), context)
    term = term_of(divergence=spying, permuted=True)
    for drawn in (context, other):
        term.apply((), (), drawn)
    target, first, second = map(np.asarray, seen)
    counted = np.asarray(guidance.counted_of(batch))
    segments = np.asarray(batch["inputs"]["segments"])
    assert np.any(first != target)
    assert np.any(second != first)
    for drawn in (first, second):
        np.testing.assert_array_equal(drawn[~counted], 0)
        for row in range(4):
            for segment in (0, 1):
                there = counted[row] & (segments[row] == segment)
                np.testing.assert_array_equal(
                    np.sort(drawn[row][there]), np.sort(target[row][there])
                )


def test_supervising_the_clean_pass_costs_next_to_nothing():
    """In train mode; of a network wide enough that rows of attention are nothing."""
    network = testing.attention_network(
        jax.random.key(0), num_tokens=16, num_features=32
    )
    batch = testing.token_batch(jax.random.key(1), batch_size=2, num_tokens=16)

    def flops(terms):
        apply_fn, params, _ = network
        objective = training.make_objective(apply_fn, terms)
        state = training.init_train_state(
            jax.random.key(2), params, (), terms, optax.identity(), batch
        )
        gradient = jax.grad(objective, has_aux=True)
        compiled = jax.jit(gradient).lower(state.params, state, batch).compile()
        return compiled.cost_analysis()["flops"]

    assert flops({"guided": TERMS["heads"]}) < 1.05 * flops({})


@pytest.mark.parametrize("explain_in", ["eval", "train"])
def test_the_supervised_pass_runs_in_its_mode(explain_in, network):
    """In train mode it is the clean pass; in eval mode the loss is of the other one."""
    apply_fn, params, _ = network
    modes = []

    def spying(params, model_state, inputs, *, train, key=None, overrides=None):
        modes.append((train, key is not None))
        output, state = apply_fn(params, model_state, inputs, train=train)
        if train:
            flat = jnp.full_like(output.intermediates["attention_0"], 1 / 6)
            output = output._replace(intermediates={"attention_0": flat})
        return output, state

    value = lambda network: training.guidance_loss(
        network, {"term": term_of(explain_in=explain_in)}, {"model": params}, (), {},
        sequence_cases.token_batch(4), step=0, key=jax.random.key(0),
    )[0]  # fmt: skip
    same = np.isclose(value(spying), value(apply_fn))
    assert modes == [(True, True), (False, False)][: 1 + (explain_in == "eval")]
    assert same == (explain_in == "eval")


def test_random_heads_are_drawn_once():
    heads = guidance.random_heads(3, num_heads=12, seed=0)
    assert heads == guidance.random_heads(3, num_heads=12, seed=0)
    assert len(set(heads)) == 3 <= max(heads) < 12
    assert list(heads) == sorted(heads)
    assert len({guidance.random_heads(3, num_heads=12, seed=s) for s in range(9)}) > 5
    assert guidance.random_heads(2, num_heads=2, seed=5) == (0, 1)
    for count in (0, 3):
        with pytest.raises(ValueError, match=rf"^`count` \(={count}\) must lie in \[1"):
            guidance.random_heads(count, num_heads=2, seed=0)


@pytest.mark.parametrize("heads", [(), (0, 0), (-1,), (0.5,), ("a",)])
def test_heads_that_are_none_are_refused_when_the_term_is_built(heads):
    with pytest.raises(ValueError, match=r"^`heads` \(=.*\) must be one or more diff"):
        term_of(heads=heads)


def test_what_the_network_has_not_is_refused_when_it_is_traced(network):
    value = functools.partial(
        sequence_cases.value_and_gradient,
        network=network,
        batch=sequence_cases.token_batch(4),
    )
    message = r"^`heads` \(=\(1, 2\)\) must lie in \[0, 2\), since `layer` \(='att"
    with pytest.raises(ValueError, match=message):
        value(term_of(heads=(1, 2)))
    message = r"`layer` \(='embeddings'\) of shape \(4, 6, 4\) must be attention weig"
    with pytest.raises(ValueError, match=message):
        value(term_of(layer="embeddings"))
    with pytest.raises(ValueError, match=r"the layer 'attention_9'"):
        value(term_of(layer="attention_9"))
    with pytest.raises(ValueError, match=r"a batch needs 'highlights' here; it has"):
        value(term_of(target="highlights"))
    with pytest.raises(ValueError, match=r"^`explain_in` \(='test'\) must be"):
        term_of(explain_in="test")


def test_published_variants_take_what_they_have():
    with pytest.raises(ValueError, match=r"^`variant` \(='all'\) must be one of \["):
        guidance.attention_guided_published(variant="all", layer="attention_0")
    with pytest.raises(ValueError, match=r"^`heads` \(=\(1,\)\) must be None with `va"):
        guidance.attention_guided_published(
            variant="divergence", layer="attention_0", heads=(1,)
        )
