"""Networks of series: their formulas, their padding, their derivatives, their cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from xguide_jax import attributions, guidance, models, ops, testing, training

LENGTHS = (5, 3, 4, 0)  # the last row is padding only
MASK = np.arange(5) < np.array(LENGTHS)[:, None]
# Smooth ones, so that second derivatives are not all 0.
MODULES = {
    "lstm": models.LSTM(width=4, num_classes=3, pooling="last"),
    "attentive": models.InputCellAttentionLSTM(
        width=3, num_classes=3, attention_width=4, num_mixtures=2, pooling="mean"
    ),
    "tcn": models.TemporalConvolutionNetwork(
        widths=(4, 4), kernel_size=2, num_classes=3, pooling="last", activation=jnp.tanh
    ),
    "transformer": models.SeriesTransformer(
        num_layers=2, num_heads=2, width=4, hidden_width=6, num_classes=3,
        pooling="mean",
    ),
}  # fmt: skip
NAMES = {
    "lstm": ["hidden", "series"],
    "attentive": ["attention", "hidden", "series"],
    "tcn": ["hidden", "series"],
    "transformer": ["attention_0", "attention_1", "hidden", "series"],
}
EACH = pytest.mark.parametrize("name", MODULES)
# Programs of two steps or of second derivatives: the small networks of each kind.
SMALL_FIRST = pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=[] if name in ("lstm", "tcn") else pytest.mark.thorough
        )
        for name in MODULES
    ],
)


def given(dtype=np.float32):
    series = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(dtype)
    return {"series": jnp.asarray(series), "mask": jnp.asarray(MASK)}


@functools.cache
def network(name):
    return models.init_linen(MODULES[name], jax.random.key(1), given())[0]


@functools.cache
def compiled(name):
    """(inputs, overrides) -> the output in eval mode, and gradients of two orders."""
    params, apply_fn = network(name), models.linen_apply_fn(MODULES[name])
    run = lambda inputs, overrides: apply_fn(
        params, {}, inputs, train=False, overrides=overrides
    )[0]

    @jax.jit
    def all_of(inputs, overrides):
        logits = lambda series: run({**inputs, "series": series}, overrides).logits
        first = jax.grad(lambda series: jnp.sum(logits(series) ** 2))
        second = jax.grad(lambda series: jnp.sum(first(series) ** 2))
        return run(inputs, overrides), first(inputs["series"]), second(inputs["series"])

    return all_of


def arrays(name):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), network(name))


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def states_of_an_lstm(cell, series, mask):
    """The formulas, a step and an example at a time."""
    width = len(cell["recurrent"])
    states = np.zeros((*mask.shape, width))
    for b, row in enumerate(series):
        hidden = memory = np.zeros(width)
        for t, step in enumerate(row):
            if mask[b, t]:
                gates = step @ cell["input"]["kernel"] + cell["input"]["bias"]
                i, f, g, o = np.split(gates + hidden @ cell["recurrent"], 4)
                memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
                hidden = sigmoid(o) * np.tanh(memory)
            states[b, t] = hidden
    return states


@EACH
def test_what_it_exposes_and_what_it_starts_from(name):
    output = compiled(name)(given(), {})[0]
    assert sorted(output.intermediates) == NAMES[name]
    shown = np.where(MASK[..., None], given()["series"], 0)
    np.testing.assert_array_equal(output.intermediates["series"], shown)
    assert output.intermediates["hidden"].shape[:2] == (4, 5)
    if "lstm" in name:
        bias = network(name)["cell"]["input"]["bias"].reshape(4, -1)
        np.testing.assert_array_equal(bias, [[0] * 4, [1] * 4, [0] * 4, [0] * 4])


def test_states_of_an_lstm_are_those_of_a_loop_and_stay_on_padding():
    output = compiled("lstm")(given(), {})[0]
    params = arrays("lstm")
    expected = states_of_an_lstm(params["cell"], np.asarray(given()["series"]), MASK)
    hidden = output.intermediates["hidden"]
    np.testing.assert_allclose(hidden, expected, atol=1e-6)
    np.testing.assert_array_equal(hidden[1, 3:], hidden[1, [2, 2]])
    head = params["classifier"]
    np.testing.assert_allclose(
        output.logits, expected[:, -1] @ head["kernel"] + head["bias"], atol=1e-6
    )


def test_two_steps_of_an_lstm_by_hand():
    """Without weights: c = 1/2 · 1/2, then σ(1) c + 1/4, and h = tanh(c) / 2."""
    module = models.LSTM(width=1, num_classes=1, pooling="mean")
    inputs = {"series": jnp.ones((1, 2, 1)), "mask": jnp.ones((1, 2), bool)}
    params = jax.eval_shape(module.init, jax.random.key(0), inputs)["params"]
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
    params["cell"]["input"]["bias"] = jnp.array([0, 1, np.arctanh(0.5), 0])
    hidden = module.apply({"params": params}, inputs).intermediates["hidden"]
    first = 0.25
    second = 0.25 / (1 + np.exp(-1)) + 0.25
    expected = np.tanh([first, second]) / 2
    np.testing.assert_allclose(hidden[0, :, 0], expected, rtol=1e-6)


def test_an_attentive_cell_is_given_mixtures_of_the_steps_so_far():
    output = compiled("attentive")(given(), {})[0]
    params, series = arrays("attentive"), np.asarray(given()["series"], np.float64)
    inner = np.tanh(series @ params["attention_hidden"]["kernel"])
    scores = inner @ params["attention_score"]["kernel"]
    expected = np.zeros((4, 2, 5, 5))
    for b, length in enumerate(LENGTHS):
        for t in range(5):
            seen = min(t + 1, length)
            weights = np.exp(scores[b, :seen].T)
            expected[b, :, t, :seen] = weights / weights.sum(1, keepdims=True)
    attention = output.intermediates["attention"]
    np.testing.assert_allclose(attention, expected, atol=1e-6)
    mixed = np.einsum("brts,bsf->btrf", expected, series).reshape(4, 5, 4)
    states = states_of_an_lstm(params["cell"], mixed, MASK)
    np.testing.assert_allclose(output.intermediates["hidden"], states, atol=1e-6)


def test_states_of_delayed_copies_are_those_of_convolutions():
    params, series = arrays("tcn"), np.asarray(given()["series"], np.float64)
    expected = np.zeros((4, 5, 4))
    for b, length in enumerate(LENGTHS):
        hidden = series[b, :length]
        for block, dilation in enumerate((1, 2)):
            inner = hidden
            for number in range(2):
                dense = params[f"block_{block}_{number}"]
                kernel = dense["kernel"].reshape(2, inner.shape[-1], 4)
                convolved = np.zeros((length, 4)) + dense["bias"]
                for t in range(length):
                    for delay in range(2):
                        if t - delay * dilation >= 0:
                            convolved[t] += inner[t - delay * dilation] @ kernel[delay]
                inner = np.tanh(convolved)
            if block == 0:
                past = params["block_0_past"]
                hidden = hidden @ past["kernel"] + past["bias"]
            hidden = np.tanh(hidden + inner)
        expected[b, :length] = hidden
    output = compiled("tcn")(given(), {})[0]
    np.testing.assert_allclose(output.intermediates["hidden"], expected, atol=1e-6)


def test_a_convolution_sees_so_many_steps_and_none_to_come():
    module = models.TemporalConvolutionNetwork(
        widths=(2, 2), kernel_size=2, num_classes=2, pooling="last", activation=jnp.tanh
    )
    inputs = {"series": jnp.ones((1, 10, 1)), "mask": jnp.ones((1, 10), bool)}
    variables = module.init(jax.random.key(0), inputs)
    state = lambda series: jnp.sum(
        module.apply(variables, {**inputs, "series": series}).intermediates["hidden"][
            0, 8
        ]
    )
    seen = np.asarray(jax.grad(state)(inputs["series"]))[0, :, 0] != 0
    reach = 1 + 2 * (2 - 1) * (2**2 - 1)
    assert seen.tolist() == [8 - reach < t <= 8 for t in range(10)]


def test_a_transformer_knows_places_and_takes_any_length():
    run = compiled("transformer")
    order = np.array([1, 0, 2, 3, 4])
    inputs = given()
    swapped = {**inputs, "series": inputs["series"][:, order]}
    clean, other = run(inputs, {})[0].logits, run(swapped, {})[0].logits
    assert np.abs(clean - other)[:3].max(axis=-1).min() > 1e-4
    attention = run(inputs, {})[0].intermediates["attention_1"]
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-6)
    assert not np.any(np.asarray(attention)[1, ..., 3:])
    # By hand, of width 4: sin and cos of t and of t / 10000.
    module = models.SeriesTransformer(
        num_layers=0, num_heads=1, width=4, hidden_width=1, num_classes=1,
        pooling="mean",
    )  # fmt: skip
    zeros = {"series": jnp.zeros((1, 3, 1)), "mask": jnp.ones((1, 3), bool)}
    places = module.init_with_output(jax.random.key(0), zeros)[0]
    expected = [0.9092974, 2e-4, -0.4161468, 1.0]
    np.testing.assert_allclose(
        places.intermediates["hidden"][0, 2], expected, atol=1e-6
    )


@EACH
def test_logits_know_neither_what_padding_holds_nor_how_long_it_is(name):
    """And gradients there are exactly 0 in both orders, with no NaN anywhere."""
    inputs, run = given(), compiled(name)
    padded = jnp.where(inputs["mask"][..., None], inputs["series"], jnp.nan)
    clean, first, second = run(inputs, {})
    dirty = run({**inputs, "series": padded}, {})
    np.testing.assert_array_equal(dirty[0].logits, clean.logits)
    assert np.all(np.isfinite(clean.logits))
    for gradient in (first, second, *dirty[1:]):
        assert not np.any(np.asarray(gradient)[~MASK])
        assert np.all(np.abs(np.asarray(gradient)[MASK]).sum(-1) > 0)
    # A replacement of the series or of the states that is NaN there changes nothing.
    for layer in ("series", "hidden"):
        values = clean.intermediates[layer]
        values = jnp.where(inputs["mask"][..., None], values, jnp.nan)
        again = run(inputs, {layer: values})[0]
        np.testing.assert_allclose(again.logits, clean.logits, atol=1e-6)
    module = MODULES[name]
    longer = {
        "series": jnp.pad(inputs["series"], ((0, 0), (0, 2), (0, 0))),
        "mask": jnp.pad(inputs["mask"], ((0, 0), (0, 2))),
    }
    longer = module.apply({"params": network(name)}, longer)
    np.testing.assert_allclose(longer.logits, clean.logits, atol=1e-6)


@EACH
def test_a_step_that_is_missing_in_the_middle_is_not_read(name):
    mask = MASK.copy()
    mask[0, 2] = False
    inputs = {**given(), "mask": jnp.asarray(mask)}
    clean, first, second = compiled(name)(inputs, {})
    series = inputs["series"].at[0, 2].set(jnp.nan)
    np.testing.assert_array_equal(
        compiled(name)({**inputs, "series": series}, {})[0].logits, clean.logits
    )
    assert not np.any(first[0, 2])
    assert not np.any(second[0, 2])
    if name == "lstm":
        # It steps over the gap, as if the others were all there is.
        keep = np.array([0, 1, 3, 4, 2])
        closed = {"series": series[:, keep], "mask": inputs["mask"][:, keep]}
        logits = compiled(name)(closed, {})[0].logits[0]
        np.testing.assert_allclose(logits, clean.logits[0], atol=1e-6)


@EACH
def test_a_replaced_activation_is_what_the_rest_sees(name):
    run = compiled(name)
    clean = run(given(), {})[0]
    for layer in ("series", "hidden"):
        values = clean.intermediates[layer]
        other = run(given(), {layer: values + 1.0})[0].logits
        assert np.abs(other - clean.logits)[:3].max(axis=-1).min() > 1e-3


@SMALL_FIRST
def test_first_and_second_derivatives_against_finite_differences(name, x64):
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), network(name))
    module = MODULES[name]
    given_ = given(np.float64)

    @jax.jit
    def squares(params, series):
        inputs = {**given_, "series": series}
        return jnp.sum(module.apply({"params": params}, inputs).logits ** 2)

    arguments = (params, given_["series"])
    # Flax's layer norm mixes float64 with float32.
    with jax.numpy_dtype_promotion("standard"):
        check_grads(squares, arguments, order=2, modes=["rev"], atol=1e-4, rtol=1e-4)


def flops(module, terms, batch):
    apply_fn = models.linen_apply_fn(module)
    optimizer = optax.sgd(0.1)
    params, state = models.init_linen(module, jax.random.key(0), batch["inputs"])
    step = jax.jit(training.make_train_step(apply_fn, terms, optimizer))
    begin = training.init_train_state(
        jax.random.key(1), params, state, terms, optimizer, batch
    )
    return step.lower(begin, batch).compile().cost_analysis()["flops"]


@SMALL_FIRST
def test_a_guided_step_costs_less_than_two_and_a_half_unguided_ones(name):
    module = MODULES[name]
    if hasattr(module, "unroll"):
        module = module.clone(unroll=3)  # a loop's cost is counted once
    module = {
        "lstm": lambda: module.clone(width=16),
        "attentive": lambda: module.clone(width=16),
        "tcn": lambda: module.clone(widths=(16, 16)),
        "transformer": lambda: module.clone(width=16, hidden_width=32, num_layers=1),
    }[name]()
    key = jax.random.key(0)
    batch = {
        "inputs": {
            "series": jax.random.normal(key, (8, 3, 4)),
            "mask": jnp.ones((8, 3), bool),
        },
        "labels": jnp.arange(8) % 3,
    }
    term = guidance.saliency_guided(
        mask_fraction=0.5,
        fill=ops.uniform_feature_range_fill,
        rank_fn=ops.by_feature(ops.signed_channel_mean),
        score_fn=attributions.target_log_probability,
        layer="series",
    )
    ratio = flops(module, {"guided": term}, batch) / flops(module, {}, batch)
    assert 2.0 < ratio <= 2.5, ratio


def test_dropout_is_none_in_eval_mode_and_a_function_of_the_key_in_train_mode():
    for name in ("lstm", "tcn"):
        apply_fn = models.linen_apply_fn(MODULES[name].clone(dropout=0.5))
        run = functools.partial(apply_fn, network(name), {}, given())
        one, again, other = (
            run(train=True, key=jax.random.key(seed))[0].logits for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, again)
        assert not np.allclose(one, other)
        np.testing.assert_allclose(
            run(train=False)[0].logits, compiled(name)(given(), {})[0].logits, atol=1e-6
        )


@pytest.mark.thorough  # passes without jit, and a program for each activation
@EACH
def test_it_keeps_the_contract_of_a_network(name):
    # Series of one length: the mask reaches the logits past every activation.
    inputs = {key: leaf[:2, :3] for key, leaf in given().items()}
    skips = [kind for kind in NAMES[name] if kind.startswith("attention")]
    apply_fn = models.linen_apply_fn(MODULES[name])
    testing.check_apply_fn(apply_fn, network(name), {}, inputs, skips=skips)


def test_inputs_and_fields_of_another_form_are_refused():
    module, inputs = MODULES["lstm"], given()
    shape_of = lambda module, inputs: jax.eval_shape(
        module.init, jax.random.key(0), inputs
    )
    with pytest.raises(ValueError, match=r"must be a dict of \['mask', 'series'\]"):
        shape_of(module, {"series": inputs["series"]})
    with pytest.raises(ValueError, match="must be a dict of"):
        shape_of(module, inputs["series"])
    with pytest.raises(ValueError, match=r"`pooling` \(='max'\) must be one of"):
        shape_of(module.clone(pooling="max"), inputs)
    with pytest.raises(AssertionError):
        shape_of(module, {**inputs, "mask": inputs["mask"][:, :3]})
    with pytest.raises(AssertionError):
        shape_of(module, {**inputs, "mask": jnp.ones((4, 5))})
    with pytest.raises(ValueError, match=r"`width` \(=5\) must be even and a multiple"):
        shape_of(MODULES["transformer"].clone(width=5), inputs)
