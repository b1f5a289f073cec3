"""Bert: its formulas, its activations, its padding, its programs."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import models, testing, training
from xguide_jax.models import pooling as poolings

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
POOLINGS = ["class_token", "pooler", "mean", "attention"]
# Of `golden/bert`: 2 layers, 2 heads, width 8.
NAMES = ["embeddings", "attention_0", "hidden_0", "attention_1", "hidden_1"]


@functools.cache
def golden():
    """What a float64 reference says, by `golden/make_bert.py`."""
    with np.load(GOLDEN / "bert.npz") as file:
        return {name: file[name] for name in file.files}


def given():
    """The reference's three texts, and a fourth that is padding alone."""
    return {
        name: jnp.asarray(np.pad(golden()[f"tiny/inputs/{name}"], ((0, 1), (0, 0))))
        for name in ("tokens", "mask", "segments")
    }


@functools.cache
def network(pooling="mean"):
    """The stored weights, head and all."""
    module, params = models.load_bert(
        GOLDEN / "bert", num_classes=3, pooling=pooling, key=jax.random.key(0)
    )
    stored = lambda name, leaf: jnp.asarray(golden()[f"tiny/{name}/{leaf}"])
    leaves = lambda name, prefix="": {
        leaf: stored(name, prefix + leaf) for leaf in ("kernel", "bias")
    }
    params = {**params, "classifier": leaves("classifier")}
    if pooling == "attention":
        params["attention_top"] = {
            name: leaves("attention_top", f"{name}.") for name in ("hidden", "score")
        }
    return module, params


@functools.cache
def compiled(pooling="mean"):
    """(inputs, overrides) -> the output in eval mode, in float32."""
    module, params = network(pooling)
    apply_fn = models.linen_apply_fn(module)
    return jax.jit(
        lambda inputs, overrides: apply_fn(
            params, {}, inputs, train=False, overrides=overrides
        )[0]
    )


def of_reference(name, values):
    """The three texts', and 0 where padding attends or is a state: as stored."""
    values, mask = np.asarray(values)[:3], np.asarray(given()["mask"], float)[:3]
    if name in ("embeddings", "hidden_0", "hidden_1"):
        return values * mask[..., None]
    if name == "attention_top":
        return values * mask
    return values * mask[:, None, :, None]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_logits_and_activations_are_those_of_a_float64_reference(pooling):
    output = compiled(pooling)(given(), {})
    np.testing.assert_allclose(
        output.logits[:3], golden()[f"tiny/logits/{pooling}"], atol=1e-5
    )
    names = [*NAMES, *(["attention_top"] if pooling == "attention" else [])]
    assert sorted(output.intermediates) == sorted(names)
    for name in names:
        values = of_reference(name, output.intermediates[name])
        np.testing.assert_allclose(
            values, golden()[f"tiny/exposed/{name}"], atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("name", [*NAMES, "attention_top"])
def test_a_replaced_activation_is_what_the_rest_sees(name):
    """The reference's values change nothing, and others do."""
    run = compiled("attention")
    clean = run(given(), {}).logits[:3]
    stored = golden()[f"tiny/exposed/{name}"]
    stored = jnp.asarray(np.concatenate([stored, stored[:1]]), jnp.float32)
    same = run(given(), {name: stored})
    # What the reference leaves out, states and attention of padding, plays no part.
    np.testing.assert_allclose(same.logits[:3], clean, atol=1e-5)
    np.testing.assert_array_equal(same.intermediates[name], stored)
    other = run(given(), {name: jnp.roll(stored, 1, axis=-1)}).logits[:3]
    assert np.abs(other - clean).max(axis=-1).min() > 1e-3


def test_a_connection_past_the_attention_is_all_that_is_left_without_it():
    """With attention of 0, every token keeps to itself: a place is its own text."""
    run = compiled("mean")
    inputs = given()
    none = {f"attention_{n}": jnp.zeros((4, 2, 7, 7)) for n in range(2)}
    whole = run(inputs, none).intermediates["hidden_1"]
    changed = {**inputs, "tokens": inputs["tokens"].at[:, 3].set(6)}
    places = np.any(run(changed, none).intermediates["hidden_1"] != whole, axis=(0, 2))
    assert places.tolist() == [False, False, False, True, False, False, False]


def test_words_come_before_position_and_segment():
    exposed = compiled()(given(), {}).intermediates["embeddings"]
    table = network()[1]["word_embeddings"]["embedding"]
    np.testing.assert_array_equal(exposed, table[given()["tokens"]])


@pytest.mark.parametrize(
    ("name", "value"),
    [("tokens", 13), ("tokens", -1), ("segments", 2), ("segments", -1)],
)
def test_an_id_out_of_range_is_not_taken_for_another(name, value):
    inputs = given()
    ids = inputs[name].at[1, 2].set(value)
    logits = compiled()({**inputs, name: ids}, {}).logits
    assert np.isnan(logits).all(axis=-1).tolist() == [False, True, False, False]


def test_padding_is_an_id_like_any_other():
    inputs = given()
    row, place = np.argwhere(~np.asarray(inputs["mask"]))[0]
    tokens = inputs["tokens"].at[row, place].set(-1)
    logits = compiled()({**inputs, "tokens": tokens}, {}).logits
    assert np.flatnonzero(np.isnan(logits).all(axis=-1)).tolist() == [row]


@pytest.mark.parametrize("pooling", ["class_token", "attention"])
def test_padding_has_gradients_of_zero_and_a_text_of_it_finite_ones(pooling):
    module, params = network(pooling)
    apply_fn = models.linen_apply_fn(module.clone(num_layers=1))

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1), has_aux=True)
    def of_squares(params, values, inputs):
        """Gradients of a gradient's squares, and beside them the gradient itself."""
        run = lambda values: apply_fn(
            params, {}, inputs, train=False, overrides={"embeddings": values}
        )[0]
        first = jax.grad(lambda values: jnp.sum(run(values).logits ** 2))(values)
        return jnp.sum(first**2), (first, run(values))

    words = params["word_embeddings"]["embedding"][given()["tokens"]]
    (of_params, second), (first, output) = of_squares(params, words, given())
    mask = np.asarray(given()["mask"])
    for gradient in (first, second):
        assert (np.asarray(gradient)[:3][~mask[:3]] == 0).all()
        assert (np.abs(gradient).max(axis=-1)[mask] > 0).all()
    for leaf in jax.tree.leaves((of_params, first, second, output)):
        assert np.isfinite(leaf).all()
    uniform = output.intermediates["attention_0"][3]
    np.testing.assert_allclose(uniform, 1 / 7, rtol=1e-6)
    if pooling == "attention":  # nothing is summed: the bias alone
        np.testing.assert_allclose(output.logits[3], params["classifier"]["bias"])
        assert (np.asarray(first)[3] == 0).all()


