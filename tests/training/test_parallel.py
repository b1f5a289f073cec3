"""One step is the same step on one device and on many.

Gradients are read from the state of plain SGD: an optimiser that divides by the size of
the gradient, like Adam, would hide a factor.
"""

import functools

import chex
import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import testing, training
from xguide_jax.types import GuidanceTerm, TermOutput

# The gradient itself is kept, as `opt_state[0].trace`.
OPTIMIZER = optax.sgd(0.1, momentum=0.0)


def every_term():
    """Random fills, a layer, batch statistics, parameters and state, in one step."""
    guided = core_terms.recording(core_terms.saliency_guided())
    return {**core_terms.four_terms(), "guided": guided}


def make_step(terms, *, axis_name, batch_norm):
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=batch_norm, axis_name=axis_name
    )
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER,
        core_terms.uneven_batch(13),
    )  # fmt: skip
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, axis_name=axis_name)
    return step, state


def run(lift, *, num_steps, batch_size=16, batch_norm=True):
    """States and metrics of a few steps, by one device (None) or lifted."""
    axis_name = None if lift is None else "devices"
    step, state = make_step(every_term(), axis_name=axis_name, batch_norm=batch_norm)
    batch = core_terms.uneven_batch(batch_size)
    state.guidance_state["guided"] = jnp.zeros_like(batch["inputs"])
    lifted = jax.jit(step) if lift is None else lift(step)
    history = []
    for _ in range(num_steps):
        state, metrics = lifted(state, batch)
        history.append((state, metrics))
    return history, lifted


@functools.cache
def on_one_device(dtype, **arguments):
    del dtype  # a key of the cache: x64 is switched outside
    return run(None, **arguments)[0]


def lift(how, count):
    return functools.partial(
        training.data_parallel, how=how, devices=jax.devices()[:count]
    )


def largest_error(actual, expected):
    """max |a - b| / max |b| over a whole tree."""
    errors = jax.tree.map(lambda a, b: np.max(np.abs(a - b)), actual, expected)
    sizes = jax.tree.map(lambda b: np.max(np.abs(b)), expected)
    return max(jax.tree.leaves(errors)) / max(jax.tree.leaves(sizes))


def assert_same_run(actual, expected, *, tolerance):
    for (state, metrics), (one_state, one_metrics) in zip(
        actual, expected, strict=True
    ):
        # The masks first: they are discontinuous, so nothing else need agree if not.
        np.testing.assert_array_equal(
            changed_positions(state), changed_positions(one_state)
        )
        gradient, one = state.opt_state[0].trace, one_state.opt_state[0].trace
        assert largest_error(gradient["model"], one["model"]) <= tolerance
        assert largest_error(gradient["guidance"], one["guidance"]) <= tolerance
        chex.assert_trees_all_close(metrics, one_metrics, atol=tolerance, rtol=0)
        chex.assert_trees_all_close(
            (state.guidance_state, state.model_state),
            (one_state.guidance_state, one_state.model_state),
            atol=tolerance, rtol=0,
        )  # fmt: skip


def changed_positions(state):
    masked = np.asarray(state.guidance_state["guided"])
    inputs = np.asarray(core_terms.uneven_batch(len(masked))["inputs"])
    changed = np.any(masked != inputs, axis=-1)
    assert np.all(np.sum(changed, axis=(1, 2)) == 18)  # half of 6 x 6
    return changed


