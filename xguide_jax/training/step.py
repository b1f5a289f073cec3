"""The training step: one pure function that knows no method.

It runs on one device or, under an `axis_name`, as one replica of many
(`training.data_parallel` lifts it). Nothing in it waits for the host.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from xguide_jax import ops
from xguide_jax.training import accumulation, finite, heads
from xguide_jax.training import context as contexts
from xguide_jax.training import objective as objectives
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    Metrics,
    PyTree,
    TaskLoss,
    Terms,
    TrainState,
)

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, Batch], Metrics]


def make_train_step(
    apply_fn: ApplyFn,
    terms: Terms,
    optimizer: optax.GradientTransformation,
    *,
    task_loss: TaskLoss = heads.softmax_cross_entropy,
    axis_name: str | None = None,
    accumulate: int = 1,
) -> TrainStep:
    """One step of guided training; `terms = {}` is unguided training.

    What is written is what is checked. A step changes nothing but `step` and
    `nonfinite` unless loss, gradient and every number it would write are finite:
    parameters, batch statistics, carried states and the optimiser's. A number that is
    infinite and was so before, such as the best loss of an optimiser that has seen
    none, is no fault; NaN always is. A gradient is finite if each of its numbers is:
    its norm may overflow, is then logged as inf, and the update is what is looked at.

    With `accumulate=n` the examples of a device are taken in n parts, one after
    another, in the memory of one (on CPU from JAX 0.12 on). Loss, gradient and metrics
    are those of the whole batch, whatever the parts' weights, and so are the examples'
    keys. (`optax.MultiSteps` averages the parts' means instead: with 4 annotated
    examples in one half and 1 in the other a guided update was 61 % off.) What is a
    statistic of the batch sees one part: batch norm, whose running statistics move once
    a part, a robust loss, contrast within a batch, other images' backgrounds; carried
    states and dropout draws are a part's as well. A term reads the running statistics
    from before the step. A network that closes over entries of the batch, as one of two
    inputs does, would see those of all parts: it cannot be accumulated.

    An optimiser that asks for them gets the loss as `value`, the gradient as `grad` and
    the loss as a function of the parameters as `value_fn`, for its line search: this
    last on one device, without accumulation.

    Args:
      apply_fn: the network.
      terms: {name: GuidanceTerm}.
      optimizer: the one given to `init_train_state`.
      task_loss: (output, batch) -> [B].
      axis_name: name of the device axis for `data_parallel`; None for one device.
      accumulate: n >= 1, which divides the examples of a device; `data_parallel` pads
        the batch where it does not.

    Returns:
      `(state, batch) -> (state, metrics)`, not yet compiled. Metrics are scalars:
      'loss', 'task', '<term>', '<term>/annotated' (how many examples had a positive
      weight), '<term>/<metric>', 'gradient_norm', and 'nonfinite/<what>', 1 where that
      was not finite: 'task', '<term>', 'gradient', 'model_state', 'guidance_state' and,
      of a step that is not skipped for these, 'update' (the parameters after it) and
      'opt_state'.

    Raises:
      ValueError: if a term has the name of one of these, or `accumulate` < 1.
    """
    if accumulate < 1:
        raise ValueError(f"`accumulate` (={accumulate}) must be at least 1.")
    objective = objectives.make_objective(
        apply_fn, terms, task_loss=task_loss, axis_name=axis_name
    )
    if accumulate == 1:
        differentiate = _differentiated(objective)
    else:
        differentiate = accumulation.make_accumulated(
            apply_fn, terms,
            task_loss=task_loss, axis_name=axis_name, num_parts=accumulate,
        )  # fmt: skip
    optimizer = optax.with_extra_args_support(optimizer)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        aux, gradient = differentiate(state.params, state, batch)
        # A device that alone finds a fault in its states must not be alone to skip.
        fault = finite.faulty(state.guidance_state, aux.guidance_state)
        gradient, metrics, faults = _sum_together(
            (gradient, aux.metrics, fault.astype(aux.metrics["loss"].dtype)), axis_name
        )
        updates, opt_state = optimizer.update(
            gradient, state.opt_state, state.params,
            value=metrics["loss"], grad=gradient,
            value_fn=_loss_again(objective, state, batch, axis_name, accumulate),
        )  # fmt: skip
        candidate = state._replace(
            params=optax.apply_updates(state.params, updates),
            model_state=_synchronise(aux.model_state, axis_name),
            guidance_state=aux.guidance_state,
            opt_state=opt_state,
        )
        bad = {name: ~jnp.isfinite(metrics[name]) for name in ("task", *terms)}
        bad["gradient"] = ~finite.all_finite(gradient)
        # All that is looked at is equal on all devices, or a sum over them.
        bad["model_state"] = finite.faulty(state.model_state, candidate.model_state)
        bad["guidance_state"] = faults > 0
        # Without it the compiler rounds the update otherwise where it is looked at.
        params, opt_state = jax.lax.optimization_barrier(
            (candidate.params, candidate.opt_state)
        )
        candidate = candidate._replace(params=params, opt_state=opt_state)
        # What follows from a fault that is named already is none of its own.
        is_new = ~_any(bad)
        bad["update"] = is_new & finite.faulty(state.params, params)
        bad["opt_state"] = is_new & finite.faulty(state.opt_state, opt_state)
        # Without it the flags are combined again for each number that is chosen.
        skip = jax.lax.optimization_barrier(_any(bad))
        kept = jax.tree.map(functools.partial(jnp.where, skip), state, candidate)
        state = kept._replace(
            step=state.step + 1, nonfinite=jnp.where(skip, state.nonfinite + 1, 0)
        )
        norm = optax.tree.norm(gradient)
        flags = {f"nonfinite/{k}": v.astype(jnp.float32) for k, v in bad.items()}
        return state, {**metrics, "gradient_norm": norm, **flags}

    return _carrying(train_step, axis_name, accumulate)


def make_eval_step(
    apply_fn: ApplyFn,
    *,
    task_loss: TaskLoss = heads.softmax_cross_entropy,
    correct: Callable[[Array, Array], Array] = heads.softmax_correct,
    axis_name: str | None = None,
) -> EvalStep:
    """Loss and accuracy of one batch in eval mode.

    Args:
      apply_fn: the network.
      task_loss: (output, batch) -> [B].
      correct: (logits, labels) -> [B], 0 or 1 or a share, whose mean is the accuracy;
        `sigmoid_correct` for one logit and for multi-hot labels.
      axis_name: name of the device axis for `data_parallel`; None for one device.

    Returns:
      `(state, batch) -> {'loss', 'accuracy', 'weight'}`: weighted means over the whole
      batch of all devices, and the sum of its weights, with which batches are combined;
      in float32 or wider.

    Raises:
      ValueError: when it is traced, if the default `correct` does not fit the head, or
        a function does not return one value an example.
    """

    def eval_step(state: TrainState, batch: Batch) -> Metrics:
        output, _ = apply_fn(
            state.params["model"], state.model_state, batch["inputs"], train=False
        )
        weight = contexts.batch_weight(batch)
        # In float32: bfloat16 counts 777 rows as 776.
        loss = ops.at_least_float32(
            contexts.per_example("task_loss", task_loss(output, batch), weight)
        )
        right = contexts.per_example(
            "correct", correct(output.logits, batch["labels"]), weight
        )
        weight = weight.astype(loss.dtype)
        mean = lambda values: ops.weighted_mean(
            values.astype(loss.dtype), weight, axis_name=axis_name
        )
        total = ops.axis_sum(jnp.sum(weight), axis_name)
        return {"loss": mean(loss), "accuracy": mean(right), "weight": total}

    return _carrying(eval_step, axis_name, 1)


def _differentiated(objective: objectives.Objective) -> accumulation.Differentiate:
    def differentiate(
        params: dict[str, PyTree], state: TrainState, batch: Batch
    ) -> tuple[objectives.Aux, PyTree]:
        (_, aux), gradient = jax.value_and_grad(objective, has_aux=True)(
            params, state, batch
        )
        return aux, gradient

    return differentiate


def _loss_again(
    objective: objectives.Objective,
    state: TrainState,
    batch: Batch,
    axis_name: str | None,
    accumulate: int,
) -> Callable[[dict[str, PyTree]], Array]:
    """The step's loss at other parameters, for a line search."""

    def value_fn(params: dict[str, PyTree]) -> Array:
        devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        if devices > 1 or accumulate > 1:
            raise ValueError(
                f"the optimiser calls the loss again, as a line search does, and the "
                f"step is shared by {devices} devices with accumulate={accumulate}: "
                "use one device without accumulation, or an optimiser without a line "
                "search."
            )
        return objective(params, state, batch)[0]

    return value_fn


