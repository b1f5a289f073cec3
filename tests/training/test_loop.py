"""The loop asks the device rarely, stops in time, and resumes as if never stopped."""

import functools
import math
import signal
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import attributions, files, guidance, ops, testing, training
from xguide_jax.types import GuidanceTerm, TermOutput, TrainState


def toy_state(step=0):
    return TrainState(
        step=jnp.int32(step),
        params={"model": jnp.zeros(()), "guidance": {}},
        model_state=(),
        guidance_state={},
        opt_state=(),
        key=jax.random.key(0),
        nonfinite=jnp.int32(0),
    )


@jax.jit
def toy_step(state, batch):
    """Adds up 'inputs' []; a batch that is not finite is skipped, as in training."""
    value = batch["inputs"]
    skip = ~jnp.isfinite(value)
    flag = skip.astype(jnp.float32)
    total = state.params["model"] + jnp.where(skip, 0.0, value)
    state = state._replace(
        step=state.step + 1,
        params={"model": total, "guidance": {}},
        nonfinite=jnp.where(skip, state.nonfinite + 1, 0),
    )
    metrics = {"loss": value, "nonfinite/task": flag, "nonfinite/gradient": flag}
    return state, metrics


def toy_batches(*values):
    return lambda step: {"inputs": np.float32(values[step])}


def fit_toy(values, *, step=0, **options):
    options = {"num_steps": len(values), "log_every": 2, **options}
    return training.fit(toy_step, toy_state(step), toy_batches(*values), **options)


def test_records_are_means_of_their_windows_and_the_last_may_be_short():
    records = []
    state = fit_toy([1.0, 2.0, 3.0, 5.0, 7.0], on_log=records.append)
    # (1 + 2) / 2, (3 + 5) / 2 and 7 / 1.
    assert [(r["step"], r["loss"]) for r in records] == [(2, 1.5), (4, 4.0), (5, 7.0)]
    assert (int(state.step), float(state.params["model"])) == (5, 18.0)


def test_records_stand_at_multiples_wherever_a_run_begins():
    records = []
    fit_toy([9.0, 9.0, 9.0, 4.0, 5.0, 6.0, 7.0], step=3, on_log=records.append)
    assert [(r["step"], r["loss"]) for r in records] == [(4, 4.0), (6, 5.5), (7, 7.0)]


def test_what_is_not_finite_is_counted_and_left_out_of_means():
    records = []
    fit_toy([1.0, math.nan, math.inf, math.nan], on_log=records.append)
    first, second = records
    expected = {"nonfinite": 1, "nonfinite/task": 1, "nonfinite/gradient": 1}
    assert first == {"step": 2, "loss": 1.0, **expected}
    assert math.isnan(second["loss"])
    assert second["nonfinite"] == 2


def test_flags_of_one_step_are_one_skipped_step():
    def step(state, batch):
        state, metrics = toy_step(state, batch)
        metrics["nonfinite/task"] = jnp.float32(state.step == 1)
        metrics["nonfinite/gradient"] = jnp.float32(state.step <= 2)
        return state, metrics

    records = []
    training.fit(
        step, toy_state(), toy_batches(*range(4)), num_steps=4, log_every=4,
        on_log=records.append,
    )  # fmt: skip
    (record,) = records
    assert record["nonfinite"] == 2
    assert (record["nonfinite/task"], record["nonfinite/gradient"]) == (1, 2)


def test_a_gradient_that_fails_more_often_than_a_term_is_named_after_it():
    def step(state, batch):
        state, metrics = toy_step(state, batch)
        metrics["nonfinite/task"] = jnp.float32(state.step == 1)
        return state, metrics

    with pytest.raises(
        training.NonFiniteError,
        match=r"'task' \(1 times\), 'gradient' \(2 times\)\.",
    ):
        training.fit(
            step, toy_state(), toy_batches(math.nan, math.nan), num_steps=2,
            log_every=2, max_consecutive_nonfinite=2,
        )  # fmt: skip


def test_the_device_is_asked_once_a_window(monkeypatch):
    fetched = []
    device_get = jax.device_get
    monkeypatch.setattr(
        jax, "device_get", lambda tree: fetched.append(tree) or device_get(tree)
    )
    with jax.transfer_guard_device_to_host("disallow"):
        fit_toy([1.0] * 12, log_every=5, progress=lambda *_: None)
    assert len(fetched) == 3  # at steps 5, 10 and 12


