"""What a trained network says: its logits, and how often it is right."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from xguide_jax import data, evaluation, training
from xguide_jax.types import ApplyFn, TrainState


def make_predict(apply_fn: ApplyFn) -> Callable[[TrainState, Any], jax.Array]:
    """The logits of a trained network in eval mode, compiled.

    Args:
      apply_fn: the network.

    Returns:
      `(state, inputs) -> logits [B, C]`; inputs [B, ...] or a pytree of such arrays.
    """
    compiled = jax.jit(
        lambda params, model_state, x: (
            apply_fn(params, model_state, x, train=False)[0].logits
        )
    )
    return lambda state, x: compiled(state.params["model"], state.model_state, x)


def make_predict_rows(
    apply_fn: ApplyFn, *, batch_size: int
) -> Callable[[TrainState, Any], np.ndarray]:
    """The logits of any number of examples, some of them at once.

    Args:
      apply_fn: the network.
      batch_size: examples a call of the compiled network.

    Returns:
      `(state, inputs [N, ...]) -> logits [N, C]`, on the host.
    """
    predict = make_predict(apply_fn)
    return lambda state, inputs: evaluation.map_rows(
        functools.partial(predict, state), inputs, batch_size=batch_size
    )


def make_accuracy(
    apply_fn: ApplyFn,
    *,
    how: Any,
    devices: Sequence[jax.Device] | None,
    batch_size: int = 512,
) -> Callable[[TrainState, data.Dataset], float]:
    """Accuracy on a whole data set, in eval mode.

    Args:
      apply_fn: the network.
      how: the step is lifted over the devices, as `training.data_parallel` has it.
      devices: to use; all if None.
      batch_size: examples at once.

    Returns:
      `(state, dataset) -> accuracy`.
    """
    step = training.data_parallel(
        training.make_eval_step(apply_fn, axis_name="batch"), how=how, devices=devices
    )

    def accuracy(state: TrainState, dataset: data.Dataset) -> float:
        results = [
            jax.device_get(step(state, batch))
            for batch in data.eval_batches(dataset, batch_size=batch_size)
        ]
        weight = sum(float(r["weight"]) for r in results)
        return sum(float(r["accuracy"] * r["weight"]) for r in results) / weight

    return accuracy
