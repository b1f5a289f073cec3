"""Every arm of a finished run, explained as its experiment does, and evaluated."""

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from experiments.evaluate.subjects import SUBJECTS, Subject
from experiments.running import arms, directory, flags, results
from xguide_jax import evaluation, models, ops
from xguide_jax.types import Array

Found = dict[str, list[results.Result[evaluation.Evaluation]]]


class Finished(NamedTuple):
    """A finished run.

    Attributes:
      path: its directory.
      name: of its experiment.
      config: its flags.
      every: the arms that it trained.
      subject: how they are measured.
    """

    path: pathlib.Path
    name: str
    config: flags.ExplainingConfig
    every: tuple[arms.Arm, ...]
    subject: Subject

    @property
    def seeds(self) -> range:
        """The seeds of the run."""
        return directory.Run(self.name, self.path, self.config).seeds

    def weights(self, arm: arms.Arm, seed: int) -> pathlib.Path:
        """The file of one arm and seed."""
        return self.path / "models" / f"{arm.text}-{seed}" / "model.safetensors"


def open_finished(path: pathlib.Path, *, chosen: Sequence[str] = ()) -> Finished:
    """Reads what a run was asked for, and loads the data it was tested on.

    Args:
      path: of the run's directory; nothing in it is written.
      chosen: arms of the run; all if empty.

    Returns:
      The run.

    Raises:
      RefusedError: if there is no run, it is of an experiment that is not measured
        here or was asked for with other flags than there are now, or an arm is not
        there or not finished.
    """
    name = directory.name_of(path)
    if name not in SUBJECTS:
        raise flags.RefusedError(
            f"{path} holds a run of {name}; there are {sorted(SUBJECTS)}."
        )
    experiment, subject_of = SUBJECTS[name]
    config = directory.config_of(path, experiment.config)
    if strange := sorted(set(chosen) - set(config.arms)):
        raise flags.RefusedError(
            f"{path} has no arms {strange}; it has {list(config.arms)}."
        )
    every = arms.read_arms(chosen or config.arms, experiment.grammar)
    run = Finished(path, name, config, every, subject_of(config))
    for seed in run.seeds:
        for arm in every:
            if not run.weights(arm, seed).is_file():
                raise flags.RefusedError(f"there is no {run.weights(arm, seed)}.")
    return run


def measure(
    run: Finished,
    *,
    num_evaluated: int,
    num_random_orders: int,
    batch_size: int,
    seed: int,
) -> Found:
    """Evaluates every arm and seed.

    Args:
      run: of `open_finished`.
      num_evaluated: test images, the first ones.
      num_random_orders: that chance is the mean of.
      batch_size: images at once.
      seed: of fills and random orders; arms of a seed share them.

    Returns:
      {text of the arm: a result each seed}.

    Raises:
      RefusedError: for more images than there are.
      ValueError: for weights of another network, naming their arrays.
    """
    subject = run.subject
    apply_fn = models.linen_apply_fn(subject.network)
    # The variables are arguments: one program serves all arms.
    logits = jax.jit(
        lambda params, model_state, x: (
            apply_fn(params, model_state, x, train=False)[0].logits
        )
    )
    explain = evaluation.make_explain(
        apply_fn, subject.explain_fns, batch_size=batch_size
    )
    found: Found = {arm.text: [] for arm in run.every}
    both = [(own_seed, arm) for own_seed in run.seeds for arm in run.every]
    for own_seed, arm in tqdm.tqdm(both, unit="network"):
        test = subject.test(arm, own_seed)
        flags.check_num_evaluated(num_evaluated, available=len(test["labels"]))
        batch = {name: values[:num_evaluated] for name, values in test.items()}
        like = models.init_linen(
            subject.network, jax.random.key(0), jnp.asarray(batch["inputs"][:1])
        )
        variables = models.load_weights(run.weights(arm, own_seed), like=like)
        key, explain_key = jax.random.split(
            jax.random.fold_in(jax.random.key(seed), own_seed)
        )
        inputs, labels = jnp.asarray(batch["inputs"]), jnp.asarray(batch["labels"])
        maps = explain(*variables, inputs, labels, key=explain_key)
        evaluated = evaluation.evaluate(
            functools.partial(logits, *variables),
            {name: _on_image(jnp.asarray(each), inputs) for name, each in maps.items()},
            batch,
            key=key,
            fills=subject.fills,
            baselines=subject.baselines,
            score_fn=subject.score_fn,
            num_random_orders=num_random_orders,
            batch_size=batch_size,
            progress=False,
        )
        result = results.Result(
            arm, own_seed, run.config.num_steps, float("nan"), evaluated
        )
        found[arm.text].append(result)
    return found


def _on_image(maps: Array, inputs: Array) -> np.ndarray:
    """Maps of a layer, enlarged."""
    _, height, width, _ = inputs.shape
    if maps.shape[1:3] != (height, width):
        maps = ops.bilinear_resize(maps, shape=(height, width))
    return np.asarray(maps)
