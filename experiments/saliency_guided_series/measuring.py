"""What is measured: accuracy, recovery of the true cells, what their removal costs."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.running import predicting
from experiments.running.scored import Scored, scored
from xguide_jax import attributions, data, evaluation, metrics, ops
from xguide_jax.types import ApplyFn, Array, Forward, PRNGKey, PyTree, TrainState

# What a table calls them; no arm is trained on the second.
NAMES = {
    "input_gradient": "gradient",
    "integrated_gradients": "integrated gradients",
}
# Of the published areas, whose ceiling is 0.8 and 1 here.
SHARES = tuple(np.arange(1, 10) / 10)
FRACTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
NUM_SHOWN = 1


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


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      accuracy: share of right answers on the test series.
      validation: the same of the validation part.
      recovery: {explainer: agreement with the true cells}.
      removal: of cells, by the magnitudes of each map, beside random orders.
      series: float [1, T, F], that the report shows.
      region: float [1, T, F], its true cells.
      maps: {explainer: float [1, T, F]}.
    """

    accuracy: float
    validation: float
    recovery: dict[str, Recovery]
    removal: evaluation.Removal
    series: np.ndarray
    region: np.ndarray
    maps: dict[str, np.ndarray]


def make_measurement(
    apply_fn: ApplyFn,
    validation: data.Dataset,
    test: data.Dataset,
    *,
    num_evaluated: int,
    num_points: int,
    num_draws: int,
) -> Callable[[TrainState, int], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: the network.
      validation: of the seed.
      test: of the seed.
      num_evaluated: test series that are explained, of their label.
      num_points: of integrated gradients.
      num_draws: random orders that a map is compared with.

    Returns:
      `(state, seed) -> Measured`.
    """
    explain = evaluation.make_explain(
        apply_fn,
        {
            "input_gradient": _at_series(attributions.input_gradient),
            "integrated_gradients": _at_series(
                functools.partial(_integrated, num_points=num_points)
            ),
        },
        batch_size=64,
    )
    # The network alone is compiled: a test holds it many times.
    predict = predicting.make_predict(apply_fn)
    logits_of = predicting.make_predict_rows(apply_fn, batch_size=128)
    few = data.take(test, np.arange(num_evaluated))
    region = few.annotations["region"]

    def measure(state: TrainState, seed: int) -> Measured:
        accuracy = lambda part: float(
            np.mean(evaluation.top_class(logits_of(state, part.inputs)) == part.labels)
        )
        maps = explain(
            state.params["model"], state.model_state, few.inputs,
            jnp.asarray(few.labels), key=jax.random.key(0),  # nothing is drawn
        )  # fmt: skip
        return Measured(
            accuracy=accuracy(test),
            validation=accuracy(validation),
            recovery={name: _recovery(values, region) for name, values in maps.items()},
            removal=_removal(
                functools.partial(predict, state), maps, few, num_draws, seed
            ),
            series=few.inputs["series"][:NUM_SHOWN],
            region=region[:NUM_SHOWN],
            maps={name: values[:NUM_SHOWN] for name, values in maps.items()},
        )

    return measure


def _removal(
    predict_fn: Callable[[PyTree], Array],
    maps: Mapping[str, np.ndarray],
    few: data.Dataset,
    num_draws: int,
    seed: int,
) -> evaluation.Removal:
    series = few.inputs["series"]
    fill = functools.partial(
        ops.uniform_data_range_fill, low=float(series.min()), high=float(series.max())
    )
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


def _at_series(explainer: Callable[..., Array]) -> evaluation.ExplainFn:
    def explain(
        forward: Forward, inputs: PyTree, targets: Array, keys: PRNGKey
    ) -> Array:
        del keys
        head, point = attributions.split_at(forward, inputs, "series")
        score_fn = attributions.target_log_probability
        return explainer(head, point, targets, score_fn=score_fn)

    return explain


def _integrated(
    head: Callable[[Array], Array],
    point: Array,
    targets: Array,
    *,
    num_points: int,
    score_fn: Callable[[Array, Array], Array],
) -> Array:
    return attributions.integrated_gradients(
        head, point, targets, baselines=jnp.zeros_like(point), num_points=num_points,
        score_fn=score_fn,
    )  # fmt: skip
