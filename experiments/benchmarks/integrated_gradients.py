"""Memory and time of integrated gradients by chunk size.

Paper:    Sundararajan, Taly, Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
Network:  the published MNIST network of saliency-guided training, without dropout.
Compares: chunks of 1, 5 and 50 of the 50 points on the path, on one batch of noise.
          The memory is what XLA plans for temporaries, which repeats exactly; the time
          is the wall's.
Expected: equal attributions; memory in proportion to the chunk, about 30, 150 and
          1500 MB; no chunk much slower than another on a CPU.
Cost:     about two minutes on two CPU cores, half of it compilation, and 1.5 GB.
Command:  python -m experiments.benchmarks.integrated_gradients
"""

import dataclasses
import functools
import statistics
import time

import jax
import jax.numpy as jnp

from experiments import benchmarks
from xguide_jax import attributions, models
from xguide_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
      batch_size: images explained at once.
      num_steps: points on the path.
      chunk_sizes: points evaluated at once.
      rounds: timed runs of each chunk size; the chunk sizes take turns.
      seed: seed of the weights and of the images.
    """

    batch_size: int = 64
    num_steps: int = 50
    chunk_sizes: tuple[int, ...] = (1, 5, 50)
    rounds: int = 3
    seed: int = 0


def compile_explainers(
    config: Config, inputs: Array, targets: Array
) -> dict[int, jax.stages.Compiled]:
    """Integrated gradients of one network from black, compiled for each chunk size."""
    module = models.SaliencyGuidedCNN(dropout=(0.0, 0.0))
    apply_fn = models.linen_apply_fn(module)
    params, _ = models.init_linen(module, jax.random.key(config.seed), inputs)

    def explain(inputs: Array, targets: Array, *, chunk_size: int) -> Array:
        return attributions.integrated_gradients(
            lambda x: apply_fn(params, {}, x, train=False)[0].logits,
            inputs,
            targets,
            baselines=0.0,
            num_points=config.num_steps,
            score_fn=attributions.target_logit,
            chunk_size=chunk_size,
        )

    return {
        size: jax.jit(functools.partial(explain, chunk_size=size))
        .lower(inputs, targets)
        .compile()
        for size in config.chunk_sizes
    }


def temporary_megabytes(compiled: jax.stages.Compiled) -> float:
    """What XLA plans to allocate beside arguments and results."""
    analysis = compiled.memory_analysis()
    assert analysis is not None, "this backend does not tell its memory"
    return analysis.temp_size_in_bytes / 1e6


def run(config: Config) -> dict[int, tuple[float, list[float]]]:
    """Temporary megabytes, and the seconds of each run, by chunk size.

    Raises:
      AssertionError: if two chunk sizes differ by more than 1e-5 of the largest
        attribution.
    """
    image_key, label_key = jax.random.split(jax.random.key(config.seed))
    inputs = jax.random.normal(image_key, (config.batch_size, 28, 28, 1))
    targets = jax.random.randint(label_key, (config.batch_size,), 0, 10)
    explainers = compile_explainers(config, inputs, targets)
    maps = [explain(inputs, targets) for explain in explainers.values()]
    for other in maps[1:]:
        difference = jnp.max(jnp.abs(other - maps[0])) / jnp.max(jnp.abs(maps[0]))
        assert difference < 1e-5, f"chunks differ by {difference:.1e} of the largest"
    times: dict[int, list[float]] = {size: [] for size in explainers}
    for _ in range(config.rounds):
        for size, explain in explainers.items():
            start = time.perf_counter()
            jax.block_until_ready(explain(inputs, targets))
            times[size].append(time.perf_counter() - start)
    return {
        size: (temporary_megabytes(explain), times[size])
        for size, explain in explainers.items()
    }


def main() -> None:
    """Prints the table."""
    benchmarks.begin(__doc__)
    config = Config()
    results = run(config)
    device = jax.devices()[0].device_kind
    print(f"batch {config.batch_size}, {config.num_steps} points, {device}, ", end="")
    print(f"JAX {jax.__version__}")
    print("chunk   memory MB   seconds min   median")
    for size, (megabytes, seconds) in results.items():
        median = statistics.median(seconds)
        print(f"{size:5d} {megabytes:11.0f} {min(seconds):13.2f} {median:8.2f}")


if __name__ == "__main__":
    main()
