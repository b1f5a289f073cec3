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
from xguide_jax.types import GuidanceTerm, ModelOutput, TermOutput

FLAGS = (
    "task", "gradient", "update", "model_state", "guidance_state", "opt_state",
)  # fmt: skip

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
        "gradient_norm", "loss", "task", *(f"nonfinite/{name}" for name in FLAGS),
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


def linear(params, model_state, inputs, *, train, key=None, overrides=None):
    """One number <x, p> an example, whose mean has the mean input for a gradient."""
    return ModelOutput((inputs @ params["w"])[:, None]), model_state


def mean_output(output, batch):
    return output.logits[:, 0]


def one_step(
    optimizer,
    inputs,
    *,
    params=None,
    terms=None,
    apply_fn=linear,
    model_state=(),
    task_loss=mean_output,
):
    """The state before and after a step, and the flags that are up."""
    inputs = jnp.asarray(inputs)
    batch = {"inputs": inputs, "labels": jnp.zeros(len(inputs), jnp.int32)}
    params = params or {"w": jnp.ones(inputs.shape[-1], inputs.dtype)}
    terms = terms or {}
    state = training.init_train_state(
        jax.random.key(0), params, model_state, terms, optimizer, batch
    )
    step = jax.jit(
        training.make_train_step(apply_fn, terms, optimizer, task_loss=task_loss)
    )
    after, metrics = step(state, batch)
    up = {k.removeprefix("nonfinite/") for k in metrics if "nonfinite/" in k}
    up = {name for name in up if metrics[f"nonfinite/{name}"]}
    assert int(after.nonfinite) == int(bool(up))
    if up:
        chex.assert_trees_all_equal(
            after._replace(step=state.step, nonfinite=state.nonfinite), state
        )
    return after, metrics, up


def test_float16_parameters_that_would_become_nan_are_kept(standard_promotion):
    """Adam's epsilon of 1e-8 is 0 in float16: a gradient of 0 is divided by 0."""
    inputs = jnp.array([[0.5, 0.0], [0.25, 0.0]], jnp.float16)
    _, _, up = one_step(optax.adam(1e-3), inputs)
    assert up == {"update"}
    after, _, up = one_step(optax.adam(1e-3, eps=1e-4), inputs)
    assert up == set()
    assert after.params["model"]["w"][0] < 1 == after.params["model"]["w"][1]


def test_a_finite_gradient_that_would_spoil_the_optimiser_is_not_taken(
    standard_promotion,
):
    """2.5e21 squared is beyond float32: Adam's second moment would stay infinite."""
    _, metrics, up = one_step(optax.adam(1e-3), [[2.5e21, 1.0]])
    assert up == {"opt_state"}
    assert np.isfinite(metrics["loss"])


def test_a_finite_gradient_whose_norm_overflows_is_taken():
    after, metrics, up = one_step(optax.sgd(1e-20), [[1e25, 2.0]])
    assert up == set()
    assert metrics["gradient_norm"] == np.inf
    np.testing.assert_allclose(after.params["model"]["w"], [1 - 1e5, 1.0], rtol=1e-6)


def test_a_variance_that_overflows_is_not_kept():
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True
    )
    batch = testing.example_batch(jax.random.key(1))
    _, _, up = one_step(
        optax.sgd(0.1), 1e20 * batch["inputs"], params=params, apply_fn=apply_fn,
        model_state=model_state, task_loss=training.softmax_cross_entropy,
    )  # fmt: skip
    assert "model_state" in up
    assert "task" not in up


def carrying(start, next_state):
    """A term without loss whose carried state begins and goes on as given."""

    def apply(params, state, context):
        nothing = jnp.zeros(len(context.batch["inputs"]))
        return TermOutput(nothing, nothing, next_state(state))

    return GuidanceTerm(lambda key, batch: ((), jnp.asarray(start)), apply)


INF = np.inf


