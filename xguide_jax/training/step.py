"""The training step: one pure function that knows no method.

It runs on one device or, under an `axis_name`, as one replica of many
(`training.data_parallel` lifts it). Nothing in it waits for the host.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from xguide_jax import ops
from xguide_jax.training import context as contexts
from xguide_jax.training import heads
from xguide_jax.training import objective as objectives
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    Metrics,
    PRNGKey,
    PyTree,
    TaskLoss,
    Terms,
    TrainState,
)

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]
EvalStep = Callable[[TrainState, Batch], Metrics]


def init_train_state(
    key: PRNGKey,
    params: PyTree,
    model_state: PyTree,
    terms: Terms,
    optimizer: optax.GradientTransformation,
    batch: Batch,
) -> TrainState:
    """The state before the first step.

    Args:
      key: a typed key, `jax.random.key(seed)`; the whole run is a function of it.
      params: the network's.
      model_state: the network's batch statistics and the like.
      terms: {name: GuidanceTerm}; their parameters join the network's under
        `params['guidance']`, where the one optimiser updates both.
      optimizer: e.g. `optax.adam(1e-3)`; `optax.partition` splits it where wanted.
      batch: an example batch; only shapes and dtypes are used.

    Returns:
      A `TrainState`.

    Raises:
      TypeError: for a legacy uint32 key.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"`key` (dtype {key.dtype}) must be a typed key: use `jax.random.key`."
        )
    guidance_params, guidance_state = objectives.init_guidance(key, terms, batch)
    # A weak type, such as that of `jnp.full(3, 0.5)`, would compile the step twice.
    strong = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, x.dtype), tree)
    all_params = strong({"model": params, "guidance": guidance_params})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=all_params,
        model_state=strong(model_state),
        guidance_state=strong(guidance_state),
        opt_state=strong(optimizer.init(all_params)),
        key=key,
        nonfinite=jnp.zeros((), jnp.int32),
    )


def make_train_step(
    apply_fn: ApplyFn,
    terms: Terms,
    optimizer: optax.GradientTransformation,
    *,
    task_loss: TaskLoss = heads.softmax_cross_entropy,
    axis_name: str | None = None,
) -> TrainStep:
    """One step of guided training; `terms = {}` is unguided training.

    A step whose loss or gradient is not finite changes nothing but `step` and
    `nonfinite`: parameters, batch statistics, carried states and the optimiser's are
    kept as they were.

    Args:
      apply_fn: the network.
      terms: {name: GuidanceTerm}.
      optimizer: the one given to `init_train_state`.
      task_loss: (output, batch) -> [B].
      axis_name: name of the device axis for `data_parallel`; None for one device.

    Returns:
      `(state, batch) -> (state, metrics)`, not yet compiled. Metrics are scalars:
      'loss', 'task', '<term>', '<term>/<metric>', 'gradient_norm', and
      'nonfinite/<what>' (1 where a term's loss, the task's or the gradient was not
      finite).
    """
    objective = objectives.make_objective(
        apply_fn, terms, task_loss=task_loss, axis_name=axis_name
    )

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        (_, aux), gradient = jax.value_and_grad(objective, has_aux=True)(
            state.params, state, batch
        )
        gradient, metrics = _sum_together((gradient, aux.metrics), axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        candidate = state._replace(
            params=optax.apply_updates(state.params, updates),
            model_state=_synchronise(aux.model_state, axis_name),
            guidance_state=aux.guidance_state,
            opt_state=opt_state,
        )
        norm = optax.tree.norm(gradient)
        bad = {name: ~jnp.isfinite(metrics[name]) for name in ("task", *terms)}
        bad["gradient"] = ~_all_finite(gradient)
        skip = jnp.any(jnp.stack(list(bad.values())))
        choose = lambda old, new: jnp.where(skip, old, new)
        state = jax.tree.map(choose, state, candidate)
        state = state._replace(
            step=state.step + 1, nonfinite=jnp.where(skip, state.nonfinite + 1, 0)
        )
        flags = {f"nonfinite/{k}": v.astype(jnp.float32) for k, v in bad.items()}
        return state, {**metrics, "gradient_norm": norm, **flags}

    return _carrying(train_step, axis_name)


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

    return _carrying(eval_step, axis_name)


def _carrying(step: Callable, axis_name: str | None) -> Callable:
    """The step with its `axis_name` on it, for `data_parallel` to read."""
    step.axis_name = axis_name  # type: ignore[attr-defined]
    return step


def _sum_together(tree: PyTree, axis_name: str | None) -> PyTree:
    """`psum` of a whole tree by one collective a dtype instead of one a leaf."""
    if axis_name is None:
        return tree
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


def _all_finite(tree: PyTree) -> Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))
