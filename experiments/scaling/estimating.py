"""Bytes and seconds of collectives over n devices, and the roofline of one of them.

Formulas, and no measurements: bandwidths, latencies and peaks are the caller's.
"""

import math
from collections.abc import Callable
from typing import NamedTuple


class Traffic(NamedTuple):
    """The collectives of one step, on one device.

    Attributes:
      num_reduced: all-reduces.
      reduced_bytes: of the results of all of them together.
      num_gathered: all-gathers.
      gathered_bytes: that a device puts into all of them together.
    """

    num_reduced: int
    reduced_bytes: float
    num_gathered: int = 0
    gathered_bytes: float = 0.0


class Accelerator(NamedTuple):
    """Peaks of one device.

    Attributes:
      name: with the precision that the peak is of.
      flops: operations a second.
      bandwidth: bytes a second of its memory.
    """

    name: str
    flops: float
    bandwidth: float


def sent_bytes(traffic: Traffic, num_devices: int) -> float:
    """Bytes that each of n devices sends in a step, by rings.

    2 (n − 1) / n of the bytes that are all-reduced: each of n pieces is handed around
    once to be summed and once as the sum. Of an all-gather n − 1 times what the device
    puts into it. Nothing sends less, unless the network itself can add.

    Args:
      traffic: of the step.
      num_devices: n >= 1.

    Returns:
      Bytes; 0 of one device.
    """
    others = num_devices - 1
    reduced = 2 * others / num_devices * traffic.reduced_bytes
    return reduced + others * traffic.gathered_bytes


def tree_rounds(num_devices: int) -> float:
    """Messages one after another until a device has heard of all: ceil(log2 n)."""
    return math.ceil(math.log2(num_devices))


def ring_rounds(num_devices: int) -> float:
    """Messages one after another around a ring: n − 1."""
    return num_devices - 1


def communication_seconds(
    traffic: Traffic,
    num_devices: int,
    *,
    bandwidth: float,
    latency: float,
    rounds: Callable[[int], float] = tree_rounds,
) -> float:
    """Seconds of the collectives of a step, one after another.

    t = sent bytes / bandwidth + (2 all-reduces + all-gathers) rounds(n) latency; an
    all-reduce goes around twice, to sum and to hand on.

    Args:
      traffic: of the step.
      num_devices: n >= 1.
      bandwidth: bytes a second that a device sends, while it receives as many.
      latency: seconds of a message of no bytes.
      rounds: n to the messages one after another.

    Returns:
      Seconds; 0 of one device.
    """
    messages = (2 * traffic.num_reduced + traffic.num_gathered) * rounds(num_devices)
    return sent_bytes(traffic, num_devices) / bandwidth + messages * latency


def efficiency(step_seconds: float, communication: float) -> float:
    """Weak scaling without overlap: t_step / (t_step + t_communication)."""
    return step_seconds / (step_seconds + communication)


def roofline_seconds(flops: float, num_bytes: float, accelerator: Accelerator) -> float:
    """The least time of a program: max(flops / peak, bytes / bandwidth).

    Args:
      flops: operations.
      num_bytes: to and from the device's memory.
      accelerator: its peaks.

    Returns:
      Seconds.
    """
    return max(flops / accelerator.flops, num_bytes / accelerator.bandwidth)
