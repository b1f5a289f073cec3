"""A checkpoint gives back the state bit for bit, or is passed over and says so."""

import functools
import math
import pathlib
import shutil
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from xguide_jax import ops, testing, training
from xguide_jax.training import locking
from xguide_jax.types import GuidanceTerm, TermOutput, TrainState

CONFIG = {"name": "run", "optimizer": {"rate": 0.1, "betas": (0.9, 0.999)}}


def shrinking_average():
    """A term with noise, a trained parameter and a carried state."""

    def apply(params, state, context):
        noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(context.key)
        error = context.output.logits + noise - params["shift"]
        loss = jnp.mean(jnp.square(error), axis=-1)
        mean = ops.weighted_mean(
            jax.lax.stop_gradient(loss),
            jnp.ones_like(loss),
            axis_name=context.axis_name,
        )
        return TermOutput(loss, jnp.ones_like(loss), (0.9 * state[0] + 0.1 * mean,))

    return GuidanceTerm(
        lambda key, batch: ({"shift": jnp.ones(3)}, (jnp.zeros(()),)), apply
    )


TERMS = {"average": shrinking_average()}


def batch_at(step):
    rng = np.random.default_rng(step)
    return {
        "inputs": rng.normal(size=(8, 6, 6, 2)).astype(np.float32),
        "labels": rng.integers(0, 3, 8).astype(np.int32),
    }


@functools.cache
def set_up(how):
    """(a step compiled for eight devices, the initial state)."""
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True, axis_name="batch"
    )
    optimizer = optax.adam(1e-2)
    state = training.init_train_state(
        jax.random.key(1), params, model_state, TERMS, optimizer, batch_at(0)
    )
    step = training.make_train_step(apply_fn, TERMS, optimizer, axis_name="batch")
    return training.data_parallel(step, how=how), state


def run(step, state, stop):
    # Adam of optax raises a float to its int32 count.
    with jax.numpy_dtype_promotion("standard"):
        for n in range(int(state.step), stop):
            state, _ = step(state, batch_at(n))
    return state


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert isinstance(a, jax.Array)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def any_state(number, /, **changes):
    """A state that no training made, with leaves that are hard to store."""
    state = TrainState(
        step=jnp.int32(number),
        params={
            "model": {
                "a/b": jnp.arange(6.0).reshape(2, 3) + number,
                "a.b": jnp.ones(2),
            },
            "guidance": {"average": ()},
        },
        model_state={
            "half": jnp.ones(3, jnp.bfloat16),
            "none": jnp.zeros((0, 3)),
            "mask": jnp.array([-jnp.inf, -0.0]),
        },
        guidance_state={"average": (jnp.array(True), jnp.int8(-3))},
        opt_state=(
            *optax.adam(1.0).init({"x": jnp.ones(2)}),
            {"best": jnp.array([jnp.inf, -jnp.inf])},  # before the first
        ),
        key=jax.random.key(7, impl="rbg"),
        nonfinite=jnp.int32(0),
    )
    return state._replace(**changes)


def save_two(directory):
    for step in (1, 2):
        training.save_checkpoint(directory, any_state(step), config=CONFIG)


restore = functools.partial(training.restore_checkpoint, config=CONFIG)


@pytest.mark.parametrize("how", ["pmap", "shard_map"])
def test_training_that_is_saved_and_restored_halfway_gives_the_same_bits(how, tmp_path):
    step, initial = set_up(how)
    uninterrupted = run(step, initial, 6)

    training.save_checkpoint(tmp_path, run(step, initial, 3), config=CONFIG)
    restored = restore(tmp_path, initial)
    assert int(restored.step) == 3
    assert_same_bits(run(step, restored, 6), uninterrupted)


