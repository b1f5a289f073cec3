"""Building blocks of guidance terms.

A term is a pair of pure functions (`types.GuidanceTerm`); an objective is a plain dict
of them. These functions make terms from functions, and terms from terms.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import (
    Array,
    Batch,
    GuidanceTerm,
    PRNGKey,
    PyTree,
    StepContext,
    TermOutput,
)

LossFn = Callable[
    [StepContext], tuple[Array, Array] | tuple[Array, Array, Mapping[str, Array]]
]
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
        annotation, and there the loss must have a finite gradient still. A third
        entry, {name: [B]}, is logged.

    Returns:
      A `GuidanceTerm` without parameters or state.
    """

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        del params
        loss, weight, *metrics = loss_fn(context)
        return TermOutput(loss, weight, state, *metrics)

    return GuidanceTerm(no_variables, apply)


def scale(term: GuidanceTerm, weight: float | Array | Schedule) -> GuidanceTerm:
    """The term times a weight, or times an optax schedule of the step.

    Args:
      term: any term.
      weight: a finite number, or `step -> weight`, e.g. `optax.linear_schedule(0, 1,
        transition_steps=500)`. An array [] may be an argument of the compiled function
        that builds the term, so that one program serves a sweep; a weight that is not
        finite there makes the loss NaN, and the step is skipped.

    Returns:
      A term whose loss is `weight * loss`; the metric 'unscaled' is the loss itself.

    Raises:
      ValueError: if the weight is a number that is not finite, or an array that is not
        one number.
    """
    if not callable(weight):
        _check_weight(weight)

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        out = term.apply(params, state, context)
        factor = weight(context.step) if callable(weight) else weight
        scaled = jnp.asarray(factor, out.loss.dtype) * out.loss
        return out._replace(loss=scaled, metrics={"unscaled": out.loss, **out.metrics})

    return GuidanceTerm(term.init, apply)


def every_k_steps(term: GuidanceTerm, k: int) -> GuidanceTerm:
    """The term at steps 0, k, 2k, ...; the steps between do not pay for it.

    On several devices a term with collectives (a statistic of the whole batch, or a
    network whose batch norm is synchronised) does pay: it is computed at every step and
    counted at these. Devices that meet in one branch of a conditional may wait for each
    other for ever where another term has such a branch too.

    Args:
      term: any term.
      k: at least 1. Loss, weight and metrics are 0 and the state is kept at the steps
        between; no example is annotated there, so a log leaves them out of its means.

    Returns:
      A term with the same parameters and state.

    Raises:
      ValueError: if k < 1.
    """
    if k < 1:
        raise ValueError(f"`k` (={k}) must be at least 1.")

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        now = lambda: term.apply(params, state, context)
        active = context.step % k == 0

        def otherwise() -> TermOutput:
            shapes = jax.eval_shape(now)._replace(state=())
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            return zeros._replace(state=state)

        if context.axis_name is not None and _has_collectives(now, context.axis_name):
            choose = lambda a, b: jnp.where(active, a, b)
            return jax.tree.map(choose, now(), otherwise())
        return jax.lax.cond(active, now, otherwise)

    return GuidanceTerm(term.init, apply)


def summed(term: GuidanceTerm) -> GuidanceTerm:
    """The sum of a term over the examples of a batch, in place of the mean.

    Σ w l, where the objective would add Σ w l / Σ w. The weight of the term beside the
    task then grows with the batch and with the share that is annotated.

    Args:
      term: any term.

    Returns:
      A term with the same parameters, state and metrics.

    Source: the published code of Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023.
    """

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        out = term.apply(params, state, context)
        weight = out.weight
        if "weight" in context.batch:
            weight = weight * context.batch["weight"].astype(weight.dtype)
        # The objective divides by the same sum.
        total = ops.axis_sum(jnp.sum(weight), context.axis_name)
        return out._replace(loss=out.loss * total.astype(out.loss.dtype))

    return GuidanceTerm(term.init, apply)


def _check_weight(weight: float | Array) -> None:
    if jnp.ndim(weight) != 0:
        raise ValueError(f"`weight` of shape {jnp.shape(weight)} must be one number.")
    if not isinstance(weight, jax.core.Tracer) and not math.isfinite(weight):
        raise ValueError(f"`weight` (={weight}) must be finite.")


def _has_collectives(function: Callable[[], Any], axis_name: str) -> bool:
    """Whether devices wait for each other in it, also in the functions it calls."""
    return _meets(jax.make_jaxpr(function)().jaxpr, axis_name)


def _meets(jaxpr: Any, axis_name: str) -> bool:
    for equation in jaxpr.eqns:
        names = [equation.params.get(name, ()) for name in ("axes", "axis_name")]
        # `axis_index` asks no other device.
        if equation.primitive.name != "axis_index" and any(
            axis_name == name or (isinstance(name, tuple) and axis_name in name)
            for name in names
        ):
            return True
        if any(_meets(inner, axis_name) for inner in _inner(equation.params)):
            return True
    return False


def _inner(params: dict[str, Any]) -> list[Any]:
    """The programs in an equation: of a conditional, a loop, a compiled function."""
    leaves = jax.tree.leaves(
        list(params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")
    )
    opened = [getattr(leaf, "jaxpr", leaf) for leaf in leaves]
    return [leaf for leaf in opened if hasattr(leaf, "eqns")]
