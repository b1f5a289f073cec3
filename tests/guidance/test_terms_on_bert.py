"""The terms on sequences and a small `models.Bert`, in one step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sequence_cases

from xguide_jax import attributions, guidance, losses, models, ops

GRADIENT = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_logit
)
SALIENCY_GUIDED = functools.partial(
    guidance.saliency_guided,
    mask_fraction=0.5,
    fill=ops.previous_salient_token,
    rank_fn=ops.signed_channel_mean,
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


@pytest.fixture(scope="module")
def stepped():
    module = models.Bert(
        vocabulary_size=7, num_layers=1, num_heads=2, width=8, hidden_width=8,
        num_positions=6, num_classes=3, pooling="attention",
    )  # fmt: skip
    batch = sequence_cases.token_batch()
    params, model_state = models.init_linen(module, jax.random.key(0), batch["inputs"])
    network = models.linen_apply_fn(module), params, model_state
    return (*sequence_cases.step_of(TERMS, network, batch), batch)


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
