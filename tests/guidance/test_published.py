"""The presets make the choices of the published code."""

import functools

import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, guidance, ops, testing, training
from xguide_jax.types import GuidanceTerm, TermOutput


def guide(term):
    """Loss and masked inputs of the term on the smooth network."""
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    loss, (states, _) = jax.jit(
        lambda: training.guidance_loss(
            apply_fn, {"guided": core_terms.recording(term)}, {"model": params}, (),
            {"guided": jnp.zeros_like(batch["inputs"])}, batch,
            step=0, key=jax.random.key(0),
        )
    )()  # fmt: skip
    return loss, states["guided"]


@pytest.mark.parametrize(
    ("images", "score_fn", "axes"),
    [
        ("digits", attributions.target_log_probability, (1, 2, 3)),
        ("colour", attributions.target_logit, (1, 2)),
    ],
)
def test_saliency_guided_training_as_published(images, score_fn, axes):
    loss, masked = guide(guidance.saliency_guided_published(images=images))
    expected, expected_masked = guide(
        guidance.saliency_guided(
            mask_fraction=0.5,
            fill=functools.partial(ops.uniform_range_fill, axes=axes),
            rank_fn=ops.signed_channel_mean,
            score_fn=score_fn,
        )
    )
    np.testing.assert_array_equal(masked, expected_masked)
    np.testing.assert_array_equal(loss, expected)


def test_unknown_images_and_fractions_are_refused():
    message = r"^`images` \(='faces'\) must be 'digits' or 'colour'\.$"
    with pytest.raises(ValueError, match=message):
        guidance.saliency_guided_published(images="faces")
    with pytest.raises(ValueError, match=r"^`mask_fraction` \(=2\) must lie in"):
        guidance.saliency_guided_published(images="digits", mask_fraction=2)


def three_losses(context):
    return jnp.array([1.0, 10.0, 100.0]), jnp.array([1.0, 0.0, 2.0])


@pytest.mark.parametrize(
    ("weight", "expected"), [(None, 1 + 200), ([1.0, 5.0, 0.5], 1 + 100)]
)
def test_a_sum_in_place_of_the_mean(weight, expected):
    batch = {"inputs": jnp.zeros((3, 6, 6, 2)), "labels": jnp.zeros(3, jnp.int32)}
    if weight is not None:
        batch["weight"] = jnp.array(weight)
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    term = guidance.summed(guidance.stateless(three_losses))
    loss, _ = training.guidance_loss(
        apply_fn, {"term": term}, {"model": params}, (), {}, batch,
        step=0, key=jax.random.key(0),
    )  # fmt: skip
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_a_sum_keeps_parameters_state_and_metrics():
    def apply(params, state, context):
        loss = jnp.full(8, params)
        return TermOutput(loss, jnp.ones(8), state + 1, {"seen": loss})

    term = guidance.summed(
        GuidanceTerm(lambda key, batch: (jnp.ones(()), jnp.zeros(())), apply)
    )
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    own, state = training.init_guidance(jax.random.key(0), {"term": term}, batch)
    loss, (state, metrics) = training.guidance_loss(
        apply_fn, {"term": term}, {"model": params, "guidance": own}, (), state, batch,
        step=0, key=jax.random.key(0),
    )  # fmt: skip
    assert (loss, metrics["term/seen"], state["term"]) == (8.0, 1.0, 1.0)
