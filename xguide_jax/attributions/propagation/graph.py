"""A function as a flat list of primitives, with everything that calls entered."""

import dataclasses
import functools
import os
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from xguide_jax import ops
from xguide_jax.types import Array

_HERE = os.path.dirname(__file__)
# Where a call keeps what it calls.
_CALLED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


@dataclasses.dataclass(frozen=True, eq=False)  # arrays have no hash
class Constant:
    """A value that stands in the list itself."""

    value: Any


Ref = int | Constant  # a value by its number, or a constant


class Op(NamedTuple):
    """One step of the function.

    Attributes:
      name: of the primitive.
      apply: the values of the inputs -> the list of those of the outputs.
      inputs: what it reads.
      outputs: the numbers of what it makes.
      params: of the primitive.
      sources: of the calls it stands in and of the primitive, for `place_of`.
    """

    name: str
    apply: Callable[..., list[Any]]
    inputs: tuple[Ref, ...]
    outputs: tuple[int, ...]
    params: dict[str, Any]
    sources: tuple[Any, ...]


class Graph(NamedTuple):
    """A function of one array.

    Attributes:
      ops: in the order they are run.
      input: the number of the argument.
      output: what is returned.
      depending: the numbers of all values that depend on the argument.
    """

    ops: tuple[Op, ...]
    input: int
    output: Ref
    depending: frozenset[int]


def trace(function: Callable[[Array], Array], inputs: Array) -> Graph:
    """The list of what a function does.

    Args:
      function: inputs -> one array. What it closes over stays differentiable.
      inputs: of which shape and dtype are used alone.

    Returns:
      A `Graph`.
    """
    closed = jax.make_jaxpr(function)(inputs)
    builder = _Builder()
    argument = builder.new_value(depends=True)
    consts = [Constant(value) for value in closed.consts]
    (output,) = builder.enter(closed.jaxpr, consts, [argument])
    return Graph(tuple(builder.ops), argument, output, frozenset(builder.depending))


def place_of(op: Op) -> str:
    """The line of the user's program that called a primitive.

    Args:
      op: the primitive.

    Returns:
      'file:line', or 'an unknown place'.
    """
    libraries = (os.path.dirname(jax.__file__) + os.sep, _HERE)
    # A function of JAX that was compiled before says where it stood then, or nothing.
    for source in reversed(op.sources):
        found = getattr(source, "traceback", None)
        frames = traceback.extract_tb(found.as_python_traceback()) if found else []
        for frame in reversed(frames):
            if not frame.filename.startswith(libraries):
                return f"{frame.filename}:{frame.lineno}"
    return "an unknown place"


