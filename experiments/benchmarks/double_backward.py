"""How long one right-for-right-reasons step takes, with and without the fast layers.

Paper:    the step is that of Ross, Hughes, Doshi-Velez, "Right for the Right Reasons",
          IJCAI 2017: the parameter gradient of a loss that holds an input gradient.
Network:  the published MNIST network of saliency-guided training, without dropout.
Compares: `jax.lax.conv_general_dilated` and Flax's `max_pool` (reduce_window) with
          `ops.conv_general_dilated` and `ops.max_pool`, on one batch of noise.
Expected: equal gradients, at least 4 times faster on a CPU. On a GPU the first pair
          has no slow kernel, and the ratio should be near 1.
Cost:     four minutes on two busy CPU cores, nearly all of it in the first pair.
Command:  python -m experiments.benchmarks.double_backward
"""

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax

from experiments import benchmarks
from xguide_jax import models
from xguide_jax.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
      batch_size: images a step.
      rounds: timed steps of each network; the networks take turns.
      seed: seed of the weights and of the images.
    """

    batch_size: int = 128
    rounds: int = 7
    seed: int = 0


def reduce_window_max_pool(inputs: Array, *, window: tuple[int, int]) -> Array:
    """Flax's pooling, under the arguments of `ops.max_pool`."""
    return nn.max_pool(inputs, window, strides=window)


def networks() -> dict[str, nn.Module]:
    """The same network twice; both take the same parameters."""
    return {
        "lax": models.SaliencyGuidedCNN(
            dropout=(0.0, 0.0),
            conv_general_dilated=lax.conv_general_dilated,
            max_pool=reduce_window_max_pool,
        ),
        "ops": models.SaliencyGuidedCNN(dropout=(0.0, 0.0)),
    }


def make_gradient(module: nn.Module) -> Callable[[PyTree, Array, Array], PyTree]:
    """The gradient of cross-entropy plus the squared input gradient, whole images."""
    apply_fn = models.linen_apply_fn(module)

    def logits(params: PyTree, inputs: Array) -> Array:
        return apply_fn(params, {}, inputs, train=True)[0].logits

    def log_probability_sum(params: PyTree, inputs: Array) -> Array:
        return jnp.sum(jax.nn.log_softmax(logits(params, inputs)))

    def loss(params: PyTree, inputs: Array, labels: Array) -> Array:
        task = optax.softmax_cross_entropy_with_integer_labels(
            logits(params, inputs), labels
        )
        input_gradient = jax.grad(log_probability_sum, argnums=1)(params, inputs)
        return jnp.sum(task) + jnp.sum(jnp.square(input_gradient))

    return jax.jit(jax.grad(loss))


def largest_difference(actual: PyTree, expected: PyTree) -> float:
    """The worst over all leaves of max |actual - expected| / max |expected|."""
    ratios = jax.tree.map(
        lambda a, b: jnp.max(jnp.abs(a - b)) / jnp.max(jnp.abs(b)), actual, expected
    )
    return float(max(jax.tree.leaves(ratios)))


def run(config: Config) -> dict[str, list[float]]:
    """Milliseconds of each step, by network.

    Raises:
      AssertionError: if the gradients of the two differ by more than 1e-4 of the
        largest.
    """
    image_key, label_key, init_key = jax.random.split(jax.random.key(config.seed), 3)
    inputs = jax.random.normal(image_key, (config.batch_size, 28, 28, 1))
    labels = jax.random.randint(label_key, (config.batch_size,), 0, 10)
    params, _ = models.init_linen(networks()["ops"], init_key, inputs)
    steps = {name: make_gradient(module) for name, module in networks().items()}
    gradients = {name: step(params, inputs, labels) for name, step in steps.items()}
    difference = largest_difference(gradients["ops"], gradients["lax"])
    assert difference < 1e-4, f"gradients differ by {difference:.1e} of the largest"
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(config.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            jax.block_until_ready(step(params, inputs, labels))
            times[name].append(1e3 * (time.perf_counter() - start))
    print(f"gradients equal to {difference:.1e} of the largest")
    return times


def main() -> None:
    """Prints the table."""
    benchmarks.begin(__doc__)
    config = Config()
    times = run(config)
    device = jax.devices()[0].device_kind
    print(f"JAX {jax.__version__}, {device}, {config}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name}: min {min(values):.1f} ms, median {median:.1f} ms")
    print(f"ratio of minima: {min(times['lax']) / min(times['ops']):.2f}")


if __name__ == "__main__":
    main()
