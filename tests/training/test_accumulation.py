"""A batch in parts: the gradient of the whole in the memory of a part."""

import functools
import math
import re

import chex
import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import attributions, guidance, losses, models, ops, testing, training
from xguide_jax.types import GuidanceTerm, ModelOutput, TermOutput

# The gradient itself is kept, as `opt_state[0].trace`.
OPTIMIZER = optax.sgd(0.1, momentum=0.0)


def confident():
    """A term whose weight depends on the network, and is differentiated as well."""

    def loss_fn(context):
        probability = jax.nn.softmax(context.output.logits)
        return -jnp.log(probability[:, 0]), probability[:, 1]

    return guidance.stateless(loss_fn)


def raw_task_gradient():
    """The size of the task's input gradient, which has the whole batch's divisor."""

    def loss_fn(context):
        gradient = context.task_input_gradient()
        return jnp.sum(jnp.square(gradient), axis=(1, 2, 3)), jnp.ones(len(gradient))

    return guidance.stateless(loss_fn)


CONTRAST = guidance.region_contrastive(
    loss=functools.partial(losses.region_contrastive, temperature=0.5)
)
TERMS = {
    "contrast": CONTRAST,
    "energy": core_terms.grad_cam_energy(),
    "imputation": core_terms.learned_imputation(),
    "guided": core_terms.saliency_guided(),
    "frozen": guidance.scale(core_terms.saliency_guided(frozen_teacher=True), 0.5),
    "confident": confident(),
    "raw": raw_task_gradient(),
}


def stepped(accumulate, *, devices=1, how="shard_map", batch_size=16, terms=TERMS):
    axis_name = None if how is None else "devices"
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = core_terms.uneven_batch(batch_size)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(
        apply_fn, terms, OPTIMIZER, axis_name=axis_name, accumulate=accumulate
    )
    if how is None:
        lifted = jax.jit(step)
    else:
        lifted = training.data_parallel(step, how=how, devices=jax.devices()[:devices])
    state, metrics = lifted(state, batch)
    return state.opt_state[0].trace, metrics


@functools.cache
def whole():
    return stepped(1, how=None)


def assert_equal_steps(actual, expected, *, tolerance=1e-6):
    for one, other in zip(
        jax.tree.leaves(actual[0]), jax.tree.leaves(expected[0]), strict=True
    ):
        size = np.max(np.abs(other))
        np.testing.assert_allclose(one, other, atol=tolerance * size, rtol=0)
    chex.assert_trees_all_close(actual[1], expected[1], rtol=tolerance, atol=tolerance)


def test_parts_have_the_gradient_and_the_metrics_of_the_whole():
    """Uneven annotations and weights, random fills, a weight that is differentiated."""
    assert_equal_steps(stepped(4, how=None), whole(), tolerance=2e-6)


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_parts_on_two_devices_are_the_whole_on_one(how):
    parts = stepped(2, devices=2, how=how)
    assert_equal_steps(parts, whole(), tolerance=5e-6)


def test_in_float64_they_are_equal_to_the_last_digits(x64):
    terms = {name: TERMS[name] for name in ("energy", "guided", "confident")}
    actual, expected = (stepped(n, how=None, terms=terms) for n in (4, 1))
    assert_equal_steps(actual, expected, tolerance=1e-12)


def test_a_batch_that_the_parts_do_not_divide_is_padded():
    """13 examples on 2 devices in 4 parts are 16, with the keys they had."""
    arguments = {"batch_size": 13, "terms": {"guided": TERMS["guided"]}}
    parts = stepped(4, devices=2, **arguments)
    assert_equal_steps(parts, stepped(1, how=None, **arguments), tolerance=5e-6)


def test_a_batch_that_the_parts_do_not_divide_is_refused_where_nothing_pads_it():
    with pytest.raises(ValueError, match=r"`accumulate` \(=4\) must divide the 13"):
        stepped(4, how=None, batch_size=13)
    with pytest.raises(ValueError, match=r"^`accumulate` \(=0\) must be at least 1\.$"):
        stepped(0, how=None)