def test_a_state_of_eight_devices_is_restored_for_one(tmp_path):
    step, initial = set_up("pmap")
    state = run(step, initial, 1)
    training.save_checkpoint(tmp_path, state, config=CONFIG)
    restored = restore(tmp_path, initial)
    assert_same_bits(restored, state)
    chex.assert_tree_all_finite(restored.params)
    assert all(len(x.devices()) == 1 for x in jax.tree.leaves(restored))


def test_every_leaf_comes_back_with_its_type(tmp_path):
    state = any_state(5)
    training.save_checkpoint(tmp_path, state, config=CONFIG)
    restored = restore(tmp_path, any_state(0))
    assert_same_bits(restored, state)
    assert isinstance(restored.opt_state[0], optax.ScaleByAdamState)
    assert jax.random.key_impl(restored.key) == jax.random.key_impl(state.key)


def test_nothing_is_restored_where_nothing_was_saved(tmp_path):
    assert restore(tmp_path / "missing", any_state(0)) is None
    assert restore(tmp_path, any_state(0)) is None
    assert list(tmp_path.iterdir()) == []


def test_the_newest_are_kept_and_the_newest_is_restored(tmp_path):
    for step in (3, 5, 9, 11):
        training.save_checkpoint(tmp_path, any_state(step), config=CONFIG, keep=3)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [5, 9, 11]
    assert int(restore(tmp_path, any_state(0)).step) == 11


def test_a_relative_directory_is_one_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    training.save_checkpoint("run", any_state(1), config=CONFIG)
    assert int(restore(tmp_path / "run", any_state(0)).step) == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {**CONFIG, "optimizer": {"rate": 0.2, "betas": (0.9, 0.999)}},
            r"optimizer\.rate was 0\.1 and is 0\.2",
        ),
        ({**CONFIG, "seed": None}, "seed was absent and is null"),
        ({"optimizer": CONFIG["optimizer"]}, 'name was "run" and is absent'),
        (
            {"name": "other", "optimizer": {}},
            'name was "run" and is "other"; .*optimizer was absent and is {}',
        ),
    ],
)
def test_another_configuration_is_refused_naming_the_field(config, message, tmp_path):
    training.save_checkpoint(tmp_path, any_state(4), config=CONFIG)
    with pytest.raises(ValueError, match=f"step 4 .*configuration: .*{message}"):
        training.restore_checkpoint(tmp_path, any_state(0), config=config)


def test_the_same_configuration_is_accepted_as_it_comes_from_json(tmp_path):
    saved = {**CONFIG, "floor": math.nan}
    again = {
        "optimizer": {"betas": [0.9, 0.999], "rate": 0.1},
        "floor": math.nan,
        "name": "run",
    }
    training.save_checkpoint(tmp_path, any_state(1), config=saved)
    assert training.restore_checkpoint(tmp_path, any_state(0), config=again)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"params": {"model": {"a/b": jnp.ones((2, 4)), "a.b": jnp.ones(2)}}},
            r"\.params\['model'\]\['a/b'\] was \"float32\[2, 3\]\" and is "
            r"\"float32\[2, 4\]\"",
        ),
        ({"step": jnp.int16(0)}, r"\.step was \"int32\[\]\" and is \"int16\[\]\""),
        ({"model_state": ()}, r"\.model_state\['none'\] was .* and is absent"),
        ({"nonfinite": (jnp.zeros(1),)}, r"\.nonfinite\[0\] was absent and is"),
        ({"key": jax.random.key(7)}, r'\.key was "key<rbg>\[\]" and is "key<fry>\[\]"'),
    ],
)
def test_another_structure_is_refused_naming_the_leaf(changes, message, tmp_path):
    training.save_checkpoint(tmp_path, any_state(2), config=CONFIG)
    with pytest.raises(ValueError, match=f"step 2 is of another state: .*{message}"):
        restore(tmp_path, any_state(0, **changes))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


