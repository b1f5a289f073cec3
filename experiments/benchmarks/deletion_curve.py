"""Time of a deletion curve against the plain forward passes that it needs.

Question: what does a deletion curve cost beside the network itself? 64 digits in 28
steps, by a map of random numbers and noise for a fill, against 28 calls of the same
compiled network on the intact digits; the published MNIST network.

Expected: at most 1.2 times the plain passes, sort, fill and comparison included. The
two take turns in every round, and only their ratio means something; that of CPU time,
of all threads, is the steadier one where others use the machine.

Cost: a minute on two CPU cores.
Command: python -m experiments.benchmarks.deletion_curve
"""

import functools
import time
from collections.abc import Callable

import jax
import numpy as np

from experiments import benchmarks
from xguide_jax import data, metrics, models, ops
from xguide_jax.types import Array

BATCH_SIZE = 64
NUM_STEPS = 28
NUM_ROUNDS = 15


def seconds(make: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time of one call that is already compiled."""
    starts = time.perf_counter(), time.process_time()
    jax.block_until_ready(make())
    return time.perf_counter() - starts[0], time.process_time() - starts[1]


def compare() -> dict[str, np.ndarray]:
    """Seconds of each in each round, wall and CPU, the two taking turns: [R, 2]."""
    key = jax.random.key(0)
    digits = data.take(data.digits(), np.arange(BATCH_SIZE))
    inputs, labels = map(jax.device_put, (digits.inputs, digits.labels))
    network = models.SaliencyGuidedCNN()
    params, model_state = models.init_linen(network, key, inputs)
    apply_fn = models.linen_apply_fn(network)
    predict = jax.jit(lambda x: apply_fn(params, model_state, x, train=False)[0].logits)
    scores = ops.random_rank(inputs, key=key)

    def forwards() -> list[Array]:
        return [predict(inputs) for _ in range(NUM_STEPS)]

    def deletion() -> Array:
        return metrics.removal_curve(
            predict, inputs, labels, scores,
            fractions=[step / NUM_STEPS for step in range(1, NUM_STEPS + 1)],
            fill=functools.partial(ops.uniform_range_fill, axes=(1, 2, 3)), key=key,
        )  # fmt: skip

    methods = {"forwards": forwards, "deletion": deletion}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for make in methods.values():
        seconds(make)
    for number in range(NUM_ROUNDS):
        order = list(methods) if number % 2 else list(methods)[::-1]
        for name in order:
            times[name].append(seconds(methods[name]))
    return {name: np.array(rounds) for name, rounds in times.items()}


def main() -> None:
    """Prints both times and their ratio."""
    benchmarks.begin(__doc__)
    times = compare()
    print(f"{BATCH_SIZE} digits, {NUM_STEPS} steps, {NUM_ROUNDS} rounds, ", end="")
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}")
    for at, kind in enumerate(("wall", "CPU")):
        forwards, deletion = (times[name][:, at] for name in ("forwards", "deletion"))
        print(
            f"{kind}: forwards {1e3 * np.median(forwards):.0f} "
            f"({1e3 * forwards.min():.0f}) ms, deletion {1e3 * np.median(deletion):.0f}"
            f" ({1e3 * deletion.min():.0f}) ms; ratio, median of rounds "
            f"{np.median(deletion / forwards):.3f}, of fastest "
            f"{deletion.min() / forwards.min():.3f}"
        )


if __name__ == "__main__":
    main()
