"""Building blocks of guidance terms.

A term is a pair of pure functions (`types.GuidanceTerm`); an objective is a plain dict
of them. These functions make terms from functions, and terms from terms.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xguide_jax.types import (
    Array,
    Batch,
    GuidanceTerm,
    PRNGKey,
    PyTree,
    StepContext,
    TermOutput,
)

LossFn = Callable[[StepContext], tuple[Array, Array]]
Schedule = Callable[[Array], Array]


def no_variables(key: PRNGKey, batch: Batch) -> tuple[PyTree, PyTree]:
    """The `init` of a term that has neither parameters nor carried state.

    Args:
      key: unused.
      batch: unused.

    Returns:
      ((), ()).
    """
    del key, batch
    return (), ()


def stateless(loss_fn: LossFn) -> GuidanceTerm:
    """A term from one function, the shortest way to a term of your own.

    Args:
      loss_fn: context -> (loss [B], weight [B]); weight 0 where an example carries no
        annotation, and there the loss must have a finite gradient still.

    Returns:
      A `GuidanceTerm` without parameters or state.
    """

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        del params
        loss, weight = loss_fn(context)
        return TermOutput(loss, weight, state)

    return GuidanceTerm(no_variables, apply)


def scale(term: GuidanceTerm, weight: float | Schedule) -> GuidanceTerm:
    """The term times a weight, or times an optax schedule of the step.

    Args:
      term: any term.
      weight: a finite number, or `step -> weight`, e.g. `optax.linear_schedule(0, 1,
        transition_steps=500)`.

    Returns:
      A term whose loss is `weight * loss`; the metric 'unscaled' is the loss itself.

    Raises:
      ValueError: if the weight is a number that is not finite.
    """
    if not callable(weight) and not math.isfinite(weight):
        raise ValueError(f"`weight` (={weight}) must be finite.")

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        out = term.apply(params, state, context)
        factor = weight(context.step) if callable(weight) else weight
        scaled = jnp.asarray(factor, out.loss.dtype) * out.loss
        return out._replace(loss=scaled, metrics={"unscaled": out.loss, **out.metrics})

    return GuidanceTerm(term.init, apply)


def every_k_steps(term: GuidanceTerm, k: int) -> GuidanceTerm:
    """The term at steps 0, k, 2k, ...; the steps between do not pay for it.

    Args:
      term: any term.
      k: at least 1. Loss, weight and metrics are 0 and the state is kept at the steps
        between.

    Returns:
      A term with the same parameters and state.

    Raises:
      ValueError: if k < 1.
    """
    if k < 1:
        raise ValueError(f"`k` (={k}) must be at least 1.")

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        now = lambda: term.apply(params, state, context)

        def otherwise() -> TermOutput:
            shapes = jax.eval_shape(now)._replace(state=())
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            return zeros._replace(state=state)

        # Every device takes the same branch, so collectives in it are safe.
        return jax.lax.cond(context.step % k == 0, now, otherwise)

    return GuidanceTerm(term.init, apply)