@pytest.mark.filterwarnings(  # reads that orbax gives up when another failed
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("damage", [truncate, flip_a_byte, pathlib.Path.unlink])
def test_damage_to_any_file_is_passed_over_with_a_warning(damage, tmp_path):
    save_two(tmp_path / "whole")
    files = sorted(p for p in (tmp_path / "whole" / "2").rglob("*") if p.is_file())
    noticed = []
    for file in files:
        shutil.copytree(tmp_path / "whole", tmp_path / "copy")
        relative = file.relative_to(tmp_path / "whole")
        damage(tmp_path / "copy" / relative)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            restored = restore(tmp_path / "copy", any_state(0))
        shutil.rmtree(tmp_path / "copy")
        told = [str(w.message) for w in caught if "is passed over" in str(w.message)]
        # A file that is not needed (orbax's own notes) may be damaged unseen: then
        # every bit of the newest state must be right.
        assert_same_bits(restored, any_state(1 if told else 2))
        assert all("checkpoint of step 2 is damaged" in text for text in told)
        if told:
            noticed.append(str(relative))
    assert {"2/meta/metadata", "2/state/manifest.ocdbt"} <= set(noticed)
    assert any("/d/" in name for name in noticed)


def test_all_files_truncated_and_none_left_is_none(tmp_path):
    save_two(tmp_path)
    for file in tmp_path.rglob("*"):
        if file.is_file():
            truncate(file)
    with pytest.warns(UserWarning, match="passed over") as caught:
        assert restore(tmp_path, any_state(0)) is None
    assert [str(w.message).split()[4] for w in caught] == ["2", "1"]


def test_values_that_do_not_match_their_checksum_are_passed_over(tmp_path, monkeypatch):
    save_two(tmp_path)
    restored = ocp.CheckpointManager.restore

    def with_one_bit_wrong(manager, step, args):
        result = restored(manager, step, args=args)
        if step == 2 and "state" in result:
            result.state[".opt_state[0].mu['x']"][1] = -0.0
        return result

    monkeypatch.setattr(ocp.CheckpointManager, "restore", with_one_bit_wrong)
    with pytest.warns(
        UserWarning, match=r"step 2 .*mu\['x'\] does not match its check"
    ):
        assert int(restore(tmp_path, any_state(0)).step) == 1


def test_a_damaged_step_is_replaced_when_it_is_reached_again(tmp_path):
    save_two(tmp_path)
    truncate(tmp_path / "2" / "meta" / "metadata")
    with pytest.warns(UserWarning, match="step 2 is damaged"):
        assert int(restore(tmp_path, any_state(0)).step) == 1
    training.save_checkpoint(tmp_path, any_state(2), config=CONFIG)
    assert_same_bits(restore(tmp_path, any_state(0)), any_state(2))


def test_a_damaged_array_under_a_good_description_is_replaced_as_well(tmp_path):
    save_two(tmp_path)
    for file in (tmp_path / "2" / "state").rglob("*"):
        if file.is_file():
            truncate(file)
    training.save_checkpoint(tmp_path, any_state(2), config=CONFIG)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*is passed over")
        assert_same_bits(restore(tmp_path, any_state(0)), any_state(2))


def test_a_damaged_later_step_does_not_stop_an_earlier_one_from_being_saved(tmp_path):
    for step in (2, 8):
        training.save_checkpoint(tmp_path, any_state(step), config=CONFIG)
    truncate(tmp_path / "8" / "meta" / "metadata")
    training.save_checkpoint(tmp_path, any_state(6), config=CONFIG)
    with pytest.warns(UserWarning, match="step 8 is damaged"):
        assert_same_bits(restore(tmp_path, any_state(0)), any_state(6))


def test_what_a_killed_save_left_is_no_checkpoint_and_is_cleared_away(tmp_path):
    save_two(tmp_path)
    shutil.copytree(tmp_path / "2", tmp_path / "3.orbax-checkpoint-tmp")
    assert int(restore(tmp_path, any_state(0)).step) == 2
    training.save_checkpoint(tmp_path, any_state(4), config=CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4"]


def test_a_description_is_not_trusted_after_a_change_that_is_still_json(tmp_path):
    save_two(tmp_path)
    file = tmp_path / "2" / "meta" / "metadata"
    file.write_text(file.read_text().replace("0.1", "0.3", 1))
    with pytest.warns(UserWarning, match="step 2 .*does not match its checksum"):
        assert int(restore(tmp_path, any_state(0)).step) == 1


def test_values_that_cannot_be_saved_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`keep` \(=0\) must be at least 1"):
        training.save_checkpoint(tmp_path, any_state(0), config={}, keep=0)
    with pytest.raises(ValueError, match=r"`config` field 'model\.path' .*JSON value"):
        training.save_checkpoint(
            tmp_path, any_state(0), config={"model": {"path": tmp_path}}
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("params", jnp.nan, r"\.params\['model'\]\['x'\]"),
        ("params", jnp.inf, r"\.params\['model'\]\['x'\]"),
        ("model_state", -jnp.inf, r"\.model_state\['model'\]\['x'\]"),
        ("opt_state", jnp.inf, r"\.opt_state\['model'\]\['x'\]"),
        ("guidance_state", jnp.nan, r"\.guidance_state\['model'\]\['x'\]"),
        ("opt_state", jnp.nan, r"\.opt_state\['model'\]\['x'\]"),
    ],
)
@pytest.mark.parametrize("keep", [1, 2])
def test_a_state_that_is_not_finite_is_refused_and_replaces_none(
    field, value, path, keep, tmp_path
):
    leaf = jnp.ones((2, 2), jnp.bfloat16).at[0, 0].set(-jnp.inf)
    tree = {"model": {"x": leaf, "fine": jnp.ones(2), "count": jnp.int32(3)}}
    good = any_state(2, **{field: tree})
    save = functools.partial(
        training.save_checkpoint, tmp_path, config=CONFIG, keep=keep
    )
    save(good)
    broken = {"model": {**tree["model"], "x": leaf.at[1, 1].set(value)}}
    for step in (2, 4):  # also where its own step is saved already
        with pytest.raises(
            training.NonFiniteError,
            match=rf"step {step} was not saved, since it is not finite in {path}\. Old",
        ):
            save(any_state(step, **{field: broken}))
    assert_same_bits(restore(tmp_path, good), good)
    save(any_state(6, **{field: tree}))  # what was infinite before is no fault


def test_a_first_state_may_be_infinite_and_an_older_one_damaged(tmp_path):
    save = functools.partial(training.save_checkpoint, tmp_path, config=CONFIG)
    save(any_state(2, guidance_state={"average": jnp.array(jnp.inf)}))
    truncate(tmp_path / "2" / "meta" / "metadata")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        save(any_state(4, guidance_state={"average": jnp.array(-jnp.inf)}))
    nan = any_state(6, guidance_state={"average": jnp.array(jnp.nan)})
    with pytest.raises(training.NonFiniteError, match="step 6 was not saved"):
        save(nan)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4"]


def test_an_infinity_beside_a_checkpoint_of_another_shape_is_a_first_one(tmp_path):
    save = functools.partial(training.save_checkpoint, tmp_path, config=CONFIG)
    for step, size in ((2, 2), (4, 3)):
        leaf = jnp.full(size, jnp.inf)
        save(any_state(step, guidance_state={"average": leaf}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "4"]


def test_while_steps_are_skipped_no_checkpoint_is_removed(tmp_path):
    steps = lambda: sorted(int(path.name) for path in tmp_path.iterdir())
    save = functools.partial(training.save_checkpoint, tmp_path, config=CONFIG, keep=1)
    save(any_state(2))
    for step in (4, 6):
        save(any_state(step, nonfinite=jnp.int32(step)))
    assert steps() == [2, 4, 6]
    save(any_state(8))
    assert steps() == [8]


def test_a_save_never_removes_itself_beside_a_later_damaged_one(tmp_path):
    save = functools.partial(training.save_checkpoint, tmp_path, config=CONFIG, keep=1)
    save(any_state(8))
    truncate(tmp_path / "8" / "meta" / "metadata")
    for step in (4, 6):
        save(any_state(step))
    with pytest.warns(UserWarning, match="step 8 is damaged"):
        assert_same_bits(restore(tmp_path, any_state(0)), any_state(6))


def test_a_step_that_is_saved_again_is_not_taken_away_first(tmp_path, monkeypatch):
    save = functools.partial(training.save_checkpoint, tmp_path, config=CONFIG, keep=1)
    save(any_state(2))
    with monkeypatch.context() as patches:
        no = lambda *_: pytest.fail("was removed")
        patches.setattr(ocp.CheckpointManager, "delete", no)
        save(any_state(2))
    other = any_state(2, guidance_state={"average": (jnp.array(False), jnp.int8(1))})
    save(other)
    assert_same_bits(restore(tmp_path, any_state(0)), other)


class Death(BaseException):
    """No handler of ordinary errors stops it."""


def die_in(name, number, monkeypatch):
    """The `number`-th call of a method ends the run: halfway, if a removal."""
    method, calls = getattr(ocp.CheckpointManager, name), []

    def dying(manager, step, *args, **kwargs):
        calls.append(step)
        if len(calls) < number:
            return method(manager, step, *args, **kwargs)
        if name == "delete":
            (manager.directory / str(step) / "meta" / "metadata").unlink()
        raise Death

    monkeypatch.setattr(ocp.CheckpointManager, name, dying)


@pytest.mark.filterwarnings("ignore:.*step 2 is damaged")  # half removed
@pytest.mark.parametrize(
    ("name", "number", "is_new"),
    [("save", 1, False), ("delete", 1, True), ("save", 2, True)],
)
def test_a_run_that_dies_while_it_replaces_a_step_leaves_one_that_is_whole(
    name, number, is_new, tmp_path, monkeypatch
):
    save = functools.partial(training.save_checkpoint, tmp_path, config=CONFIG, keep=1)
    old = any_state(2)
    new = any_state(2, guidance_state={"average": (jnp.array(False), jnp.int8(1))})
    save(old)
    with monkeypatch.context() as patches:
        die_in(name, number, patches)
        with pytest.raises(Death):
            save(new)
    assert_same_bits(restore(tmp_path, old), new if is_new else old)
    left = training.restore_params(tmp_path, *network_of(0), step=2)
    assert_same_bits(left, network_of(2))
    save(new)  # what was left is no obstacle, and is cleared away
    assert_same_bits(restore(tmp_path, old), new)
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_what_waits_beside_stays_while_steps_are_skipped(tmp_path, monkeypatch):
    save = functools.partial(training.save_checkpoint, tmp_path, config=CONFIG)
    save(any_state(2))
    other = any_state(2, guidance_state={"average": (jnp.array(False), jnp.int8(1))})
    with monkeypatch.context() as patches:
        die_in("save", 2, patches)
        with pytest.raises(Death):
            save(other)
    save(any_state(4, nonfinite=jnp.int32(1)))
    assert (tmp_path / ".next" / "2").is_dir()
    truncate(tmp_path / "4" / "meta" / "metadata")
    with pytest.warns(UserWarning, match="step 4 is damaged"):
        assert_same_bits(restore(tmp_path, any_state(0)), other)
    save(any_state(6))
    assert not (tmp_path / ".next").exists()


def test_a_directory_that_another_run_holds_is_not_saved_to(tmp_path, monkeypatch):
    save_two(tmp_path)
    (tmp_path / "3.orbax-checkpoint-tmp").mkdir()  # what that run is writing

    def held(directory):
        raise training.LockedError(f"{directory} is in use")

    monkeypatch.setattr(locking, "lock_directory", held)
    with pytest.raises(training.LockedError, match="is in use"):
        training.save_checkpoint(tmp_path, any_state(4), config=CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "1", "2", "3.orbax-checkpoint-tmp",
    ]  # fmt: skip


def network_of(number):
    state = any_state(number)
    return state.params["model"], state.model_state


def test_the_network_of_another_run_is_restored_without_the_rest(tmp_path):
    save_two(tmp_path)
    zeros = jax.tree.map(jnp.zeros_like, network_of(0))
    assert_same_bits(training.restore_params(tmp_path, *zeros), network_of(2))
    shapes = jax.eval_shape(lambda: network_of(0))
    restored = training.restore_params(tmp_path, *shapes, step=1)
    assert_same_bits(restored, network_of(1))


def test_restored_weights_begin_a_run_of_another_optimiser_and_other_terms(tmp_path):
    step, initial = set_up("pmap")
    trained = run(step, initial, 2)
    training.save_checkpoint(tmp_path, trained, config={"of": "another run"})
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(5), batch_norm=True
    )
    params, model_state = training.restore_params(tmp_path, params, model_state)
    state = training.init_train_state(
        jax.random.key(3), params, model_state, {}, optax.sgd(0.1), batch_at(0)
    )
    expected = jax.device_get((trained.params["model"], trained.model_state))
    assert_same_bits(
        (state.params["model"], state.model_state), jax.tree.map(jnp.asarray, expected)
    )
    logits = apply_fn(params, model_state, batch_at(0)["inputs"], train=False)[0].logits
    chex.assert_tree_all_finite(logits)


def test_a_damaged_network_is_passed_over_for_the_one_before(tmp_path):
    save_two(tmp_path)
    truncate(tmp_path / "2" / "meta" / "metadata")
    with pytest.warns(UserWarning, match="step 2 is damaged"):
        restored = training.restore_params(tmp_path, *network_of(0))
    assert_same_bits(restored, network_of(1))
    with (
        pytest.warns(UserWarning, match="step 2 is damaged"),
        pytest.raises(FileNotFoundError, match="no checkpoint of step 2 that is whole"),
    ):
        training.restore_params(tmp_path, *network_of(0), step=2)


def test_a_directory_without_a_network_is_an_error(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            FileNotFoundError, match="holds no checkpoint that is whole"
        ):
            training.restore_params(directory, *network_of(0))
    assert not list(tmp_path.iterdir())


def test_another_network_is_refused_leaf_by_leaf(tmp_path):
    save_two(tmp_path)
    params, model_state = network_of(0)
    other = {"a/b": params["a/b"].astype(jnp.float16), "new": jnp.ones(1)}
    with pytest.raises(ValueError, match="step 2 is of another network") as caught:
        training.restore_params(tmp_path, other, {**model_state, "half": jnp.ones(2)})
    for told in (
        '[\'a/b\'] was "float32[2, 3]" and is "float16[2, 3]"',
        ".params['model']['a.b'] was \"float32[2]\" and is absent",
        ".params['model']['new'] was absent and is \"float32[1]\"",
        '.model_state[\'half\'] was "bfloat16[3]" and is "float32[2]"',
    ):
        assert told in str(caught.value)
    assert "opt_state" not in str(caught.value)


def test_part_of_a_network_is_restored_where_that_is_said(tmp_path):
    save_two(tmp_path)
    params, model_state = network_of(0)
    part = {"a/b": params["a/b"]}
    with pytest.raises(ValueError, match=r"\['a\.b'\] was .* and is absent"):
        training.restore_params(tmp_path, part, model_state)
    with pytest.raises(ValueError, match=r"\.model_state\['half'\] was .* is absent"):
        training.restore_params(tmp_path, params, {})
    restored, _ = training.restore_params(tmp_path, part, {}, partly=True)
    assert_same_bits(restored, {"a/b": network_of(2)[0]["a/b"]})
    with pytest.raises(ValueError, match=r"\['new'\] was absent"):
        training.restore_params(tmp_path, {"new": jnp.ones(1)}, {}, partly=True)
