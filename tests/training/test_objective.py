"""What an objective promises to its terms, and to whoever differentiates it."""

import chex
import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import guidance, testing, training
from xguide_jax.types import GuidanceTerm, ModelOutput, TermOutput


def linear(params, model_state, inputs, *, train, key=None, overrides=None):
    """logits = x W for x [B, 2]; W [2, 2]."""
    return ModelOutput(inputs @ params), model_state


LINEAR_BATCH = {
    "inputs": jnp.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
    "labels": jnp.array([0, 1, 1]),
}


def values(*numbers, weight=None, metrics=None):
    """A term with these losses, whatever the network does."""

    def apply(params, state, context):
        loss = jnp.array(numbers)
        given = jnp.ones_like(loss) if weight is None else jnp.array(weight)
        return TermOutput(loss, given, state, metrics or {})

    return GuidanceTerm(guidance.no_variables, apply)


def noise():
    return guidance.stateless(
        lambda context: (
            jax.vmap(jax.random.uniform)(context.key),
            jnp.ones(len(context.batch["labels"])),
        )
    )


def evaluate(terms, batch=LINEAR_BATCH, *, weights=None, step=0, task_loss=None):
    """The scalar and the metrics of an objective on the linear network."""
    params = jnp.zeros((2, 2)) if weights is None else weights
    state = training.init_train_state(
        jax.random.key(0), params, (), terms, optax.identity(), batch
    )
    state = state._replace(step=jnp.int32(step))
    arguments = {} if task_loss is None else {"task_loss": task_loss}
    objective = training.make_objective(linear, terms, **arguments)
    loss, aux = objective(state.params, state, batch)
    return loss, aux.metrics


def test_a_hand_computed_objective():
    # Zero weights: the task loss is log 2. Weights (1, 0, 3) and losses (5, 7, 1):
    # (1 * 5 + 3 * 1) / (1 + 3) = 2, and (1 * 4 + 3 * 8) / 4 = 7 for the metric.
    term = values(
        5.0, 7.0, 1.0, weight=[1.0, 0.0, 3.0],
        metrics={"m": jnp.array([4.0, jnp.nan, 8.0])},
    )  # fmt: skip
    loss, metrics = evaluate({"a": term})
    expected = {
        "loss": np.log(2) + 2, "task": np.log(2), "a": 2.0, "a/m": 7.0,
        "a/annotated": 2.0,
    }  # fmt: skip
    chex.assert_trees_all_close(metrics, expected, rtol=1e-6)
    assert loss == metrics["loss"]


def test_the_weight_of_the_batch_multiplies_every_loss():
    # Task: losses (3, 6, 9) under (2, 1, 0) give (6 + 6) / 3 = 4. Term: weights
    # (1 * 2, 2 * 1, 1 * 0) and losses (5, 7, 1) give (10 + 14) / 4 = 6.
    batch = {**LINEAR_BATCH, "weight": jnp.array([2.0, 1.0, 0.0])}
    _, metrics = evaluate(
        {"a": values(5.0, 7.0, 1.0, weight=[1.0, 2.0, 1.0])},
        batch,
        task_loss=lambda output, batch: jnp.array([3.0, 6.0, 9.0]),
    )
    assert metrics["task"] == 4
    assert metrics["a"] == 6
    assert metrics["loss"] == 10


def test_no_weight_at_all_gives_zero_and_a_finite_zero_gradient():
    batch = {**LINEAR_BATCH, "weight": jnp.zeros(3)}
    terms = {"a": guidance.stateless(lambda c: (c.output.logits[:, 0], jnp.ones(3)))}
    value_and_gradient = jax.value_and_grad(
        lambda w: evaluate(terms, batch, weights=w)[0]
    )
    loss, gradient = value_and_gradient(jnp.ones((2, 2)))
    assert loss == 0
    np.testing.assert_array_equal(gradient, jnp.zeros((2, 2)))


def test_a_term_without_annotated_examples_leaves_the_gradient_alone():
    terms = {"a": guidance.stateless(lambda c: (c.output.logits[:, 0], jnp.zeros(3)))}
    gradient = lambda terms: jax.grad(lambda w: evaluate(terms, weights=w)[0])
    weights = jnp.array([[1.0, -1.0], [0.5, 2.0]])
    np.testing.assert_array_equal(gradient(terms)(weights), gradient({})(weights))