def test_a_batch_without_any_annotation_has_no_guidance():
    term = {"a": guidance.stateless(lambda c: (c.output.logits[:, 0], jnp.zeros(4)))}
    gradient, metrics = stepped(4, how=None, terms=term)
    plain, _ = stepped(1, how=None, terms={})
    assert metrics["a"] == metrics["a/annotated"] == 0
    chex.assert_trees_all_close(gradient["model"], plain["model"], atol=1e-7)


@pytest.mark.parametrize("step", [0, 1])
def test_a_term_of_every_other_step_is_accumulated_there_and_nothing_between(step):
    terms = {"energy": guidance.every_k_steps(core_terms.grad_cam_energy(), 2)}
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = core_terms.uneven_batch(8)

    def run(accumulate, terms):
        state = training.init_train_state(
            jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
        )
        stepped = training.make_train_step(
            apply_fn, terms, OPTIMIZER, accumulate=accumulate
        )
        state, metrics = jax.jit(stepped)(state._replace(step=jnp.int32(step)), batch)
        return state.opt_state[0].trace["model"], metrics

    actual, metrics = run(2, terms)
    expected, _ = run(1, {} if step else {"energy": core_terms.grad_cam_energy()})
    chex.assert_trees_all_close(actual, expected, rtol=2e-6, atol=2e-7)
    assert metrics["energy/annotated"] == (0 if step else 4)  # rows 0, 1, 2 and 6
    assert (metrics["energy"] > 0) == (step == 0)


def test_what_is_a_statistic_of_the_batch_is_one_of_each_part():
    """Batch norm, contrast with a part's other images, a teacher that is not trained.

    The expectation is the weighted mean of the two halves, each a batch of its own.
    """
    negatives = functools.partial(losses.region_contrastive_batch, temperature=0.5)
    guided = functools.partial(
        core_terms.saliency_guided, fill=functools.partial(ops.constant_fill, value=0.0)
    )
    terms = {
        "energy": core_terms.grad_cam_energy(),
        "frozen": guided(frozen_teacher=True),
        "frozen_in_train": guided(frozen_teacher=True, explain_in="train"),
        "negatives": guidance.region_contrastive(loss=negatives, whole_batch=True),
    }
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True
    )
    batch = core_terms.uneven_batch(16)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, accumulate=2)
    stepped, metrics = jax.jit(step)(state, batch)

    objective = training.make_objective(apply_fn, terms)
    halves = [jax.tree.map(lambda x, i=i: x[i : i + 8], batch) for i in (0, 8)]
    annotated = {"energy", "negatives"}

    def weight_of(name, half):
        counts = half["region_valid"] if name in annotated else True
        return jnp.sum(jnp.where(counts, half["weight"], 0.0))

    def expected(params):
        loss = 0.0
        means = [objective(params, state, half)[1].metrics for half in halves]
        for name in ("task", *terms):
            weights = [weight_of(name, half) for half in halves]
            sums = [w * mean[name] for w, mean in zip(weights, means, strict=True)]
            loss = loss + sum(sums) / sum(weights)
        return loss

    loss, gradient = jax.jit(jax.value_and_grad(expected))(state.params)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    for actual, right in zip(
        jax.tree.leaves(stepped.opt_state[0].trace), jax.tree.leaves(gradient),
        strict=True,
    ):  # fmt: skip
        size = np.max(np.abs(right))
        np.testing.assert_allclose(actual, right, atol=1e-5 * size, rtol=0)
    assert all(metrics[name] > 0 for name in terms)
    # The running statistics move once a part, the second from where the first left.
    running = model_state
    for half in halves:
        _, running = apply_fn(params, running, half["inputs"], train=True)
    chex.assert_trees_all_close(stepped.model_state, running, rtol=1e-5)


