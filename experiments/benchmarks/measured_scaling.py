"""Examples a second of the training step on 1, 2, 4, ... accelerators.

Question: with as many examples on each device, how much of n times one device's rate do
n devices reach? The steps of `experiments.benchmarks.scaling`, which estimates this,
are run on the first 1, 2, 4, ... and on all devices, the numbers taking turns.

Several hosts: start it on each of them with XGUIDE_DISTRIBUTED=1, which joins them as
           the experiments' `--distributed` does. The rows are then one device, of each
           host for itself, and k devices of every host together.
CPU:       without an accelerator four simulated devices run fewer and smaller steps,
           to try the script. They share the cores of one machine, so that n devices
           take n times as long: nothing about scaling follows from their numbers.
A step:    with the copy of its batch from the host, as in training; Adam, float32.

Cost: minutes on accelerators, half of it compilation; 4 minutes on a 2-core CPU.
Command: python -m experiments.benchmarks.measured_scaling
"""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from experiments import benchmarks
from experiments.scaling import steps
from xguide_jax.types import TrainState


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
      cases: of `steps.CASES`.
      per_device: examples on each device.
      num_steps: of a round.
      num_rounds: of which the median counts.
    """

    cases: tuple[str, ...] = tuple(steps.CASES)
    per_device: int = 64
    num_steps: int = 30
    num_rounds: int = 5


SIMULATED = Config(
    cases=tuple(name for name in steps.CASES if "ResNet" not in name),
    per_device=8,
    num_steps=3,
    num_rounds=3,
)


class Runner:
    """A step on some devices, with the state it has reached."""

    def __init__(
        self, case: steps.Case, devices: Sequence[jax.Device], *, per_device: int
    ) -> None:
        process = jax.process_index()
        here = sum(device.process_index == process for device in devices)
        problem = steps.problem_of(
            case, batch_size=per_device * here, axis_name=steps.AXIS_NAME
        )
        self._step: Callable[..., Any] = steps.lifted(problem, devices)
        self._state: TrainState = problem.state
        self._batch = problem.batch

    def seconds(self, num_steps: int) -> float:
        """Wall time of a step, the mean of so many in a row."""
        start = time.perf_counter()
        for _ in range(num_steps):
            self._state, _ = self._step(self._state, self._batch)
        jax.block_until_ready(self._state.params)
        return (time.perf_counter() - start) / num_steps


def counts_of(num_devices: int) -> list[int]:
    """1, 2, 4, ... below `num_devices`, and `num_devices`."""
    powers = [2**k for k in range(num_devices.bit_length()) if 2**k < num_devices]
    return [*powers, num_devices]


def device_sets() -> list[list[jax.Device]]:
    """The devices of each row; each process takes part in all of them."""
    local = jax.local_devices()
    if jax.process_count() == 1:
        return [local[:count] for count in counts_of(len(local))]
    by_process: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    smallest = min(len(devices) for devices in by_process.values())
    return [local[:1]] + [
        [device for devices in by_process.values() for device in devices[:count]]
        for count in counts_of(smallest)
    ]


def measure(
    case: steps.Case, config: Config, rows: Sequence[Sequence[jax.Device]]
) -> dict[int, float]:
    """Seconds of a step by the number of devices, the median round."""
    runners = {
        len(devices): Runner(case, devices, per_device=config.per_device)
        for devices in rows
    }
    for runner in runners.values():
        runner.seconds(2)  # compiles
    times: dict[int, list[float]] = {count: [] for count in runners}
    for _ in range(config.num_rounds):
        for count, runner in runners.items():
            times[count].append(runner.seconds(config.num_steps))
    return {count: statistics.median(of) for count, of in times.items()}


def main() -> None:
    """Prints a row for each step and number of devices."""
    benchmarks.begin(__doc__)
    jax.config.update("jax_num_cpu_devices", 4)  # of the CPU's; accelerators stay
    if os.environ.get("XGUIDE_DISTRIBUTED"):
        jax.distributed.initialize()
    device = jax.devices()[0]
    simulated = device.platform == "cpu"
    config = SIMULATED if simulated else Config()
    say = print if jax.process_index() == 0 else lambda *_, **__: None
    say(f"JAX {jax.__version__}, {jax.device_count()} x {device.device_kind}, ", end="")
    say(f"{jax.process_count()} processes, {config.per_device} examples a device")
    if simulated:
        say(
            "Simulated devices share this machine's cores: an efficiency of about 1 / n"
        )
        say("is what that gives, and no measurement of scaling.")
    say(f"{'step':<28} devices   ms/step  examples/s  efficiency")
    for name in config.cases:
        rates = {
            count: count * config.per_device / seconds
            for count, seconds in measure(
                steps.CASES[name], config, device_sets()
            ).items()
        }
        for count, rate in rates.items():
            milliseconds = 1e3 * count * config.per_device / rate
            efficiency = rate / (count * rates[1])
            say(
                f"{name:<28} {count:>7} {milliseconds:>9.1f} {rate:>11,.0f}  "
                f"{efficiency:>10.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