def test_it_saves_at_multiples_and_at_the_end_after_the_record():
    events = []
    fit_toy(
        [1.0] * 9,
        save_every=4,
        on_log=lambda record: events.append(record["step"]),
        on_save=lambda state: events.append(f"saved {int(state.step)}"),
    )
    assert events == [2, 4, "saved 4", 6, 8, "saved 8", 9, "saved 9"]


def test_without_save_every_it_saves_at_the_end_only():
    saved = []
    fit_toy([1.0] * 4, on_save=lambda state: saved.append(int(state.step)))
    assert saved == [4]


@pytest.mark.parametrize("step", [3, 5])
def test_a_state_that_is_there_already_is_returned_as_it_is(step):
    never = lambda *_: pytest.fail("was called")
    state = toy_state(step)
    result = training.fit(
        toy_step, state, never, num_steps=3, on_log=never, on_save=never,
        progress=never,
    )  # fmt: skip
    assert result is state


def test_progress_gets_the_speed_that_records_leave_out():
    calls, records = [], []
    fit_toy([1.0] * 4, on_log=records.append, progress=lambda *call: calls.append(call))
    assert [(step, record) for step, _, record in calls] == [
        (record["step"], record) for record in records
    ]
    assert all(speed > 0 for _, speed, _ in calls)
    assert set(records[0]) == {
        "step", "loss", "nonfinite", "nonfinite/task", "nonfinite/gradient",
    }  # fmt: skip


def test_batches_are_made_in_order_once_each_by_one_thread_two_ahead():
    made, threads, used = [], set(), []
    begun = {n: threading.Event() for n in range(9)}

    def batch_at(step):
        made.append(step)
        threads.add(threading.get_ident())
        begun[step].set()
        return {"inputs": np.float32(step)}

    def step(state, batch):
        if not used:
            assert begun[5].wait(60)
            assert not begun[6].wait(0.2)
        used.append(int(batch["inputs"]))
        return toy_step(state, batch)

    training.fit(step, toy_state(3), batch_at, num_steps=9, log_every=2)
    assert made == used == [3, 4, 5, 6, 7, 8]
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def batch_threads():
    return [t for t in threading.enumerate() if t.name.startswith("batches")]


def test_an_error_in_a_batch_is_raised_after_the_steps_before_it():
    records = []

    def batch_at(step):
        if step == 4:
            raise OSError("disk is gone")
        return {"inputs": np.float32(1)}

    with pytest.raises(OSError, match="disk is gone"):
        training.fit(
            toy_step, toy_state(), batch_at, num_steps=9, log_every=2,
            on_log=records.append,
        )  # fmt: skip
    assert [record["step"] for record in records] == [2, 4]
    assert batch_threads() == []


def test_an_error_in_a_callback_ends_the_thread_after_the_batch_it_is_making():
    made, began, logged = [], threading.Event(), threading.Event()

    def batch_at(step):
        if step == 2:
            began.set()
            assert logged.wait(60)
            threading.Event().wait(0.5)  # while the error makes its way
        made.append(step)
        return {"inputs": np.float32(1)}

    def on_log(record):
        assert began.wait(60)
        logged.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.fit(
            toy_step, toy_state(), batch_at, num_steps=99, log_every=2, on_log=on_log
        )
    assert batch_threads() == []
    assert made == [0, 1, 2]


def test_a_loader_that_ends_is_named_and_the_state_reached_is_saved_first():
    loader = iter([{"inputs": np.float32(value)} for value in (1.0, 2.0, 4.0)])
    saved, records = [], []
    with pytest.raises(
        RuntimeError,
        match=r"^`batch_at\(3\)` raised StopIteration: .* for 3 of `num_steps` \(=10\)",
    ):
        training.fit(
            toy_step, toy_state(), lambda n: next(loader), num_steps=10, log_every=2,
            on_log=records.append, on_save=saved.append,
        )  # fmt: skip
    (state,) = saved
    assert (int(state.step), float(state.params["model"])) == (3, 7.0)
    assert [(r["step"], r["loss"]) for r in records] == [(2, 1.5), (3, 4.0)]
    assert batch_threads() == []


