"""One scalar from a task loss and a plain dict of guidance terms.

total = Σ_i w_i l_i / Σ_i w_i  +  Σ_term Σ_i w_i^term l_i^term / Σ_i w_i^term

Both sums run over the whole batch of all devices. Under a mapped axis each device holds
its *share* of that scalar (its own numerator over the global denominator): the sum of
the shares, and of their gradients, is the result. Averaging the shares is wrong.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.training import clean_pass, heads, summing
from xguide_jax.training import context as contexts
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    Metrics,
    ModelOutput,
    PRNGKey,
    PyTree,
    TaskLoss,
    Terms,
    TrainState,
)

# What the step logs beside its terms, and what its flags are about.
_METRICS = frozenset(
    {"gradient", "gradient_norm", "guidance_state", "loss", "model_state"}
    | {"opt_state", "task", "update"}
)


class Aux(NamedTuple):
    """What an objective returns beside its scalar.

    Attributes:
      model_state: after the clean pass, the only one whose statistics are kept.
      guidance_state: {term: next carried state}.
      metrics: {'loss', 'task', '<term>', '<term>/annotated', '<term>/<metric>'}, this
        device's shares.
    """

    model_state: PyTree
    guidance_state: dict[str, PyTree]
    metrics: Metrics


Objective = Callable[[dict[str, PyTree], TrainState, Batch], tuple[Array, Aux]]


def init_guidance(
    key: PRNGKey, terms: Terms, batch: Batch
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """Trainable parameters and carried state of every term.

    Args:
      key: a typed key; a term's draw depends on its name, not on its neighbours.
      terms: {name: GuidanceTerm}.
      batch: an example batch, of which terms may use the shapes and dtypes only.

    Returns:
      ({name: params}, {name: state}), `()` where a term has none.
    """
    parts = {
        name: term.init(contexts.named_key(key, name), batch)
        for name, term in terms.items()
    }
    return {n: p[0] for n, p in parts.items()}, {n: p[1] for n, p in parts.items()}


def make_objective(
    apply_fn: ApplyFn,
    terms: Terms,
    *,
    task_loss: TaskLoss = heads.softmax_cross_entropy,
    axis_name: str | None = None,
) -> Objective:
    """The training objective as a function for bare `jax.grad`.

    Args:
      apply_fn: the network.
      terms: {name: GuidanceTerm}; the names are the metrics' and parameters' names.
      task_loss: (output, batch) -> [B].
      axis_name: the mapped axis the batch is sharded over, if any.

    Returns:
      `(params, state, batch) -> (scalar, Aux)` with params as in `TrainState`. Under
      `axis_name` scalar and metrics are this device's shares: `psum` them, and the
      gradient.

    Raises:
      ValueError: if a term has the name of a metric of the step, or, when it is traced,
        if the task loss is not one value an example.
    """
    check_names(terms)

    def objective(
        params: dict[str, PyTree], state: TrainState, batch: Batch
    ) -> tuple[Array, Aux]:
        key = jax.random.fold_in(state.key, state.step)
        dropout_key = contexts.dropout_key(key, axis_name)
        output, model_state, pullback = clean_pass.run(
            apply_fn, params["model"], state.model_state, batch["inputs"],
            key=dropout_key, with_pullback=bool(terms),
        )  # fmt: skip
        weight = contexts.batch_weight(batch)
        total = ops.axis_sum(jnp.sum(weight), axis_name)
        losses = contexts.per_example("task_loss", task_loss(output, batch), weight)
        task = contexts.share(contexts.weighted_sum(losses, weight), total)
        guidance, (guidance_state, metrics) = guidance_loss(
            apply_fn, terms, params, state.model_state, state.guidance_state, batch,
            key=key, step=state.step, output=output, axis_name=axis_name,
            task_loss=task_loss, dropout_key=dropout_key, input_pullback=pullback,
        )  # fmt: skip
        loss = task + guidance.astype(task.dtype)
        metrics = {"loss": loss, "task": task, **metrics}
        return loss, Aux(model_state, guidance_state, metrics)

    return objective


def guidance_loss(
    apply_fn: ApplyFn,
    terms: Terms,
    params: Mapping[str, PyTree],
    model_state: PyTree,
    guidance_state: Mapping[str, PyTree],
    batch: Batch,
    *,
    key: PRNGKey,
    step: Array | int,
    output: ModelOutput | None = None,
    axis_name: str | None = None,
    task_loss: TaskLoss = heads.softmax_cross_entropy,
    dropout_key: PRNGKey | None = None,
    input_pullback: Callable[[Array], Array] | None = None,
) -> tuple[Array, tuple[dict[str, PyTree], Metrics]]:
    """All guidance terms as one scalar, for anybody's own `loss_fn`.

    Σ_term Σ_i w_i l_i / Σ_i w_i; differentiable in both parts of `params`.

    Args:
      apply_fn: the network.
      terms: {name: GuidanceTerm}.
      params: {'model': the network's, 'guidance': {term: ...}}; 'guidance' may be left
        out where no term has parameters.
      model_state: batch statistics and the like; read, never updated.
      guidance_state: {term: carried state}; may be empty where no term carries any.
      batch: see `types.Batch`.
      key: a typed key, new at every step.
      step: the steps taken so far, which warm-ups and `every_k_steps` go by; your
        optimiser's count, if you have no other.
      output: your clean train-mode pass, so that it is not computed again.
      axis_name: the mapped axis, under which the scalar is this device's share.
      task_loss: what `ctx.task_input_gradient` is the gradient of.
      dropout_key: the key of your own clean pass, for terms that reuse its draw.
      input_pullback: cotangent of the logits -> that of the inputs, of your own clean
        pass: `jax.tree_util.Partial` of what `jax.vjp` returns. Terms that explain the
        inputs in train mode then share its backward pass.

    Returns:
      (scalar, ({term: next state}, {'<term>', '<term>/annotated', '<term>/<metric>'})),
      'annotated' being the number of examples of positive weight.

    Raises:
      ValueError: if a term asks for an annotation that the batch lacks or for a layer
        that the network does not expose, returns other than one value an example, or
        if there is a term and `key` is of an rbg kind.
    """
    if dropout_key is None:
        dropout_key = contexts.dropout_key(key, axis_name)
    total = ops.axis_sum(jnp.sum(contexts.batch_weight(batch)), axis_name)
    sums, states = summing.guidance_sums(
        apply_fn, terms, params, model_state, guidance_state, batch,
        key=key, step=step, output=output, axis_name=axis_name, task_loss=task_loss,
        dropout_key=dropout_key, input_pullback=input_pullback, total=total,
        places=ops.example_indices(ops.batch_size(batch), axis_name=axis_name),
    )  # fmt: skip
    loss, metrics = jnp.zeros(()), {}
    for name in sorted(terms):  # sums in one order, whatever the dict's
        of_term = summing.shares(
            name, sums[name], ops.axis_sum(sums[name].weight, axis_name)
        )
        loss = loss + of_term[name].astype(loss.dtype)
        metrics.update(of_term)
    return loss, (states, metrics)


def check_names(terms: Terms) -> None:
    """Refuses terms that have the name of a metric of the step.

    Args:
      terms: {name: GuidanceTerm}.

    Raises:
      ValueError: naming them.
    """
    taken = sorted(n for n in terms if n in _METRICS or n.startswith("nonfinite"))
    if taken:
        raise ValueError(f"terms must not be called {taken}: metrics of the step are.")
