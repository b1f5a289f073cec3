"""What a term sees of a step: the network, the clean pass, and keys of its own."""

import functools
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.training import entries
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    Forward,
    ModelOutput,
    PRNGKey,
    PyTree,
    StepContext,
    TaskLoss,
    TaskScore,
)


def make_context(
    forward: Forward,
    batch: Batch,
    output: ModelOutput | None,
    *,
    step: Array | int,
    task_loss: TaskLoss,
    key: PRNGKey,
    axis_name: str | None,
    total: Array,
    task_score: TaskScore | None = None,
    input_pullback: Callable[[Array], Array] | None = None,
) -> StepContext:
    """The context of one step, its `key` still that of the step.

    Args:
      forward: from `make_forward`.
      batch: the examples of this device.
      output: the clean pass; computed where it is None.
      step: the steps taken so far.
      task_loss: what `task_input_gradient` is the gradient of.
      key: of the step; every term gets its own by `example_keys`.
      axis_name: the mapped axis, or None.
      total: [], the sum of the weights of the whole batch of all devices.
      task_score: see `StepContext`; None where it is not known.
      input_pullback: of the clean pass; None where it is not known.

    Returns:
      A `StepContext`.
    """
    if output is None:
        output = forward(batch["inputs"], train=True)
    layers = entries.Layers(output.intermediates)
    return StepContext(
        forward=forward,
        task_input_gradient=functools.partial(
            _task_input_gradient, forward, task_loss, batch, total
        ),
        batch=entries.BatchEntries(batch),
        output=output._replace(intermediates=layers),
        step=jnp.asarray(step, jnp.int32),
        key=key,
        axis_name=axis_name,
        task_score=task_score,
        input_pullback=input_pullback,
    )


def with_keys(context: StepContext, name: str, places: Array) -> StepContext:
    """The context as the term called `name` sees it, with a key for each example.

    The keys are functions of the term's name and of an example's place in the whole
    batch, not of other terms or of how many devices share the batch. With one key for
    all, as in `jax.random.normal(key, inputs.shape)`, two devices would draw the same
    noise for different examples, and other noise than one device draws. JAX's own page
    on keys: docs.jax.dev/en/latest/random-numbers.html.

    Args:
      context: with the key of the step.
      name: of the term.
      places: int32 [B], of the examples in the whole batch.

    Returns:
      The context with `key` [B].

    Raises:
      ValueError: as `ops.example_keys`, for a key that is not typed or of an rbg kind.
    """
    fold = functools.partial(jax.random.fold_in, named_key(context.key, name))
    keys = ops.example_keys(jax.vmap(fold)(places), len(places))
    return context._replace(key=keys)


def make_forward(
    apply_fn: ApplyFn, params: PyTree, model_state: PyTree, dropout_key: PRNGKey
) -> Forward:
    """The network at its current parameters, for a term to call.

    Args:
      apply_fn: the network.
      params: its parameters; outputs are differentiable in them.
      model_state: batch statistics and the like, never updated here.
      dropout_key: of the clean pass, for passes in train mode without a key.

    Returns:
      (inputs, *, train, overrides, key) -> `ModelOutput`.
    """

    def forward(
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
        key: PRNGKey | None = None,
    ) -> ModelOutput:
        if train and key is None:
            key = dropout_key
        output, _ = apply_fn(
            params, model_state, inputs, train=train, key=key if train else None,
            overrides=overrides,
        )  # fmt: skip
        return output._replace(intermediates=entries.Layers(output.intermediates))

    return forward


def named_key(key: PRNGKey, name: str) -> PRNGKey:
    """A key of its own for each name: adding a term changes no other's noise.

    Args:
      key: a typed key [].
      name: of a term, or of another use.

    Returns:
      a typed key [].
    """
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))


def dropout_key(key: PRNGKey, axis_name: str | None) -> PRNGKey:
    """The key of the clean pass's dropout.

    Its masks are drawn per device: networks take one key a batch, not one an example.

    Args:
      key: a typed key [], of the step.
      axis_name: the mapped axis, or None.

    Returns:
      a typed key [].
    """
    key = named_key(key, "task/dropout")
    if axis_name is None:
        return key
    return jax.random.fold_in(key, jax.lax.axis_index(axis_name))


def batch_weight(batch: Batch) -> Array:
    """The weight of each example.

    Args:
      batch: with or without 'weight' [B].

    Returns:
      [B], in the widest float enabled; 1 where the batch has none.
    """
    weight = batch["weight"] if "weight" in batch else jnp.ones(ops.batch_size(batch))
    # float64 where it is enabled: sums of weights must not depend on their order.
    return weight.astype(jnp.result_type(float))


def per_example(name: str, values: Array, weight: Array) -> Array:
    """The values, refused unless there is one an example.

    Args:
      name: what they are, for the message.
      values: of any shape.
      weight: [B].

    Returns:
      `values`, [B].

    Raises:
      ValueError: for another shape, which would be broadcast against the weights.
    """
    if jnp.shape(values) != weight.shape:
        raise ValueError(
            f"`{name}` returned shape {jnp.shape(values)}; it must return one value an "
            f"example, {weight.shape}."
        )
    return values


def weighted_sum(values: Array, weight: Array) -> Array:
    """Σ w v over the examples of a device.

    Args:
      values: float [B]; where the weight is 0 anything, NaN included.
      weight: float [B].

    Returns:
      float [], float32 or wider.
    """
    values = ops.at_least_float32(values)
    weight = weight.astype(values.dtype)
    kept = jnp.where(weight > 0, values, 0.0)
    return jnp.sum(weight * kept)


def share(weighted: Array, total: Array) -> Array:
    """A device's part of a weighted mean, Σ w v / total.

    Args:
      weighted: float [], from `weighted_sum`.
      total: [], the sum of the weights of all devices.

    Returns:
      float [], of the dtype of `weighted`; 0, with zero gradient, where the total is 0.
    """
    return ops.safe_divide(weighted, total.astype(weighted.dtype))


def _task_input_gradient(
    forward: Forward,
    task_loss: TaskLoss,
    batch: Batch,
    total: Array,
    *,
    train: bool = True,
) -> Array:
    """The clean pass again: the compiler merges it, and its pullback, with the first.

    That holds because the same expressions stand in both; it is what makes a constant
    teacher cost two thirds of a forward pass less than any other saliency.
    """
    weight = batch_weight(batch)

    def mean_task_loss(inputs: Array) -> Array:
        output = forward(inputs, train=train)
        losses = per_example("task_loss", task_loss(output, batch), weight)
        return share(weighted_sum(losses, weight), total)

    return jax.grad(mean_task_loss)(batch["inputs"])
