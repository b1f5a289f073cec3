"""Guidance on the networks of series: padding never matters, nor do the devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sequence_cases

from xguide_jax import attributions, guidance, losses, models, ops

GRADIENT = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_log_probability
)
NETWORKS = {
    "lstm": models.LSTM(width=3, num_classes=3, pooling="last"),
    "attentive": models.InputCellAttentionLSTM(
        width=3, num_classes=3, attention_width=2, num_mixtures=2, pooling="last"
    ),
    "tcn": models.TemporalConvolutionNetwork(
        widths=(3,), kernel_size=2, num_classes=3, pooling="mean", activation=jnp.tanh
    ),
    "transformer": models.SeriesTransformer(
        num_layers=1, num_heads=1, width=4, hidden_width=4, num_classes=3,
        pooling="mean",
    ),
}  # fmt: skip
TERMS = {
    "guided": guidance.saliency_guided(
        mask_fraction=0.5,
        fill=ops.uniform_feature_range_fill,
        rank_fn=ops.by_feature(ops.signed_channel_mean),
        score_fn=attributions.target_log_probability,
        layer="series",
    ),
    "reasons": guidance.right_for_right_reasons(
        explain=guidance.explain(GRADIENT, layer="series"), evidence="region"
    ),
    "energy": guidance.localisation(
        loss=losses.energy,
        explain=guidance.explain(GRADIENT, layer="series"),
        evidence="region",
    ),
}
# Three terms at once are a large program; the loop's is the quickest to compile.
EACH = pytest.mark.parametrize(
    "name",
    [
        "lstm",
        pytest.param("attentive", marks=pytest.mark.thorough),
        pytest.param("tcn", marks=pytest.mark.thorough),
        pytest.param("transformer", marks=pytest.mark.thorough),
    ],
)


@functools.cache
def network(name):
    inputs = sequence_cases.series_batch()["inputs"]
    params, _ = models.init_linen(NETWORKS[name], jax.random.key(0), inputs)
    return models.linen_apply_fn(NETWORKS[name]), params, {}


@functools.cache
def compiled(name):
    made = network(name)
    return jax.jit(lambda batch: sequence_cases.step_of(TERMS, made, batch))


@EACH
def test_a_guided_step_does_not_know_what_padding_holds(name):
    batch = sequence_cases.series_batch()
    mask = batch["inputs"]["mask"][..., None]
    other = {
        **batch,
        "inputs": {
            **batch["inputs"],
            "series": jnp.where(mask, batch["inputs"]["series"], 1e6),
        },
        "region": jnp.where(mask, batch["region"], 1.0),
    }
    state, metrics = compiled(name)(batch)
    again, metrics_again = compiled(name)(other)
    chex.assert_trees_all_equal(state.params, again.params)
    assert metrics["guided"] == metrics_again["guided"] > 0
    assert metrics["reasons"] == metrics_again["reasons"] > 0
    assert metrics["energy"] == metrics_again["energy"] > 0


@pytest.mark.thorough  # programs for one, two and eight devices
@pytest.mark.parametrize("name", NETWORKS)
def test_one_two_and_eight_devices_give_one_gradient(name, x64):
    batch = sequence_cases.series_batch()
    # Flax keeps parameters in float32, and its layer norm mixes both.
    with jax.numpy_dtype_promotion("standard"):
        apply_fn, params, state = network.__wrapped__(name)
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)
        one, *several = (
            sequence_cases.step_of(
                TERMS, (apply_fn, wide, state), batch, how="pmap", count=count
            )[0].opt_state[0].trace
            for count in (1, 2, 8)
        )  # fmt: skip
    for trace in several:
        chex.assert_trees_all_close(trace, one, rtol=0, atol=1e-10)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(one))
