"""Two processes that talk over the loopback are one, and save one checkpoint.

This file is also the program of each process:
`test_multiprocess.py PROCESS_ID PORT OUTPUT.npz`.
"""

import functools
import os
import pathlib
import signal
import socket
import subprocess
import sys

import core_terms
import jax
import numpy as np
import optax
import pytest

from xguide_jax import testing, training

BATCH_SIZE = 8
OPTIMIZER = optax.sgd(0.1, momentum=0.0)
LIFTINGS = ("pmap", "shard_map")


def make(axis_name):
    """Random fills, state that is a statistic of the batch, and batch norm."""
    terms = {
        "guided": core_terms.saliency_guided(),
        "prior": core_terms.saliency_prior(rate=0.3),
    }
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True, axis_name=axis_name
    )
    batch = jax.tree.map(np.asarray, core_terms.uneven_batch(BATCH_SIZE))
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, axis_name=axis_name)
    return step, state, batch


def run(step, state, batch, between=lambda state: state):
    """Two steps: gradients, states and metrics, by flat name."""
    results = {}
    for number in range(2):
        state, metrics = step(between(state) if number else state, batch)
        for path, leaf in jax.tree_util.tree_leaves_with_path((kept(state), metrics)):
            name = f"{number}{jax.tree_util.keystr(path)}"
            results[name] = np.asarray(leaf.addressable_shards[0].data)
    return results


def kept(state):
    return state.opt_state[0].trace, state.model_state, state.guidance_state


def save_and_restore(directory, state, *, like):
    """One checkpoint by all processes, and what each of them reads from it."""
    other = state._replace(nonfinite=state.nonfinite + 1)
    for saved in (other, state):  # one of the same step is replaced by all together
        training.save_checkpoint(directory, saved, config={})
    restored = training.restore_checkpoint(directory, like, config={})
    assert restored.step == 1
    return restored


def stop_together(process_id, step, state, batch):
    """A signal reaches the second process alone, in mid-window; both stop at its end.

    Returns:
      [the steps of the records, the step that was saved, the signal's number].
    """
    logged, saved = [], []

    def batch_at(number):
        if number == 1 and process_id == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch

    with training.stop_on_signals() as stop:
        try:
            training.fit(
                step, state, batch_at, num_steps=20, log_every=3,
                on_log=lambda record: logged.append(record["step"]),
                on_save=lambda state: saved.append(int(state.step)), stop=stop,
            )  # fmt: skip
        except training.Interrupted as stopped:
            return np.array([*logged, *saved, stopped.signal])
    raise AssertionError("was not stopped")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(process_id, port, output):
    here = pathlib.Path(__file__).parents[1]
    paths = [str(here / "guidance"), str(here.parent)]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(
        [sys.executable, __file__, str(process_id), str(port), str(output)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# Thorough: two more processes start JAX and compile. Nothing else covers several hosts.
@pytest.mark.thorough
def test_two_processes_are_one(tmp_path):
    port = free_port()
    outputs = [tmp_path / f"{i}.npz" for i in (0, 1)]
    children = [start(i, port, output) for i, output in enumerate(outputs)]
    try:
        step, state, batch = make(None)
        expected = run(jax.jit(step), state, batch)
        for child in children:
            log, _ = child.communicate(timeout=300)
            assert child.returncode == 0, log
    finally:
        for child in children:
            child.kill()
    first, second = (np.load(output) for output in outputs)
    gradients = [name for name in expected if "[0][0]" in name]
    largest = max(np.max(np.abs(expected[name])) for name in gradients)
    for how in LIFTINGS:
        for name, value in expected.items():
            ours = first[f"{how}{name}"]
            np.testing.assert_array_equal(second[f"{how}{name}"], ours)
            size = largest if name in gradients else max(largest, 1)
            np.testing.assert_allclose(ours, value, atol=1e-5 * size, rtol=0)
        # What both saved between the steps is one checkpoint, and one process reads it.
        assert [path.name for path in (tmp_path / how).iterdir()] == ["1"]
        restored = training.restore_checkpoint(tmp_path / how, state, config={})
        for path, leaf in jax.tree_util.tree_leaves_with_path(kept(restored)):
            saved = first[f"{how}0[0]{jax.tree_util.keystr(path)}"]
            np.testing.assert_array_equal(leaf, saved)
    for stopped in (first["stopped"], second["stopped"]):
        np.testing.assert_array_equal(stopped, [3, 3, signal.SIGTERM])
    assert len(first.files) == 2 * len(expected) + 1
    assert expected["1[1]['guided']"] > 0


def main(process_id, port, output):
    """One of two processes: its half of the batch, by both liftings."""
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, process_id)
    assert jax.process_count() == len(jax.devices()) == 2
    step, state, batch = make("devices")
    half = BATCH_SIZE // 2
    own = {
        name: leaf[process_id * half : (process_id + 1) * half]
        for name, leaf in batch.items()
    }
    results = {}
    for how in LIFTINGS:
        lifted = training.data_parallel(step, how=how)
        through_disk = functools.partial(
            save_and_restore, pathlib.Path(output).with_name(how), like=state
        )
        for name, value in run(lifted, state, own, through_disk).items():
            results[f"{how}{name}"] = value
    results["stopped"] = stop_together(process_id, lifted, state, own)
    np.savez(output, **results)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