def test_other_entries_of_several_arrays_are_split_with_the_rest():
    """A term reads a part's own rows of them."""
    other = {"words": jnp.arange(8.0), "more": (jnp.arange(16.0).reshape(8, 2),)}

    def loss_fn(context):
        words, (more,) = context.batch["text"]["words"], context.batch["text"]["more"]
        loss = words + more[:, 1] + 0 * context.output.logits[:, 0]
        return loss, jnp.ones_like(loss)

    terms = {"text": guidance.stateless(loss_fn)}
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = {**testing.example_batch(jax.random.key(1)), "text": other}
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, accumulate=4)
    _, metrics = jax.jit(step)(state, batch)
    assert metrics["text"] == 3.5 + 8  # the means of 0 .. 7 and of 1, 3, .. 15


def energy_on_a_network():
    """Halves of a batch with 4 annotated examples and with 1."""
    images = jax.random.normal(jax.random.key(0), (8, 8, 8, 3))
    module = models.SmallCNN(num_classes=3)
    params, state = models.init_linen(module, jax.random.key(0), images)
    batch = {
        "inputs": images,
        "labels": jnp.arange(8) % 3,
        "region": jnp.zeros((8, 8, 8)).at[:, :4, :4].set(1),
        "region_valid": jnp.arange(8) < 5,
    }
    term = guidance.localisation(
        loss=losses.energy,
        explain=guidance.explain(
            functools.partial(
                attributions.grad_cam, score_fn=attributions.target_logit
            ),
            layer="features",
        ),
    )
    return models.linen_apply_fn(module), params, state, {"energy": term}, batch


def test_the_denominator_is_the_users_and_not_that_of_a_mean_of_means(
    standard_promotion,
):
    apply_fn, params, model_state, terms, batch = energy_on_a_network()

    def update(optimizer, parts, accumulate=1):
        state = training.init_train_state(
            jax.random.key(0), params, model_state, terms, optimizer, batch
        )
        step = training.make_train_step(
            apply_fn, terms, optimizer, accumulate=accumulate
        )
        step = jax.jit(step)
        for part in parts:
            state, _ = step(state, part)
        moved = jax.tree.map(jnp.subtract, state.params["model"], params)
        return jax.flatten_util.ravel_pytree(moved)[0]

    expected = update(optax.sgd(1.0), [batch])
    size = np.linalg.norm(expected)
    accumulated = update(optax.sgd(1.0), [batch], accumulate=2)
    assert np.linalg.norm(accumulated - expected) / size < 1e-6
    halves = [jax.tree.map(lambda x, i=i: x[i : i + 4], batch) for i in (0, 4)]
    averaged = update(optax.MultiSteps(optax.sgd(1.0), 2), halves)
    assert np.linalg.norm(averaged - expected) / size > 0.1


def test_states_and_statistics_move_once_a_part():
    """In order, on the running statistics and the state that the part before left."""

    def apply_fn(params, model_state, inputs, **named):
        mean = jnp.mean(inputs)
        return ModelOutput(inputs * params), (model_state[0] / 2 + mean,)

    def apply(params, state, context):
        nothing = jnp.zeros(len(context.batch["inputs"]))
        return TermOutput(
            nothing, nothing, 10 * state + jnp.sum(context.batch["labels"])
        )

    terms = {"a": GuidanceTerm(lambda key, batch: ((), jnp.int32(0)), apply)}
    batch = {"inputs": jnp.array([[1.0], [3.0], [5.0], [7.0]]), "labels": jnp.arange(4)}
    state = training.init_train_state(
        jax.random.key(0), jnp.ones(()), (jnp.float32(8),), terms, OPTIMIZER, batch
    )
    step = training.make_train_step(
        apply_fn, terms, OPTIMIZER, accumulate=2,
        task_loss=lambda output, batch: output.logits[:, 0],
    )  # fmt: skip
    after, metrics = step(state, batch)
    assert after.model_state[0] == (8 / 2 + 2) / 2 + 6
    assert after.guidance_state["a"] == 10 * (0 + 1) + (2 + 3)
    assert metrics["task"] == 4


