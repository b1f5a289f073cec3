"""Saliency-guided training at a layer: tokens, cells of a series, features."""

import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sequence_cases

from xguide_jax import attributions, guidance, losses, ops, testing, training
from xguide_jax.guidance import masking
from xguide_jax.types import ModelOutput, StepContext

NINES = functools.partial(ops.constant_fill, value=99.0)
CELLS = ops.by_feature(ops.signed_channel_mean)


def term_of(**changes):
    return guidance.saliency_guided(
        **{
            "mask_fraction": 0.5,
            "fill": ops.previous_salient_token,
            "rank_fn": ops.signed_channel_mean,
            "score_fn": attributions.target_log_probability,
            "layer": "embeddings",
            **changes,
        }
    )


def of_cells(**changes):
    arguments = {"fill": ops.uniform_feature_range_fill, "rank_fn": CELLS}
    return term_of(layer="series", **{**arguments, **changes})


TOKENS = {
    "tokens": term_of(),
    "frozen": term_of(frozen_teacher=True, explain_in="train"),
    "random": term_of(rank_fn=ops.random_rank),
}
SERIES = {
    "features": of_cells(),
    "example": of_cells(fill=ops.uniform_example_range_fill),
    "steps": of_cells(
        rank_fn=ops.mean_magnitude,
        fill=functools.partial(ops.uniform_data_range_fill, low=8.0, high=10.0),
    ),
}


def masked_by(term, network, batch, *, seed=0):
    """The activation that replaced the layer, and the clean one."""
    apply_fn, params, model_state = network
    seen = []

    def recording(params, model_state, inputs, *, overrides=None, **arguments):
        if overrides:
            seen.append(overrides)
        return apply_fn(params, model_state, inputs, overrides=overrides, **arguments)

    @jax.jit
    def run(batch):
        training.guidance_loss(
            recording, {"term": term}, {"model": params}, model_state, {}, batch,
            step=0, key=jax.random.key(seed),
        )  # fmt: skip
        clean = apply_fn(params, model_state, batch["inputs"], train=False)[0]
        # The explained pass replaces the layer as well; the masked one is the last.
        ((name, values),) = seen[-1].items()
        return values, clean.intermediates[name]

    return jax.tree.map(np.asarray, run(batch))


def counts(term, network, batch):
    """How many places or cells of each example change."""
    masked, clean = masked_by(term, network, batch)
    changed = masked == 99.0
    np.testing.assert_array_equal(np.where(changed, clean, masked), clean)
    counted = np.asarray(guidance.counted_of(batch))
    assert not np.any(changed[~counted])
    return changed


@pytest.fixture(scope="module")
def tokens():
    return sequence_cases.attention_network(), sequence_cases.token_batch()


@pytest.fixture(scope="module")
def series():
    return sequence_cases.series_network(), sequence_cases.series_batch()


def test_a_term_on_tokens_keeps_the_promises_of_the_core(tokens):
    network, batch = tokens
    testing.check_guidance_term(TOKENS["tokens"], batch=batch, network=network)


def test_a_term_on_series_keeps_the_promises_of_the_core(series):
    network, batch = series
    testing.check_guidance_term(SERIES["features"], batch=batch, network=network)


@pytest.mark.parametrize("mask_fraction", [0.0, 0.34, 1.0])
def test_so_many_of_the_real_tokens_change(mask_fraction, tokens):
    term = term_of(mask_fraction=mask_fraction, fill=NINES)
    changed = counts(term, *tokens)
    np.testing.assert_array_equal(changed.all(-1), changed.any(-1))  # whole tokens
    n = np.asarray(guidance.counted_of(tokens[1])).sum(1)
    assert set(n) == {1, 2, 3, 4, 5}
    expected = [int(mask_fraction * count + 1e-6) for count in n]
    np.testing.assert_array_equal(changed.any(-1).sum(1), expected)


