"""The conformance checks accept what is right and name what is wrong."""

import functools

import jax
import jax.numpy as jnp
import pytest

from xguide_jax import attributions, guidance, testing
from xguide_jax.types import GuidanceTerm, TermOutput

explain = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_logit
)


def test_an_honest_explainer_passes():
    testing.check_explainer(explain)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda a, x: a[..., 0], "attributions are"),
        (lambda a, x: a / jnp.sum(jnp.abs(a)), "differs from its examples"),
        (
            lambda a, x: a / jnp.sum(jnp.abs(x), axis=(1, 2, 3), keepdims=True),
            "not finite",
        ),
        (lambda a, x: jax.lax.stop_gradient(a), "it cannot guide"),
    ],
)
def test_a_broken_explainer_is_named(break_it, message):
    def broken(predict_fn, inputs, targets):
        return break_it(explain(predict_fn, inputs, targets), inputs)

    with pytest.raises(AssertionError, match=message):
        testing.check_explainer(broken)


def saliency_size(context):
    saliency = explain(
        lambda x: context.forward(x).logits,
        context.batch["inputs"],
        context.batch["labels"],
    )
    return jnp.sum(saliency**2, axis=(1, 2, 3)), jnp.ones(len(saliency))


def test_an_honest_term_passes():
    testing.check_guidance_term(guidance.stateless(saliency_size))


def count_device_examples(params, state, context):
    loss, weight = saliency_size(context)
    return TermOutput(loss, weight, state + len(loss))


def batch_mean_without_the_other_devices(context):
    loss, weight = saliency_size(context)
    return jnp.square(jnp.mean(loss)) * jnp.ones_like(loss), weight


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            GuidanceTerm(lambda key, batch: ((), jnp.zeros(())), count_device_examples),
            "carried state of two devices is not one's",
        ),
        (
            guidance.stateless(batch_mean_without_the_other_devices),
            "loss of two devices",
        ),
        (
            guidance.stateless(
                lambda c: (jnp.zeros(len(c.batch["labels"])), saliency_size(c)[1])
            ),
            "it cannot guide",
        ),
        (
            guidance.stateless(
                lambda c: (
                    saliency_size(c)[0] / jnp.sum(jnp.abs(c.batch["inputs"])),
                    saliency_size(c)[1],
                )
            ),
            "not finite",
        ),
    ],
)
def test_a_broken_term_is_named(term, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_guidance_term(term)


def test_a_term_that_reduces_its_loss_is_named_with_its_shape():
    reduced = guidance.stateless(lambda c: (jnp.zeros(()), jnp.zeros(())))
    with pytest.raises(ValueError, match=r"'term' returned loss of shape \(\)"):
        testing.check_guidance_term(reduced)
