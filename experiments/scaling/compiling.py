"""What compiled and lowered programs say of a step: collectives, operations, bytes."""

from typing import Any, NamedTuple

import jax

from experiments.scaling import collectives, estimating, steps


class Counts(NamedTuple):
    """The collectives of a step on n devices.

    Attributes:
      kinds: {kind: how many}.
      kind_bytes: {kind: bytes of their results on one device}.
      parts: {part: bytes}, see `collectives.part_of`.
    """

    kinds: dict[str, int]
    kind_bytes: dict[str, int]
    parts: dict[str, int]


class Cost(NamedTuple):
    """One step on one device.

    Attributes:
      flops: operations.
      least_bytes: of state and batch, in and out.
      fused_bytes: accessed by the program that the CPU's compiler made.
      unfused_bytes: accessed by the program as it is handed to a GPU's or TPU's
        compiler, every operation reading and writing memory.
    """

    flops: float
    least_bytes: float
    fused_bytes: float
    unfused_bytes: float


def counted(case: steps.Case, num_devices: int, *, per_device: int) -> Counts:
    """The collectives of a step compiled for the first n devices.

    Args:
      case: one of `steps.CASES`.
      num_devices: n.
      per_device: examples on each.

    Returns:
      `Counts`.

    Raises:
      ValueError: for a collective in a loop, which runs nobody knows how often.
    """
    problem = steps.problem_of(
        case, batch_size=per_device * num_devices, axis_name=steps.AXIS_NAME
    )
    step = steps.lifted(problem, jax.devices()[:num_devices])
    compiled = step.lower(problem.state, problem.batch).compile()  # type: ignore[attr-defined]
    found = collectives.collectives_of(compiled.as_text())
    if not all(collective.in_entry for collective in found):
        raise ValueError("a collective stands in a loop: its runs are not in the text.")
    kinds: dict[str, int] = {}
    kind_bytes: dict[str, int] = {}
    for collective in found:
        kind = collective.kind
        kinds[kind] = kinds.get(kind, 0) + 1
        kind_bytes[kind] = kind_bytes.get(kind, 0) + collective.num_bytes
    parts = collectives.bytes_by_part(found, num_params=problem.num_params)
    return Counts(kinds, kind_bytes, parts)


def parameter_bytes(case: steps.Case) -> int:
    """Of network and terms together, in float32."""
    problem = steps.problem_of(case, batch_size=1, axis_name=None)
    return 4 * problem.num_params


def traffic_of(counts: Counts, num_devices: int) -> estimating.Traffic:
    """What `counts` of a program for n devices says of any number of them.

    Args:
      counts: of that program.
      num_devices: n.

    Returns:
      A device's share.

    Raises:
      ValueError: for a kind that a step of this library has not.
    """
    unknown = counts.kinds.keys() - {"all-reduce", "all-gather"}
    if unknown:
        raise ValueError(f"there is no estimate for {sorted(unknown)}.")
    return estimating.Traffic(
        counts.kinds.get("all-reduce", 0),
        counts.kind_bytes.get("all-reduce", 0),
        counts.kinds.get("all-gather", 0),
        counts.kind_bytes.get("all-gather", 0) / num_devices,
    )


def cost_of(case: steps.Case, *, per_device: int) -> Cost:
    """Operations and bytes of a step on one device, without collectives.

    Args:
      case: one of `steps.CASES`.
      per_device: examples.

    Returns:
      `Cost`.
    """
    problem = steps.problem_of(case, batch_size=per_device, axis_name=None)
    traced = jax.jit(problem.step).trace(problem.state, problem.batch)
    compiled = traced.lower().compile()
    fused: Any = compiled.cost_analysis()
    lowered = traced.lower(lowering_platforms=("cuda", "tpu"))
    unfused: Any = lowered.cost_analysis()
    memory: Any = compiled.memory_analysis()
    return Cost(
        fused["flops"],
        memory.argument_size_in_bytes + memory.output_size_in_bytes,
        fused["bytes accessed"],
        unfused["bytes accessed"],
    )


def most_devices(case: steps.Case, at_most: int, *, per_device: int) -> int:
    """The largest n for which the step is traced and not refused.

    Nothing is compiled or computed, so n may be far beyond the devices there are.

    Args:
      case: one of `steps.CASES`, accepted on one device.
      at_most: the largest n that is tried.
      per_device: examples on each.

    Returns:
      n, `at_most` if nothing is refused.
    """
    problem = steps.problem_of(case, batch_size=per_device, axis_name=steps.AXIS_NAME)

    def trace(num_devices: int) -> None:
        shape = lambda x: jax.ShapeDtypeStruct((num_devices, *x.shape), x.dtype)
        step = jax.vmap(problem.step, in_axes=(None, 0), axis_name=steps.AXIS_NAME)
        jax.eval_shape(step, problem.state, jax.tree.map(shape, problem.batch))

    def accepted(num_devices: int) -> bool:
        try:
            trace(num_devices)
        except ValueError:
            return False
        return True

    trace(1)  # a step with another fault would be taken for one refused at every n
    if accepted(at_most):
        return at_most
    low, high = 1, at_most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accepted(middle) else (low, middle)
    return low
