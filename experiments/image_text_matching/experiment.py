"""Matching images with texts that name the background.

Digits on photographs of grass and gravel, and captions that say what is measured of the
digit and, mostly, what it lies on. Two networks, one of images and one of texts, learn
which belong together, and may hang it on the ground. Does contrasting the features of
the digit with those of the rest keep them from it, more than the same with random
boxes? And what is left of a match when words are taken out of the captions?

    python -m experiments.image_text_matching
    python -m experiments.image_text_matching --seeds 5
    python -m experiments.image_text_matching --seeds 5 --arms unguided unnamed

Photographs, for the figure: --dataset coco_captions --batch-size 16 --num-evaluated 15.

An arm is `region_contrast[=weight][@regions|@random]`, `unguided`, or `unnamed`: the
same network trained on captions without the ground.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Literal

from experiments.digits import sources as digits
from experiments.digits import textured
from experiments.image_text_matching import (
    annotating,
    measuring,
    report,
    sources,
    terms,
)
from experiments.running import arms, feeding, flags, loop, optimizers
from xguide_jax import data, models

Dataset = Literal["digits", "mnist10k", "coco_captions"]
WIDTH = 64


@dataclasses.dataclass(frozen=True)
class Config(digits.TexturedConfig):
    """Flags of image-text matching."""

    arms: tuple[str, ...] = terms.ARMS
    dataset: Dataset = "digits"  # type: ignore[assignment]
    """digits: 5,000 inside a package; mnist10k, and coco_captions, 51 photographs for
    figures and no claim: in --data-dir."""
    batch_size: int = 64
    named: float = 0.9
    """The share of training captions that name the ground; all of the test do."""


def check(config: Config) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: as `digits.check_textured`, for a `named` outside [0, 1], or an arm or
        a folder that there is not.
    """
    digits.check_textured(config)
    flags.check_fractions(config, "named")
    if config.dataset != "coco_captions":
        return
    if not (config.data_dir or os.environ.get("XGUIDE_DATA")):
        raise ValueError("--dataset coco_captions needs --data-dir or $XGUIDE_DATA.")
    if terms.UNNAMED in config.arms:
        raise ValueError(
            f"`arms` holds {terms.UNNAMED!r}: captions of people name no one ground."
        )


def trials(config: Config) -> loop.MakeTrial[measuring.Measured]:
    """Loads the pairs and builds the measurement.

    Args:
      config: the flags.

    Returns:
      (arm, seed) -> `loop.Trial`.
    """
    parts_of = functools.lru_cache(maxsize=1)(_make_parts_of(config))

    def trial(arm: arms.Arm, seed: int) -> loop.Trial[measuring.Measured]:
        parts = parts_of(seed)
        available = len(parts.shown)
        flags.check_num_evaluated(config.num_evaluated, available=available)
        train = parts.train
        if arm.term == terms.UNNAMED:
            train = annotating.without_ground(parts)
        train = annotating.annotated(train, arm.annotation or "regions", seed=seed)
        described = feeding.described_batches(
            train, batch_size=config.batch_size, seed=seed
        )
        batch_at = sources.batches(described)
        network = make_network(parts.tokenizer.get_vocab_size())
        problem = loop.linen_problem(
            network, batch_at(0)["inputs"], seed=seed, batch_at=batch_at,
            optimizer=optimizers.muon(
                config.learning_rate, num_steps=config.num_steps
            ),
            task_loss=terms.no_task_loss,
        )  # fmt: skip
        measure = measuring.make_measurement(problem.apply_fn)
        return loop.Trial(
            problem,
            terms.terms_of(arm, num_steps=config.num_steps),
            lambda state: measure(state, parts),
        )

    return trial


def make_network(vocabulary_size: int) -> models.TwoTower:
    """The two towers.

    Args:
      vocabulary_size: V.

    Returns:
      A small convolutional network whose head sees where features are, for captions
      name places, and a bag of tokens.
    """
    strides = textured.network().strides
    return models.TwoTower(
        models.SmallCNN(num_classes=WIDTH, strides=strides, head="flatten"),
        models.BagOfTokens(
            vocabulary_size=vocabulary_size, width=WIDTH, num_classes=WIDTH
        ),
    )


def _make_parts_of(config: Config) -> Callable[[int], sources.Parts]:
    """Loads the data; seed -> its parts."""
    if config.dataset == "coco_captions":
        folder = pathlib.Path(config.data_dir or os.environ["XGUIDE_DATA"])
        described = data.coco_captions(
            folder, shape=(config.image_size, config.image_size), mean=0.45, std=0.27
        )
        return lambda seed: sources.photograph_parts(
            described, seed=seed, num_evaluated=config.num_evaluated
        )
    source = digits.load(config.dataset, config.data_dir)
    return lambda seed: sources.digit_parts(
        source, rho=config.rho, named=config.named, seed=seed, size=config.image_size,
        num_evaluated=config.num_evaluated,
    )  # fmt: skip


EXPERIMENT = loop.Experiment(
    name="image_text_matching",
    question="Does contrasting a region with the rest keep the matching of images and "
    "texts from hanging on the background?",
    cost="3 arms, one seed: about 3 min on 2 cores, estimated from a busy machine",
    config=Config,
    check=check,
    grammar=terms.GRAMMAR,
    trials=trials,
    measured=measuring.Measured,
    report=lambda found, config: report.make_report(
        found, dataset=config.dataset, named=config.named
    ),
)
