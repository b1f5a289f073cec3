"""Training steps, as the library's users lift them."""

from typing import Any

import jax
import numpy as np
import optax

from experiments.benchmarks.race import jobs
from xguide_jax import training
from xguide_jax.types import ApplyFn, Array, Batch, PyTree, Terms


def prepared(
    apply_fn: ApplyFn,
    params: PyTree,
    model_state: PyTree,
    terms: Terms,
    optimizer: optax.GradientTransformation,
    batch: Batch,
    **options: Any,
) -> jobs.Prepared:
    """Steps one after another, each from the state that the one before left.

    Args:
      apply_fn: the network.
      params: its weights.
      model_state: its batch statistics, or {}.
      terms: of the guidance; {} is unguided.
      optimizer: of optax.
      batch: the same in every step, put on the device before.
      **options: of `training.make_train_step`.

    Returns:
      The side. Its outputs are the losses of the first two steps, and the change of
      the parameters in them.
    """
    step = training.data_parallel(
        training.make_train_step(
            apply_fn, terms, optimizer, axis_name="batch", **options
        ),
        devices=jax.devices()[:1],
    )
    state = training.init_train_state(
        jax.random.key(0), params, model_state, terms, optimizer, batch
    )
    resident = jax.device_put(batch)
    start = jax.tree.map(np.asarray, params)
    losses: list[Array] = []

    def call() -> None:
        nonlocal state
        state, metrics = step(state, resident)
        jax.block_until_ready(state)
        if len(losses) < 2:
            losses.append(metrics["loss"])

    def outputs() -> dict[str, np.ndarray]:
        call()
        moved = jax.tree.map(
            lambda new, old: np.asarray(new) - old, state.params["model"], start
        )
        flat = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moved)])
        return {"losses": np.array(losses), "moved": np.linalg.norm(flat)}

    return jobs.Prepared(call, outputs, len(batch["labels"]))