def test_an_example_of_weight_zero_may_hold_anything():
    weight = jnp.array([1.0, 0.0, 0.0])
    batch = {**LINEAR_BATCH, "weight": weight}
    term = values(1.0, jnp.nan, jnp.inf)
    loss, _ = evaluate(
        {"a": term}, batch,
        task_loss=lambda output, batch: jnp.array([2.0, jnp.nan, 1.0]),
    )  # fmt: skip
    assert loss == 3


def test_adding_a_term_changes_no_others_noise():
    alone = evaluate({"a": noise()})[1]
    together = evaluate({"0": noise(), "a": noise(), "b": noise()})[1]
    assert together["a"] == alone["a"]
    assert together["b"] != together["a"]


def test_noise_is_new_at_every_step():
    assert evaluate({"a": noise()}, step=1)[1]["a"] != evaluate({"a": noise()})[1]["a"]


def test_noise_is_an_examples_own():
    """The first two examples of three have the noise they have alone."""
    pair = {name: leaf[:2] for name, leaf in LINEAR_BATCH.items()}
    batch = {**LINEAR_BATCH, "weight": jnp.array([1.0, 1.0, 0.0])}
    np.testing.assert_allclose(
        evaluate({"a": noise()}, batch)[1]["a"],
        evaluate({"a": noise()}, pair)[1]["a"],
        rtol=1e-6,
    )


def test_initial_parameters_do_not_depend_on_other_terms():
    init = lambda terms: training.init_guidance(
        jax.random.key(3), terms, testing.example_batch(jax.random.key(0))
    )
    term = core_terms.learned_imputation()
    alone, _ = init({"a": term})
    together, state = init({"b": term, "a": term, "c": noise()})
    chex.assert_trees_all_equal(together["a"], alone["a"])
    assert not np.array_equal(together["a"]["kernel"], together["b"]["kernel"])
    assert together["c"] == ()
    assert state == {"a": (), "b": (), "c": ()}


def test_the_order_of_the_terms_does_not_matter():
    terms = {"a": noise(), "b": values(0.1, 0.2, 0.3), "c": noise(), "d": noise()}
    backwards = dict(reversed(terms.items()))
    chex.assert_trees_all_equal(evaluate(terms), evaluate(backwards))


def test_a_missing_annotation_is_named_with_what_is_there():
    term = guidance.stateless(lambda c: (c.batch["region"], jnp.ones(3)))
    message = (
        r"^term 'a' needs batch\['region'\]; batch has \['inputs', 'labels'\], the "
        r"network exposes \[\]\.$"
    )
    with pytest.raises(ValueError, match=message):
        evaluate({"a": term})


@pytest.mark.parametrize("name", ["region", 3])
def test_a_key_error_about_something_else_stays_one_and_names_the_term(name):
    """Also one about a name that could be an annotation's."""
    table = {}
    term = guidance.stateless(lambda c: (table[name], jnp.ones(3)))
    with pytest.raises(KeyError) as caught:
        evaluate({"a": term})
    assert caught.value.args == (name,)
    assert "This was raised by the guidance term 'a'." in caught.value.__notes__


def test_any_error_of_a_term_names_it():
    terms = {
        "good": values(1.0, 1.0, 1.0),
        "bad": guidance.stateless(lambda c: (c.output.logits @ jnp.ones(5), 1)),
    }
    with pytest.raises(TypeError) as caught:
        evaluate(terms)
    assert "This was raised by the guidance term 'bad'." in caught.value.__notes__


@pytest.mark.parametrize(
    "read",
    [
        lambda c: c.output.intermediates["featurs"],
        lambda c: c.forward(c.batch["inputs"]).intermediates["featurs"],
    ],
)
def test_a_misspelt_layer_is_named_with_what_the_network_exposes(read):
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    term = guidance.stateless(lambda c: (read(c), jnp.ones(8)))
    message = (
        r"^term 'a' needs the layer 'featurs'; batch has \['annotations', .*\], the "
        r"network exposes \['features'\]\."
    )
    with pytest.raises(ValueError, match=message):
        training.guidance_loss(
            apply_fn, {"a": term}, {"model": params}, model_state, {}, batch,
            step=0, key=jax.random.key(2),
        )  # fmt: skip