def test_logits_know_neither_what_padding_holds_nor_how_long_it_is():
    inputs = given()
    clean = compiled("attention")(inputs, {})
    mask = inputs["mask"]
    filled = {
        "tokens": jnp.where(mask, inputs["tokens"], 12),
        "mask": mask,
        "segments": jnp.where(mask, inputs["segments"], 1),
    }
    others = compiled("attention")(filled, {})
    np.testing.assert_array_equal(others.logits[:3], clean.logits[:3])
    longer = {n: jnp.pad(leaf, ((0, 0), (0, 3))) for n, leaf in inputs.items()}
    longer = compiled("attention")(longer, {})
    np.testing.assert_allclose(longer.logits, clean.logits, atol=1e-5)
    assert (np.asarray(longer.intermediates["attention_1"])[:3, ..., 7:] == 0).all()
    assert (np.asarray(longer.intermediates["attention_top"])[:, 7:] == 0).all()


@pytest.mark.parametrize("program", [lambda f: f, jax.jit])
def test_a_mean_is_over_the_mask_and_over_no_token_zero(program):
    """(1 + 3) / 2, and 0; compiled alone would not do, since that may hide 0 / 0."""
    mean = lambda hidden, mask: poolings.pooled("mean", hidden, mask, None)
    hidden = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[..., None]
    mask = jnp.array([[True, False, True], [False, False, False]])
    np.testing.assert_array_equal(program(mean)(hidden, mask), [[2.0], [0.0]])


def test_weights_of_a_normalised_sigmoid_by_hand():
    """W₁ = 1, w₂ = 2, b₂ = −1: sigmoid(2 tanh h − 1) over the sum of those that count.

    h = 0, atanh ½, 0.3: sigmoids of −1, 0, and one that is masked.
    """
    params = {
        "hidden": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)},
        "score": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, -1.0)},
    }
    hidden = jnp.array([[0.0, np.arctanh(0.5), 0.3]], jnp.float32)[..., None]
    mask = jnp.array([[True, True, False]])
    weights = models.AttentionPooling().apply({"params": params}, hidden, mask)
    low, half = 1 / (1 + np.e), 0.5
    expected = [low / (low + half), half / (low + half), 0]
    np.testing.assert_allclose(weights[0], expected, rtol=1e-6)


@pytest.mark.usefixtures("x64", "standard_promotion")
def test_first_and_second_derivatives_against_finite_differences():
    module, params = network("attention")
    params, inputs = jax.tree.map(lambda x: x.astype(jnp.float64), params), given()
    apply_fn = models.linen_apply_fn(module.clone(num_layers=1))
    run = lambda overrides: apply_fn(
        params, {}, inputs, train=False, overrides=overrides
    )[0]
    words = params["word_embeddings"]["embedding"][inputs["tokens"]]
    assert run({"embeddings": words}).logits.dtype == jnp.float64

    @jax.jit
    def norm(values):
        """|d of the log-probability in the embeddings|², as a guidance loss has it."""
        log_p = lambda values: jax.nn.log_softmax(run({"embeddings": values}).logits)
        score = lambda values: jnp.sum(log_p(values)[:, 1])
        return jnp.sum(jax.grad(score)(values) ** 2), score(values)

    direction = jax.random.normal(jax.random.key(1), words.shape, jnp.float64)
    step = 1e-5
    ahead, behind = norm(words + step * direction), norm(words - step * direction)
    _, slopes = jax.jvp(norm, (words,), (direction,))
    for slope, one, other in zip(slopes, ahead, behind, strict=True):
        np.testing.assert_allclose(slope, (one - other) / (2 * step), rtol=1e-6)


