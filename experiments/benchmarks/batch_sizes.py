"""Time and memory of an example, by the size of its batch.

Question: does an example cost the same in a large batch as in a small one, and what
does guiding add to the memory of a step? The published digits CNN without dropout, a
step of unguided and of saliency-guided training by SGD, the guided one also with the
network's activations computed again where they are needed (`jax.checkpoint`), and with
the batch taken in two parts (`accumulate=2`).

Expected: time of an example within 20 % from 32 to 512 examples a batch; memory of
temporaries, which is the compiler's plan and repeats exactly, in proportion.

Cost: three minutes on two CPU cores.
Command: python -m experiments.benchmarks.batch_sizes
"""

import statistics
import time
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from experiments import benchmarks
from experiments.benchmarks.race.ours import arrays, digits
from xguide_jax import models, training
from xguide_jax.types import ApplyFn, Array, ModelOutput, PyTree, TrainState

SIZES = (32, 64, 128, 256, 512)
NUM_ROUNDS = 9


class Case(NamedTuple):
    """A compiled step with what it is called with."""

    step: jax.stages.Compiled
    state: TrainState
    batch: dict[str, Array]

    def milliseconds(self) -> float:
        """Wall time of one step."""
        start = time.perf_counter()
        jax.block_until_ready(self.step(self.state, self.batch))
        return 1e3 * (time.perf_counter() - start)

    def megabytes(self) -> float:
        """What XLA plans to allocate beside arguments and results."""
        analysis = self.step.memory_analysis()
        assert analysis is not None, "this backend does not tell its memory"
        return analysis.temp_size_in_bytes / 1e6


def rematerialised(apply_fn: ApplyFn) -> ApplyFn:
    """The network with none of its activations kept for the backward pass."""

    def apply(
        params: PyTree, model_state: PyTree, inputs: PyTree,
        *, train: bool, key: Any = None, overrides: Any = None,
    ) -> tuple[ModelOutput, PyTree]:  # fmt: skip
        run = lambda params, state, inputs, key, overrides: apply_fn(
            params, state, inputs, train=train, key=key, overrides=overrides
        )
        return jax.checkpoint(run)(params, model_state, inputs, key, overrides)

    return apply


def cases(size: int) -> dict[str, Case]:
    """The steps on batches of a size, by what is printed of them."""
    given = digits.digits_arrays(size)
    params = arrays.nested(given, "params")
    batch = jax.device_put({name: given[name] for name in ("inputs", "labels")})
    plain = models.linen_apply_fn(digits.network())
    optimizer = optax.sgd(1e-2)
    found = {}
    guided = digits.saliency_guided()
    for name, terms, apply_fn, parts in (
        ("unguided", {}, plain, 1),
        ("guided", guided, plain, 1),
        ("rematerialised", guided, rematerialised(plain), 1),
        ("in two parts", guided, plain, 2),
    ):
        state = training.init_train_state(
            jax.random.key(0), params, {}, terms, optimizer, batch
        )
        step = jax.jit(
            training.make_train_step(apply_fn, terms, optimizer, accumulate=parts)
        )
        found[name] = Case(step.lower(state, batch).compile(), state, batch)
    return found


def main() -> None:
    """Prints one line for each size."""
    benchmarks.begin(__doc__)
    by_size = {size: cases(size) for size in SIZES}
    names = list(by_size[SIZES[0]])
    times: dict[tuple[int, str], list[float]] = {}
    for _ in range(NUM_ROUNDS):
        for size, of_size in by_size.items():
            for name, case in of_size.items():
                times.setdefault((size, name), []).append(case.milliseconds() / size)
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}, an example's share")
    print("| examples | " + " | ".join(f"{n}, ms | MB" for n in names) + " |")
    print("| ---: |" + " ---: | ---: |" * len(names))
    for size, of_size in by_size.items():
        row = [
            f"{statistics.median(times[size, n]):.3f} | {case.megabytes() / size:.2f}"
            for n, case in of_size.items()
        ]
        print(f"| {size} | " + " | ".join(row) + " |")
    for name in names:
        medians = np.array([statistics.median(times[size, name]) for size in SIZES])
        print(f"{name}: slowest / fastest {medians.max() / medians.min():.2f}")


if __name__ == "__main__":
    main()
