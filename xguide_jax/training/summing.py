"""What the terms of a step come to over some of its examples, before any division.

A weighted mean over a whole batch is the quotient of two sums, whatever devices and
parts of the batch they were taken over.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from xguide_jax.training import context as contexts
from xguide_jax.training import entries, heads
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    GuidanceTerm,
    Metrics,
    ModelOutput,
    PRNGKey,
    PyTree,
    StepContext,
    TaskLoss,
    TermOutput,
    Terms,
)

# What is logged of every term beside its own metrics.
_COUNT = "annotated"


class TermSums(NamedTuple):
    """A term's sums over the examples of one device, not yet divided.

    Attributes:
      loss: Σ w l [].
      weight: Σ w [].
      annotated: [], the number of examples with w > 0.
      metrics: {name: Σ w m []}.
    """

    loss: Array
    weight: Array
    annotated: Array
    metrics: Metrics


def guidance_sums(
    apply_fn: ApplyFn,
    terms: Terms,
    params: Mapping[str, PyTree],
    model_state: PyTree,
    guidance_state: Mapping[str, PyTree],
    batch: Batch,
    *,
    key: PRNGKey,
    step: Array | int,
    output: ModelOutput | None,
    axis_name: str | None,
    task_loss: TaskLoss,
    dropout_key: PRNGKey,
    input_pullback: Callable[[Array], Array] | None,
    total: Array,
    places: Array,
) -> tuple[dict[str, TermSums], dict[str, PyTree]]:
    """The sums that `training.guidance_loss` divides, of a batch or of a part of one.

    Args:
      apply_fn: as there, like all that is not named here.
      terms: {name: GuidanceTerm}.
      params: {'model': ..., 'guidance': ...}.
      model_state: read, never updated.
      guidance_state: {term: carried state}.
      batch: the examples.
      key: of the step.
      step: the steps taken so far.
      output: the clean pass.
      axis_name: the mapped axis, or None.
      task_loss: (output, batch) -> [B].
      dropout_key: of the clean pass.
      input_pullback: of the clean pass, or None.
      total: [], the sum of the weights of the whole batch of all devices.
      places: int32 [B], of the examples in the whole batch.

    Returns:
      ({term: TermSums}, {term: next state}).
    """
    forward = contexts.make_forward(apply_fn, params["model"], model_state, dropout_key)
    context = contexts.make_context(
        forward, batch, output,
        step=step, task_loss=task_loss, key=key, axis_name=axis_name, total=total,
        task_score=heads.score_of(task_loss), input_pullback=input_pullback,
    )  # fmt: skip
    weight = contexts.batch_weight(batch)
    sums, states = {}, {}
    for name, term in sorted(terms.items()):
        out = _apply_term(
            name,
            term,
            params.get("guidance", {}).get(name, ()),
            guidance_state.get(name, ()),
            contexts.with_keys(context, name, places),
        )
        sums[name], states[name] = _sums(name, out, weight), out.state
    return sums, states


def shares(name: str, sums: TermSums, total: Array) -> Metrics:
    """What a term adds to the loss and to the log.

    Args:
      name: of the term.
      sums: over the examples of this device.
      total: Σ w [] of all devices.

    Returns:
      {'<term>', '<term>/<metric>': weighted means, '<term>/annotated': a number}, this
      device's share of each.
    """
    own = {f"{name}/{k}": contexts.share(v, total) for k, v in sums.metrics.items()}
    return {
        name: contexts.share(sums.loss, total),
        f"{name}/{_COUNT}": sums.annotated,
        **own,
    }


def _apply_term(
    name: str, term: GuidanceTerm, params: PyTree, state: PyTree, context: StepContext
) -> TermOutput:
    try:
        return term.apply(params, state, context)
    except entries.MissingEntryError as error:
        raise ValueError(
            f"term {name!r} needs {error.what}; batch has {sorted(context.batch)}, the "
            f"network exposes {sorted(context.output.intermediates)}."
        ) from error
    except Exception as error:
        error.add_note(f"This was raised by the guidance term {name!r}.")
        raise


def _sums(name: str, out: TermOutput, batch_weight: Array) -> TermSums:
    if _COUNT in out.metrics:
        raise ValueError(
            f"term {name!r} must not log {_COUNT!r}: the step logs it of every term."
        )
    for what, value in {"loss": out.loss, "weight": out.weight, **out.metrics}.items():
        if jnp.shape(value) != batch_weight.shape:
            raise ValueError(
                f"term {name!r} returned {what} of shape {jnp.shape(value)}; it must "
                f"hold one value an example, {batch_weight.shape}."
            )
    weight = out.weight.astype(batch_weight.dtype) * batch_weight
    loss = contexts.weighted_sum(out.loss, weight)
    return TermSums(
        loss=loss,
        weight=jnp.sum(weight),
        annotated=jnp.sum(weight > 0, dtype=loss.dtype),
        metrics={k: contexts.weighted_sum(v, weight) for k, v in out.metrics.items()},
    )
