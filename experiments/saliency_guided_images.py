"""Saliency-guided training on images (Ismail, Corrada Bravo, Feizi, NeurIPS 2021).

Trains the published CNN unguided and guided, from the same weights on the same batches,
and asks whether the prediction leans on what the saliency says it leans on: removal
curves (most salient first), each against the same network's random-order curve, by
three explainers and two fills, one of which training never saw; insertion curves as the
second view. The paper's prose and its code rank differently: both are arms here, beside
a random mask and k = 0, which with dropout is a consistency loss without any masking.

    python -m experiments.saliency_guided_images
    python -m experiments.saliency_guided_images --seeds 5 --dataset mnist10k

Two arms and one seed take 2 minutes on 2 cores; the default is five arms.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from experiments import arms, command, common, flags, removal, saliency_guided_report
from xguide_jax import attributions, data, guidance, models, ops
from xguide_jax.types import ScoreFn, Terms

NAME = "saliency_guided_images"


@dataclasses.dataclass(frozen=True)
class Config(common.RunConfig):
    """Flags of saliency-guided training on images."""

    dataset: Literal["digits", "mnist10k", "mnist", "fashion_mnist", "cifar10"] = (
        "digits"
    )
    """digits: 5,000 MNIST digits inside a package; mnist10k: a file in --data-dir; the
    others: tensorflow-datasets, which downloads them."""
    data_dir: pathlib.Path | None = None
    """Folder of data sets; $XGUIDE_DATA if left out."""
    arms: tuple[str, ...] = ("unguided", "signed", "magnitude", "random", "k=0")
    """Which arms to train, in this order."""
    mask_fraction: float = 0.5
    """Fraction of pixels replaced, published: 0.5."""
    learning_rate: float = 1e-3
    """Of Adam."""
    flip: bool = False
    """Mirror training images at random; not for digits."""
    shift: int = 0
    """Move training images by up to so many pixels; 4 is usual for CIFAR-10."""
    num_evaluated: int = 256
    """Test images that are explained."""
    num_points: int = 16
    """Points of integrated gradients, samples of SmoothGrad."""
    num_draws: int = 5
    """Random orders a network is compared with."""


def load(config: Config) -> data.Dataset:
    """The whole labelled data set.

    Args:
      config: the flags.

    Returns:
      A data set, checked row by row.
    """
    folder = config.data_dir or os.environ.get("XGUIDE_DATA")
    if config.dataset == "digits":
        dataset = data.digits()
    elif config.dataset == "mnist10k":
        if folder is None:
            raise ValueError("--dataset mnist10k needs --data-dir or $XGUIDE_DATA.")
        dataset = data.mnist10k(folder)
    else:
        dataset = data.tensorflow_datasets_images(
            config.dataset, "train+test", data_dir=config.data_dir
        )
    data.validate(dataset)
    return dataset


def terms_of(arm: str, config: Config, score_fn: ScoreFn) -> Terms:
    """The guidance of an arm.

    Args:
      arm: its name.
      config: the flags.
      score_fn: what is explained.

    Returns:
      {name: term}; {} for the unguided arm.
    """
    guided = functools.partial(
        guidance.saliency_guided,
        mask_fraction=config.mask_fraction,
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2)),
        score_fn=score_fn,
    )
    known: dict[str, Callable[[], Terms]] = {
        "unguided": dict,
        "signed": lambda: {"sgt": guided(rank_fn=ops.signed_channel_mean)},
        "magnitude": lambda: {"sgt": guided(rank_fn=ops.magnitude_of_mean)},
        "random": lambda: {"sgt": guided(rank_fn=ops.random_rank)},
        "k=0": lambda: {
            "sgt": guided(rank_fn=ops.signed_channel_mean, mask_fraction=0.0)
        },
    }
    if arm not in known:
        raise ValueError(f"`arms` holds {arm!r}; there are {sorted(known)}.")
    return known[arm]()


def check(config: Config) -> None:
    """Refuses flags that cannot be met, before anything is loaded or compiled.

    Args:
      config: the flags.

    Raises:
      ValueError: for an arm that does not exist, or a number out of range.
    """
    flags.check(config)
    flags.check_folder(config.dataset, config.data_dir)
    flags.check_fractions(config, "mask_fraction")
    parse = lambda arm: terms_of(arm, config, attributions.target_logit)
    flags.check_arms(config.arms, parse)
    flags.check_rate(config)
    flags.check_at_least(config, shift=0, num_evaluated=1, num_points=1, num_draws=1)


def run_experiment(config: Config) -> None:
    """Trains and measures every arm and seed that is not finished, and reports.

    Args:
      config: the flags.

    Raises:
      ValueError: as `check` and `common.open_run`.
    """
    check(config)
    with common.open_run(config, name=NAME) as run:
        dataset = load(config)
        write = saliency_guided_report.write
        arms.finish_run(
            run,
            config.arms,
            train=functools.partial(train_and_measure, run, config, dataset),
            report=lambda: write(run, config.arms, dataset.class_names),
        )


def train_and_measure(
    run: common.Run,
    config: Config,
    dataset: data.Dataset,
    missing: Sequence[tuple[str, int]],
) -> None:
    """Trains and measures arms, and keeps what they gave.

    Args:
      run: the open run.
      config: the flags.
      dataset: the whole data set.
      missing: (arm, seed) pairs.
    """
    network = models.SaliencyGuidedCNN(num_classes=len(dataset.class_names))
    apply_fn = models.linen_apply_fn(network)
    # As published: log-probabilities on digits, logits on colour images.
    grey = dataset.inputs.shape[-1] == 1
    score_fn = (
        attributions.target_log_probability if grey else attributions.target_logit
    )
    measure = removal.make_measurement(apply_fn, protocol(config, dataset, score_fn))
    evaluate = arms.make_evaluation(apply_fn, config)
    augment = functools.partial(
        data.transform_together,
        flip=config.flip,
        pad_crop=config.shift,
        pad_value=float(dataset.inputs.min()),
    )
    for arm, seed in missing:
        train, validation, test = data.split(
            dataset, seed=seed, fractions=(0.7, 0.1, 0.2)
        )
        flags.check_num_evaluated(config, available=len(test.labels))
        problem = arms.linen_problem(
            network,
            train.inputs,
            seed=seed,
            batch_at=arms.batch_sampler(
                train,
                config,
                seed=seed,
                augment=augment if config.flip or config.shift else None,
            ),
            optimizer=optax.adam(config.learning_rate),
        )
        terms = terms_of(arm, config, score_fn)
        state, rate = arms.train_arm(run, arm, terms, problem, seed=seed)
        shown = slice(config.num_evaluated)
        numbers, arrays = measure(
            state,
            jnp.asarray(test.inputs[shown]),
            jnp.asarray(test.labels[shown]),
            jax.random.key(seed),
        )
        numbers["test_accuracy"] = evaluate(state, test)
        numbers["validation_accuracy"] = evaluate(state, validation)
        numbers["images_per_second"] = rate
        if run.is_writer:
            arms.save_result(run, arm, seed, numbers=numbers, arrays=arrays)


def protocol(
    config: Config, dataset: data.Dataset, score_fn: ScoreFn
) -> removal.Protocol:
    """How explanations are made and tested.

    Args:
      config: the flags.
      dataset: the whole data set, for the range of its inputs.
      score_fn: what is explained.

    Returns:
      A `removal.Protocol`; training filled with the uniform noise, never with black.
    """
    black, white = float(dataset.inputs.min()), float(dataset.inputs.max())
    return removal.Protocol(
        score_fn=score_fn,
        fills={
            "uniform": functools.partial(ops.uniform_range_fill, axes=(1, 2)),
            "black": functools.partial(ops.constant_fill, value=black),
        },
        baseline=black,
        sigma=0.15 * (white - black),
        num_points=config.num_points,
        num_draws=config.num_draws,
        batch_size=config.num_evaluated,
    )


if __name__ == "__main__":
    command.main(Config, run_experiment, name=NAME, check=check)
