"""The conformance checks accept what is right and name what is wrong."""

import functools

import core_terms
import jax
import jax.numpy as jnp
import pytest

from xguide_jax import attributions, guidance, ops, testing
from xguide_jax.testing import networks
from xguide_jax.types import GuidanceTerm, TermOutput

explain = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_logit
)
EXPLAINERS = {
    "gradient": explain,
    "gradient_x_input": functools.partial(
        attributions.gradient_x_input, score_fn=attributions.target_logit
    ),
    "integrated_gradients": functools.partial(
        attributions.integrated_gradients,
        baselines=0.0, num_points=2, score_fn=attributions.target_log_probability,
    ),
}  # fmt: skip

root = jnp.sqrt  # finite at 0, where its slope is not


def magnitude(maps):
    return root(jnp.sum(maps**2, axis=(1, 2, 3), keepdims=True))


def is_traced(array):
    return isinstance(array, jax.core.Tracer)


@pytest.mark.parametrize("name", sorted(EXPLAINERS))
def test_an_honest_explainer_passes(name):
    testing.check_explainer(EXPLAINERS[name])


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
        (lambda a, x: a * x, "float16 inputs, .* in float32: not finite"),
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


def map_sizes(context, *, safe=False):
    """Squared saliency inside and outside the region, [B] each."""
    saliency = explain(
        lambda x: context.forward(x).logits,
        context.batch["inputs"],
        context.batch["labels"],
    )
    squares = jnp.sum(saliency**2, axis=-1)
    region = context.batch["region"]
    if safe:  # a region in every row, so that all of them are finite
        valid = context.batch["region_valid"][:, None, None]
        region = jnp.where(valid, region, jnp.zeros_like(region).at[:, 0].set(1.0))
    inside, outside = region * squares, (1 - region) * squares
    return jnp.sum(inside, axis=(1, 2)), jnp.sum(outside, axis=(1, 2))


def annotated(context):
    return context.batch["region_valid"].astype(jnp.float32)


def present(context):
    weight = context.batch.get("weight", jnp.ones(len(context.batch["labels"])))
    return (weight > 0).astype(jnp.float32)


def relative_to_the_batch(counted):
    """Size outside over its mean over the rows that `counted` counts, of all devices.

    A row's own value divided by a statistic of the batch, as published batch losses.
    """

    def loss_fn(context):
        _, outside = map_sizes(context)
        rows = counted(context)
        sums = ops.axis_sum((jnp.sum(rows * outside), jnp.sum(rows)), context.axis_name)
        mean = jax.lax.stop_gradient(sums[0] / jnp.maximum(sums[1], 1))
        valid = annotated(context)
        return valid * outside / (1 + mean), valid

    return guidance.stateless(loss_fn)


def guided(loss_fn):
    """A term of `loss_fn(inside, outside)` over the annotated rows."""

    def with_weight(context):
        loss = loss_fn(*map_sizes(context, safe=True))
        valid = annotated(context)
        return jnp.where(valid > 0, loss, 0.0), valid

    return guidance.stateless(with_weight)


def outside_of_boxes(context):
    """A root of the saliency outside of the boxes: none is outside of a full one."""
    valid = annotated(context) > 0
    boxes = jnp.where(
        valid[:, None, None], context.batch["boxes"], jnp.array([2.0, 1, 5, 4])
    )
    region = ops.rasterise_boxes(boxes, jnp.ones(boxes.shape[:2], bool), (6, 6))
    context = context._replace(batch={**context.batch, "region": region})
    return jnp.where(valid, root(map_sizes(context)[1]), 0.0), annotated(context)


def nobody_said_which_rows_count(context):
    _, outside = map_sizes(context)
    return outside, jnp.any(context.batch["region"] > 0, axis=(1, 2))


def weighs_by_the_batch_too(context):
    _, outside = map_sizes(context)
    weight = context.batch.get("weight", jnp.ones(len(outside)))
    return outside, annotated(context) * weight


def depends_on_the_place_on_its_device(context):
    _, outside = map_sizes(context)
    return outside * jnp.linspace(1, 2, len(outside)), annotated(context)