def test_a_loader_that_ends_at_a_save_or_is_empty_is_not_saved_again():
    saved, logged = [], []
    for values in ([1.0] * 2, []):
        loader = iter([{"inputs": np.float32(value)} for value in values])
        with pytest.raises(RuntimeError, match=rf"^`batch_at\({len(values)}\)` raised"):
            training.fit(
                toy_step, toy_state(), lambda n, loader=loader: next(loader),
                num_steps=9, log_every=2, save_every=2, on_save=saved.append,
                on_log=lambda record: logged.append(record["step"]),
            )  # fmt: skip
    assert [int(state.step) for state in saved] == [2]
    assert logged == [2]  # and no record of no steps


def sparse_step(state, batch):
    """Reports two terms, of which 'a' has as many annotated examples as the batch."""
    state, _ = toy_step(state, {"inputs": batch["loss"]})
    count = jnp.asarray(batch["annotated"])
    metrics = {
        "loss": batch["loss"],
        "a": batch["loss"],
        "a/share": 2 * batch["loss"],
        "a/annotated": count,
        "a/b": batch["loss"],
        "a/b/annotated": jnp.float32(1),
        "none": batch["loss"],
        "nonfinite/a": jnp.float32(1),
    }
    return state, metrics


def fit_sparse(losses, counts):
    records = []
    training.fit(
        sparse_step,
        toy_state(),
        lambda n: {"loss": np.float32(losses[n]), "annotated": np.float32(counts[n])},
        num_steps=len(losses),
        log_every=4,
        max_consecutive_nonfinite=99,
        on_log=records.append,
    )
    return records


def test_metrics_of_a_term_are_means_over_the_steps_with_annotated_examples():
    # As a term does that guides every fourth step: 0 in between, with weight 0.
    (record,) = fit_sparse([3.0, 0.0, 0.0, 0.0], [8, 0, 0, 0])
    assert (record["a"], record["a/share"]) == (3.0, 6.0)
    assert record["a/annotated"] == 2.0  # a mean over all four
    # Where a term does not say, every step counts, and so it does for the task.
    assert record["none"] == record["loss"] == 0.75
    # 'a/b' is a term of its own, with an example in every step.
    assert record["a/b"] == 0.75
    assert record["nonfinite/a"] == 4


def test_means_of_narrow_metrics_are_taken_in_float32():
    records = []
    training.fit(
        lambda state, batch: (state, {"loss": jnp.bfloat16(batch["inputs"])}),
        toy_state(), toy_batches(256.0, 1.0, 1.0, 1.0), num_steps=4, log_every=4,
        on_log=records.append,
    )  # fmt: skip
    assert records[0]["loss"] == 259 / 4  # one by one 256 in bfloat16


def test_a_window_without_annotated_examples_has_no_mean():
    (record,) = fit_sparse([0.0, 0.0], [0, math.nan])
    assert math.isnan(record["a"])
    assert record["a/annotated"] == 0.0


def test_what_fails_is_named_in_the_order_in_which_it_is_computed():
    def message(*names):
        flags = {f"nonfinite/{n}": jnp.float32(n in names) for n in FLAGS}

        def step(state, batch):
            state, _ = toy_step(state, {"inputs": math.nan})
            return state, {"loss": batch["inputs"], **flags}

        with pytest.raises(training.NonFiniteError) as caught:
            training.fit(
                step, toy_state(), toy_batches(1.0), num_steps=1,
                max_consecutive_nonfinite=1,
            )  # fmt: skip
        return str(caught.value).partition("record: ")[2].partition(". Param")[0]

    FLAGS = ("zeal", "task", "gradient", "update", "model_state", "opt_state")
    # What is computed from a culprit fails with it, and says no more.
    assert message(*FLAGS) == "'task' (1 times), 'zeal' (1 times)"
    assert message("gradient", "update", "opt_state") == "'gradient' (1 times)"
    assert message("update", "opt_state") == "'update' (1 times)"
    expected = "'model_state' (1 times), 'opt_state' (1 times)"
    assert message("opt_state", "model_state") == expected


