"""Measuring a classifier whose evidence is known to lie in a box.

Accuracy by group, what is left of it when the box or its surroundings are covered, and
where explanations point, by explainers that training used and by one that it did not.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments import arms, region_data
from xguide_jax import attributions, data, evaluation
from xguide_jax.types import ApplyFn, Array, PredictFn, ScoreFn, TrainState

# No arm is trained on integrated gradients: they judge.
EXPLAINERS = ("grad_cam", "gradient", "integrated_gradients")
THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())
NUM_SHOWN = 6

Measured = tuple[dict[str, float], dict[str, np.ndarray]]
Predict = Callable[[np.ndarray], np.ndarray]


def make_measurement(
    apply_fn: ApplyFn, *, num_evaluated: int, num_points: int
) -> Callable[[TrainState, region_data.Parts, int], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      num_evaluated: balanced test images that are explained.
      num_points: of integrated gradients.

    Returns:
      `(state, parts, seed) -> (numbers, arrays)`. Numbers: 'group/<g>', 'count/<g>',
      'worst_group', 'group_balanced', 'in_distribution', 'validation', 'masked/...'
      (accuracy with a part covered), 'bias_amplification', 'epg/...', 'iou/...' and
      'undefined/...' of each explainer and of the predictions. Arrays:
      'maps/<explainer>' [S, H, W], 'inputs', 'region'.
    """
    logits = arms.make_predict(apply_fn)
    explain = evaluation.make_explain(
        apply_fn,
        explain_fns(num_points=num_points),
        batch_size=num_evaluated + num_evaluated // 2,
    )

    def measure(state: TrainState, parts: region_data.Parts, seed: int) -> Measured:
        predict = lambda x: evaluation.top_class(logits(state, x))
        numbers = {**accuracies(predict, parts), **covered(predict, parts, seed)}
        numbers["bias_amplification"] = _bias(predict, parts.in_distribution)
        few = data.take(parts.balanced, np.arange(num_evaluated))
        held_out = data.take(parts.validation, np.arange(num_evaluated // 2))
        maps, tuning = explain_both(explain, state, few, held_out)
        for name in EXPLAINERS:
            numbers |= localisation(name, maps[name], few, (tuning[name], held_out))
        shown = slice(NUM_SHOWN)
        arrays = {f"maps/{name}": np.asarray(maps[name][shown]) for name in EXPLAINERS}
        arrays["inputs"] = few.inputs[shown]
        arrays["region"] = few.annotations["region"][shown]
        return numbers, arrays

    return measure


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
            baselines=jnp.zeros_like(inputs), num_steps=num_points, score_fn=score_fn,
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


def accuracies(predict: Predict, parts: region_data.Parts) -> dict[str, float]:
    """Accuracy by group and on average, of the test and of validation.

    Args:
      predict: inputs -> classes.
      parts: of the seed.

    Returns:
      numbers, by name; 'undefined/predictions' of the balanced test count as wrong.
    """
    balanced = parts.balanced
    predicted = predict(balanced.inputs)
    correct = predicted == balanced.labels
    found = evaluation.accuracy_by_group(
        correct,
        balanced.annotations["groups"],
        num_groups=region_data.NUM_GROUPS,
    )
    share = lambda part: float(np.mean(predict(part.inputs) == part.labels))
    return {
        **{f"group/{g}": float(value) for g, value in enumerate(found.accuracy)},
        **{f"count/{g}": float(count) for g, count in enumerate(found.num_examples)},
        # To the bit what finished runs hold, where it went through float32.
        "worst_group": float(np.float32(found.worst)),
        "undefined/predictions": float(np.sum(predicted == evaluation.NO_CLASS)),
        "group_balanced": found.balanced,
        "in_distribution": share(parts.in_distribution),
        "validation": share(parts.validation),
    }


def covered(predict: Predict, parts: region_data.Parts, seed: int) -> dict[str, float]:
    """Accuracy on the balanced test when a part of each image is at 0, its mean.

    Args:
      predict: inputs -> classes.
      parts: of the seed.
      seed: of the random boxes.

    Returns:
      'masked/box_only', 'masked/background_only', 'masked/without_random_box', an area
      as large as the box covered at a random place, and
      'masked/background_follows_texture', how often the background alone is classified
      by its texture.
    """
    test = parts.balanced
    box = test.annotations["region"][..., None]
    elsewhere = region_data.random_boxes(test, seed=seed)[..., None]
    predicted = {
        "box_only": predict(np.where(box, test.inputs, np.float32(0))),
        "background_only": predict(np.where(box, np.float32(0), test.inputs)),
        "without_random_box": predict(np.where(elsewhere, np.float32(0), test.inputs)),
    }
    numbers = {f"masked/{k}": np.mean(v == test.labels) for k, v in predicted.items()}
    texture = test.annotations["groups"] % 2
    follows = np.mean(predicted["background_only"] == texture)
    numbers["masked/background_follows_texture"] = follows
    return {name: float(value) for name, value in numbers.items()}


def localisation(
    name: str,
    maps: Array,
    test: data.Dataset,
    held_out: tuple[Array, data.Dataset],
) -> dict[str, float]:
    """Where one explainer's maps point.

    Args:
      name: the explainer's.
      maps: [N, h, w] of the test images.
      test: images and annotations.
      held_out: (maps, images) on which the threshold of the IoU is chosen.

    Returns:
      'epg/<explainer>/box' and '/strokes' and 'iou/<explainer>', undefined maps
      dropped; '.../zero', counted as 0; 'undefined/<explainer>',
      'undefined/strokes/<explainer>' and 'undefined/iou/<explainer>', their numbers;
      'threshold/<explainer>', NaN where no held-out map has an IoU, and then the IoU is
      undefined; 'validation_epg/<explainer>'.
    """
    region, strokes = test.annotations["region"], test.annotations["strokes"]
    tuning_maps, tuning_region = held_out[0], held_out[1].annotations["region"]
    on_box = evaluation.summarise(evaluation.energy_in_region(maps, region))
    on_strokes = evaluation.summarise(evaluation.energy_in_region(maps, strokes))
    tuned = evaluation.summarise(
        evaluation.energy_in_region(tuning_maps, tuning_region)
    )
    found = evaluation.iou_at_held_out_threshold(
        maps, region, held_out=(tuning_maps, tuning_region), thresholds=THRESHOLDS
    )
    iou = evaluation.summarise(found.iou)
    return {
        f"epg/{name}/box": on_box.mean,
        f"epg/{name}/box/zero": on_box.mean_or_zero,
        f"epg/{name}/strokes": on_strokes.mean,
        f"epg/{name}/strokes/zero": on_strokes.mean_or_zero,
        f"iou/{name}": iou.mean,
        f"iou/{name}/zero": iou.mean_or_zero,
        f"threshold/{name}": found.threshold,
        f"undefined/{name}": float(on_box.num_undefined),
        f"undefined/strokes/{name}": float(on_strokes.num_undefined),
        f"undefined/iou/{name}": float(iou.num_undefined),
        f"validation_epg/{name}": tuned.mean,
    }


def _bias(predict: Predict, test: data.Dataset) -> float:
    """Directional amplification, texture to class, on a test with the correlation."""
    return evaluation.bias_amplification(
        predict(test.inputs),
        test.labels,
        test.annotations["groups"] % 2,
        num_classes=2,
        num_attributes=2,
    ).value