def test_dropout_is_drawn_anew_for_each_part():
    def apply_fn(params, model_state, inputs, *, train, key=None, overrides=None):
        drawn = jax.random.uniform(key, ())
        return ModelOutput(inputs * params), (*model_state[1:], drawn)

    batch = {"inputs": jnp.ones((4, 1)), "labels": jnp.arange(4)}
    state = training.init_train_state(
        jax.random.key(0), jnp.ones(()), (jnp.zeros(()),) * 2, {}, OPTIMIZER, batch
    )
    step = training.make_train_step(
        apply_fn, {}, OPTIMIZER, accumulate=2,
        task_loss=lambda output, batch: output.logits[:, 0],
    )  # fmt: skip
    first, second = step(state, batch)[0].model_state
    assert first != second


def test_a_part_that_is_not_finite_skips_the_whole_step():
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = core_terms.uneven_batch(8)
    batch["inputs"] = batch["inputs"].at[0].set(jnp.nan)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, {}, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, {}, OPTIMIZER, accumulate=4)
    after, metrics = jax.jit(step)(state, batch)
    assert after.nonfinite == 1
    assert metrics["nonfinite/task"] == 1
    chex.assert_trees_all_equal(after.params, state.params)


def test_gradients_of_narrow_parameters_are_summed_in_float32():
    """256 parts of 1 are 256 and 256 + 1 is 256 in bfloat16."""
    apply_fn = lambda params, state, x, **named: (ModelOutput(x * params), state)
    # Gradients 256, 1, 1, 1 of the sum: 259 rounds to 260, and one by one to 256.
    inputs = jnp.array([[256.0], [1.0], [1.0], [1.0]], jnp.bfloat16)
    batch = {"inputs": inputs, "labels": jnp.zeros(4, jnp.int32)}
    state = training.init_train_state(
        jax.random.key(0), jnp.ones((), jnp.bfloat16), (), {}, OPTIMIZER, batch
    )
    step = training.make_train_step(
        apply_fn, {}, OPTIMIZER, accumulate=4,
        task_loss=lambda output, batch: output.logits[:, 0],
    )  # fmt: skip
    after, _ = step(state, batch)
    assert after.opt_state[0].trace["model"] == 65  # 259 / 4 = 64.75
    assert after.opt_state[0].trace["model"].dtype == jnp.bfloat16


def compiled(accumulate, terms, *, batch_size=32):
    module = models.SmallCNN(num_classes=3, strides=(1, 1, 1))
    batch = {
        "inputs": jax.random.normal(jax.random.key(0), (batch_size, 16, 16, 3)),
        "labels": jnp.arange(batch_size) % 3,
    }
    params, model_state = models.init_linen(module, jax.random.key(1), batch["inputs"])
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(
        models.linen_apply_fn(module), terms, OPTIMIZER, accumulate=accumulate
    )
    return jax.jit(step).lower(state, batch).compile()


def test_parts_need_the_memory_of_one_and_no_more_operations():
    terms = {
        "guided": guidance.saliency_guided(
            mask_fraction=0.5,
            fill=functools.partial(ops.constant_fill, value=0.0),
            rank_fn=ops.signed_channel_mean,
            score_fn=attributions.target_log_probability,
        )
    }
    one, four = compiled(1, terms), compiled(4, terms)
    memory = [program.memory_analysis().temp_size_in_bytes for program in (one, four)]
    # The CPU compiler of older versions takes the parts out of their order again.
    assert memory[1] < (0.4 if jax.__version_info__ >= (0, 12) else 1.0) * memory[0]
    operations = [program.cost_analysis()["flops"] for program in (one, four)]
    assert operations[1] < 1.03 * operations[0], operations


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_gradients_of_parts_cross_the_devices_once(how):
    terms = {"imputation": core_terms.learned_imputation()}
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = core_terms.uneven_batch(8)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(
        apply_fn, terms, OPTIMIZER, axis_name="devices", accumulate=4
    )
    lifted = training.data_parallel(step, how=how, devices=jax.devices()[:2])
    text = lifted.lower(state, batch).compile().as_text()
    results = re.findall(r"= (.*?) all-reduce(?:-start)?\(", text)
    sizes = [
        sum(
            math.prod(int(n) for n in shape.split(",") if n)
            for shape in re.findall(r"\w+\[([\d,]*)\]", result)
        )
        for result in results
    ]
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert len([size for size in sizes if size >= num_params]) == 1
    assert sum(sizes) < num_params + 30