def _carrying(step: Callable, axis_name: str | None, accumulate: int) -> Callable:
    """The step with what `data_parallel` reads of it."""
    step.axis_name = axis_name  # type: ignore[attr-defined]
    step.accumulate = accumulate  # type: ignore[attr-defined]
    return step


def _sum_together(tree: PyTree, axis_name: str | None) -> PyTree:
    """`psum` of a whole tree by one collective a dtype instead of one a leaf."""
    if axis_name is None or jax.lax.axis_size(axis_name) == 1:
        return tree  # the compiler would copy all of it, twice
    leaves, treedef = jax.tree.flatten(tree)
    for dtype in sorted({leaf.dtype for leaf in leaves}, key=str):
        places = [i for i, leaf in enumerate(leaves) if leaf.dtype == dtype]
        flat, restore = ravel_pytree([leaves[i] for i in places])
        for i, leaf in zip(places, restore(jax.lax.psum(flat, axis_name)), strict=True):
            leaves[i] = leaf
    return jax.tree.unflatten(treedef, leaves)


def _synchronise(model_state: PyTree, axis_name: str | None) -> PyTree:
    """The mean of the devices' batch statistics, so that all leave with the same."""
    if axis_name is None:
        return model_state
    mean = lambda x: jax.lax.pmean(x, axis_name)
    inexact = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    return jax.tree.map(lambda x: mean(x) if inexact(x) else x, model_state)


def _any(bad: dict[str, Array]) -> Array:
    return jnp.any(jnp.stack(list(bad.values())))