def test_so_many_of_the_real_cells_change(series):
    changed = counts(of_cells(fill=NINES, mask_fraction=0.3), *series)
    lengths = np.asarray(series[1]["inputs"]["mask"]).sum(1)
    assert set(lengths) == {3, 4, 5}
    expected = [int(0.3 * 2 * length + 1e-6) for length in lengths]
    np.testing.assert_array_equal(changed.sum((1, 2)), expected)
    assert np.any(changed[..., 0] != changed[..., 1])
    steps = counts(of_cells(fill=NINES, rank_fn=ops.random_rank), *series)
    np.testing.assert_array_equal(steps.any(-1).sum(1), lengths // 2)
    np.testing.assert_array_equal(steps[..., 0], steps[..., 1])


def test_the_least_salient_tokens_change(tokens):
    (apply_fn, params, _), batch = tokens
    forward = functools.partial(apply_fn, params, (), train=False)
    head, embeddings = attributions.split_at(forward, batch["inputs"], "embeddings")
    gradient = attributions.input_gradient(
        head, embeddings, batch["labels"], score_fn=attributions.target_log_probability
    )
    counted = np.asarray(guidance.counted_of(batch))
    # Summed over the dimensions of a token, as by the literature: the same order.
    scores = np.where(counted, np.sum(gradient, axis=-1), np.inf)
    changed = counts(term_of(fill=NINES), *tokens).any(-1)
    for row, (score, number) in enumerate(
        zip(scores, counted.sum(1) // 2, strict=True)
    ):
        expected = np.zeros(len(score), bool)
        expected[np.argsort(score)[:number]] = True
        np.testing.assert_array_equal(changed[row], expected)


def test_it_is_the_loss_of_other_tokens_and_so_is_its_gradient(tokens):
    """Embeddings that are copied are the embeddings of tokens that are replaced."""
    network, batch = tokens
    apply_fn, params, _ = network
    changed = counts(term_of(fill=NINES), network, batch).any(-1)
    counted = np.asarray(guidance.counted_of(batch))
    ids = np.array(batch["inputs"]["tokens"])
    texts = np.asarray(batch["inputs"]["segments"])
    others = 0
    for row in range(len(ids)):
        kept = np.flatnonzero(counted[row] & ~changed[row])
        for place in np.flatnonzero(changed[row]):
            own = kept[texts[row, kept] == texts[row, place]]
            sources = own if len(own) else kept
            before = sources[sources < place]
            source = before[-1] if len(before) else sources[0]
            ids[row, place] = batch["inputs"]["tokens"][row, source]
            # What a fill that knows nothing of texts would have taken instead.
            others += np.any(kept < place) and not len(before)
    assert np.any(ids != batch["inputs"]["tokens"])
    assert others
    replaced = {**batch["inputs"], "tokens": jnp.asarray(ids)}
    asked = counted.sum(1) >= 2

    def by_hand(params):
        logits, other = (
            apply_fn(params, (), inputs, train=True)[0].logits
            for inputs in (batch["inputs"], replaced)
        )
        return jnp.mean(losses.kl_consistency(logits, other)[asked])

    expected, slope = jax.jit(jax.value_and_grad(by_hand))(params)
    value, gradient = sequence_cases.value_and_gradient(TOKENS["tokens"], *tokens)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    chex.assert_trees_all_close(gradient, slope, atol=1e-6)


def test_noise_is_a_constant_and_a_copy_is_none(tokens):
    """Extremes of embeddings that are trained do not learn from what they are for."""

    def gradient(fill):
        return sequence_cases.value_and_gradient(term_of(fill=fill), *tokens)[1]

    noise = ops.uniform_example_range_fill
    held = lambda key, values, **places: noise(
        key, jax.lax.stop_gradient(values), **places
    )
    expected = gradient(ops.sequence_fill(held, copies=True))
    chex.assert_trees_all_close(gradient(noise), expected, atol=1e-7)
    flowing = gradient(ops.sequence_fill(noise, copies=True))
    difference = flowing["embeddings"] - expected["embeddings"]
    assert np.max(abs(difference)) > 1e-3


def test_padding_and_specials_are_no_sources(tokens):
    """Of [CLS] a b [PAD] with b alone kept, a becomes b."""
    network, batch = tokens
    masked, clean = masked_by(TOKENS["tokens"], network, batch)
    counted = np.asarray(guidance.counted_of(batch))
    changed = counts(term_of(fill=NINES), network, batch).any(-1)
    np.testing.assert_array_equal(masked[~changed], clean[~changed])
    rows = np.flatnonzero(changed.any(1))
    for row in rows:
        sources = clean[row][counted[row] & ~changed[row]]
        for value in masked[row][changed[row]]:
            assert np.any(np.all(sources == value, axis=-1))


def test_padding_is_in_no_range(series):
    """Steps that count are near 9, padding is 0."""
    for name in SERIES:
        masked, clean = masked_by(SERIES[name], *series)
        mask = np.asarray(series[1]["inputs"]["mask"])
        assert masked[mask].min() > 5 > clean[~mask].max() == 0
        np.testing.assert_array_equal(masked[~mask], 0)


def test_no_mask_is_no_loss(tokens):
    value, gradient = sequence_cases.value_and_gradient(
        term_of(mask_fraction=0.0), *tokens
    )
    assert value == 0
    chex.assert_trees_all_close(
        gradient, jax.tree.map(jnp.zeros_like, gradient), atol=1e-7
    )


def test_a_text_too_short_to_mask_does_not_count(tokens):
    network, batch = tokens
    _, metrics = sequence_cases.step_of(TOKENS, network, batch)
    n = np.asarray(guidance.counted_of(batch)).sum(1)
    assert float(metrics["tokens/annotated"]) == np.sum(n >= 2) == 7


@pytest.mark.parametrize("mask_fraction", [0.0, 0.5])
def test_a_row_of_which_nothing_is_asked_is_exactly_0(mask_fraction):
    """Also where the masked pass draws a dropout of its own."""
    embeddings = jax.random.normal(jax.random.key(0), (3, 3, 2))
    mask = jnp.array([[True, True, True], [True, False, False], [False] * 3])
    batch = {"inputs": {"mask": mask}, "labels": jnp.array([0, 1, 0])}

    def forward(inputs, *, train=False, overrides=None, key=None):
        values = (overrides or {}).get("embeddings", embeddings)
        total = jnp.sum(jnp.where(inputs["mask"][..., None], values, 0.0), axis=1)
        drawn = 0.0 if key is None else jnp.array([1.0, 0.0])
        return ModelOutput(total + drawn, {"embeddings": values})

    context = StepContext(
        forward=forward, task_input_gradient=None, batch=batch,
        output=forward(batch["inputs"]), step=jnp.zeros((), int), axis_name=None,
        key=jax.random.split(jax.random.key(0), 3),
    )  # fmt: skip
    out = term_of(mask_fraction=mask_fraction).apply((), (), context)
    # One token is too little to mask a half of; of none nothing is ever asked.
    asked = np.array([True, mask_fraction == 0, False])
    np.testing.assert_array_equal(out.weight, asked)
    np.testing.assert_array_equal(out.loss > 0, asked)


def test_features_of_images_are_masked_where_they_are_salient():
    """Without a mask every cell of a layer counts."""
    network = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1), batch_size=4)
    term = term_of(layer="features", fill=NINES, mask_fraction=0.4)
    masked, _ = masked_by(term, network, batch)
    np.testing.assert_array_equal((masked == 99.0).all(-1).sum((1, 2)), 3)


