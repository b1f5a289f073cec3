"""What is measured of a network: accuracy, with parts hidden, and where it looks."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.guide_photographs.networks import Network
from experiments.guide_photographs.photographs import Photographs
from experiments.guide_photographs.views import Inputs, Views
from experiments.running import predicting
from xguide_jax import attributions, data, evaluation
from xguide_jax.types import Array, PredictFn, TrainState

EXPLAINERS = ("grad_cam", "integrated_gradients")
NUM_SHOWN = 8
_BATCH = 64


class Shown(NamedTuple):
    """What the pictures show, of the first test photographs of each class in turn.

    Attributes:
      pixels: uint8 [M, S, S, 3].
      region: bool [M, S, S].
      names: of the files.
      truth: the class of each.
      said: the class that the network gives each.
      maps: {explainer: [M, h, w]}.
    """

    pixels: np.ndarray
    region: np.ndarray
    names: list[str]
    truth: list[str]
    said: list[str]
    maps: dict[str, np.ndarray]


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      test: accuracy on the test part.
      classes: accuracy of each class; counts beside it.
      counts: test photographs of each class.
      groups: accuracy of each group of class and group; NaN without photographs.
      group_counts: their test photographs.
      worst_group: the smallest of them; NaN where the table says no groups.
      swapped: accuracy on test objects before backgrounds of other classes.
      object_only: accuracy with everything outside the region at one colour.
      background_only: accuracy with the region at that colour.
      validation: accuracy on the validation part.
      validation_swapped: as `swapped`, of the validation part.
      energy: {explainer: share of the positive map in the region}, of the test part.
      validation_energy: the same of the validation part, by Grad-CAM.
      shown: what the pictures show.
    """

    test: float
    classes: list[float]
    counts: list[int]
    groups: list[float]
    group_counts: list[int]
    worst_group: float
    swapped: float
    object_only: float
    background_only: float
    validation: float
    validation_swapped: float
    energy: dict[str, evaluation.Summary]
    validation_energy: evaluation.Summary
    shown: Shown


def make_measurement(
    found: Photographs, network: Network, *, num_evaluated: int, num_points: int
) -> Callable[[TrainState, Views], Measured]:
    """The measurement of one trained network.

    Args:
      found: all photographs.
      network: what is trained.
      num_evaluated: test photographs that are explained, and validation ones, at most.
      num_points: of integrated gradients.

    Returns:
      `(state, views) -> Measured`.
    """
    predict = predicting.make_predict_rows(network.apply_fn, batch_size=_BATCH)
    explain = evaluation.make_explain(
        network.apply_fn, _explainers(network, num_points), batch_size=_BATCH
    )

    def measure(state: TrainState, views: Views) -> Measured:
        classes = functools.partial(_classes, functools.partial(predict, state))
        labels = found.labels[views.rows.test]
        held_out = found.labels[views.rows.validation]
        said = classes(views.test)
        right = said == labels
        of_class = _by_group(right, labels, len(found.class_names))
        of_pair = _by_pair(found, right, views.rows.test)
        share = lambda inputs, truth, rows=slice(None): _mean(
            (classes(inputs) == truth)[rows]
        )
        outlined = found.regions[views.rows.test].any(axis=(1, 2))
        few = _few(labels, found.regions[views.rows.test], num_evaluated)
        maps = _maps(explain, state, views.test.read(few), labels[few])
        tuned = np.arange(min(num_evaluated, len(held_out)))
        tuning = _maps(explain, state, views.validation.read(tuned), held_out[tuned])
        region = found.regions[views.rows.test][few]
        held_region = found.regions[views.rows.validation][tuned]
        energy = lambda m, r: evaluation.summarise(
            evaluation.energy_in_region(jnp.asarray(m), jnp.asarray(r))
        )
        return Measured(
            test=float(right.mean()),
            classes=of_class[0],
            counts=of_class[1],
            groups=of_pair[0],
            group_counts=of_pair[1],
            worst_group=_worst(of_pair[0]),
            swapped=share(views.swapped, labels, views.swapped_test),
            object_only=share(views.object_only, labels, outlined),
            background_only=share(views.background_only, labels, outlined),
            validation=share(views.validation, held_out),
            validation_swapped=share(
                views.composites, held_out, views.swapped_validation
            ),
            energy={name: energy(m, region) for name, m in maps.items()},
            validation_energy=energy(tuning["grad_cam"], held_region),
            shown=_shown(found, views.rows.test, few[:NUM_SHOWN], said, maps),
        )

    return measure


