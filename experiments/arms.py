"""Training one arm of an experiment, or the rest of it, and keeping what it gave."""

import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
import tqdm
from flax import linen as nn

from experiments import common
from xguide_jax import data, models, training
from xguide_jax.types import ApplyFn, PyTree, TaskLoss, Terms, TrainState


class Problem(NamedTuple):
    """What an arm is trained on, apart from its terms; one for each seed."""

    apply_fn: ApplyFn
    params: PyTree
    model_state: PyTree
    batch_at: Callable[[int], Any]
    optimizer: optax.GradientTransformation
    task_loss: TaskLoss = training.softmax_cross_entropy


def linen_problem(
    network: nn.Module, inputs: np.ndarray, *, seed: int, **rest: Any
) -> Problem:
    """The problem of one seed with a Linen network's initial weights.

    Args:
      network: a module of `xguide_jax.models`, or one like them.
      inputs: [N, ...], of which the shape and type are used.
      seed: of the weights.
      **rest: the other fields of `Problem`.

    Returns:
      A `Problem`.
    """
    params, model_state = models.init_linen(
        network, jax.random.key(seed), jnp.asarray(inputs[:1])
    )
    return Problem(models.linen_apply_fn(network), params, model_state, **rest)


def finish_run(
    run: common.Run,
    arm_names: Sequence[str],
    *,
    train: Callable[[Sequence[tuple[str, int]]], None],
    report: Callable[[], None],
) -> None:
    """Trains what a run still lacks, and writes its report.

    Args:
      run: the open run.
      arm_names: the arms; every seed has all of them before the next begins.
      train: trains, measures and keeps the (arm, seed) pairs it is given.
      report: called on the writing process, when nothing is lacking.
    """
    seeds = range(run.config.seed, run.config.seed + run.config.seeds)
    missing = [
        (arm, seed)
        for seed in seeds
        for arm in arm_names
        if load_result(run, arm, seed) is None
    ]
    if missing:
        train(missing)
    elif run.is_writer:
        print(f"{run.path} is finished; its report is rendered again.")
    if run.is_writer:
        report()


def train_arm(
    run: common.Run, arm: str, terms: Terms, problem: Problem, *, seed: int
) -> tuple[TrainState, float]:
    """Trains one arm, or the rest of it, and keeps its weights.

    Args:
      run: the open run.
      arm: its name.
      terms: {name: GuidanceTerm}; {} is the unguided arm.
      problem: network, data and optimiser, the same for all arms of a seed.
      seed: of this repetition.

    Returns:
      (final state, images a second of the steps taken now; NaN if there were none).

    Raises:
      Interrupted: at SIGINT or SIGTERM, when the running step is done and saved.
      NonFiniteError: if the arm diverged, naming its last checkpoint.
      RefusedError: if there is a checkpoint that is not of this arm.
    """
    config = run.config
    state = training.init_train_state(
        jax.random.key(seed),
        problem.params,
        problem.model_state,
        terms,
        problem.optimizer,
        problem.batch_at(0),
    )
    checkpoints = run.path / "checkpoints" / f"{arm}-{seed}"
    identity = common.identity(config, arm=arm, seed=seed)
    save = lambda state: training.save_checkpoint(checkpoints, state, config=identity)
    try:
        restored = training.restore_checkpoint(checkpoints, state, config=identity)
    except ValueError as error:
        raise common.RefusedError(f"{checkpoints}: {error}") from error
    state = state if restored is None else restored
    begin = int(state.step)
    log = run.path / "metrics.jsonl"
    mine = {"arm": arm, "seed": seed}
    if run.is_writer and log.exists():
        keep = lambda record: {**record, **mine} != record or record["step"] <= begin
        training.truncate_log(log, keep)
    step = training.data_parallel(
        training.make_train_step(
            problem.apply_fn,
            terms,
            problem.optimizer,
            task_loss=problem.task_loss,
            axis_name="batch",
        ),
        how=config.how,
        devices=common.chosen_devices(config),
    )
    rates: list[float] = []
    with (
        training.stop_on_signals() as stop,
        progress_bar(f"{arm}, seed {seed}", begin, config.num_steps, run) as bar,
    ):

        def progress(step: int, steps_per_second: float, record: Mapping) -> None:
            rates.append(steps_per_second * config.batch_size)
            bar.update(step - bar.n)
            shown = ("loss", "task", *terms) if terms else ("loss",)
            bar.set_postfix_str(", ".join(f"{n} {record[n]:.3f}" for n in shown))

        try:
            state = training.fit(
                step,
                state,
                problem.batch_at,
                num_steps=config.num_steps,
                log_every=config.log_every,
                on_log=functools.partial(_log, log, mine) if run.is_writer else None,
                save_every=config.save_every,
                on_save=save,
                progress=progress,
                stop=stop,
            )
        except training.NonFiniteError as error:
            raise training.NonFiniteError(
                f"{arm}, seed {seed}, diverged: {error} {_last_of(checkpoints)}"
            ) from error
    if run.is_writer:
        save_model(run.path / "models" / f"{arm}-{seed}" / "model.safetensors", state)
    # The first window holds the compilation.
    return state, float(np.median(rates[1:])) if len(rates) > 1 else float("nan")


