"""Values forwards, and an array a value backwards by rules."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions.propagation import elementwise
from xguide_jax.attributions.propagation import graph as graphs
from xguide_jax.types import Array

Contributions = list[tuple[int, Array]]  # (value, what it gets)
# (walk, op, what each of its outputs carries, None for nothing) -> what its inputs get
PrimitiveRule = Callable[["Walk", graphs.Op, list[Array | None]], Contributions]


class Walk:
    """A function at one or two points, and what is asked of it on the way back."""

    def __init__(self, graph: graphs.Graph, points: Sequence[Array]):
        """Computes every value at every point.

        Args:
          graph: the function.
          points: its arguments.
        """
        self.graph = graph
        self._values = [_run(graph, point) for point in points]
        self.parents = elementwise.Parents(graph, self._values[0])

    def value(self, ref: graphs.Ref, point: int = 0) -> Any:
        """A value at one of the points."""
        if isinstance(ref, graphs.Constant):
            return ref.value
        return self._values[point][ref]

    def values(self, point: int = 0) -> Mapping[int, Any]:
        """All values at one of the points."""
        return self._values[point]

    def pull_back(
        self,
        op: graphs.Op,
        carried: Sequence[Array | None],
        wanted: Sequence[int],
        at: Mapping[int, Any],
    ) -> list[Array]:
        """The transposed derivative of an op in some of its inputs.

        Args:
          op: the op.
          carried: for each of its outputs, or None, which is 0.
          wanted: numbers of inputs.
          at: their values, where the derivative is taken; others are as they are at
            the first point.

        Returns:
          For each of the wanted, in float32 or wider.

        Raises:
          NotImplementedError: if one of the wanted is an index or a condition.
        """
        if not all(jnp.issubdtype(jnp.result_type(at[n]), jnp.inexact) for n in wanted):
            raise refuse("propagation", op, " of an index that depends on the inputs")

        def outputs_of(*given: Array) -> list[Array]:
            known = dict(zip(wanted, given, strict=True))
            inputs = [
                known[ref] if ref in known else self.value(ref) for ref in op.inputs
            ]
            return op.apply(*inputs)

        outputs, pull = jax.vjp(outputs_of, *(at[number] for number in wanted))
        cotangents = [
            jnp.zeros_like(output) if each is None else each.astype(output.dtype)
            for output, each in zip(outputs, carried, strict=True)
        ]
        return [ops.at_least_float32(each) for each in pull(cotangents)]

    def back(
        self,
        start: Array,
        rule: PrimitiveRule,
        primitive_rules: Mapping[str, PrimitiveRule] | None = None,
    ) -> Array:
        """Carries an array from the output to the argument.

        Args:
          start: for the output.
          rule: of every primitive that the next argument does not name.
          primitive_rules: name of a primitive -> its rule.

        Returns:
          What the argument gets, shaped like it.
        """
        special = primitive_rules or {}
        carried: dict[int, Array] = {}
        if self.graph.output in self.graph.depending:
            carried[self.graph.output] = start
        for op in reversed(self.graph.ops):
            outputs = [carried.pop(number, None) for number in op.outputs]
            if all(each is None for each in outputs):
                continue
            for number, share in special.get(op.name, rule)(self, op, outputs):
                old = carried.get(number)
                carried[number] = share if old is None else old + share
        argument = self.value(self.graph.input)
        nothing = ops.at_least_float32(jnp.zeros_like(argument))
        return carried.get(self.graph.input, nothing)


def unbroadcast(array: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which a value of this shape was repeated."""
    if not shape:
        return jnp.sum(array)
    axes = tuple(a for a, n in enumerate(shape) if n == 1 and array.shape[a] != 1)
    return jnp.sum(array, axis=axes, keepdims=True)


def refuse(method: str, op: graphs.Op, why: str = "") -> NotImplementedError:
    """The error for a primitive without a rule.

    Args:
      method: what has none.
      op: the primitive.
      why: what about it.

    Returns:
      An error that names the primitive and the line that called it.
    """
    return NotImplementedError(
        f"{method} has no rule for the primitive {op.name!r}{why}, called at "
        f"{graphs.place_of(op)}; give it one by `primitive_rules`."
    )


def _run(graph: graphs.Graph, argument: Array) -> dict[int, Any]:
    values: dict[int, Any] = {graph.input: argument}
    for op in graph.ops:
        inputs = [
            values[ref] if isinstance(ref, int) else ref.value for ref in op.inputs
        ]
        values |= zip(op.outputs, op.apply(*inputs), strict=True)
    return values


def safe_ratio(value: Array, by: Array) -> Array:
    """The quotient, and 0 where `by` is 0, with a finite gradient there."""
    is_zero = by == 0
    return jnp.where(is_zero, 0.0, value / jnp.where(is_zero, 1.0, by))
