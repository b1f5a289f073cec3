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
from xguide_jax import attributions, data, metrics, ops
from xguide_jax.types import ApplyFn, Array, PyTree, ScoreFn, TrainState

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
    compiled = jax.jit(functools.partial(explain, apply_fn, num_points=num_points))

    def measure(state: TrainState, parts: region_data.Parts, seed: int) -> Measured:
        variables = (state.params["model"], state.model_state)
        predict = lambda x: classes(logits(state, x))
        numbers = {**accuracies(predict, parts), **covered(predict, parts, seed)}
        numbers["bias_amplification"] = _bias(predict, parts.in_distribution)
        few = data.take(parts.balanced, np.arange(num_evaluated))
        held_out = data.take(parts.validation, np.arange(num_evaluated // 2))
        maps, tuning = explain_both(compiled, variables, few, held_out)
        for name in EXPLAINERS:
            numbers |= localisation(name, maps[name], few, (tuning[name], held_out))
        shown = slice(NUM_SHOWN)
        arrays = {f"maps/{name}": np.asarray(maps[name][shown]) for name in EXPLAINERS}
        arrays["inputs"] = few.inputs[shown]
        arrays["region"] = few.annotations["region"][shown]
        return numbers, arrays

    return measure


def classes(logits: Array) -> np.ndarray:
    """The top class of each row, and -1 of a row that holds a NaN.

    `argmax` returns the place of a NaN. No label is -1: such an image counts as wrong.

    Args:
      logits: [B, C].

    Returns:
      int [B].
    """
    values = np.asarray(logits, np.float64)
    return np.where(np.isnan(values).any(axis=-1), -1, values.argmax(axis=-1))


def explain(
    apply_fn: ApplyFn,
    variables: tuple[PyTree, PyTree],
    inputs: Array,
    labels: Array,
    *,
    num_points: int,
    score_fn: ScoreFn = attributions.centred_logit,
) -> dict[str, Array]:
    """Signed maps of the label, by every explainer.

    Args:
      apply_fn: the network.
      variables: its parameters and state.
      inputs: [B, H, W, C].
      labels: [B].
      num_points: of integrated gradients.
      score_fn: what is explained.

    Returns:
      {explainer: [B, h, w]}; the baseline of integrated gradients is 0, the mean image.
    """
    forward = lambda x, overrides=None: apply_fn(
        *variables, x, train=False, overrides=overrides
    )[0]
    predict = lambda x: forward(x).logits
    head_fn, features = attributions.split_at(forward, inputs, "features")
    per_pixel = {
        "gradient": attributions.input_gradient(
            predict, inputs, labels, score_fn=score_fn
        ),
        "integrated_gradients": attributions.integrated_gradients(
            predict, inputs, labels,
            baselines=jnp.zeros_like(inputs), num_steps=num_points, score_fn=score_fn,
        ),
    }  # fmt: skip
    cam = attributions.signed_grad_cam(head_fn, features, labels, score_fn=score_fn)
    return {"grad_cam": cam, **{k: jnp.sum(v, -1) for k, v in per_pixel.items()}}


def explain_both(
    compiled: Callable[..., dict[str, Array]],
    variables: tuple[PyTree, PyTree],
    first: data.Dataset,
    second: data.Dataset,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Maps of two sets by one compiled program.

    Args:
      compiled: (variables, inputs, labels) -> {explainer: [B, h, w]}.
      variables: the network's parameters and state.
      first: images and labels.
      second: images and labels.

    Returns:
      ({explainer: maps of the first}, {explainer: maps of the second}).
    """
    join = lambda *arrays: np.concatenate(arrays)
    inputs, labels = map(join, first[:2], second[:2])
    maps = compiled(variables, inputs, labels)
    count = len(first.labels)
    return (
        {name: m[:count] for name, m in maps.items()},
        {name: m[count:] for name, m in maps.items()},
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
    by_group, counts = metrics.group_accuracy(
        jnp.asarray(correct),
        jnp.asarray(balanced.annotations["groups"]),
        num_groups=region_data.NUM_GROUPS,
    )
    share = lambda part: float(np.mean(predict(part.inputs) == part.labels))
    return {
        **{f"group/{g}": float(value) for g, value in enumerate(by_group)},
        **{f"count/{g}": float(count) for g, count in enumerate(counts)},
        "worst_group": metrics.worst_group(
            jnp.asarray(by_group), count=jnp.asarray(counts)
        ),
        "undefined/predictions": float(np.sum(predicted < 0)),
        "group_balanced": float(np.nanmean(by_group)),
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
    on_box = np.asarray(_energy(maps, test.annotations["region"]))
    on_strokes = np.asarray(_energy(maps, test.annotations["strokes"]))
    tuning_maps, tuning = held_out
    tuning_region = tuning.annotations["region"]
    candidates = np.asarray(_overlaps(tuning_maps, tuning_region))
    scores = [mean(values) for values in candidates]
    best, threshold = int(np.argmax(scores)), float("nan")
    overlap = np.asarray(_overlaps(maps, test.annotations["region"]))[best]
    if np.isnan(scores).any():  # of all or of none: nothing to choose by
        overlap = np.full_like(overlap, np.nan)
    else:
        threshold = THRESHOLDS[best]
    tuned = np.asarray(_energy(tuning_maps, tuning_region))
    return {
        f"epg/{name}/box": mean(on_box),
        f"epg/{name}/box/zero": float(np.nan_to_num(on_box).mean()),
        f"epg/{name}/strokes": mean(on_strokes),
        f"epg/{name}/strokes/zero": float(np.nan_to_num(on_strokes).mean()),
        f"iou/{name}": mean(overlap),
        f"iou/{name}/zero": float(np.nan_to_num(overlap).mean()),
        f"threshold/{name}": threshold,
        f"undefined/{name}": float(np.isnan(on_box).sum()),
        f"undefined/strokes/{name}": float(np.isnan(on_strokes).sum()),
        f"undefined/iou/{name}": float(np.isnan(overlap).sum()),
        f"validation_epg/{name}": mean(tuned),
    }


def mean(values: Array | np.ndarray) -> float:
    """The mean of what is defined; NaN if nothing is.

    Args:
      values: [N], NaN where undefined.

    Returns:
      The mean.
    """
    values = np.asarray(values)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


@jax.jit
def _energy(maps: Array, region: Array) -> Array:
    return metrics.energy_pointing_game(maps, _at(maps, region))


@jax.jit
def _overlaps(maps: Array, region: Array) -> Array:
    """[T, N]: the IoU at each of the thresholds."""
    region = _at(maps, region)
    at = lambda threshold: metrics.iou(maps, region, threshold=threshold)
    return jax.vmap(at)(jnp.array(THRESHOLDS))


def _at(maps: Array, region: Array) -> Array:
    """The region on the grid of the maps, the share of each cell that it covers."""
    _, h, w = maps.shape
    return ops.area_resize(region.astype(jnp.float32), shape=(h, w))


def _bias(predict: Predict, test: data.Dataset) -> float:
    """Directional amplification, texture to class, on a test with the correlation."""
    predicted = predict(test.inputs)
    defined = predicted >= 0  # an index of -1 would be the last class
    one_hot = lambda values: np.eye(2, dtype=int)[values[defined]]
    texture = test.annotations["groups"] % 2
    return metrics.bias_amplification_attribute_to_task(
        one_hot(predicted), one_hot(test.labels), one_hot(texture)
    )
