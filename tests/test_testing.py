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


root = jnp.sqrt  # finite at 0, where its slope is not


def magnitude(maps):
    return root(jnp.sum(maps**2, axis=(1, 2, 3), keepdims=True))


def is_traced(array):
    return isinstance(array, jax.core.Tracer)


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
        (lambda a, x: a * (2.0 if is_traced(x) else 1.0), "jit changes the result"),
        (lambda a, x: a + root(0.0 * a), "gradient in the parameters: not finite"),
        (
            lambda a, x: a * magnitude(x * a),
            "gradient in the parameters, for inputs that are all 0.0: not finite",
        ),
        (
            lambda a, x: a * magnitude((x - 1) * a),
            "gradient in the parameters, for inputs that are all 1.0: not finite",
        ),
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


def logit_size(context):
    """A loss that any network has, for what does not depend on explanations."""
    return jnp.mean(context.output.logits**2, axis=-1)


def changed(change):
    """A stateless term with the changed size of the logits as its loss."""
    return guidance.stateless(
        lambda c: (change(logit_size(c), c), jnp.ones(len(c.batch["labels"])))
    )


def carrying(first, following):
    """A term with a state: `following` of the last one and this step's losses."""

    def apply(params, state, context):
        loss = logit_size(context)
        return TermOutput(loss, jnp.ones_like(loss), following(state, loss))

    return GuidanceTerm(lambda key, batch: ((), first), apply)


def times_a_mean_that_no_gradient_crosses(loss, context):
    mean = jnp.mean(loss)
    if context.axis_name is not None:
        mean = jax.lax.stop_gradient(jax.lax.pmean(mean, context.axis_name))
    return mean * loss


def divided_by_all_weight(loss, context):
    return loss / jnp.sum(context.batch.get("weight", jnp.ones(len(loss))))


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (
            changed(lambda loss, c: loss + root(0.0 * loss)),
            "state or gradient: not fin",
        ),
        (
            changed(
                lambda loss, c: loss * (2.0 if is_traced(c.batch["inputs"]) else 1)
            ),
            "jit changes the result",
        ),
        (changed(divided_by_all_weight), "a batch of weight 0 has"),
        (changed(times_a_mean_that_no_gradient_crosses), "two devices' gradient"),
        (carrying(jnp.zeros(()), lambda s, loss: (s, s)), "do not match"),
        (
            carrying(jnp.zeros(()), lambda s, loss: jnp.zeros(2)),
            "differ in leaves .term.: shapes",
        ),
        (carrying(jnp.zeros(()), lambda s, loss: jnp.asarray(0.5)), "traced again"),
        (
            carrying(jnp.zeros(()), lambda s, loss: s + jnp.mean(loss)),
            "carried state differs between devices",
        ),
    ],
)
def test_a_term_that_breaks_a_promise_of_the_step_is_named(term, message):
    with pytest.raises(AssertionError, match=message):
        testing.check_guidance_term(term)


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