def test_a_term_sees_dicts_that_are_trees():
    """What the batch and the layers are wrapped in goes through JAX and `get`."""
    seen = []

    def loss_fn(context):
        double = jax.jit(lambda tree: jax.tree.map(lambda x: 2 * x, tree))(
            context.batch
        )
        seen.append((double["inputs"], double.get("region"), "region" in double))
        plain = {**double, "region": 1}
        seen.append(plain["region"])
        return double["inputs"][:, 0], jnp.ones(3)

    evaluate({"a": guidance.stateless(loss_fn)})
    np.testing.assert_array_equal(seen[0][0], 2 * LINEAR_BATCH["inputs"])
    assert seen[0][1:] == (None, False)
    assert seen[1] == 1


def test_the_examples_of_positive_weight_are_counted():
    """By the product of both weights: an annotation on a padded row is none."""
    batch = {**LINEAR_BATCH, "weight": jnp.array([0.5, 0.0, 2.0])}
    terms = {
        "all": values(1.0, 1.0, 1.0),
        "some": values(1.0, 1.0, 1.0, weight=[0.0, 1.0, 0.25]),
        "none": values(1.0, 1.0, 1.0, weight=[0.0, 1.0, 0.0]),
    }
    _, metrics = evaluate(terms, batch)
    counts = [metrics[f"{name}/annotated"] for name in ("all", "some", "none")]
    assert counts == [2, 1, 0]
    assert metrics["none"] == 0


def test_a_warm_up_leaves_the_count_of_a_term_alone():
    term = guidance.scale(values(1.0, 1.0, 1.0, weight=[1.0, 0.0, 1.0]), 0.0)
    assert evaluate({"a": term})[1]["a/annotated"] == 2


def test_the_count_is_the_steps_own_metric():
    term = values(1.0, 1.0, 1.0, metrics={"annotated": jnp.ones(3)})
    with pytest.raises(ValueError, match="term 'a' must not log 'annotated'"):
        evaluate({"a": term})


def test_guidance_does_not_run_without_the_number_of_steps():
    """A step that stays 0 would never warm up, and always fire every k steps."""
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    with pytest.raises(TypeError, match="'step'"):
        training.guidance_loss(
            apply_fn, {}, {"model": params}, model_state, {}, batch,
            key=jax.random.key(2),
        )  # fmt: skip


@pytest.mark.parametrize(
    "task_loss",
    [
        lambda output, batch: output.logits[:, :1],
        lambda output, batch: jnp.mean(output.logits),
    ],
)
def test_a_task_loss_that_is_not_one_value_an_example_is_refused(task_loss):
    """[B, 1] against weights [B] would be [B, B], and a mean ignores the weights."""
    message = r"^`task_loss` returned shape \(.*\); it must return one value an example"
    with pytest.raises(ValueError, match=message):
        evaluate({}, task_loss=task_loss)


@pytest.mark.parametrize(
    "name",
    [
        "task", "loss", "gradient", "gradient_norm", "nonfinite", "nonfinite/a",
        "update", "model_state", "guidance_state", "opt_state",
    ],
)  # fmt: skip
def test_a_term_may_not_take_the_name_of_a_metric(name):
    with pytest.raises(ValueError, match=f"must not be called .*'{name}'"):
        training.make_objective(linear, {name: noise()})


@pytest.mark.parametrize(
    ("output", "what"),
    [
        (TermOutput(jnp.zeros(()), jnp.ones(3)), r"loss of shape \(\)"),
        (TermOutput(jnp.zeros(3), jnp.ones(())), r"weight of shape \(\)"),
        (
            TermOutput(jnp.zeros(3), jnp.ones(3), (), {"m": jnp.ones((3, 1))}),
            r"m of shape \(3, 1\)",
        ),
    ],
)
def test_a_term_that_reduces_is_named(output, what):
    term = GuidanceTerm(guidance.no_variables, lambda params, state, context: output)
    message = f"term 'a' returned {what}; it must hold one value an example, "
    with pytest.raises(ValueError, match=message + r"\(3,\)"):
        evaluate({"a": term})