def test_dropout_is_none_in_eval_mode_and_a_function_of_the_key_in_train_mode():
    module, params = network("attention")
    assert module.dropout == module.attention_dropout == 0.1
    apply_fn = models.linen_apply_fn(module)
    run = jax.jit(lambda key: apply_fn(params, {}, given(), train=True, key=key)[0])
    one, again, other = (run(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.logits, again.logits)
    assert not np.allclose(one.logits, other.logits)
    # What is exposed is the softmax before dropout.
    for number in range(2):
        sums = np.sum(one.intermediates[f"attention_{number}"], axis=-1)
        np.testing.assert_allclose(sums, 1, rtol=1e-6)
    none = models.linen_apply_fn(module.clone(dropout=0.0, attention_dropout=0.0))
    np.testing.assert_allclose(
        none(params, {}, given(), train=True)[0].logits,
        compiled("attention")(given(), {}).logits,
        rtol=2e-6,  # two programs in float32
        atol=1e-6,
    )


@pytest.mark.thorough  # a program for each of six activations, and passes without jit
def test_it_keeps_the_contract_of_a_network():
    module, params = network("attention")
    apply_fn = models.linen_apply_fn(module)
    # Texts of one form: mask and segments reach the logits past every activation.
    inputs = {name: leaf[:2, :3] for name, leaf in given().items()}
    testing.check_apply_fn(
        apply_fn, params, {}, inputs, modes_differ=True,
        skips=["attention_0", "attention_1", "attention_top"],
    )  # fmt: skip


@pytest.mark.usefixtures("standard_promotion")
def test_a_small_one_learns_from_scratch_and_its_step_is_lowered_elsewhere():
    """Whether the second text repeats the first's only word: attention must compare."""
    module = models.Bert(
        vocabulary_size=8, num_layers=2, num_heads=2, width=16, hidden_width=16,
        num_positions=5, num_classes=2, pooling="attention",
    )  # fmt: skip
    pairs = np.array([(a, b) for a in range(3, 7) for b in range(3, 7)])
    pairs = np.concatenate([pairs, *[pairs[pairs[:, 0] == pairs[:, 1]]] * 2])
    column = lambda token: np.full(len(pairs), token)
    tokens = np.stack([column(1), pairs[:, 0], column(2), pairs[:, 1], column(2)], 1)
    inputs = {
        "tokens": jnp.asarray(tokens, jnp.int32),
        "mask": jnp.ones(tokens.shape, bool),
        "segments": jnp.asarray(np.arange(5) >= 3, jnp.int32)
        * jnp.ones(tokens.shape, jnp.int32),
    }
    batch = {"inputs": inputs, "labels": jnp.asarray(pairs[:, 0] == pairs[:, 1], int)}
    params, state = models.init_linen(module, jax.random.key(0), inputs)
    optimizer = optax.adam(3e-3)
    apply_fn = models.linen_apply_fn(module)
    step = jax.jit(training.make_train_step(apply_fn, {}, optimizer))
    train_state = training.init_train_state(
        jax.random.key(1), params, state, {}, optimizer, batch
    )
    exported = jax.export.export(step, platforms=("tpu", "cuda"))(train_state, batch)
    assert exported.platforms == ("tpu", "cuda")
    assert "dot_general" in exported.mlir_module()
    first = None
    for _ in range(60):
        train_state, metrics = step(train_state, batch)
        first = metrics["loss"] if first is None else first
    assert first > 0.6
    assert metrics["loss"] < 0.1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"num_heads": 3}, r"`width` \(=8\) must be a multiple of `num_heads` \(=3\)"),
        ({"pooling": "max"}, r"`pooling` \(='max'\) must be one of"),
        ({"num_positions": 6}, r"7 tokens; `num_positions` \(=6\) is the longest"),
    ],
)
def test_fields_that_do_not_fit_are_refused(change, error):
    module, _ = network()
    with pytest.raises(ValueError, match=error):
        jax.eval_shape(module.clone(**change).init, jax.random.key(0), given())


def test_inputs_of_another_form_are_refused():
    module, _ = network()
    run = lambda inputs: jax.eval_shape(module.init, jax.random.key(0), inputs)
    inputs = given()
    with pytest.raises(ValueError, match=r"must be a dict of \['mask', 'segments', 't"):
        run({"tokens": inputs["tokens"], "mask": inputs["mask"]})
    with pytest.raises(ValueError, match=r"must be a dict of"):
        run(inputs["tokens"])
    with pytest.raises(AssertionError, match="type"):
        run({**inputs, "mask": inputs["segments"]})
    with pytest.raises(AssertionError, match="shape"):
        run({**inputs, "segments": inputs["segments"][:, :3]})
