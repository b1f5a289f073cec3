"""One arm as it is trained: how it fails, and what it goes on from."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.running import arms, directory, fitting, flags
from xguide_jax import files, training
from xguide_jax.types import ModelOutput

ARM = arms.Arm("a", "a")


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

    return fitting.Problem(linear, jnp.ones((3, 2)), {}, batch_at, optax.sgd(0.1))


def run_of(path, **changes):
    config = flags.RunConfig(
        **{
            "num_steps": 20, "batch_size": 2, "log_every": 1, "save_every": 2,
            "how": "jit", "num_devices": 1, **changes,
        }
    )  # fmt: skip
    return directory.Run("toy", path, config)


def test_an_arm_that_diverges_is_named_with_its_last_checkpoint(tmp_path):
    checkpoints = tmp_path / "checkpoints" / "a-3"
    with pytest.raises(training.NonFiniteError) as caught:
        fitting.train_arm(run_of(tmp_path), ARM, {}, problem(diverges_at=5), seed=3)
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
        fitting.train_arm(run_of(tmp_path), ARM, {}, problem(diverges_at=0), seed=0)


def test_a_checkpoint_of_an_older_configuration_is_refused_and_named(tmp_path):
    run = run_of(tmp_path, num_steps=2)
    state = training.init_train_state(
        jax.random.key(0), jnp.ones((3, 2)), {}, {}, optax.sgd(0.1),
        problem().batch_at(0),
    )  # fmt: skip
    folder = tmp_path / "checkpoints" / "a-0"
    older = {**directory.identity(run.config, arm="a", seed=0), "num_steps": 2}
    training.save_checkpoint(folder, state, config=older)
    with pytest.raises(
        flags.RefusedError,
        match=r"a-0: the checkpoint of step 0 .*num_steps was 2 and",
    ):
        fitting.train_arm(run, ARM, {}, problem(), seed=0)


@pytest.mark.parametrize("form", [None, 1, 99])
def test_a_run_of_another_form_is_refused_with_its_commit(tmp_path, form):
    config = dataclasses.replace(run_of(tmp_path).config, run_dir=tmp_path)
    with directory.open_run(config, name="toy"):
        pass
    written = json.loads((tmp_path / "config.json").read_text())
    older = {**written, "commit": "abc", "format": form}
    if form is None:  # before there was a form
        del older["format"]
    files.write_json(tmp_path / "config.json", older)
    with (
        pytest.raises(flags.RefusedError, match=r"of another form \(\d+, .*commit abc"),
        directory.open_run(config, name="toy"),
    ):
        pytest.fail("was opened")