def divides_by_the_length_of_the_batch(context):
    """The mean of all rows at once, though those without annotation hold zeros."""
    _, outside = map_sizes(context)
    valid = annotated(context) * present(context)
    sums = ops.axis_sum(
        (jnp.sum(valid * outside), jnp.ones(()) * len(outside)), context.axis_name
    )
    return jnp.broadcast_to(sums[0] / sums[1], outside.shape), annotated(context)


def a_region_that_is_never_there(context):
    _, outside = map_sizes(context)
    return outside, 0.0 * annotated(context)


BROKEN = {
    "counts padding": (
        relative_to_the_batch(annotated),
        "padding, a row of weight 0, is counted",
    ),
    "counts padding: its length": (
        guidance.stateless(divides_by_the_length_of_the_batch),
        "padding, a row of weight 0, is counted",
    ),
    "counts what nobody annotated": (
        relative_to_the_batch(present),
        "gives weight 0, as it does where nobody annotated, are counted in its loss",
    ),
    "ignores region_valid": (
        guidance.stateless(nobody_said_which_rows_count),
        "'region_valid' is ignored",
    ),
    # A norm of what is 0 has no slope: nothing is outside of a full region.
    "NaN gradient on a full region": (
        guided(lambda inside, outside: root(outside)),
        "region that covers the whole image, loss, state or gradient: not finite",
    ),
    "NaN gradient on a full box": (
        guidance.stateless(outside_of_boxes),
        "region that covers the whole image, loss, state or gradient: not finite",
    ),
    "NaN gradient on an empty region": (
        guided(lambda inside, outside: outside / root(inside)),
        "empty region, loss, state or gradient: not finite",
    ),
    "cannot act: a constant": (
        guided(lambda inside, outside: (inside + outside) / (inside + outside)),
        "it cannot guide",
    ),
    "cannot act: nothing masked": (
        core_terms.saliency_guided(mask_fraction=0.0),
        "it cannot guide",
    ),
    "cannot act: no row counts": (
        guidance.stateless(a_region_that_is_never_there),
        "every example has weight 0: the term finds no annotation",
    ),
    "multiplies by the batch's weight": (
        guidance.stateless(weighs_by_the_batch_too),
        "the term's weight follows the batch's",
    ),
    "depends on the device": (
        guidance.stateless(depends_on_the_place_on_its_device),
        "loss of two devices differs from one's",
    ),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_term_that_is_silently_wrong_is_caught(name):
    term, message = BROKEN[name]
    with pytest.raises(AssertionError, match=message):
        testing.check_guidance_term(term)


def test_a_term_on_tokens_that_ignores_rationale_valid_is_caught():
    def loss_fn(context):
        attention = context.output.intermediates["attention_top"]
        marks = context.batch["rationale"]
        loss = jnp.sum(jnp.square(attention - marks), axis=1)
        return loss, jnp.any(marks > 0, axis=1)

    with pytest.raises(AssertionError, match="'rationale_valid' is ignored"):
        testing.check_guidance_term(
            guidance.stateless(loss_fn),
            batch=testing.token_batch(jax.random.key(1), batch_size=4),
            network=testing.attention_network(jax.random.key(0)),
        )


@pytest.mark.parametrize(
    "term",
    [
        relative_to_the_batch(lambda c: annotated(c) * present(c)),
        guided(lambda inside, outside: outside),
    ],
)
def test_the_same_terms_without_the_fault_pass(term):
    testing.check_guidance_term(term)


def batch_of(*shape, num_classes=3):
    return testing.example_batch(
        jax.random.key(3), batch_size=4, input_shape=shape, num_classes=num_classes
    )


def test_a_batch_of_another_shape_gets_a_network_of_its_shape():
    """8 x 6 pixels of one channel, and a label that three classes do not have."""
    batch = {**batch_of(8, 6, 1), "labels": jnp.array([0, 4, 1, 2])}
    testing.check_guidance_term(guidance.stateless(saliency_size), batch=batch)
    multi_hot = {**batch, "labels": jnp.zeros((4, 7), int)}
    _, params, _ = networks.network_for(multi_hot)
    assert params["head"].shape == (4, 3, 4, 7)
    _, params, _ = networks.network_for({**batch, "targets": jnp.array([0, 9, 1, 1])})
    assert params["head"].shape == (4, 3, 4, 10)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        (jnp.zeros((4, 10)), r"float32\[4, 10\]"),
        (jnp.zeros((4, 5, 6, 1)), r"float32\[4, 5, 6, 1\]"),
        (jnp.zeros((4, 6, 6, 1), int), r"int32\[4, 6, 6, 1\]"),
    ],
)
def test_a_batch_that_the_default_network_does_not_take_asks_for_one(inputs, got):
    batch = {**batch_of(6, 6, 1), "inputs": inputs}
    message = rf"`network` must be given with `batch` \(inputs {got}\)"
    with pytest.raises(ValueError, match=message):
        testing.check_guidance_term(guidance.stateless(saliency_size), batch=batch)


