"""Right for the right reasons as published; see `differences.md`."""

import jax.numpy as jnp

from xguide_jax.guidance import base
from xguide_jax.guidance.right_reasons import right_for_right_reasons
from xguide_jax.types import GuidanceTerm, PyTree, StepContext, TermOutput


def right_for_right_reasons_published() -> GuidanceTerm:
    """Right for the right reasons, divided as in the published code.

    The published objective, Σ CE + λ Σ l over the examples, is B times the mean CE plus
    λ times the mean l of *all* B examples, l = 0 where there is no annotation: so
    beside a mean task loss the mean is right, and the fewer are annotated, the smaller
    it is. Scale it by the published λ.

    Returns:
      The term `right_for_right_reasons()` with weight 1 for every example.

    Source: the published code of Ross, Hughes, Doshi-Velez, IJCAI 2017.
    """
    term = right_for_right_reasons()

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        out = term.apply(params, state, context)
        everyone = jnp.ones_like(out.weight)
        return out._replace(loss=out.weight * out.loss, weight=everyone)

    return GuidanceTerm(base.no_variables, apply)
