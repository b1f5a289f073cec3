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
from typing import Literal

import optax

from experiments.digits import sources
from experiments.running import arms, feeding, flags, loop, predicting
from experiments.saliency_guided_images import (
    explaining,
    images,
    measures,
    report,
    terms,
)
from xguide_jax import data, models


@dataclasses.dataclass(frozen=True)
class Config(sources.SourceConfig):
    """Flags of saliency-guided training on images."""

    dataset: Literal["digits", "mnist10k", "mnist", "fashion_mnist", "cifar10"] = (
        "digits"
    )
    """digits: 5,000 MNIST digits inside a package; mnist10k: a file in --data-dir; the
    others: tensorflow-datasets, which downloads them."""
    arms: tuple[str, ...] = terms.ARMS
    mask_fraction: float = 0.5
    """Fraction of pixels replaced, published: 0.5."""
    flip: bool = False
    """Mirror training images at random; not for digits."""
    shift: int = 0
    """Move training images by up to so many pixels; 4 is usual for CIFAR-10."""
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
    flags.check_at_least(config, shift=0, num_draws=1)
    flags.check_explaining(config, least_evaluated=1)


def trials(config: Config) -> loop.MakeTrial[measures.Measured]:
    """Loads the data and builds the network.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    dataset = sources.load(config.dataset, config.data_dir)
    data.validate(dataset)
    network = images.network_of(dataset)
    protocol = explaining.protocol_of(
        dataset,
        num_points=config.num_points,
        num_draws=config.num_draws,
        batch_size=config.num_evaluated,
    )
    apply_fn = models.linen_apply_fn(network)
    devices = flags.chosen_devices(config.num_devices)
    accuracy = predicting.make_accuracy(apply_fn, how=config.how, devices=devices)
    measure = measures.make_measurement(apply_fn, protocol, accuracy)
    augment = images.augmentation(
        flip=config.flip, shift=config.shift, pad_value=protocol.baseline
    )

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measures.Measured]:
        train, validation, test = images.parts_of(dataset, seed)
        flags.check_num_evaluated(config.num_evaluated, available=len(test.labels))
        batches = feeding.batches_of(
            train, batch_size=config.batch_size, seed=seed, augment=augment
        )
        adam = optax.adam(config.learning_rate)
        problem = loop.linen_problem(
            network, train.inputs, seed=seed, batch_at=batches, optimizer=adam
        )
        guided = terms.terms_of(
            arm.term, mask_fraction=config.mask_fraction, score_fn=protocol.score_fn
        )
        return loop.Trial(
            problem, guided, lambda state: measure(state, test, validation, seed)
        )

    return trial


EXPERIMENT = loop.Experiment(
    name="saliency_guided_images",
    question="Does training on masked saliency make saliency say what predictions use?",
    cost="5 arms, one seed: 5 min 30 s on 2 cores",
    config=Config,
    check=check,
    grammar=arms.Grammar(unguided=terms.ARMS),
    trials=trials,
    measured=measures.Measured,
    report=lambda found, config: report.make_report(found),
)