def test_a_state_that_is_not_finite_is_not_saved_when_the_run_stops():
    def step(state, batch):
        state, metrics = toy_step(state, batch)
        broken = {"model": {"kernel": jnp.full(3, jnp.nan)}, "guidance": {}}
        return state._replace(params=broken), metrics

    never = lambda state: pytest.fail("was called")
    with pytest.raises(
        training.NonFiniteError,
        match=r"not finite in \.params\['model'\]\['kernel'\], and was not given to",
    ):
        training.fit(
            step, toy_state(), toy_batches(math.nan), num_steps=1, on_save=never,
            max_consecutive_nonfinite=1,
        )  # fmt: skip


def test_a_run_that_stops_is_named_although_its_state_cannot_be_saved():
    def refuse(state):
        raise training.NonFiniteError("the state was not saved.")

    with pytest.raises(
        training.NonFiniteError, match=r"record: 'task' .* the state was not saved\.$"
    ):
        fit_toy([math.nan], on_save=refuse, max_consecutive_nonfinite=1)


def test_a_run_that_is_told_to_stop_saves_after_the_running_step():
    events = []

    def batch_at(step):
        return {"inputs": np.float32(step)}

    with pytest.raises(training.Interrupted) as caught:
        training.fit(
            toy_step, toy_state(), batch_at, num_steps=9, log_every=4,
            on_log=lambda record: events.append((record["step"], record["loss"])),
            on_save=lambda state: events.append(f"saved {int(state.step)}"),
            stop=iter([0, 0, 0, 0, 0, signal.SIGTERM]).__next__,
        )  # fmt: skip
    # 0 + 1 + 2 + 3, and of the next window what there was of it.
    assert events == [(4, 1.5), (6, 4.5), "saved 6"]
    assert caught.value.code == 143
    assert int(caught.value.state.step) == 6
    assert str(caught.value) == "stopped by SIGTERM after step 6"
    assert batch_threads() == []


def test_too_many_skipped_steps_in_a_row_stop_the_run_after_a_save():
    saved, records = [], []
    values = [1.0, 2.0, 4.0] + [math.nan] * 5
    with pytest.raises(
        training.NonFiniteError,
        match=r"^3 steps in a row up to step 6 .* record: 'task' \(2 times\)\. Param",
    ):
        fit_toy(
            values,
            max_consecutive_nonfinite=3,
            on_save=saved.append,
            on_log=records.append,
        )
    (state,) = saved
    assert (int(state.step), float(state.params["model"])) == (6, 7.0)
    assert [record["step"] for record in records] == [2, 4, 6]


