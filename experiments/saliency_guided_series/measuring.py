"""What is measured: accuracy, recovery of the true cells, what their removal costs."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.running import predicting
from experiments.running.scored import Scored, scored
from experiments.saliency_guided_series import settings
from xguide_jax import attributions, data, evaluation, metrics, ops
from xguide_jax.types import (
    ApplyFn,
    Array,
    Explainer,
    Forward,
    PredictFn,
    PRNGKey,
    PyTree,
    TrainState,
)

# What a table calls them; no arm is trained on the last two.
NAMES = {
    "input_gradient": "gradient",
    "integrated_gradients": "integrated gradients",
    "temporal_rescaling": "rescaled gradient",
}
# Of the published areas, whose ceiling is 0.8 and 1 here.
SHARES = tuple(np.arange(1, 10) / 10)
FRACTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)


class Recovery(NamedTuple):
    """How well the magnitudes of a map agree with the true cells.

    Attributes:
      precision: its mean over shares of the mass, AUP.
      recall: the same of recall, AUR.
      auprc: area under the precision-recall curve.
    """

    precision: Scored
    recall: Scored
    auprc: Scored


class Shown(NamedTuple):
    """One explained series.

    Attributes:
      series: float [T, F].
      mask: bool [T], False on padding.
      region: float [T, F], its true cells; None where nobody knows them.
      maps: {explainer: float [T, F]}.
    """

    series: np.ndarray
    mask: np.ndarray
    region: np.ndarray | None
    maps: dict[str, np.ndarray]


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      setting: what it is, and what it was trained on.
      accuracy: share of right answers on the test series.
      validation: the same of the validation part; None where there is none.
      true_cells: the share of the cells that are true; None where nobody knows.
      recovery: {explainer: agreement with the true cells}; {} where nobody knows them.
      removal: of cells, by the magnitudes of each map, beside random orders.
      shown: what the report shows.
    """

    setting: settings.Setting
    accuracy: float
    validation: float | None
    true_cells: float | None
    recovery: dict[str, Recovery]
    removal: evaluation.Removal
    shown: Shown


Measure = Callable[[TrainState, settings.Setting, settings.Parts, int], Measured]


def make_measurement(
    apply_fn: ApplyFn, *, num_evaluated: int, num_points: int, num_draws: int
) -> Measure:
    """The measurement of trained networks of one kind.

    Args:
      apply_fn: the network.
      num_evaluated: test series that are explained, of their label; all if there are
        fewer.
      num_points: of integrated gradients.
      num_draws: random orders that a map is compared with.

    Returns:
      `(state, setting, parts, seed) -> Measured`.
    """
    explain = evaluation.make_explain(
        apply_fn,
        {
            "input_gradient": _at_series(_GRADIENT),
            "integrated_gradients": _at_series(
                functools.partial(_integrated, num_points=num_points)
            ),
            "temporal_rescaling": _at_series(_rescaled),
        },
        batch_size=64,
    )
    # The network alone is compiled: a test holds it many times.
    predict = predicting.make_predict(apply_fn)
    logits_of = predicting.make_predict_rows(apply_fn, batch_size=128)

    def measure(
        state: TrainState, setting: settings.Setting, parts: settings.Parts, seed: int
    ) -> Measured:
        accuracy = lambda part: float(
            np.mean(evaluation.top_class(logits_of(state, part.inputs)) == part.labels)
        )
        count = min(num_evaluated, len(parts.test.labels))
        few = data.take(parts.test, np.arange(count))
        maps = explain(
            state.params["model"], state.model_state, few.inputs,
            jnp.asarray(few.labels), key=jax.random.key(0),  # nothing is drawn
        )  # fmt: skip
        region = few.annotations.get("region")
        return Measured(
            setting=setting,
            accuracy=accuracy(parts.test),
            validation=None if parts.validation is None else accuracy(parts.validation),
            true_cells=None if region is None else float(region.mean()),
            recovery=(
                {}
                if region is None
                else {name: _recovery(values, region) for name, values in maps.items()}
            ),
            removal=_removal(
                functools.partial(predict, state), maps, few, num_draws, seed
            ),
            shown=Shown(
                series=few.inputs["series"][0],
                mask=few.inputs["mask"][0],
                region=None if region is None else region[0],
                maps={name: values[0] for name, values in maps.items()},
            ),
        )

    return measure


def _removal(
    predict_fn: Callable[[PyTree], Array],
    maps: Mapping[str, np.ndarray],
    few: data.Dataset,
    num_draws: int,
    seed: int,
) -> evaluation.Removal:
    series, mask = few.inputs["series"], few.inputs["mask"]
    # Padding is 0, which may lie outside of the range.
    low, high = float(series[mask].min()), float(series[mask].max())
    fill = functools.partial(ops.uniform_data_range_fill, low=low, high=high)
    scores = {name: jnp.asarray(np.abs(values)) for name, values in maps.items()}
    return evaluation.measure_removal(
        predict_fn,
        jax.tree.map(jnp.asarray, few.inputs),
        jnp.asarray(few.labels),
        scores,
        orders=evaluation.random_orders_like(
            jnp.asarray(series), key=jax.random.key(seed), num_orders=num_draws
        ),
        fills={"data range": ops.fill_leaf("series", fill)},
        fractions=FRACTIONS,
        key=jax.random.key(seed),
        batch_size=len(series),
        where=jnp.asarray(np.broadcast_to(mask[..., None], series.shape)),
    )


def _recovery(maps: np.ndarray, region: np.ndarray) -> Recovery:
    magnitudes, cells = jnp.abs(jnp.asarray(maps)), jnp.asarray(region)
    return Recovery(*(scored(values) for values in _agreement(magnitudes, cells)))


@jax.jit
def _agreement(maps: Array, region: Array) -> tuple[Array, Array, Array]:
    curves = metrics.mass_precision_recall(maps, region, fractions=SHARES)
    precision, recall = (
        metrics.area_under_curve(curve, fractions=SHARES) for curve in curves
    )
    return precision, recall, metrics.average_precision(maps, region)


_GRADIENT = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_log_probability
)


def _at_series(explainer: Explainer) -> evaluation.ExplainFn:
    def explain(
        forward: Forward, inputs: PyTree, targets: Array, keys: PRNGKey
    ) -> Array:
        del keys
        head, point = attributions.split_at(forward, inputs, "series")
        return explainer(head, point, targets)

    return explain


# Loops are compiled, since no network has a convolution, which that would slow down.
def _integrated(
    head: PredictFn, point: Array, targets: Array, *, num_points: int
) -> Array:
    return attributions.integrated_gradients(
        head, point, targets, baselines=jnp.zeros_like(point), num_points=num_points,
        score_fn=attributions.target_log_probability, loop="compiled",
    )  # fmt: skip


def _rescaled(head: PredictFn, point: Array, targets: Array) -> Array:
    return attributions.temporal_rescaling(
        _GRADIENT, head, point, targets, baselines=0.0, loop="compiled"
    )