def test_a_network_and_a_batch_that_do_not_belong_together_are_refused():
    network = testing.smooth_network(jax.random.key(0), input_shape=(8, 8, 3))
    message = r"must take the inputs of `batch`, float32\[8, 6, 6, 2\]; pass the two"
    with pytest.raises(ValueError, match=message):
        testing.check_guidance_term(guidance.stateless(saliency_size), network=network)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float16, jnp.float32])
def test_a_batch_may_bring_its_own_weights(dtype):
    """The second row is padding already."""
    weight = jnp.array([1, 0, 1, 1], dtype)
    testing.check_guidance_term(
        core_terms.grad_cam_energy(), batch={**batch_of(6, 6, 2), "weight": weight}
    )


@pytest.mark.parametrize("size", [0, 3])
def test_examples_that_two_devices_cannot_share_are_refused(size):
    batch = testing.example_batch(jax.random.key(3), batch_size=size)
    with pytest.raises(ValueError, match=rf"`batch` \(of {size} examples\) must hold"):
        testing.check_guidance_term(guidance.stateless(saliency_size), batch=batch)


def test_entries_of_unequal_length_are_refused():
    batch = {**batch_of(6, 6, 2), "labels": jnp.zeros(3, int)}
    with pytest.raises(ValueError, match=r"be \[B, ...\]; got .*'labels': \(3,\)"):
        testing.check_guidance_term(guidance.stateless(saliency_size), batch=batch)


def test_a_term_that_reads_a_weight_that_is_not_there_is_named():
    """The batch without padding has no 'weight'."""
    reads = lambda c: (saliency_size(c)[0], c.batch["weight"] > 0)
    with pytest.raises(ValueError, match=r"needs batch\['weight'\]"):
        testing.check_guidance_term(guidance.stateless(reads))


def test_a_term_that_reduces_its_loss_is_named_with_its_shape():
    reduced = guidance.stateless(lambda c: (jnp.zeros(()), jnp.zeros(())))
    with pytest.raises(ValueError, match=r"'term' returned loss of shape \(\)"):
        testing.check_guidance_term(reduced)


SALIENCY = {
    "mask_fraction": 0.5,
    "fill": functools.partial(ops.constant_fill, value=0.0),
    "rank_fn": ops.signed_channel_mean,
    "score_fn": attributions.target_log_probability,
}


@pytest.mark.parametrize(
    "term",
    [
        guidance.saliency_guided(**SALIENCY, frozen_teacher=True, explain_in="train"),
        guidance.saliency_guided_published(images="digits"),
        guidance.saliency_guided_published(images="colour"),
        guidance.right_for_right_reasons(),
        guidance.scale(guidance.right_for_right_reasons(), jnp.float32(0.5)),
        guidance.every_k_steps(guidance.right_for_right_reasons(), 3),
    ],
    ids=lambda term: term.apply.__qualname__.partition(".")[0],
)
def test_terms_that_no_other_test_checks_keep_their_promises(term):
    testing.check_guidance_term(term)


def test_a_weight_that_is_traced_is_checked_outside_of_jit():
    def check(weight):
        term = guidance.scale(guidance.stateless(saliency_size), weight)
        testing.check_guidance_term(term)

    check(jnp.float32(0.25))
    with pytest.raises(ValueError, match="a term is checked outside of `jit`"):
        jax.jit(check)(0.25)
    with pytest.raises(AssertionError, match="it cannot guide"):
        check(jnp.float32(0))
