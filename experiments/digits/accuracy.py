"""How often a classifier of textured digits is right: by group, and half covered."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.digits import textured
from xguide_jax import data, evaluation

Predict = Callable[[np.ndarray], np.ndarray]


class Accuracies(NamedTuple):
    """Accuracy by group and on average.

    Attributes:
      groups: of the balanced test, each group.
      counts: its images, each group.
      worst_group: the smallest of `groups`.
      group_balanced: the mean of `groups`.
      in_distribution: of the test with the correlation.
      validation: of what selection may see.
      num_undefined: images of the balanced test without a prediction; they are wrong.
    """

    groups: list[float]
    counts: list[int]
    worst_group: float
    group_balanced: float
    in_distribution: float
    validation: float
    num_undefined: int


class Covered(NamedTuple):
    """Accuracy on the balanced test when a part of each image is at 0, its mean.

    Attributes:
      box_only: with the background covered.
      background_only: with the box covered.
      without_random_box: an area as large as the box covered at a random place.
      background_follows_texture: how often the background alone is classified by its
        texture.
    """

    box_only: float
    background_only: float
    without_random_box: float
    background_follows_texture: float


def accuracies(predict: Predict, parts: textured.Parts) -> Accuracies:
    """Accuracy by group and on average, of the test and of validation.

    Args:
      predict: inputs -> classes.
      parts: of the seed.

    Returns:
      The numbers.
    """
    balanced = parts.balanced
    predicted = predict(balanced.inputs)
    found = evaluation.accuracy_by_group(
        predicted == balanced.labels,
        balanced.annotations["groups"],
        num_groups=textured.NUM_GROUPS,
    )
    share = lambda part: float(np.mean(predict(part.inputs) == part.labels))
    return Accuracies(
        groups=[float(value) for value in found.accuracy],
        counts=[int(count) for count in found.num_examples],
        # To the bit what finished runs hold, where it went through float32.
        worst_group=float(np.float32(found.worst)),
        group_balanced=found.balanced,
        in_distribution=share(parts.in_distribution),
        validation=share(parts.validation),
        num_undefined=int(np.sum(predicted == evaluation.NO_CLASS)),
    )


def covered(predict: Predict, parts: textured.Parts, seed: int) -> Covered:
    """Accuracy on the balanced test when a part of each image is hidden.

    Args:
      predict: inputs -> classes.
      parts: of the seed.
      seed: of the random boxes.

    Returns:
      The numbers.
    """
    test = parts.balanced
    box = test.annotations["region"][..., None]
    elsewhere = textured.random_boxes(test, seed=seed)[..., None]
    box_only = predict(np.where(box, test.inputs, np.float32(0)))
    background_only = predict(np.where(box, np.float32(0), test.inputs))
    without = predict(np.where(elsewhere, np.float32(0), test.inputs))
    texture = test.annotations["groups"] % 2
    return Covered(
        box_only=float(np.mean(box_only == test.labels)),
        background_only=float(np.mean(background_only == test.labels)),
        without_random_box=float(np.mean(without == test.labels)),
        background_follows_texture=float(np.mean(background_only == texture)),
    )


def bias_amplification(predict: Predict, test: data.Dataset) -> float:
    """Directional amplification, texture to class, on a test with the correlation.

    Args:
      predict: inputs -> classes.
      test: with 'groups'.

    Returns:
      As `evaluation.bias_amplification`.
    """
    return evaluation.bias_amplification(
        predict(test.inputs),
        test.labels,
        test.annotations["groups"] % 2,
        num_classes=2,
        num_attributes=2,
    ).value
