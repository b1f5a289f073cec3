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
import pathlib
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from experiments.digits import sources
from experiments.running import arms, feeding, flags, loop, predicting
from experiments.saliency_guided_images import measures, report
from xguide_jax import attributions, data, guidance, models, ops
from xguide_jax.types import ScoreFn, Terms, TrainState

ARMS = ("unguided", "signed", "magnitude", "random", "k=0")


@dataclasses.dataclass(frozen=True)
class Config(flags.RunConfig):
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


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: for a number out of range.
    """
    sources.check_folder(config.dataset, config.data_dir)
    flags.check_fractions(config, "mask_fraction")
    flags.check_rate(config)
    flags.check_at_least(config, shift=0, num_evaluated=1, num_points=1, num_draws=1)


def terms_of(arm: str, *, mask_fraction: float, score_fn: ScoreFn) -> Terms:
    """The guidance of an arm.

    Args:
      arm: its term.
      mask_fraction: of the pixels.
      score_fn: what is explained.

    Returns:
      {name: term}; {} for the unguided arm.
    """
    if arm == "unguided":
        return {}
    ranks: dict[str, Any] = {
        "magnitude": ops.magnitude_of_mean,
        "random": ops.random_rank,
    }
    term = guidance.saliency_guided(
        mask_fraction=0.0 if arm == "k=0" else mask_fraction,
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2)),
        score_fn=score_fn,
        rank_fn=ranks.get(arm, ops.signed_channel_mean),
    )
    return {"sgt": term}


def trials(config: Config) -> loop.MakeTrial[measures.Measured]:
    """Loads the data and builds the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    dataset = sources.load(config.dataset, config.data_dir)
    data.validate(dataset)
    network = models.SaliencyGuidedCNN(num_classes=len(dataset.class_names))
    apply_fn = models.linen_apply_fn(network)
    # As published: log-probabilities on digits, logits on colour images.
    grey = dataset.inputs.shape[-1] == 1
    score_fn = (
        attributions.target_log_probability if grey else attributions.target_logit
    )
    black, white = float(dataset.inputs.min()), float(dataset.inputs.max())
    explain = measures.make_measurement(
        apply_fn,
        measures.Protocol(
            score_fn=score_fn,
            # Training filled with the uniform noise, never with black.
            fills={
                "uniform": functools.partial(ops.uniform_range_fill, axes=(1, 2)),
                "black": functools.partial(ops.constant_fill, value=black),
            },
            baseline=black,
            sigma=0.15 * (white - black),
            num_points=config.num_points,
            num_draws=config.num_draws,
            batch_size=config.num_evaluated,
        ),
    )
    accuracy = predicting.make_accuracy(
        apply_fn, how=config.how, devices=flags.chosen_devices(config)
    )
    augment = functools.partial(
        data.transform_together,
        flip=config.flip,
        pad_crop=config.shift,
        pad_value=black,
    )

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measures.Measured]:
        train, validation, test = data.split(
            dataset, seed=seed, fractions=(0.7, 0.1, 0.2)
        )
        flags.check_available(
            "num_evaluated",
            config.num_evaluated,
            available=len(test.labels),
            what="test images",
        )

        def measure(state: TrainState) -> measures.Measured:
            inputs = jnp.asarray(test.inputs[: config.num_evaluated])
            labels = jnp.asarray(test.labels[: config.num_evaluated])
            completeness, removal, maps = explain(
                state, inputs, labels, jax.random.key(seed)
            )
            count = len(next(iter(maps.values())))
            words = [dataset.class_names[label] for label in test.labels[:count]]
            return measures.Measured(
                test_accuracy=accuracy(state, test),
                validation_accuracy=accuracy(state, validation),
                completeness=completeness,
                removal=removal,
                shown=measures.Shown(test.inputs[:count], words, maps),
            )

        problem = loop.linen_problem(
            network,
            train.inputs,
            seed=seed,
            batch_at=feeding.batches_of(
                train,
                batch_size=config.batch_size,
                seed=seed,
                augment=augment if config.flip or config.shift else None,
            ),
            optimizer=optax.adam(config.learning_rate),
        )
        terms = terms_of(
            arm.term, mask_fraction=config.mask_fraction, score_fn=score_fn
        )
        return loop.Trial(problem, terms, measure)

    return trial


EXPERIMENT = loop.Experiment(
    name="saliency_guided_images",
    question="Does training on masked saliency make saliency say what predictions use?",
    cost="5 arms, one seed: 5 min 30 s on 2 cores",
    config=Config,
    check=check,
    grammar=arms.Grammar(unguided=ARMS),
    trials=trials,
    measured=measures.Measured,
    report=lambda found, config: report.make_report(found),
)
