"""Right reasons and localisation on tokens and on the cells of a series."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sequence_cases
from jax.test_util import check_grads

from xguide_jax import attributions, guidance, losses, ops, testing, training
from xguide_jax.types import ModelOutput

GRADIENT = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_logit
)
GRADIENT_X_INPUT = functools.partial(
    attributions.gradient_x_input, score_fn=attributions.target_logit
)
READ = functools.partial(
    attributions.attention_x_gradient, score_fn=attributions.target_logit, signed=True
)
AT_TOKENS = guidance.explain(GRADIENT, layer="embeddings")
TOKENS = {
    "reasons": guidance.right_for_right_reasons(
        explain=AT_TOKENS, evidence="rationale"
    ),
    "energy": guidance.localisation(
        loss=losses.leaky_energy,
        explain=guidance.explain(GRADIENT_X_INPUT, layer="embeddings"),
        evidence="rationale",
    ),
    "attention": guidance.localisation(
        loss=losses.outside_energy,
        explain=guidance.explain(READ, layer="attention_0"),
        evidence="rationale",
    ),
}
AT_CELLS = guidance.explain(GRADIENT, layer="series")
CELLS = {
    "reasons": guidance.right_for_right_reasons(explain=AT_CELLS, evidence="region"),
    "energy": guidance.localisation(
        loss=losses.leaky_energy, explain=AT_CELLS, evidence="region"
    ),
}


def linear(params, model_state, inputs, *, train, key=None, overrides=None):
    """logits = Σ_t e_t W over the tokens that are no padding; e is an input itself."""
    del train, key
    embeddings = (overrides or {}).get("embeddings", inputs["embeddings"])
    counted = inputs["mask"][..., None].astype(embeddings.dtype)
    logits = jnp.sum(counted * embeddings, axis=1) @ params
    return ModelOutput(logits, {"embeddings": embeddings}), model_state


def four_tokens(**changes):
    """[CLS] a b c d [PAD]; a is evidence, b half of it; in the second nothing is."""
    return {
        "inputs": {
            "embeddings": jnp.ones((2, 6, 2)),
            "mask": jnp.array([[True] * 5 + [False]] * 2),
        },
        "labels": jnp.array([0, 0]),
        "special": jnp.array([[True] + [False] * 5] * 2),
        "rationale": jnp.array([[0, 1, 0.5, 0, 0, 0], [0.0] * 6]),
        **changes,
    }


WEIGHTS = jnp.array([[1.0, 0.0], [2.0, 0.0]])


def test_right_reasons_on_tokens_by_hand():
    # The gradient of logit 0 is (1, 2) at every token, of energy 5: b adds a quarter
    # of that, c and d all, neither [CLS] nor [PAD] anything.
    value, gradient = sequence_cases.value_and_gradient(
        TOKENS["reasons"], (linear, WEIGHTS, ()), four_tokens()
    )
    np.testing.assert_allclose(value, 5 * 2.25, rtol=1e-6)
    # 2 w (1/4 + 1 + 1).
    np.testing.assert_allclose(gradient, [[4.5, 0], [9, 0]], rtol=1e-6)


def test_localisation_on_tokens_by_hand():
    # Summed over the dimensions 3 at each of a, b, c, d: 1.5 of 4 are inside.
    term = guidance.localisation(
        loss=losses.energy, explain=AT_TOKENS, evidence="rationale"
    )
    value, _ = sequence_cases.value_and_gradient(
        term, (linear, WEIGHTS, ()), four_tokens()
    )
    np.testing.assert_allclose(value, 1 - 1.5 / 4, rtol=1e-6)


def test_evidence_by_token_or_by_cell_and_maps_of_either():
    # By cell: 1 at feature 0 of a, 1/2 of b, ...: outside is 1 * 2.25 + 4 * 4.
    cells = jnp.stack([four_tokens()["rationale"], jnp.zeros((2, 6))], axis=-1)
    network = (linear, WEIGHTS, ())
    value = lambda term, batch: sequence_cases.value_and_gradient(term, network, batch)
    term = guidance.right_for_right_reasons(explain=AT_TOKENS, evidence="region")
    np.testing.assert_allclose(value(term, four_tokens(region=cells))[0], 2.25 + 16)
    # Of the cells that count, 1.5 of 4 times 1 are inside, of 4 times 3 in all.
    term = guidance.localisation(
        loss=losses.energy, explain=AT_TOKENS, evidence="region"
    )
    np.testing.assert_allclose(
        value(term, four_tokens(region=cells))[0], 1 - 1.5 / 12, rtol=1e-6
    )
    # Maps [B, T] against [B, T]: the sum 3 of each token, squared.
    summed = lambda context: jnp.sum(AT_TOKENS(context), axis=-1)
    term = guidance.right_for_right_reasons(explain=summed, evidence="rationale")
    np.testing.assert_allclose(value(term, four_tokens())[0], 9 * 2.25, rtol=1e-6)


def test_what_is_uncounted_is_neither_inside_nor_outside():
    """Marks and attributions there change nothing, under every loss that sums."""
    network = (linear, WEIGHTS, ())
    batch = four_tokens()
    marked = batch["rationale"].at[:, 0].set(1.0).at[:, 5].set(1.0)

    def loud(context):
        return AT_TOKENS(context).at[:, 0].mul(50.0).at[:, 5].add(-7.0)

    for loss in (
        losses.energy,
        losses.leaky_energy,
        losses.outside_energy,
        lambda maps, cells: losses.pixel_cross_entropy(
            ops.normalise_by_max(maps), cells
        ),
    ):
        make = functools.partial(guidance.localisation, loss=loss, evidence="rationale")
        quiet, noisy = (
            sequence_cases.value_and_gradient(make(explain=e), network, b)
            for e, b in ((AT_TOKENS, batch), (loud, {**batch, "rationale": marked}))
        )
        chex.assert_trees_all_equal(quiet, noisy)


def test_a_mean_over_the_cells_is_over_those_that_count():
    """However much padding there is: a and b of 1 / 3 and 5 / 6 less than 1, ..."""

    def explain(context):
        mask = context.batch["inputs"]["mask"]
        base = jnp.array([1 / 3, 1 / 3, 1.0, 1.0, 1.0])
        return jnp.pad(jnp.tile(base, (2, 1)), ((0, 0), (0, mask.shape[1] - 5)))

    term = guidance.localisation(
        loss=guidance.counted_loss(losses.region_l1),
        explain=explain,
        evidence="rationale",
    )
    # |1/3 - 1|, |1 - 1/2|, 1, 1 of a, b, c, d.
    expected = (2 / 3 + 1 / 2 + 1 + 1) / 4
    for padding in (1, 4):
        batch = jax.tree.map(
            lambda leaf, padding=padding: (
                leaf
                if leaf.ndim == 1
                else jnp.pad(leaf[:, :5], ((0, 0), (0, padding), (0, 0))[: leaf.ndim])
            ),
            four_tokens(),
        )
        value, _ = sequence_cases.value_and_gradient(term, (linear, WEIGHTS, ()), batch)
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_a_counted_loss_is_told_nothing_of_an_image():
    told = []

    @guidance.counted_loss
    def loss(maps, region, *, where):
        told.append(where)
        return losses.region_l1(maps, region, where=where)

    explain = lambda context: jnp.ones((4, 3, 3))
    plain, counted = (
        guidance.localisation(loss=one, explain=explain)
        for one in (losses.region_l1, loss)
    )
    network = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1), batch_size=4)
    value = lambda term: sequence_cases.value_and_gradient(term, network, batch)[0]
    assert value(plain) == value(counted)
    assert told == [None]


@pytest.fixture(scope="module")
def tokens():
    return sequence_cases.attention_network(), sequence_cases.token_batch()


@pytest.mark.parametrize("name", ["reasons", "attention"])
def test_a_term_on_tokens_keeps_the_promises_of_the_core(name, tokens):
    network, batch = tokens
    testing.check_guidance_term(TOKENS[name], batch=batch, network=network)


def test_a_term_on_cells_keeps_the_promises_of_the_core():
    testing.check_guidance_term(
        CELLS["energy"],
        batch=sequence_cases.series_batch(),
        network=sequence_cases.series_network(),
    )


def test_rows_without_evidence_add_exactly_nothing(tokens):
    network, batch = tokens
    nobody = {**batch, "rationale_valid": jnp.zeros(8, bool)}
    garbage = {**batch, "rationale": jnp.full((8, 6), 7.0)}
    for name in ("reasons", "energy"):
        for other in (nobody, {**garbage, "rationale_valid": jnp.zeros(8, bool)}):
            value, gradient = sequence_cases.value_and_gradient(
                TOKENS[name], network, other
            )
            assert value == 0
            assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))


def test_gradients_of_all_terms_agree_with_finite_differences(x64):
    """A double backward pass through the attention, for the terms on attributions."""
    apply_fn, params, _ = sequence_cases.attention_network()
    batch = sequence_cases.token_batch(4)
    squared, divergence = (
        guidance.attention_guided(layer="attention_0", heads=None, divergence=loss)
        for loss in (losses.attention_supervision, losses.attention_divergence)
    )
    terms = {"squared": squared, "divergence": divergence, **TOKENS}
    # A magnitude divided by the largest one has corners.
    del terms["attention"]

    def loss_fn(params):
        return training.guidance_loss(
            apply_fn, terms, {"model": params}, (), {}, batch,
            step=0, key=jax.random.key(0),
        )[0]  # fmt: skip

    check_grads(jax.jit(loss_fn), (params,), order=1, modes=["rev"], rtol=1e-3)


@functools.cache
def one_of(kind, how=None, count=1):
    """Annotations crowded into a few rows, and weights that are all different."""
    size = 12
    annotated = jnp.isin(jnp.arange(size), jnp.array([0, 1, 2, 9]))
    weight = jnp.linspace(0.1, 1.3, size)
    if kind == "tokens":
        network, terms = sequence_cases.attention_network(), TOKENS
        batch = sequence_cases.token_batch(
            size, rationale_valid=annotated, weight=weight
        )
    else:
        network, terms = sequence_cases.series_network(), CELLS
        batch = sequence_cases.series_batch(size, region_valid=annotated, weight=weight)
    return sequence_cases.step_of(terms, network, batch, how=how, count=count)


@pytest.mark.parametrize(
    ("kind", "how", "count"),
    [
        # Backwards twice through the attention, for one and for eight devices; each
        # term is one on two devices by `testing.check_guidance_term`.
        pytest.param("tokens", "pmap", 8, marks=pytest.mark.thorough),
        ("cells", "shard_map", 2),
    ],
)
def test_devices_agree_about_uneven_evidence(kind, how, count, x64):
    one, metrics = one_of(kind)
    state, found = one_of(kind, how, count)
    assert metrics["energy/annotated"] == 4
    gradient, expected = state.opt_state[0].trace, one.opt_state[0].trace
    size = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected))
    chex.assert_trees_all_close(gradient, expected, rtol=0, atol=1e-10 * size)
    chex.assert_trees_all_close(found, metrics, rtol=1e-10)


def test_a_mask_of_0_and_255_spoils_the_step_inside_jit(tokens):
    network, batch = tokens
    wrong = {**batch, "rationale": 255 * batch["rationale"]}
    apply_fn, params, _ = network

    @jax.jit
    def losses_of(batch):
        return training.guidance_loss(
            apply_fn, TOKENS, {"model": params}, (), {}, batch,
            step=0, key=jax.random.key(0),
        )[1][1]  # fmt: skip

    found = losses_of(wrong)
    assert all(np.isnan(found[name]) for name in TOKENS)
    with pytest.raises(ValueError, match=r"\(=255\.0\) must lie in \[0, 1\]"):
        guidance.evidence_of(wrong, "rationale")


def test_what_does_not_fit_is_refused(tokens):
    value = lambda term: sequence_cases.value_and_gradient(term, *tokens)
    message = r"batch\['rationale'\] of shape \(8, 6\) does not fit maps of shape \(8, "
    for explain in (
        lambda context: jnp.ones((8, 2, 6, 6)),
        lambda context: jnp.ones((8, 6, 4, 4)),
        lambda context: jnp.ones((8, 5)),
    ):
        for term in (
            guidance.right_for_right_reasons(explain=explain, evidence="rationale"),
            guidance.localisation(
                loss=losses.energy, explain=explain, evidence="rationale"
            ),
        ):
            with pytest.raises(ValueError, match=message):
                value(term)
    with pytest.raises(ValueError, match=r"^`layer` \(=None\) explains inputs that"):
        value(guidance.right_for_right_reasons(evidence="rationale"))
    with pytest.raises(ValueError, match=r"a batch needs 'evidence' here; it has"):
        value(guidance.right_for_right_reasons(explain=AT_TOKENS, evidence="evidence"))
