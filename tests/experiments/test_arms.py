"""One arm as it is trained: how it fails, and what it goes on from."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import arms, common
from xguide_jax import training
from xguide_jax.types import ModelOutput


def linear(params, model_state, x, **_):
    return ModelOutput(x @ params, {}), model_state


def problem(*, diverges_at=math.inf):
    """Ten steps of a linear classifier; inputs are NaN from one of them on."""

    def batch_at(step):
        value = np.nan if step >= diverges_at else 1.0
        return {
            "inputs": np.full((2, 3), value, np.float32),
            "labels": np.zeros(2, np.int32),
        }

    return arms.Problem(linear, jnp.ones((3, 2)), {}, batch_at, optax.sgd(0.1))


def run_of(path, **changes):
    config = common.RunConfig(
        **{
            "num_steps": 20, "batch_size": 2, "log_every": 1, "save_every": 2,
            "how": "jit", "num_devices": 1, **changes,
        }
    )  # fmt: skip
    return common.Run("toy", path, config)


def test_an_arm_that_diverges_is_named_with_its_last_checkpoint(tmp_path):
    checkpoints = tmp_path / "checkpoints" / "a-3"
    with pytest.raises(training.NonFiniteError) as caught:
        arms.train_arm(run_of(tmp_path), "a", {}, problem(diverges_at=5), seed=3)
    told = str(caught.value)
    assert told.startswith("a, seed 3, diverged: 10 steps in a row up to step 15 were")
    assert "'task' (1 times)" in told
    assert told.endswith(f"The last good checkpoint is {checkpoints / '15'}.")
    assert "\n" not in told
    assert (checkpoints / "15").is_dir()
    weights, _ = training.restore_params(checkpoints, jnp.ones((3, 2)), {}, step=15)
    before, _ = training.restore_params(checkpoints, jnp.ones((3, 2)), {}, step=4)
    assert np.isfinite(weights).all()
    assert not np.array_equal(weights, before)  # the fifth step was a good one


def test_an_arm_that_cannot_be_saved_says_that_there_is_no_checkpoint(
    tmp_path, monkeypatch
):
    def refuse(*args, **kwargs):
        raise training.NonFiniteError("the state was not saved.")

    monkeypatch.setattr(training, "save_checkpoint", refuse)
    with pytest.raises(
        training.NonFiniteError, match=r"was not saved\. There is no checkpoint\.$"
    ):
        arms.train_arm(run_of(tmp_path), "a", {}, problem(diverges_at=0), seed=0)


def test_a_checkpoint_of_an_older_configuration_is_refused_and_named(tmp_path):
    run = run_of(tmp_path, num_steps=2)
    state = training.init_train_state(
        jax.random.key(0), jnp.ones((3, 2)), {}, {}, optax.sgd(0.1),
        problem().batch_at(0),
    )  # fmt: skip
    folder = tmp_path / "checkpoints" / "a-0"
    older = {**common.identity(run.config, arm="a", seed=0), "num_steps": 2}
    training.save_checkpoint(folder, state, config=older)
    with pytest.raises(
        common.RefusedError,
        match=r"a-0: the checkpoint of step 0 .*num_steps was 2 and",
    ):
        arms.train_arm(run, "a", {}, problem(), seed=0)


def test_results_that_do_not_say_their_steps_are_not_taken_for_those_of_more(tmp_path):
    short, long = (run_of(tmp_path, num_steps=n).config for n in (2, 4))
    short, long = (dataclasses.replace(c, run_dir=tmp_path) for c in (short, long))
    with common.open_run(short, name="toy") as run:
        arms.save_result(run, "a", 0, numbers={"x": 1.0}, arrays={})
    with common.open_run(long, name="toy") as run:
        assert arms.load_result(run, "a", 0) is None  # it is of two steps
    result = tmp_path / "results" / "a-0.json"
    training.write_json(tmp_path / "config.json", {
        **json.loads((tmp_path / "config.json").read_text()),
        "config": common.plain(short),
    })  # fmt: skip
    training.write_json(result, {"x": 1.0})  # as it was before steps stood in it
    with common.open_run(short, name="toy") as run:
        assert arms.load_result(run, "a", 0)[0] == {"x": 1.0}
    with (
        pytest.raises(
            common.RefusedError,
            match=r"num_steps=2, not 4, and results/a-0\.json does not say of how many",
        ),
        common.open_run(long, name="toy"),
    ):
        pytest.fail("was opened")
    # It can still be opened as it was.
    with common.open_run(short, name="toy"):
        pass
