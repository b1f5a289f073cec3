"""Steps a second with real batches against one batch that stays on the device.

Question: does the loop keep the device busy? The guided step of the main job is run by
`training.fit` on batches of the packaged digits, gathered and copied while the step
before is running, and on one batch that was put on the device before.

Expected: at least 95 % of the steps a second with one resident batch; rounds take
turns, and only their ratio means something on a shared machine.

Cost: 3 minutes on a CPU.
Command: python -m experiments.benchmarks.feeding
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import optax

from experiments import benchmarks
from experiments.running import feeding, loop
from experiments.saliency_guided_images import experiment, terms
from xguide_jax import attributions, data, models, training
from xguide_jax.types import TrainState

NUM_ROUNDS = 9
NUM_STEPS = 40


def seconds(
    step: Callable[..., Any], state: TrainState, batch_at: Callable[[int], Any]
) -> float:
    """Wall time of the loop over `NUM_STEPS` steps, everything being compiled."""
    start = time.perf_counter()
    state = training.fit(
        step, state, batch_at, num_steps=NUM_STEPS, log_every=NUM_STEPS // 2
    )
    jax.block_until_ready(state.params)
    return time.perf_counter() - start


def main() -> None:
    """Prints steps a second of both, round by round, and their ratio."""
    benchmarks.begin(__doc__)
    config = experiment.Config()
    dataset = data.digits()
    guided = terms.terms_of(
        "signed",
        mask_fraction=config.mask_fraction,
        score_fn=attributions.target_log_probability,
    )
    problem = loop.linen_problem(
        models.SaliencyGuidedCNN(),
        dataset.inputs,
        seed=0,
        batch_at=feeding.batches_of(dataset, batch_size=config.batch_size, seed=0),
        optimizer=optax.adam(1e-3),
    )
    state = training.init_train_state(
        jax.random.key(0),
        problem.params,
        problem.model_state,
        guided,
        problem.optimizer,
        problem.batch_at(0),
    )
    step = training.data_parallel(
        training.make_train_step(
            problem.apply_fn, guided, problem.optimizer, axis_name="batch"
        )
    )
    resident = jax.device_put(problem.batch_at(0))
    sources: dict[str, Callable[[int], Any]] = {
        "real": problem.batch_at,
        "resident": lambda n: resident,
    }
    benchmarks.compare_rates(
        functools.partial(seconds, step, state),
        sources,
        num_rounds=NUM_ROUNDS,
        num_steps=NUM_STEPS,
    )


if __name__ == "__main__":
    main()