ON_DEVICES = {
    "tokens": {name: TOKENS[name] for name in ("tokens", "random")},
    "series": {"features": SERIES["features"]},
}


@functools.cache
def one_of(kind, how=None, count=1):
    network, batch = {
        "tokens": (sequence_cases.attention_network, sequence_cases.token_batch),
        "series": (sequence_cases.series_network, sequence_cases.series_batch),
    }[kind]
    batch = batch(9, weight=jnp.linspace(0.1, 1.3, 9))
    return sequence_cases.step_of(
        ON_DEVICES[kind], network(), batch, how=how, count=count
    )


@pytest.mark.parametrize(
    ("kind", "how", "count"),
    [
        ("tokens", "shard_map", 2),
        # The same law by programs for eight devices; test_parallel has some by default.
        pytest.param("tokens", "pmap", 8, marks=pytest.mark.thorough),
        pytest.param("series", "pmap", 8, marks=pytest.mark.thorough),
    ],
)
def test_devices_agree(kind, how, count, x64):
    one, metrics = one_of(kind)
    state, found = one_of(kind, how, count)
    chex.assert_trees_all_close(
        state.opt_state[0].trace, one.opt_state[0].trace, rtol=0, atol=1e-10
    )
    chex.assert_trees_all_close(found, metrics, rtol=1e-8)


SCORES = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=10, max_size=10)
LOWEST = jax.jit(masking.lowest, static_argnames=("mask_fraction", "rank_fn"))


@hypothesis.given(
    SCORES,
    st.lists(st.booleans(), min_size=10, max_size=10),
    st.sampled_from([0.1, 0.29, 0.7, 1.0]),
)
def test_exactly_the_lowest_that_count_are_masked(scores, counted, mask_fraction):
    mask, asked = LOWEST(
        jnp.array([scores]), mask_fraction=mask_fraction, rank_fn=CELLS,
        counted=jnp.array([counted]),
    )  # fmt: skip
    k = int(mask_fraction * sum(counted) + 1e-6)
    candidates = [place for place in range(10) if counted[place]]
    lowest = sorted(candidates, key=lambda place: (scores[place], place))[:k]
    assert np.flatnonzero(mask[0]).tolist() == sorted(lowest)
    assert bool(asked[0]) == (k > 0)


def test_a_number_is_not_lost_to_rounding():
    # 0.29 * 100 = 28.999999999999996 in float64 and less in float32; 29 are meant.
    scores = jnp.arange(128.0)[None]
    counted = scores < 100
    mask, _ = masking.lowest(scores, 0.29, counted=counted, rank_fn=CELLS)
    assert int(mask.sum()) == 29


def test_what_cannot_act_is_refused(tokens):
    value = lambda term: sequence_cases.value_and_gradient(term, *tokens)
    message = r"`mask_fraction` \(=0\.1\) must mask at least one of the n = 6 scores an"
    with pytest.raises(ValueError, match=message):
        value(term_of(mask_fraction=0.1))
    message = r"must be below 1 with `fill` \(=previous_salient_token\), which copies"
    with pytest.raises(ValueError, match=message):
        term_of(mask_fraction=1.0)
    message = (
        r"^`layer` \(=None\) explains inputs that are one array; these are \{'mask'"
    )
    with pytest.raises(ValueError, match=message):
        value(term_of(layer=None))
    with pytest.raises(ValueError, match=message):
        value(term_of(layer=None, frozen_teacher=True))
    message = r"^`layer` \(='attention_0'\) is ranked by scores of shape \(8, 2, 6, 1\)"
    with pytest.raises(ValueError, match=message):
        value(term_of(layer="attention_0"))
    with pytest.raises(ValueError, match=r"exposes \['attention_0', "):
        value(term_of(layer="embedding"))
