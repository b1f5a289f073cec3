"""Which values are a function of one other value, place by place."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from xguide_jax.attributions.propagation import graph as graphs
from xguide_jax.types import Array

# One value that depends on the argument: a x + c.
AFFINE = frozenset({"add", "add_any", "sub", "neg", "mul", "div", "reduce_precision"})
ELEMENTWISE = AFFINE | frozenset(
    """
    abs acos acosh and asin asinh atan atan2 atanh cbrt ceil clamp
    convert_element_type copy cos cosh digamma
    eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma log
    log1p logistic lt max min ne nextafter not or pow rem round rsqrt select_n sign sin
    sinh sqrt square tan tanh xor
    """.split()  # noqa: SIM905
)


class Parents:
    """For each elementwise value the nearest value that it is a function of.

    The parent of relu(x) is x, that of x · sigmoid(x) is x, too, and x + y with two
    values that depend on the argument by other ways has none.
    """

    def __init__(self, graph: graphs.Graph, values: Mapping[int, Any]):
        """Finds all parents.

        Args:
          graph: the function.
          values: all of them, of which shape and dtype are used alone.
        """
        shapes = {number: jnp.shape(value) for number, value in values.items()}
        # A condition or an index has no share: its own parent is the one.
        self._shared = frozenset(
            number
            for number, value in values.items()
            if jnp.issubdtype(jnp.result_type(value), jnp.inexact)
        )
        self._op_of = {number: op for op in graph.ops for number in op.outputs}
        self._depending = graph.depending
        self._parent: dict[int, int] = {}
        for op in graph.ops:
            operands = self.operands(op)
            if not operands or op.name not in ELEMENTWISE:
                continue
            (output,) = op.outputs
            if any(shapes[each] != shapes[output] for each in operands):
                continue
            common = self._nearest_common(operands)
            if common is not None:
                self._parent[output] = common

    def operands(self, op: graphs.Op) -> list[int]:
        """The inputs of an op that depend on the argument, each once."""
        return list(dict.fromkeys(r for r in op.inputs if r in self._depending))

    def producer(self, number: Any) -> graphs.Op | None:
        """The op that makes a value; None of the argument."""
        return self._op_of.get(number)

    def parent(self, number: int) -> int | None:
        """The nearest value that this one is a function of, or None."""
        return self._parent.get(number)

    def is_affine(self, number: int) -> bool:
        """Whether a value is a x + c of its parent x, by one primitive."""
        op = self._op_of.get(number)
        if op is None or number not in self._parent or op.name not in AFFINE:
            return False
        inside = [ref in self._depending for ref in op.inputs]
        return inside.count(True) == 1 and not (op.name == "div" and inside[1])

    def affine_ancestor(self, number: int) -> int:
        """The farthest value that this one is affine in; itself if there is none."""
        while self.is_affine(number):
            number = self._parent[number]
        return number

    def function(
        self, number: int, ancestor: int, values: Mapping[int, Any]
    ) -> Callable[[Array], Array]:
        """A value as a function of an ancestor, all else as it is.

        Args:
          number: of the value.
          ancestor: reached from it by parents.
          values: all of them.

        Returns:
          ancestor's value -> the value.
        """
        between: list[graphs.Op] = []
        seen = {ancestor}

        def visit(ref: Any) -> None:
            if ref in self._depending and ref not in seen:
                seen.add(ref)
                op = self._op_of[ref]
                for each in op.inputs:
                    visit(each)
                between.append(op)

        visit(number)

        def function(value: Array) -> Array:
            known = {ancestor: value}
            for op in between:
                inputs = [
                    known.get(ref, values.get(ref))
                    if isinstance(ref, int)
                    else ref.value
                    for ref in op.inputs
                ]
                (known[op.outputs[0]],) = op.apply(*inputs)
            return known[number]

        return function

    def _nearest_common(self, operands: list[int]) -> int | None:
        chains = [self._chain(each) for each in operands]
        for candidate in chains[0]:
            if candidate in self._shared and all(
                candidate in chain for chain in chains[1:]
            ):
                return candidate
        return None

    def _chain(self, number: int) -> list[int]:
        chain = [number]
        while chain[-1] in self._parent:
            chain.append(self._parent[chain[-1]])
        return chain
