"""A softmax, found where it was written out as a quotient."""

from typing import NamedTuple

import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions.propagation import graph as graphs
from xguide_jax.attributions.propagation import linear
from xguide_jax.attributions.propagation.walking import Contributions, Walk
from xguide_jax.types import Array


class Softmax(NamedTuple):
    """exp(z − c) / Σ exp(z − c).

    Attributes:
      logits: the number of z.
      axes: that the sum is over.
    """

    logits: int
    axes: tuple[int, ...]


def of(walk: Walk, quotient: graphs.Op) -> Softmax | None:
    """The softmax that ends with this quotient, if it is one.

    Args:
      walk: the function.
      quotient: a 'div'.

    Returns:
      Its logits and axes, or None.
    """
    top, bottom = quotient.inputs
    exponential = walk.parents.producer(top)
    total = walk.parents.producer(bottom)
    while total is not None and total.name in linear.MOVES:
        total = walk.parents.producer(total.inputs[0])
    if (
        exponential is None
        or exponential.name != "exp"
        or total is None
        or total.name != "reduce_sum"
        or total.inputs[0] != top
    ):
        return None
    logits = exponential.inputs[0]
    shift = walk.parents.producer(logits)
    # The maximum is subtracted first, which changes nothing but the range.
    if shift is not None and shift.name == "sub" and _is_maximum(walk, shift):
        logits = shift.inputs[0]
    if not isinstance(logits, int):
        return None
    return Softmax(logits, tuple(total.params["axes"]))


def taylor(
    walk: Walk, output: int, found: Softmax, carried: list[Array | None]
) -> Contributions:
    """R_i = z_i (R_i − s_i Σ_j R_j), the first-order share of what a softmax says.

    Args:
      walk: the function.
      output: the number of the softmax.
      found: of `of`.
      carried: its relevance.

    Returns:
      The relevance of the logits.
    """
    (relevance,) = carried
    assert relevance is not None
    probabilities = ops.at_least_float32(walk.value(output))
    logits = ops.at_least_float32(walk.value(found.logits))
    total = jnp.sum(relevance, axis=found.axes, keepdims=True)
    return [(found.logits, logits * (relevance - probabilities * total))]


def _is_maximum(walk: Walk, shift: graphs.Op) -> bool:
    """Whether what is subtracted is a maximum, repeated and bounded at most."""
    op = walk.parents.producer(shift.inputs[1])
    passed = linear.MOVES | {"max", "select_n"}
    while op is not None and op.name in passed:
        inside = walk.parents.operands(op)
        op = walk.parents.producer(inside[-1]) if inside else None
    return op is not None and op.name == "reduce_max"
