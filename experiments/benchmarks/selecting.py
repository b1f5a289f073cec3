"""Time of an exact bottom-k mask: bisection of the bits against `jax.lax.top_k`.

Question: does `ops.bottom_k_mask` (compare-and-count passes) beat a mask scattered from
the indices of `jax.lax.top_k`, at the sizes of MNIST and of 224 x 224 images, with k
half of the features, on scores that are all different and on scores of 70 % zeros?

Expected: the same masks, asserted before anything is timed. On a 2-core CPU the design
notes measured 6-9 times less at (512, 784), 9-14 times less at (48, 50176), and 4.5-6.8
times less with 70 % zeros; only the order is meaningful on a shared machine.

Cost: under a minute on a CPU.
Command: python -m experiments.benchmarks.selecting
"""

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments import benchmarks
from xguide_jax import ops
from xguide_jax.types import Array

SHAPES = ((512, 784), (48, 50176))
ZERO_SHARES = (0.0, 0.7)
NUM_ROUNDS = 15


def top_k_bottom_mask(scores: Array, *, k: int) -> Array:
    """The mask of `ops.bottom_k_mask`, scattered from the indices of `top_k`."""
    _, indices = jax.lax.top_k(-scores, k)
    rows = jnp.arange(scores.shape[0])[:, None]
    return jnp.zeros(scores.shape, bool).at[rows, indices].set(True)


def milliseconds(mask_fn: Callable[[Array], Array], scores: Array) -> float:
    """Wall time of one call that is already compiled."""
    start = time.perf_counter()
    jax.block_until_ready(mask_fn(scores))
    return 1e3 * (time.perf_counter() - start)


def compare(scores: Array, *, k: int) -> dict[str, np.ndarray]:
    """Milliseconds of each method in each round, the methods taking turns.

    Raises:
      AssertionError: if the methods do not give the same mask.
    """
    methods = {
        "bisection": jax.jit(functools.partial(ops.bottom_k_mask, k=k)),
        "top_k": jax.jit(functools.partial(top_k_bottom_mask, k=k)),
    }
    masks = {name: mask_fn(scores) for name, mask_fn in methods.items()}
    np.testing.assert_array_equal(masks["bisection"], masks["top_k"])
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(NUM_ROUNDS):
        for name, mask_fn in methods.items():
            times[name].append(milliseconds(mask_fn, scores))
    return {name: np.array(rounds) for name, rounds in times.items()}


def main() -> None:
    """Prints one line for each shape and share of zeros."""
    benchmarks.begin(__doc__)
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}, {NUM_ROUNDS} rounds")
    print(
        "shape          zeros  bisection ms (min)   top_k ms (min)   ratio of medians"
    )
    for shape in SHAPES:
        for zero_share in ZERO_SHARES:
            key, zero_key = jax.random.split(jax.random.key(0))
            scores = jax.random.normal(key, shape)
            zeros = jax.random.uniform(zero_key, shape) < zero_share
            times = compare(jnp.where(zeros, 0.0, scores), k=shape[1] // 2)
            medians = {name: np.median(rounds) for name, rounds in times.items()}
            print(
                f"{shape!s:<14} {zero_share:>5.0%}"
                f"  {medians['bisection']:9.2f} ({times['bisection'].min():.2f})"
                f"    {medians['top_k']:9.2f} ({times['top_k'].min():.2f})"
                f"    {medians['top_k'] / medians['bisection']:6.1f}"
            )


if __name__ == "__main__":
    main()