def _last_of(checkpoints: pathlib.Path) -> str:
    steps = [int(p.name) for p in checkpoints.glob("*") if p.name.isdigit()]
    if not steps:
        return "There is no checkpoint."
    return f"The last good checkpoint is {checkpoints / str(max(steps))}."


def _log(
    path: pathlib.Path, mine: Mapping[str, Any], record: Mapping[str, Any]
) -> None:
    training.append_record(path, {**mine, **record})


def progress_bar(label: str, begin: int, end: int, run: common.Run) -> tqdm.tqdm:
    """A bar with the arm, its loss and the time left, on the writing process only.

    Args:
      label: in front of the bar.
      begin: the step it starts at.
      end: the step it ends at.
      run: the open run.

    Returns:
      A tqdm bar, to be closed.
    """
    return tqdm.tqdm(
        desc=f"{label:>28}",
        initial=begin,
        total=end,
        unit="step",
        disable=not run.is_writer,
        dynamic_ncols=True,
    )


def batch_sampler(
    dataset: data.Dataset,
    config: common.RunConfig,
    *,
    seed: int,
    augment: data.Augment | None = None,
) -> Callable[[int], Any]:
    """Batch n of this process as a function of n, so that resuming needs no state.

    Args:
      dataset: the training part.
      config: the flags.
      seed: of this repetition.
      augment: as for `data.make_batch`.

    Returns:
      step -> batch.

    Raises:
      RefusedError: if there are fewer examples than a batch has.
    """
    if config.batch_size > len(dataset.labels):
        raise common.RefusedError(
            f"`batch_size` (={config.batch_size}) must be at most "
            f"{len(dataset.labels)}, the number of training examples."
        )

    def batch_at(step: int) -> dict[str, np.ndarray]:
        indices = data.batch_indices(
            len(dataset.labels),
            batch_size=config.batch_size,
            seed=seed,
            step=step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        return data.make_batch(dataset, indices, augment=augment, seed=seed, step=step)

    return batch_at


def make_evaluation(
    apply_fn: ApplyFn, config: common.RunConfig, *, batch_size: int = 512
) -> Callable[[TrainState, data.Dataset], float]:
    """Accuracy on a whole data set, in eval mode.

    Args:
      apply_fn: the network.
      config: the flags.
      batch_size: images at once.

    Returns:
      `(state, dataset) -> accuracy`.
    """
    step = training.data_parallel(
        training.make_eval_step(apply_fn, axis_name="batch"),
        how=config.how,
        devices=common.chosen_devices(config),
    )

    def evaluate(state: TrainState, dataset: data.Dataset) -> float:
        results = [
            jax.device_get(step(state, batch))
            for batch in data.eval_batches(dataset, batch_size=batch_size)
        ]
        weight = sum(float(r["weight"]) for r in results)
        return sum(float(r["accuracy"] * r["weight"]) for r in results) / weight

    return evaluate


def make_predict(apply_fn: ApplyFn) -> Callable[[TrainState, Any], jax.Array]:
    """The logits of a trained network in eval mode, compiled.

    Args:
      apply_fn: the network.

    Returns:
      `(state, inputs [B, ...]) -> logits [B, C]`.
    """
    compiled = jax.jit(
        lambda params, model_state, x: (
            apply_fn(params, model_state, x, train=False)[0].logits
        )
    )
    return lambda state, x: compiled(state.params["model"], state.model_state, x)


def save_model(path: pathlib.Path, state: TrainState) -> None:
    """The network's weights as safetensors, readable without this library.

    Args:
      path: of the file.
      state: the trained state; guidance parameters are left out.
    """
    names = jax.tree_util.tree_leaves_with_path(
        {"params": state.params["model"], "model_state": state.model_state}
    )
    arrays = {
        jax.tree_util.keystr(name, simple=True, separator="."): np.asarray(leaf)
        for name, leaf in names
    }
    common.write_bytes(path, safetensors.numpy.save(arrays))


def save_result(
    run: common.Run, arm: str, seed: int, *, numbers: Mapping[str, Any], arrays: Mapping
) -> None:
    """Keeps what was measured of one finished arm.

    Args:
      run: the open run.
      arm: its name.
      seed: of this repetition.
      numbers: JSON values.
      arrays: {name: array}, for the figures.
    """
    path = run.path / "results" / f"{arm}-{seed}.json"
    buffer = io.BytesIO()
    values: dict[str, Any] = {k: np.asarray(v) for k, v in arrays.items()}
    np.savez_compressed(buffer, **values)
    common.write_bytes(path.with_suffix(".npz"), buffer.getvalue())
    # Last, because its presence says that the arm is finished.
    training.write_json(path, {"num_steps": run.config.num_steps, **numbers})


def load_result(run: common.Run, arm: str, seed: int) -> tuple[dict, dict] | None:
    """What `save_result` kept.

    Args:
      run: the open run.
      arm: its name.
      seed: of this repetition.

    Returns:
      (numbers, arrays), or None if the arm is not finished, or was with fewer steps
      than the run now has.
    """
    path = run.path / "results" / f"{arm}-{seed}.json"
    numbers = common.read_json(path)
    if numbers is None or numbers.pop("num_steps", run.config.num_steps) != (
        run.config.num_steps
    ):
        return None
    # JSON knows no NaN; an undefined number was written as null.
    numbers = {k: np.nan if v is None else v for k, v in numbers.items()}
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as archive:
        return numbers, dict(archive)
