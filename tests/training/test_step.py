"""The step: its state, its metrics, and what it does with a number that is none."""

import functools

import chex
import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import guidance, testing, training
from xguide_jax.types import GuidanceTerm, TermOutput

# Momentum, so that a step that is skipped has an optimiser state to leave alone.
OPTIMIZER = optax.sgd(0.05, momentum=0.9)


def poisoned(what, *, at):
    """A term with state whose `what` is not a number at step `at`."""

    def apply(params, state, context):
        magnitude = jnp.mean(jnp.square(context.output.logits), axis=-1)
        now = context.step == at
        if what == "loss":
            loss = jnp.where(now, jnp.nan, 1.0) * magnitude
        else:
            # The root's slope at 0 is infinite, and meets a zero factor.
            centre = jnp.where(now, jnp.sum(magnitude), 0.0)
            loss = magnitude + jnp.sqrt(jnp.square(centre - jnp.sum(magnitude)))
        return TermOutput(loss, jnp.ones_like(loss), state + 1)

    return GuidanceTerm(lambda key, batch: ((), jnp.zeros(())), apply)


def make(terms, *, batch_norm=True):
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=batch_norm
    )
    batch = core_terms.uneven_batch(8)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    return training.make_train_step(apply_fn, terms, OPTIMIZER), state, batch


@pytest.mark.parametrize(
    ("what", "flags"),
    [
        ("loss", {"task": 0, "sick": 1, "healthy": 0, "gradient": 1}),
        ("gradient", {"task": 0, "sick": 0, "healthy": 0, "gradient": 1}),
    ],
)
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(what, flags):
    terms = {"healthy": core_terms.learned_imputation(), "sick": poisoned(what, at=2)}
    step, state, batch = make(terms)
    step = jax.jit(step)
    for _ in range(2):
        state, metrics = step(state, batch)
        assert metrics["nonfinite/sick"] == 0
        assert metrics["nonfinite/gradient"] == 0
        assert state.nonfinite == 0
    before = state
    # Held at step 2, the term is sick twice in a row.
    for count in (1, 2):
        after, metrics = step(before._replace(nonfinite=jnp.int32(count - 1)), batch)
        assert after.step == 3
        assert after.nonfinite == count
        chex.assert_trees_all_equal(
            after._replace(step=before.step, nonfinite=before.nonfinite), before
        )
        assert {name: metrics[f"nonfinite/{name}"] for name in flags} == flags
    recovered, metrics = step(after, batch)
    assert recovered.nonfinite == 0
    assert metrics["nonfinite/gradient"] == 0
    for old, new in zip(
        jax.tree.leaves((after.params, after.model_state, after.opt_state)),
        jax.tree.leaves((recovered.params, recovered.model_state, recovered.opt_state)),
        strict=True,
    ):
        assert not np.array_equal(old, new)
    assert recovered.guidance_state["sick"] == after.guidance_state["sick"] + 1 == 3


def test_no_terms_is_ordinary_training():
    """Against the loop that everybody writes, with the statistics of batch norm."""
    step, state, batch = make({})
    apply_fn, _, _ = testing.smooth_network(jax.random.key(0), batch_norm=True)

    def loss_fn(params):
        output, model_state = apply_fn(
            params, state.model_state, batch["inputs"], train=True
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(
            output.logits, batch["labels"]
        )
        return jnp.average(losses, weights=batch["weight"]), model_state

    (loss, model_state), gradient = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params["model"]
    )
    stepped, metrics = step(state, batch)
    chex.assert_trees_all_close(metrics["loss"], loss, rtol=1e-6)
    chex.assert_trees_all_close(
        metrics["gradient_norm"], optax.tree.norm(gradient), rtol=1e-6
    )
    chex.assert_trees_all_close(stepped.model_state, model_state, rtol=1e-6)
    chex.assert_trees_all_close(
        stepped.params["model"],
        jax.tree.map(lambda p, g: p - 0.05 * g, state.params["model"], gradient),
        atol=1e-6,
    )
    assert set(metrics) == {
        "gradient_norm", "loss", "nonfinite/gradient", "nonfinite/task", "task",
    }  # fmt: skip


def test_guidance_keeps_the_batch_statistics_of_unguided_training():
    """Only the clean pass updates them: not the masked one, not the explained one."""
    guided = {
        "guided": core_terms.saliency_guided(explain_in="train"),
        **core_terms.four_terms(),
    }
    step, state, batch = make(guided)
    unguided_step, unguided, _ = make({})
    chex.assert_trees_all_equal(
        step(state, batch)[0].model_state,
        unguided_step(unguided, batch)[0].model_state,
    )