@pytest.mark.parametrize(
    ("start", "after", "kept"),
    [
        ([1.0, 2.0], [1.0, np.nan], False),
        ([1.0, 2.0], [INF, 2.0], False),
        ([INF, 2.0], [INF, 3.0], True),  # as it was
        ([INF, 2.0], [1.0, 2.0], True),  # the least so far
        ([INF, 2.0], [INF, INF], False),  # another number than before
        ([-INF, 2.0], [INF, 2.0], False),
        ([np.nan, 2.0], [np.nan, 2.0], False),
    ],
)
def test_an_infinity_is_a_fault_unless_it_was_there_before(start, after, kept):
    term = carrying(jnp.array(start), lambda state: jnp.array(after))
    batch = {"inputs": jnp.ones((1, 2)), "labels": jnp.zeros(1, jnp.int32)}
    optimizer = optax.sgd(0.1)
    state = training.init_train_state(
        jax.random.key(0), {"w": jnp.ones(2)}, (), {"a": term}, optimizer, batch
    )
    step = training.make_train_step(
        linear, {"a": term}, optimizer, task_loss=mean_output
    )
    stepped, metrics = step(state, batch)
    flags = {name: int(metrics[f"nonfinite/{name}"]) for name in FLAGS}
    assert flags == {**dict.fromkeys(FLAGS, 0), "guidance_state": int(not kept)}
    np.testing.assert_array_equal(stepped.guidance_state["a"], after if kept else start)
    moved = [0.9, 0.9] if kept else [1.0, 1.0]
    np.testing.assert_allclose(stepped.params["model"]["w"], moved)


def test_whole_numbers_and_keys_in_a_state_are_no_fault():
    state = {"key": jax.random.key(3), "count": jnp.int32(2), "on": jnp.array(True)}
    after, _, up = one_step(optax.sgd(0.1), [[1.0]], model_state=state)
    assert up == set()
    chex.assert_trees_all_equal(after.model_state, state)


def test_an_update_that_is_not_finite_is_not_made():
    wild = optax.GradientTransformation(
        lambda params: (),
        lambda updates, state, params: (jax.tree.map(lambda u: u / 0, updates), state),
    )
    _, _, up = one_step(wild, [[1.0]])
    assert up == {"update"}


def test_an_optimiser_that_has_seen_no_loss_yet_is_no_fault(standard_promotion):
    """Its best loss is infinite until three steps are averaged."""
    plateau = optax.contrib.reduce_on_plateau(
        factor=0.5, patience=1, accumulation_size=3
    )
    optimizer = optax.chain(optax.sgd(0.1), plateau)
    batch = {"inputs": jnp.zeros((2, 1)), "labels": jnp.zeros(2, jnp.int32)}
    state = training.init_train_state(
        jax.random.key(0), {"w": jnp.ones(1)}, (), {}, optimizer, batch
    )
    constant = lambda output, batch: output.logits[:, 0] + 4.0
    step = jax.jit(training.make_train_step(linear, {}, optimizer, task_loss=constant))
    best, scale = [], []
    for _ in range(6):
        state, _ = step(state, batch)
        assert state.nonfinite == 0
        best.append(float(optax.tree.get(state.opt_state, "best_value")))
        scale.append(float(optax.tree.get(state.opt_state, "scale")))
    assert best == [INF, INF, 4.0, 4.0, 4.0, 4.0]
    assert scale == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5]  # no better: half as fast


def squares(output, batch):
    return jnp.square(output.logits[:, 0] - batch["labels"])


REGRESSION = {
    "inputs": jnp.array([[1.0, 0.0], [0.0, 10.0], [1.0, 1.0]]),
    "labels": jnp.array([1.0, -20.0, -1.0]),
}