def assert_no_device_disagrees(state):
    for leaf in jax.tree.leaves(state._replace(key=jax.random.key_data(state.key))):
        first, *others = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert first.shape == leaf.shape
        for other in others:
            np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize(
    ("how", "count"),
    [
        ("pmap", 2),
        # Five terms in one more program; both ways have eight devices below.
        pytest.param("shard_map", 2, marks=pytest.mark.thorough),
    ],
)
def test_two_devices_are_one_in_float64(how, count, x64):
    history, _ = run(lift(how, count), num_steps=2)
    expected = on_one_device("float64", num_steps=2)
    assert_same_run(history, expected, tolerance=1e-10)


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_eight_devices_are_one_in_float64_and_skip_a_bad_step_together(how, x64):
    history, lifted = run(lift(how, 8), num_steps=2)
    expected = on_one_device("float64", num_steps=2)
    assert_same_run(history, expected, tolerance=1e-10)

    state, _ = history[-1]
    assert len(jax.tree.leaves(state)[0].addressable_shards) == 8
    assert_no_device_disagrees(state)

    # Not a number on the last device alone: every device must keep what it had.
    batch = core_terms.uneven_batch(16)
    batch["inputs"] = batch["inputs"].at[-1].set(jnp.nan)
    skipped, metrics = lifted(state, batch)
    assert skipped.nonfinite == 1
    assert metrics["nonfinite/task"] == 1
    kept = skipped._replace(step=state.step, nonfinite=state.nonfinite)
    chex.assert_trees_all_equal(kept, state)
    assert_no_device_disagrees(skipped)


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_a_state_that_one_device_alone_spoils_is_kept_by_all(how):
    """Against the rules its state differs between devices; they must not part ways."""

    def apply(params, state, context):
        nothing = 0 * context.output.logits[:, 0]
        return TermOutput(nothing, 1 + nothing, state + jnp.sum(context.batch["extra"]))

    terms = {"a": GuidanceTerm(lambda key, batch: ((), jnp.zeros(())), apply)}
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    batch["extra"] = jnp.zeros(8).at[-1].set(jnp.nan)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, axis_name="devices")
    lifted = lift(how, 2)(step)
    skipped, metrics = lifted(state, batch)
    assert metrics["nonfinite/guidance_state"] == 1
    assert metrics["nonfinite/gradient"] == metrics["nonfinite/a"] == 0
    chex.assert_trees_all_equal(
        skipped._replace(step=state.step, nonfinite=state.nonfinite), state
    )
    assert_no_device_disagrees(skipped)
    assert skipped.nonfinite == 1


def test_an_optimiser_that_asks_for_the_loss_gets_that_of_all_devices(
    standard_promotion,
):
    optimizer = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    batch = core_terms.uneven_batch(8)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, {}, optimizer, batch
    )
    step = training.make_train_step(apply_fn, {}, optimizer, axis_name="devices")
    stepped, metrics = lift("shard_map", 4)(step)(state, batch)
    best = optax.tree.get(stepped.opt_state, "best_value")
    assert best == metrics["loss"]
    assert_no_device_disagrees(stepped)


@pytest.mark.parametrize(
    # `data_parallel` pads alike for both ways, of which each is a large program.
    "how",
    ["pmap", pytest.param("shard_map", marks=pytest.mark.thorough)],
)
def test_eight_devices_with_padding_are_one_without_in_float32(how):
    """13 examples on 8 devices are 16, three of them padding; on one there is none."""
    arguments = {"num_steps": 1, "batch_size": 13, "batch_norm": False}
    history, _ = run(lift(how, 8), **arguments)
    expected = on_one_device("float32", **arguments)
    assert_same_run(history, expected, tolerance=1e-5)


# Thorough: three large programs for what float64 says above, to fewer digits.
@pytest.mark.thorough
@pytest.mark.parametrize("count", [2, 8])
def test_devices_that_divide_the_batch_are_one_with_batch_norm_in_float32(count):
    history, _ = run(lift("shard_map", count), num_steps=1)
    expected = on_one_device("float32", num_steps=1)
    assert_same_run(history, expected, tolerance=1e-5)


def test_jit_is_a_mesh_of_one_device():
    terms = core_terms.four_terms()
    batch = core_terms.uneven_batch(13)
    step, state = make_step(terms, axis_name="devices", batch_norm=True)
    lifted, metrics = training.data_parallel(step, how="jit")(state, batch)
    step, state = make_step(terms, axis_name=None, batch_norm=True)
    expected = jax.jit(step)(state, batch)
    chex.assert_trees_all_close(
        (lifted.params, metrics),
        (expected[0].params, expected[1]),
        rtol=1e-5,
        atol=1e-6,
    )