def test_the_one_optimiser_updates_the_parameters_of_a_term():
    """p - lr * dL/dp for the trained kernel, which L depends on in no other way."""
    terms = {"imputation": core_terms.learned_imputation()}
    step, state, batch = make(terms, batch_norm=False)
    apply_fn, _, _ = testing.smooth_network(jax.random.key(0))

    def loss_fn(kernel):
        params = {
            **state.params,
            "guidance": {"imputation": {"kernel": kernel}},
        }
        return training.guidance_loss(
            apply_fn, terms, params, (), {}, batch, step=0, key=jax.random.key(9)
        )[0]

    kernel = state.params["guidance"]["imputation"]["kernel"]
    gradient = jax.grad(loss_fn)(kernel)
    assert jnp.max(jnp.abs(gradient)) > 1e-3
    stepped, _ = step(state, batch)
    np.testing.assert_allclose(
        stepped.params["guidance"]["imputation"]["kernel"],
        kernel - 0.05 * gradient,
        atol=1e-7,
    )


def test_evaluation_knows_nothing_of_guidance():
    """The parameters and states of terms can be dropped from a trained model."""
    terms = core_terms.four_terms()
    _, state, batch = make(terms)
    apply_fn, _, _ = testing.smooth_network(jax.random.key(0), batch_norm=True)
    evaluate = training.make_eval_step(apply_fn)
    bare = state._replace(
        params={"model": state.params["model"]}, guidance_state={}, opt_state=()
    )
    chex.assert_trees_all_equal(evaluate(bare, batch), evaluate(state, batch))


def test_evaluation_is_a_weighted_mean_in_eval_mode():
    # Zero logits but for a constant offset: argmax is class 2, and the loss of label c
    # is log(sum exp(offset)) - offset_c with offset (-0.1, 0, 0.1).
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True
    )
    params = {**params, "head": jnp.zeros_like(params["head"])}
    _, state, batch = make({})
    state = state._replace(params={"model": params}, model_state=model_state)
    batch = {
        **batch,
        "labels": jnp.array([2, 2, 0, 1, 0, 0, 0, 0]),
        "weight": jnp.array([1.0, 2.0, 1.0, 4.0, 0.0, 0.0, 0.0, 0.0]),
    }
    metrics = training.make_eval_step(apply_fn)(state, batch)
    # (1 + 2) / 8 are right; sum w offset = 0.1 * 3 - 0.1 * 1 + 0 * 4 = 0.2.
    log_sum = np.log(np.exp(-0.1) + 1 + np.exp(0.1))
    expected = {"accuracy": 3 / 8, "loss": log_sum - 0.2 / 8, "weight": 8.0}
    chex.assert_trees_all_close(metrics, expected, rtol=1e-5)


def test_evaluation_reads_the_running_statistics():
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0), batch_norm=True)
    _, state, batch = make({})
    state = state._replace(model_state=(jnp.full(4, 0.3), jnp.full(4, 2.0)))
    output, _ = apply_fn(params, state.model_state, batch["inputs"], train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(
        output.logits, batch["labels"]
    )
    expected = jnp.average(losses, weights=batch["weight"])
    loss = training.make_eval_step(apply_fn)(state, batch)["loss"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_the_state_has_no_weak_types_to_compile_twice_for():
    def init(key, batch):
        return jnp.full(3, 0.5), {"count": jnp.asarray(0.0)}

    term = GuidanceTerm(init, lambda *arguments: None)
    _, state, _ = make({"a": term})
    leaves = jax.tree.leaves(state._replace(key=()))
    assert not any(leaf.weak_type for leaf in leaves)


def test_a_legacy_key_is_refused():
    init = functools.partial(
        training.init_train_state, params={}, model_state=(), terms={},
        optimizer=OPTIMIZER, batch={},
    )  # fmt: skip
    message = r"`key` \(dtype uint32\) must be a typed key: use `jax.random.key`\."
    with pytest.raises(TypeError, match=message):
        init(jax.random.PRNGKey(0))


def test_a_term_of_weight_zero_leaves_unguided_gradients():
    terms = {
        "a": guidance.scale(core_terms.saliency_guided(), 0.0),
        "b": guidance.scale(core_terms.grad_cam_energy(), lambda step: jnp.zeros(())),
    }
    step, state, batch = make(terms)
    unguided_step, unguided, _ = make({})
    guided, metrics = step(state, batch)
    plain, _ = unguided_step(unguided, batch)
    chex.assert_trees_all_close(
        guided.opt_state[0].trace["model"], plain.opt_state[0].trace["model"],
        atol=1e-7,
    )  # fmt: skip
    assert metrics["a"] == metrics["b"] == 0
    assert metrics["a/unscaled"] > 0
    assert metrics["b/unscaled"] > 0