def regress(optimizer, *, num_steps, how=None, devices=None, **arguments):
    """Weights after some steps on a least-squares problem solved by (1, -2)."""
    axis_name = None if how is None else "devices"
    step = training.make_train_step(
        linear, {}, optimizer, task_loss=squares, axis_name=axis_name, **arguments
    )
    state = training.init_train_state(
        jax.random.key(0), {"w": jnp.zeros(2)}, (), {}, optimizer, REGRESSION
    )
    if how is None:
        lifted = jax.jit(step)
    else:
        lifted = training.data_parallel(step, how=how, devices=devices)
    for _ in range(num_steps):
        state, _ = lifted(state, REGRESSION)
    return state.params["model"]["w"]


@pytest.mark.parametrize("how", [None, "jit"])
def test_l_bfgs_searches_along_its_line_on_one_device(how, standard_promotion):
    found = regress(optax.lbfgs(), num_steps=8, how=how)
    np.testing.assert_allclose(found, [1.0, -2.0], rtol=1e-3)
    descended = regress(optax.sgd(0.01), num_steps=8, how=how)
    assert np.max(np.abs(descended - np.array([1.0, -2.0]))) > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"how": "pmap", "devices": jax.devices()[:2]},
            "shared by 2 devices with accumulate=1: use one device without",
        ),
        ({"accumulate": 3}, "shared by 1 devices with accumulate=3: use one device"),
    ],
)
def test_a_line_search_over_several_devices_or_parts_is_refused(
    arguments, message, standard_promotion
):
    with pytest.raises(ValueError, match=message):
        regress(optax.lbfgs(), num_steps=1, **arguments)


def averaging():
    """A weight average in the optimiser's state, which begins as the weights."""
    average = lambda old, new: 0.9 * old + 0.1 * new
    return optax.GradientTransformation(
        lambda params: params,
        lambda updates, state, params: (updates, jax.tree.map(average, state, params)),
    )


def test_a_state_may_be_donated_and_the_callers_arrays_stay():
    key, weights = jax.random.key(0), jnp.array([1.0, 2.0])
    shared = {"mean": weights, "other": weights}
    optimizer = optax.chain(optax.sgd(0.1), averaging())
    batch = {"inputs": jnp.ones((2, 2)), "labels": jnp.zeros(2, jnp.int32)}
    terms = {"a": carrying(weights, lambda state: 2 * state)}
    state = training.init_train_state(
        key, {"w": weights}, shared, terms, optimizer, batch
    )
    data = state._replace(key=jax.random.key_data(state.key))
    leaves = [leaf for leaf in jax.tree.leaves(data) if leaf is not data.key]
    places = [leaf.unsafe_buffer_pointer() for leaf in leaves]
    assert len(set(places)) == len(places)
    step = training.make_train_step(linear, terms, optimizer, task_loss=mean_output)
    step = jax.jit(step, donate_argnums=0)
    for _ in range(3):
        state, _ = step(state, batch)
    np.testing.assert_allclose(state.params["model"]["w"], [0.7, 1.7], rtol=1e-6)
    np.testing.assert_array_equal(weights, [1.0, 2.0])
    assert jax.random.key_data(key)[0] == 0


@pytest.mark.parametrize(
    "number", [0.5, np.float64(0.5), np.full((), 0.5, np.float32), 2]
)
def test_a_plain_number_is_a_parameter(number):
    def apply_fn(params, model_state, inputs, **named):
        return ModelOutput(params["scale"] * inputs), model_state

    after, _, up = one_step(
        optax.sgd(1.0), [[3.0]], params={"scale": number}, apply_fn=apply_fn
    )
    assert up == set()
    np.testing.assert_allclose(after.params["model"]["scale"], number - 3.0)
    assert after.params["model"]["scale"].dtype == jnp.float32


def test_arrays_of_numpy_are_parameters():
    params = {"w": np.array([1.0, 2.0])}
    after, _, _ = one_step(optax.sgd(1.0), [[0.5, 0.25]], params=params)
    np.testing.assert_allclose(after.params["model"]["w"], [0.5, 1.75])