def test_statistics_that_a_network_does_not_share_leave_as_their_mean():
    """Batch norm with `axis_name=None`: each device normalises by its own rows."""
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True
    )
    batch = testing.example_batch(jax.random.key(1))
    state = training.init_train_state(
        jax.random.key(2), params, model_state, {}, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, {}, OPTIMIZER, axis_name="devices")
    step = training.data_parallel(step, how="shard_map", devices=jax.devices()[:2])
    stepped, _ = step(state, batch)
    assert_no_device_disagrees(stepped)
    halves = [
        apply_fn(params, model_state, rows, train=True)[1]
        for rows in jnp.split(batch["inputs"], 2)
    ]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    chex.assert_trees_all_close(stepped.model_state, expected, rtol=1e-5)


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_evaluation_weighs_examples_and_not_devices(how):
    apply_fn, _, _ = testing.smooth_network(jax.random.key(0), batch_norm=True)
    _, state = make_step({}, axis_name=None, batch_norm=True)
    batch = core_terms.uneven_batch(13)
    one = jax.jit(training.make_eval_step(apply_fn))(state, batch)
    step = training.make_eval_step(apply_fn, axis_name="devices")
    eight = training.data_parallel(step, how=how)(state, batch)
    chex.assert_trees_all_close(eight, one, rtol=1e-6)
    # The sum of an arithmetic series: 13 * (0.1 + 1.3) / 2 = 9.1.
    assert eight["weight"] == pytest.approx(9.1)


def test_a_padded_batch_repeats_its_last_row_with_weight_zero():
    batch = {"inputs": np.arange(6.0).reshape(3, 2), "labels": np.arange(3)}
    padded = training.pad_batch(batch, 4)
    np.testing.assert_array_equal(padded["inputs"], [[0, 1], [2, 3], [4, 5], [4, 5]])
    np.testing.assert_array_equal(padded["labels"], [0, 1, 2, 2])
    np.testing.assert_array_equal(padded["weight"], [1, 1, 1, 0])
    assert isinstance(padded["inputs"], np.ndarray)  # still on the host


def test_weights_are_kept_and_their_padding_is_zero():
    batch = {"inputs": jnp.ones((3, 2)), "weight": jnp.array([0.5, 0.0, 2.0])}
    np.testing.assert_array_equal(
        training.pad_batch(batch, 2)["weight"], [0.5, 0.0, 2.0, 0.0]
    )
    np.testing.assert_array_equal(
        training.pad_batch(batch, 3)["weight"], batch["weight"]
    )


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"^the batch is empty\.$"):
        training.pad_batch({"inputs": np.zeros((0, 2)), "labels": np.zeros(0)}, 2)


@pytest.mark.parametrize("labels", [np.zeros(2), np.float32(0)])
def test_entries_that_disagree_about_the_batch_size_are_refused(labels):
    with pytest.raises(
        ValueError, match=r"every entry of the batch must be \[B, ...\]"
    ):
        training.pad_batch({"inputs": np.zeros((3, 2)), "labels": labels}, 2)


def test_a_step_without_an_axis_is_not_lifted():
    step, _ = make_step({}, axis_name=None, batch_norm=False)
    with pytest.raises(ValueError, match="`step` has no axis_name: make it with"):
        training.data_parallel(step)


def test_an_unknown_lifting_is_named():
    step, _ = make_step({}, axis_name="devices", batch_norm=False)
    message = r"`how` \(='vmap'\) must be 'pmap', 'shard_map' or 'jit'\."
    with pytest.raises(ValueError, match=message):
        training.data_parallel(step, how="vmap")


def test_jit_is_for_one_device():
    step, _ = make_step({}, axis_name="devices", batch_norm=False)
    with pytest.raises(ValueError, match="how='jit' is for one device, got 2"):
        training.data_parallel(step, how="jit", devices=jax.devices()[:2])