def test_fewer_skipped_steps_in_a_row_do_not_stop_it():
    values = [math.nan, math.nan, 1.0, math.nan, math.nan, 1.0] * 2
    state = fit_toy(values, max_consecutive_nonfinite=3, log_every=1)
    assert float(state.params["model"]) == 4.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": -1}, r"`num_steps` \(=-1\) must be at least 0"),
        ({"log_every": 0}, r"`log_every` \(=0\) must be at least 1"),
        ({"save_every": 0}, r"`save_every` \(=0\) must be at least 1"),
        (
            {"max_consecutive_nonfinite": 0},
            r"`max_consecutive_nonfinite` \(=0\) must be at least 1",
        ),
        (
            {"save_every": 5},
            r"`save_every` \(=5\) must be a multiple of `log_every` \(=2\)",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit_toy([1.0], **options)


SALIENCY = guidance.saliency_guided(
    mask_fraction=0.5,
    fill=functools.partial(ops.uniform_range_fill, axes=(1, 2, 3)),
    rank_fn=ops.signed_channel_mean,
    score_fn=attributions.target_log_probability,
)


def failing_term():
    """Mean logit squared; its loss or its gradient is NaN where the batch says so."""

    def apply(params, state, context):
        del params
        mean = jnp.mean(jnp.square(context.output.logits), axis=-1)
        # sqrt has an infinite slope at 0, times the 0 inside: a gradient of NaN.
        failure = context.batch["failure"]
        no_slope = jnp.sqrt(jnp.where(failure == 2, 0.0 * mean, 1.0))
        loss = jnp.where(failure == 1, jnp.nan, mean)
        loss = loss + jnp.where(failure == 2, no_slope, 0.0)
        return TermOutput(loss, jnp.ones_like(loss), state)

    return GuidanceTerm(lambda key, batch: ((), ()), apply)


def batch_at(step, *, failure=0):
    rng = np.random.default_rng(step)
    return {
        "inputs": rng.normal(size=(4, 6, 6, 2)).astype(np.float32),
        "labels": rng.integers(0, 3, 4).astype(np.int32),
        "failure": np.full(4, failure, np.int32),
    }


@functools.cache
def real_run():
    """(a compiled step of two terms, its initial state)."""
    terms = {"saliency": SALIENCY, "failing": failing_term()}
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    optimizer = optax.sgd(0.05, momentum=0.9)
    state = training.init_train_state(
        jax.random.key(1), params, model_state, terms, optimizer, batch_at(0)
    )
    return jax.jit(training.make_train_step(apply_fn, terms, optimizer)), state


def as_bytes(state):
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


def run_in(directory, batch_at=batch_at, **options):
    """What the same command with the same directory does."""
    step, initial = real_run()
    checkpoints, log = directory / "checkpoints", directory / "metrics.jsonl"
    state = training.restore_checkpoint(checkpoints, initial, config={}) or initial
    files.truncate_log(log, lambda record: record["step"] <= int(state.step))
    return training.fit(
        step,
        state,
        batch_at,
        on_log=functools.partial(files.append_record, log),
        on_save=functools.partial(training.save_checkpoint, checkpoints, config={}),
        **{"num_steps": 13, "log_every": 2, "save_every": 4, **options},
    )


@pytest.mark.parametrize("stop", [3, 7, 12])
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(stop, tmp_path):
    def until_stopped(step):
        if step == stop:
            raise OSError("power")
        return batch_at(step)

    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run_in(tmp_path / "whole")
    with pytest.raises(OSError, match="power"):
        run_in(tmp_path / "stopped", until_stopped)
    resumed = run_in(tmp_path / "stopped")

    assert as_bytes(resumed) == as_bytes(whole)
    logs = [tmp_path / name / "metrics.jsonl" for name in ("whole", "stopped")]
    assert logs[0].read_bytes() == logs[1].read_bytes()
    records = files.read_records(logs[1])
    assert [r["step"] for r in records] == [2, 4, 6, 8, 10, 12, 13]


@pytest.mark.parametrize("stop", [3, 8])
def test_a_run_that_was_told_to_stop_goes_on_to_the_same_bits(stop, tmp_path):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run_in(tmp_path / "whole")
    numbers = iter([0] * (stop - 1) + [signal.SIGINT])
    with pytest.raises(training.Interrupted, match=f"SIGINT after step {stop}"):
        run_in(tmp_path / "stopped", stop=lambda: next(numbers))
    began = []
    resumed = run_in(
        tmp_path / "stopped", lambda step: began.append(step) or batch_at(step)
    )
    assert began[0] == stop  # no step is lost
    assert as_bytes(resumed) == as_bytes(whole)
    whole, stopped = (
        files.read_records(tmp_path / name / "metrics.jsonl")
        for name in ("whole", "stopped")
    )
    if stop == 8:
        assert stopped == whole
    else:  # the steps of one record are in two
        assert [r["step"] for r in stopped] == [2, 3, 4, 6, 8, 10, 12, 13]
        first, second = (r["loss"] for r in stopped[1:3])
        assert whole[1]["loss"] == pytest.approx((first + second) / 2, rel=1e-6)


@pytest.mark.parametrize(("failure", "name"), [(1, "failing"), (2, "gradient")])
def test_a_failing_term_is_named_and_the_checkpoint_is_good(failure, name, tmp_path):
    step, state = real_run()
    fails_from_5 = lambda n: batch_at(n, failure=failure if n >= 5 else 0)
    with pytest.raises(
        training.NonFiniteError, match=rf"^3 steps in a row .* record: '{name}' \("
    ):
        run_in(tmp_path, fails_from_5, max_consecutive_nonfinite=2)
    for n in range(5):
        state, _ = step(state, batch_at(n))
    checkpoint = training.restore_checkpoint(
        tmp_path / "checkpoints", real_run()[1], config={}
    )
    counters = {"step": checkpoint.step, "nonfinite": checkpoint.nonfinite}
    assert (int(checkpoint.step), int(checkpoint.nonfinite)) == (8, 3)
    assert as_bytes(checkpoint) == as_bytes(state._replace(**counters))