def test_cross_entropy_of_logits_three_and_zero():
    # -log(e^3 / (e^3 + 1)) = log(1 + e^-3) and 3 more for the other label.
    output = ModelOutput(jnp.array([[3.0, 0.0], [3.0, 0.0]], jnp.bfloat16))
    loss = training.softmax_cross_entropy(output, {"labels": jnp.array([0, 1])})
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, np.log1p(np.exp(-3)) + np.array([0, 3]), rtol=1e-6)


def test_a_label_out_of_range_gives_not_a_number():
    output = ModelOutput(jnp.array([[3.0, 0.0]] * 4))
    batch = {"labels": jnp.array([-1, 2, 1, 0])}
    loss = jax.jit(training.softmax_cross_entropy)(output, batch)
    np.testing.assert_array_equal(np.isnan(loss), [True, True, False, False])


def test_the_task_input_gradient_is_that_of_the_weighted_mean():
    """x W is linear, so d(mean loss) / dx_i = w_i / sum(w) * (p_i - onehot_i) W^T."""
    seen = []

    def loss_fn(context):
        seen.append(context.task_input_gradient())
        return jnp.zeros(3), jnp.ones(3)

    weights = jnp.array([[1.0, -1.0], [0.5, 2.0]])
    batch = {**LINEAR_BATCH, "weight": jnp.array([1.0, 0.0, 3.0])}
    evaluate({"a": guidance.stateless(loss_fn)}, batch, weights=weights)
    error = jax.nn.softmax(batch["inputs"] @ weights) - jax.nn.one_hot(
        batch["labels"], 2
    )
    expected = jnp.array([0.25, 0.0, 0.75])[:, None] * (error @ weights.T)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-6)


def test_guidance_in_an_ordinary_loop_is_the_training_step():
    """Ten lines of anybody's loop give the step's loss, gradient and states."""
    terms = {
        "guided": core_terms.saliency_guided(),
        "imputation": core_terms.learned_imputation(),
        "prior": core_terms.saliency_prior(rate=0.3),
    }
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True
    )
    batch = core_terms.uneven_batch(8)
    optimizer = optax.sgd(1.0, momentum=0.0)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )
    step = jax.jit(training.make_train_step(apply_fn, terms, optimizer))
    stepped, metrics = step(state, batch)

    def loss_fn(params):
        output, model_state = apply_fn(
            params["model"], state.model_state, batch["inputs"], train=True
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(
            output.logits, batch["labels"]
        )
        extra, (guidance_state, _) = training.guidance_loss(
            apply_fn, terms, params, state.model_state, state.guidance_state, batch,
            step=0, key=jax.random.fold_in(state.key, 0), output=output,
        )  # fmt: skip
        task = jnp.sum(batch["weight"] * losses) / jnp.sum(batch["weight"])
        return task + extra, (model_state, guidance_state)

    value_and_grad = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, states), gradient = value_and_grad(state.params)
    chex.assert_trees_all_close(loss, metrics["loss"], rtol=1e-6)
    chex.assert_trees_all_close(gradient, stepped.opt_state[0].trace, atol=1e-6)
    chex.assert_trees_all_close(
        states, (stepped.model_state, stepped.guidance_state), atol=1e-6
    )


def test_guidance_needs_neither_an_output_nor_guidance_parameters():
    """In a notebook: a term, a network, a batch and a key."""
    terms = {"guided": core_terms.saliency_guided()}
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    arguments = (apply_fn, terms, {"model": params}, model_state, {}, batch)
    output, _ = apply_fn(params, model_state, batch["inputs"], train=True)
    key = jax.random.key(2)
    loss, (states, metrics) = training.guidance_loss(*arguments, step=0, key=key)
    given, _ = training.guidance_loss(*arguments, step=0, key=key, output=output)
    assert loss == given == metrics["guided"]
    assert loss > 0
    assert states == {"guided": ()}


def test_the_step_reaches_the_terms():
    seen = []

    def loss_fn(context):
        seen.append(int(context.step))
        return jnp.zeros(3), jnp.ones(3)

    evaluate({"a": guidance.stateless(loss_fn)}, step=7)
    assert seen == [7]