def _classes(predict: Callable[[np.ndarray], np.ndarray], inputs: Inputs) -> np.ndarray:
    """The class of each, int [N], with a batch in memory at a time."""
    places = [
        np.arange(start, min(start + _BATCH, inputs.size))
        for start in range(0, inputs.size, _BATCH)
    ]
    logits = np.concatenate([predict(inputs.read(few)) for few in places])
    return np.asarray(evaluation.top_class(jnp.asarray(logits)))


def _shown(
    found: Photographs,
    rows: np.ndarray,
    few: np.ndarray,
    said: np.ndarray,
    maps: dict[str, np.ndarray],
) -> Shown:
    """The first of the photographs that are explained; `few` are places in `rows`."""
    shown = rows[few]
    return Shown(
        pixels=data.read_rows(found.images, shown),
        region=found.regions[shown],
        names=[found.names[row] for row in shown],
        truth=[found.class_names[label] for label in found.labels[shown]],
        said=[_named(found.class_names, said[place]) for place in few],
        maps={name: m[: len(few)] for name, m in maps.items()},
    )


def _explainers(network: Network, num_points: int) -> dict[str, evaluation.ExplainFn]:
    score_fn = attributions.centred_logit
    cam = functools.partial(attributions.signed_grad_cam, score_fn=score_fn)

    def integrate(predict_fn: PredictFn, inputs: Array, labels: Array) -> Array:
        maps = attributions.integrated_gradients(
            predict_fn, inputs, labels, baselines=jnp.zeros_like(inputs),
            num_points=num_points, score_fn=score_fn,
        )  # fmt: skip
        return jnp.sum(maps, axis=-1)

    # Pixels where all is trained, where grey is the baseline; else what is put in.
    of = (
        evaluation.of_inputs(integrate)
        if network.replaced is None
        else evaluation.of_layer(integrate, network.replaced)
    )
    return {
        "grad_cam": evaluation.of_layer(cam, network.layer),
        "integrated_gradients": of,
    }


def _maps(
    explain: evaluation.ExplainRows,
    state: TrainState,
    inputs: np.ndarray,
    labels: np.ndarray,
) -> dict[str, np.ndarray]:
    return explain(
        state.params["model"], state.model_state, jnp.asarray(inputs),
        jnp.asarray(labels), key=jax.random.key(0),  # nothing is drawn
    )  # fmt: skip


def _few(labels: np.ndarray, regions: np.ndarray, count: int) -> np.ndarray:
    """Rows with a region, each class in turn, so that pictures show all of them."""
    order = np.flatnonzero(regions.any(axis=(1, 2)))
    seen: dict[int, int] = {}
    turn = []
    for row in order:
        label = int(labels[row])
        turn.append(seen.get(label, 0))
        seen[label] = seen.get(label, 0) + 1
    return order[np.lexsort((order, np.array(turn, int)))][:count]


def _by_group(
    right: np.ndarray, groups: np.ndarray, num_groups: int
) -> tuple[list[float], list[int]]:
    counts = np.bincount(groups, minlength=num_groups)
    sums = np.bincount(groups, weights=right, minlength=num_groups)
    shares = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return shares.tolist(), counts.tolist()


def _by_pair(
    found: Photographs, right: np.ndarray, rows: np.ndarray
) -> tuple[list[float], list[int]]:
    """By class and group, of the photographs of which the table says a group."""
    num_groups = max(len(found.group_names), 1)
    pairs = found.labels[rows] * num_groups + found.groups[rows]
    known = found.groups[rows] >= 0
    return _by_group(right[known], pairs[known], len(found.class_names) * num_groups)


def _worst(shares: list[float]) -> float:
    defined = [share for share in shares if not np.isnan(share)]
    return min(defined) if defined else float("nan")


def _mean(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float("nan")


def _named(class_names: tuple[str, ...], label: int) -> str:
    return "none" if label == evaluation.NO_CLASS else class_names[label]
