"""Measuring a classifier whose evidence is known to lie in a box.

Accuracy by group, what is left of it when the box or its surroundings are covered, and
where explanations point, by explainers that training used and by one that it did not.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.digits import textured
from xguide_jax import attributions, data, evaluation
from xguide_jax.types import ApplyFn, Array, PredictFn, ScoreFn, TrainState

# No arm is trained on integrated gradients: they judge.
EXPLAINERS = ("grad_cam", "gradient", "integrated_gradients")
THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())
NUM_SHOWN = 6

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


class Localisation(NamedTuple):
    """Where one explainer's maps point.

    Attributes:
      box: energy in the box.
      strokes: energy on the digit.
      iou: with the box, at `threshold`.
      threshold: the best one of held-out maps; NaN where none of them has an IoU.
      validation: mean energy in the box of the held-out maps.
    """

    box: evaluation.Summary
    strokes: evaluation.Summary
    iou: evaluation.Summary
    threshold: float
    validation: float


class Shown(NamedTuple):
    """What the figures show, of the first images.

    Attributes:
      inputs: [S, H, W, C].
      region: bool [S, H, W], what is outlined.
      maps: {explainer: [S, h, w]}.
    """

    inputs: np.ndarray
    region: np.ndarray
    maps: dict[str, np.ndarray]


def explain_fns(
    *, num_points: int, score_fn: ScoreFn = attributions.centred_logit
) -> dict[str, evaluation.ExplainFn]:
    """Every explainer, of signed maps of the label.

    Args:
      num_points: of integrated gradients, whose baseline is 0, the mean image.
      score_fn: what is explained.

    Returns:
      {explainer: function for `evaluation.make_explain`}, of maps [B, h, w].
    """
    gradient = functools.partial(attributions.input_gradient, score_fn=score_fn)

    def integrate(predict_fn: PredictFn, inputs: Array, labels: Array) -> Array:
        return attributions.integrated_gradients(
            predict_fn, inputs, labels,
            baselines=jnp.zeros_like(inputs), num_points=num_points, score_fn=score_fn,
        )  # fmt: skip

    cam = functools.partial(attributions.signed_grad_cam, score_fn=score_fn)
    over_channels = lambda explainer: evaluation.of_inputs(
        lambda *arguments: jnp.sum(explainer(*arguments), -1)
    )
    return {
        "grad_cam": evaluation.of_layer(cam, "features"),
        "gradient": over_channels(gradient),
        "integrated_gradients": over_channels(integrate),
    }


def make_explain(
    apply_fn: ApplyFn,
    *,
    num_evaluated: int,
    num_points: int,
    score_fn: ScoreFn = attributions.centred_logit,
) -> evaluation.ExplainRows:
    """One program for test images and half as many of the validation part.

    Args:
      apply_fn: the network.
      num_evaluated: test images that are explained.
      num_points: of integrated gradients.
      score_fn: what is explained.

    Returns:
      For `explain_both`.
    """
    return evaluation.make_explain(
        apply_fn,
        explain_fns(num_points=num_points, score_fn=score_fn),
        batch_size=num_evaluated + num_evaluated // 2,
    )


def explain_both(
    explain: evaluation.ExplainRows,
    state: TrainState,
    first: data.Dataset,
    second: data.Dataset,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Maps of two sets, together.

    Args:
      explain: of `evaluation.make_explain`.
      state: the trained network.
      first: images and labels.
      second: images and labels.

    Returns:
      ({explainer: maps of the first}, {explainer: maps of the second}).
    """
    join = lambda *arrays: jnp.asarray(np.concatenate(arrays))
    inputs, labels = map(join, first[:2], second[:2])
    maps = explain(
        state.params["model"],
        state.model_state,
        inputs,
        labels,
        key=jax.random.key(0),  # nothing is drawn
    )
    count = len(first.labels)
    return (
        {name: jnp.asarray(m[:count]) for name, m in maps.items()},
        {name: jnp.asarray(m[count:]) for name, m in maps.items()},
    )


def shown(test: data.Dataset, region: np.ndarray, maps: Mapping[str, Array]) -> Shown:
    """The first images with their maps, for the figures.

    Args:
      test: images.
      region: bool [N, H, W], what is outlined.
      maps: {explainer: [N, h, w]}.

    Returns:
      Six of them.
    """
    first = slice(NUM_SHOWN)
    drawn = {name: np.asarray(m[first]) for name, m in maps.items()}
    return Shown(test.inputs[first], np.asarray(region[first]), drawn)


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


def localisation(
    maps: Array, test: data.Dataset, held_out: tuple[Array, data.Dataset]
) -> Localisation:
    """Where one explainer's maps point.

    Args:
      maps: [N, h, w] of the test images.
      test: images and annotations.
      held_out: (maps, images) on which the threshold of the IoU is chosen.

    Returns:
      The numbers; without a threshold the IoU is undefined.
    """
    region, strokes = test.annotations["region"], test.annotations["strokes"]
    tuning_maps, tuning_region = held_out[0], held_out[1].annotations["region"]
    energy = lambda m, r: evaluation.summarise(evaluation.energy_in_region(m, r))
    found = evaluation.iou_at_held_out_threshold(
        maps, region, held_out=(tuning_maps, tuning_region), thresholds=THRESHOLDS
    )
    return Localisation(
        box=energy(maps, region),
        strokes=energy(maps, strokes),
        iou=evaluation.summarise(found.iou),
        threshold=found.threshold,
        validation=energy(tuning_maps, tuning_region).mean,
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
