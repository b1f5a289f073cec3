"""The collectives of a compiled program, read from its text.

A collective is an instruction at which devices wait for one another. The text names its
kind, the shapes of its result and, as `op_name`, where in the traced function it came
from; the compiler may have made one of several, whose results then stand in a tuple.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "collective-permute",
    "all-to-all",
)
# The first word before a bracket is the instruction's; later ones stand in metadata.
_INSTRUCTION = re.compile(r"= (.*?) ([a-z][\w-]*)\(")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_BITS = re.compile(r"(?:bf|f|s|u|c)(\d+)")


class Shape(NamedTuple):
    """Of one array.

    Attributes:
      dtype: as XLA writes it, e.g. 'f32'.
      dims: the lengths of its axes; () of a scalar.
    """

    dtype: str
    dims: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its number of elements."""
        return math.prod(self.dims)

    @property
    def num_bytes(self) -> int:
        """Its bytes, rounded up to whole ones.

        Raises:
          ValueError: for a dtype of unknown width.
        """
        if self.dtype == "pred":
            return self.size
        bits = _BITS.match(self.dtype)
        if bits is None:
            raise ValueError(f"the width of dtype {self.dtype!r} is not known.")
        return math.ceil(self.size * int(bits[1]) / 8)


class Collective(NamedTuple):
    """One collective.

    Attributes:
      kind: one of `KINDS`.
      op_name: where it came from; '' if the text does not say.
      shapes: of its results, on one device.
      in_entry: whether it stands in the entry computation, where it runs once a call.
    """

    kind: str
    op_name: str
    shapes: tuple[Shape, ...]
    in_entry: bool

    @property
    def num_bytes(self) -> int:
        """Bytes of its results, on one device."""
        return sum(shape.num_bytes for shape in self.shapes)


def collectives_of(text: str) -> list[Collective]:
    """Every collective of a compiled program, in the order of its text.

    One in the body of a loop is found once, however often the loop runs; it has
    `in_entry` False.

    Args:
      text: what `compiled.as_text()` returns.

    Returns:
      The collectives; [] of a program for one device that holds none.
    """
    found, in_entry = [], False
    for line in text.splitlines():
        if line[:1] not in ("", " ", "}"):
            in_entry = line.startswith("ENTRY")
        match = _INSTRUCTION.search(line)
        if match is None:
            continue
        result, instruction = match.groups()
        # The `-done` of an asynchronous pair is the same collective once more.
        kind = instruction.removesuffix("-start")
        if kind not in KINDS:
            continue
        if kind != instruction and kind != "all-reduce":
            result = _second(result)
        name = _OP_NAME.search(line)
        shapes = tuple(
            Shape(dtype, tuple(int(n) for n in dims.split(",") if n))
            for dtype, dims in _SHAPE.findall(result)
        )
        found.append(Collective(kind, name[1] if name else "", shapes, in_entry))
    return found


def part_of(collective: Collective, shape: Shape, *, num_params: int) -> str:
    """What one result of a collective of the training step carries.

    Told by its size and by the name of the layer in `op_name`, which is all that is
    left of its origin where the compiler made one collective of several.

    Args:
      collective: of the step.
      shape: one of its results.
      num_params: trainable numbers of network and terms together.

    Returns:
      'gradient' (with loss and metrics, which travel in the same array), 'batch norm'
      (statistics, forward and backward), 'running statistics', 'maps' (gathered from
      all devices) or 'sums' (single numbers: of weights, errors and counts).
    """
    if collective.kind == "all-gather":
        return "maps"
    if shape.size >= num_params:
        return "gradient"
    if shape.size == 1:
        return "sums"
    if "norm" in collective.op_name.lower():
        return "batch norm"
    return "running statistics"


def bytes_by_part(
    collectives: Sequence[Collective], *, num_params: int
) -> dict[str, int]:
    """Bytes of the results of all collectives, by `part_of`.

    Args:
      collectives: of the step.
      num_params: as `part_of`.

    Returns:
      {part: bytes}, of the parts that occur.
    """
    totals: dict[str, int] = {}
    for collective in collectives:
        for shape in collective.shapes:
            part = part_of(collective, shape, num_params=num_params)
            totals[part] = totals.get(part, 0) + shape.num_bytes
    return totals


def _second(result: str) -> str:
    """The second element of a tuple (operand, result, ...) of a `-start`."""
    depth, start, elements = 0, 1, []
    for place, letter in enumerate(result):
        if letter in ")]}":
            depth -= 1
        if (letter == "," and depth == 1) or (letter == ")" and depth == 0):
            elements.append(result[start:place])
            start = place + 1
        if letter in "([{":
            depth += 1
    return elements[1] if len(elements) > 1 else result