class _Builder:
    """Writes ops down, entering what calls."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.depending: set[int] = set()
        self._count = 0
        self._calls: list[Any] = []

    def new_value(self, *, depends: bool) -> int:
        self._count += 1
        if depends:
            self.depending.add(self._count)
        return self._count

    def enter(
        self, jaxpr: Any, consts: Sequence[Ref], arguments: Sequence[Ref]
    ) -> list[Ref]:
        """Writes down what a jaxpr does with these arguments; returns its results."""
        known: dict[Any, Ref] = dict(zip(jaxpr.constvars, consts, strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))
        read = lambda atom: (
            Constant(atom.val) if isinstance(atom, core.Literal) else known[atom]
        )
        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            self._calls.append(eqn.source_info)
            results = self._step(eqn, inputs)
            self._calls.pop()
            known |= dict(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def add(
        self,
        name: str,
        apply: Callable[..., list[Any]],
        inputs: Sequence[Ref],
        *,
        num_outputs: int = 1,
        params: dict[str, Any] | None = None,
    ) -> list[Ref]:
        depends = any(ref in self.depending for ref in inputs)
        outputs = [self.new_value(depends=depends) for _ in range(num_outputs)]
        sources = tuple(self._calls)
        op = Op(name, apply, tuple(inputs), tuple(outputs), params or {}, sources)
        self.ops.append(op)
        return list(outputs)

    def _step(self, eqn: Any, inputs: list[Ref]) -> list[Ref]:
        name = eqn.primitive.name
        if any(ref in self.depending for ref in inputs):
            if name == "stop_gradient":  # values pass it, and they are what is shared
                return inputs
            if name == "scan":
                return self._scan(eqn, inputs)
            if name == "cond" and inputs[0] not in self.depending:
                return self._cond(eqn, inputs)
            called = [eqn.params[key] for key in _CALLED if key in eqn.params]
            if called and name != "while":
                return self._call(called[0], inputs)
        return self.add(
            name,
            functools.partial(_bind, eqn),
            inputs,
            num_outputs=len(eqn.outvars),
            params=eqn.params,
        )

    def _call(self, called: Any, inputs: Sequence[Ref]) -> list[Ref]:
        consts = [Constant(value) for value in getattr(called, "consts", ())]
        return self.enter(getattr(called, "jaxpr", called), consts, inputs)

    def _cond(self, eqn: Any, inputs: list[Ref]) -> list[Ref]:
        """Every branch, and of their results the one that is asked for."""
        index, *operands = inputs
        branches = [self._call(each, operands) for each in eqn.params["branches"]]
        return [
            self.add("select_n", _choose, [index, *results])[0]
            for results in zip(*branches, strict=True)
        ]

    def _scan(self, eqn: Any, inputs: list[Ref]) -> list[Ref]:
        """Every step, one after the other."""
        called, length = eqn.params["jaxpr"], eqn.params["length"]
        inner = called.jaxpr
        # What is scanned over has one axis more outside than inside.
        is_scanned = [
            outside.aval.ndim > inside.aval.ndim
            for outside, inside in zip(eqn.invars, inner.invars, strict=True)
        ]
        is_stacked = [
            outside.aval.ndim > inside.aval.ndim
            for outside, inside in zip(eqn.outvars, inner.outvars, strict=True)
        ]
        num_carried = is_stacked.count(False)
        num_fixed = is_scanned.count(False) - num_carried
        fixed, carried = inputs[:num_fixed], inputs[num_fixed : num_fixed + num_carried]
        scanned = inputs[num_fixed + num_carried :]
        rows: dict[int, list[Ref]] = {}
        steps = range(length)
        for step in reversed(steps) if eqn.params["reverse"] else steps:
            at = functools.partial(_row, step)
            now = [self.add("row", at, [each])[0] for each in scanned]
            results = self._call(called, [*fixed, *carried, *now])
            carried, rows[step] = results[:num_carried], results[num_carried:]
        stacked = [
            self.add("stack", _stack, [rows[step][at] for step in steps])[0]
            for at in range(len(is_stacked) - num_carried)
        ]
        return [*carried, *stacked]


def _bind(eqn: Any, *values: Any) -> list[Any]:
    if eqn.primitive.name == "conv_general_dilated":
        settings = dict(eqn.params)
        if settings["preferred_element_type"] == values[0].dtype:
            settings["preferred_element_type"] = None
        # Derivatives of what is carried back through it stay fast on a CPU.
        return [ops.conv_general_dilated(*values, **settings)]
    params = eqn.primitive.get_bind_params(eqn.params)
    results = eqn.primitive.bind(*values, **params)
    return list(results) if eqn.primitive.multiple_results else [results]


def _choose(index: Array, *cases: Array) -> list[Array]:
    # `select_n` takes bool or int32 for more than two cases.
    which = jnp.asarray(index).astype(jnp.int32)
    if len(cases) == 2:
        return [jnp.where(which == 1, cases[1], cases[0])]
    return [jax.lax.select_n(jnp.broadcast_to(which, cases[0].shape), *cases)]


def _row(step: int, values: Array) -> list[Array]:
    return [values[step]]


def _stack(*values: Array) -> list[Array]:
    return [jnp.stack(values)]
