"""Time of a convolution's weight gradient, as lax has it and in the form for a CPU.

Question: is the rule of `ops.cpu_weight_gradients` the faster form at every shape? Each
shape is (examples, pixels a side, channels in, channels out, kernel, stride); of each
the weight gradient of `jax.lax.conv_general_dilated` and that of
`ops.conv_general_dilated` take turns.

Expected: equal to 1e-4 of the largest value, asserted before anything is timed. Nothing
slower than lax by more than the machine's noise; 1x1 kernels 2 to 13 times as fast,
operands of more than 20 MB (4 MB of 32 channels or fewer) 1.2 to 3 times. On an
accelerator both are the same program.

Cost: a minute on two CPU cores.
Command: python -m experiments.benchmarks.weight_gradients
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from experiments import benchmarks
from xguide_jax import ops
from xguide_jax.types import Array

SHAPES = (
    (128, 28, 1, 32, 3, 1),
    (128, 26, 32, 64, 3, 1),
    (512, 26, 32, 64, 3, 1),
    (128, 48, 16, 32, 3, 2),
    (128, 64, 3, 16, 3, 2),
    (32, 128, 3, 64, 7, 2),
    (32, 32, 64, 64, 3, 1),
    (128, 32, 64, 64, 3, 1),
    (64, 56, 64, 64, 3, 1),
    (128, 16, 128, 128, 3, 1),
    (32, 8, 256, 256, 3, 1),
    (32, 4, 512, 512, 3, 1),
    (32, 32, 64, 128, 1, 2),
    (32, 14, 256, 1024, 1, 1),
    (32, 56, 64, 256, 1, 1),
    (32, 56, 256, 512, 1, 2),
)
NUM_ROUNDS = 9

Pair = tuple[Callable[[], Array], Callable[[], Array]]


def gradients(shape: tuple[int, ...]) -> Pair:
    """The weight gradient by lax and by ops, compiled."""
    batch, side, channels, out, size, stride = shape
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.normal(keys[0], (batch, side, side, channels))
    kernel = jax.random.normal(keys[1], (size, size, channels, out))

    def gradient(convolve: Callable[..., Array]) -> Callable[[], Array]:
        def of_kernel(inputs: Array, kernel: Array) -> Array:
            return convolve(
                inputs, kernel, (stride, stride), "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )  # fmt: skip

        struct = jax.eval_shape(of_kernel, inputs, kernel)
        cotangent = jax.random.normal(keys[2], struct.shape)
        pull = jax.jit(lambda x, w, y: jax.vjp(lambda w: of_kernel(x, w), w)[1](y)[0])
        return lambda: jax.block_until_ready(pull(inputs, kernel, cotangent))

    return gradient(jax.lax.conv_general_dilated), gradient(ops.conv_general_dilated)


def milliseconds(pair: Pair) -> tuple[float, float]:
    """Medians of rounds in which the two take turns.

    Raises:
      AssertionError: if they differ by more than 1e-4 of the largest value.
    """
    expected, actual = (make() for make in pair)
    difference = jnp.max(jnp.abs(actual - expected)) / jnp.max(jnp.abs(expected))
    assert difference < 1e-4, f"gradients differ by {difference:.1e} of the largest"
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(NUM_ROUNDS):
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            pair[which]()
            times[which].append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    """Prints one line for each shape."""
    benchmarks.begin(__doc__)
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}, {NUM_ROUNDS} rounds")
    print("| B, side, C, O, kernel, stride | lax, ms | ops, ms | lax / ops |")
    print("| --- | ---: | ---: | ---: |")
    for shape in SHAPES:
        plain, own = milliseconds(gradients(shape))
        sizes = ", ".join(map(str, shape))
        print(f"| {sizes} | {plain:.1f} | {own:.1f} | {plain / own:.2f} |", flush=True)


if __name__ == "__main__":
    main()
