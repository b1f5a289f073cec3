"""The terms on sequences and a small `models.Bert`, in one step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sequence_cases

from xguide_jax import attributions, guidance, losses, models, ops, training

GRADIENT = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_logit
)
SALIENCY_GUIDED = functools.partial(
    guidance.saliency_guided,
    mask_fraction=0.5,
    fill=ops.previous_salient_token,
    rank_fn=ops.mean_magnitude,
    score_fn=attributions.target_log_probability,
    layer="embeddings",
)
TERMS = {
    "heads": guidance.attention_guided(
        layer="attention_0", heads=(1,), divergence=losses.attention_supervision
    ),
    "top": guidance.attention_guided(
        layer="attention_top", heads=None, divergence=losses.attention_divergence
    ),
    "saliency": SALIENCY_GUIDED(),
    "nothing": SALIENCY_GUIDED(mask_fraction=0.0),
    "reasons": guidance.right_for_right_reasons(
        explain=guidance.explain(GRADIENT, layer="embeddings"), evidence="rationale"
    ),
}


def bert(**changes):
    module = models.Bert(
        vocabulary_size=7, num_layers=1, num_heads=2, width=8, hidden_width=8,
        num_positions=6, num_classes=3, pooling="attention", **changes,
    )  # fmt: skip
    inputs = sequence_cases.token_batch()["inputs"]
    params, model_state = models.init_linen(module, jax.random.key(0), inputs)
    return models.linen_apply_fn(module), params, model_state


@pytest.fixture(scope="module")
def stepped():
    batch = sequence_cases.token_batch()
    return (*sequence_cases.step_of(TERMS, bert(), batch), batch)


def test_every_term_has_a_loss_and_a_gradient(stepped):
    state, metrics, batch = stepped
    assert state.nonfinite == 0
    texts = np.asarray(guidance.counted_of(batch)).sum(1)
    marked = int(jnp.sum(batch["rationale_valid"]))
    for name in TERMS:
        expected = {"saliency": sum(texts >= 2), "nothing": 8}.get(name, marked)
        assert int(metrics[f"{name}/annotated"]) == expected
        assert (metrics[name] > 0) == (name != "nothing")
    gradient = state.opt_state[0].trace["model"]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert max(float(jnp.max(abs(leaf))) for leaf in jax.tree.leaves(gradient)) > 1e-4


def test_the_mean_over_channels_before_a_layer_norm_is_rounding():
    """No shift of all channels passes the norm behind the word embeddings."""
    apply_fn, params, model_state = bert()
    inputs, labels = (sequence_cases.token_batch()[n] for n in ("inputs", "labels"))
    forward = functools.partial(apply_fn, params, model_state, train=False)
    gradient = GRADIENT(*attributions.split_at(forward, inputs, "embeddings"), labels)
    size = jnp.max(ops.mean_magnitude(gradient))
    assert size > 1e-2
    assert jnp.max(ops.magnitude_of_mean(gradient)) < 1e-6 * size


def test_a_step_with_dropout_is_lowered_for_other_accelerators():
    terms = {**TERMS, "random": SALIENCY_GUIDED(rank_fn=ops.random_rank)}
    terms["permuted"] = guidance.attention_guided(
        layer="attention_0",
        heads=None,
        divergence=losses.attention_supervision,
        permuted=True,
    )
    apply_fn, params, model_state = bert(dropout=0.1, attention_dropout=0.1)
    optimizer, batch = optax.sgd(0.1), sequence_cases.token_batch()
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )
    step = training.make_train_step(apply_fn, terms, optimizer)
    exported = jax.export.export(jax.jit(step), platforms=("tpu", "cuda"))(state, batch)
    assert exported.platforms == ("tpu", "cuda")
    assert len(exported.mlir_module_serialized) > 0
