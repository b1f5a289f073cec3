"""Time of a deletion curve against the plain forward passes that it needs.

Question: what does a deletion curve cost beside the network itself? 64 digits in 28
steps, by a map of random numbers and noise for a fill, against 28 calls of the same
compiled network on the intact digits; the published MNIST network.

Expected: at most 1.2 times the plain passes, sort, fill and comparison included. The
two take turns in every round, and only their ratio means something.

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


def seconds(make: Callable[[], object]) -> float:
    """Wall time of one call that is already compiled."""
    start = time.perf_counter()
    jax.block_until_ready(make())
    return time.perf_counter() - start


def compare() -> dict[str, np.ndarray]:
    """Seconds of each in each round, the two taking turns."""
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
    times: dict[str, list[float]] = {name: [] for name in methods}
    for make in methods.values():
        seconds(make)
    for number in range(NUM_ROUNDS):
        order = list(methods) if number % 2 else list(methods)[::-1]
        for name in order:
            times[name].append(seconds(methods[name]))
    return {name: np.array(rounds) for name, rounds in times.items()}


def main() -> None:
    """Prints both times and their ratio."""
    benchmarks.answer_help(__doc__)
    times = compare()
    print(f"{BATCH_SIZE} digits, {NUM_STEPS} steps, {jax.devices()[0].device_kind}, ")
    print(f"JAX {jax.__version__}, {NUM_ROUNDS} rounds")
    for name, rounds in times.items():
        print(f"{name}: median {1e3 * np.median(rounds):.0f} ms ", end="")
        print(f"(min {1e3 * rounds.min():.0f})")
    ratios = times["deletion"] / times["forwards"]
    fastest = times["deletion"].min() / times["forwards"].min()
    print(f"ratio: median of rounds {np.median(ratios):.2f}, of fastest {fastest:.2f}")


if __name__ == "__main__":
    main()
