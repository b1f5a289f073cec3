"""What `evaluate` measures of one batch: every number of every example."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax import attributions, metrics
from xguide_jax.evaluation import chance, positions, removal
from xguide_jax.metrics import removing
from xguide_jax.types import Array, Batch, FillFn, PredictFn, PRNGKey, ScoreFn

# (maps, region), one value a position, [B, ...] -> [B]
LOCALISATION: Mapping[str, Callable[[Array, Array], Array]] = {
    "energy in region": metrics.energy_pointing_game,
    "pointing game": metrics.pointing_game,
    "rank accuracy": metrics.relevance_rank_accuracy,
    "average precision": metrics.average_precision,
}
# maps, one value a position, [B, ...] -> [B]
COMPLEXITY: Mapping[str, Callable[[Array], Array]] = {
    "Gini index": metrics.gini,
    "effective features": metrics.effective_number_of_features,
}

# The fill that is added for a map that has a baseline: removal "to b".
OWN_BASELINE = "own baseline"


class Settings(NamedTuple):
    """How every batch is measured: arguments of `evaluate`."""

    predict: PredictFn
    explainers: Mapping[str, Callable[[Array, Array], Array]]
    fills: Mapping[str, FillFn]
    fractions: Sequence[float]
    value: removing.ValueFn
    score_fn: ScoreFn | None
    num_random_orders: int


class MapRows(NamedTuple):
    """What is known of one map besides its curves, NaN where undefined.

    Attributes:
      localisation: {metric: [B]}; empty without annotations.
      complexity: {metric: [B]}.
      target: [B], f(x) − f(b), or None without a baseline.
      gap: [B], the sum of the attributions beyond the target, or None.
      own: its curves with its baseline as the fill, or None.
    """

    localisation: dict[str, Array]
    complexity: dict[str, Array]
    target: Array | None
    gap: Array | None
    own: chance.Curves | None


class Rows(NamedTuple):
    """Every number of each example.

    Attributes:
      correct: [B], of the intact input.
      curves: of every map with every fill, and of chance.
      maps: {map: the rest}.
      control: the same of random values in place of a map.
    """

    correct: Array
    curves: chance.Curves
    maps: dict[str, MapRows]
    control: MapRows


def measure(
    settings: Settings,
    batch: Batch,
    maps: Mapping[str, Array],
    baselines: Mapping[str, Array],
    keys: PRNGKey,
) -> Rows:
    """Measures B examples.

    Args:
      settings: how.
      batch: as `evaluate` takes it.
      maps: {map: attributions}, those that were made before.
      baselines: {map: float, shaped like the inputs}, of some maps.
      keys: [B], one an example.

    Returns:
      `Rows`.
    """
    batch = jax.tree.map(jnp.asarray, dict(batch))
    inputs, labels = batch["inputs"], batch["labels"]
    targets = batch.get("targets", labels)
    made = {name: fn(inputs, targets) for name, fn in settings.explainers.items()}
    values = {
        name: positions.positions_of(jnp.asarray(each), inputs)
        for name, each in {**maps, **made}.items()
    }
    random_values = [
        positions.random_values(inputs, _stream(keys, number))
        for number in range(1, settings.num_random_orders + 1)
    ]
    orders = [positions.scores_of(each, inputs) for each in random_values]

    def curves_of(names: Sequence[str], fills: Mapping[str, FillFn]) -> chance.Curves:
        scores = {name: positions.scores_of(values[name], inputs) for name in names}
        return removal.removal_curves(
            settings.predict, inputs, labels, scores,
            orders=orders, fills=fills, fractions=settings.fractions,
            key=_stream(keys, 0), value=settings.value,
        )  # fmt: skip

    region = positions.region_of(batch)

    def rows_of(each: Array) -> MapRows:
        located = {} if region is None else _located(each, region)
        return MapRows(located, _complexity(each), None, None, None)

    rows = {name: rows_of(each) for name, each in values.items()}
    if settings.score_fn is not None:
        for name, base in baselines.items():
            base = jnp.asarray(base, inputs.dtype)
            target = attributions.attribution_target(
                settings.predict, inputs, targets,
                baselines=base, score_fn=settings.score_fn,
            )  # fmt: skip
            total = jnp.sum(values[name], axis=tuple(range(1, values[name].ndim)))
            fill = functools.partial(_constant, base)
            own = curves_of([name], {OWN_BASELINE: fill})
            rows[name] = rows[name]._replace(target=target, gap=total - target, own=own)
    return Rows(
        correct=jnp.asarray(settings.value(settings.predict(inputs), labels)),
        curves=curves_of(list(values), settings.fills),
        maps=rows,
        control=rows_of(random_values[0]),
    )


def _constant(values: Array, key: PRNGKey, inputs: Array) -> Array:
    return values


def _stream(keys: PRNGKey, number: int) -> PRNGKey:
    """A key an example for each purpose: fills and orders are not to be related."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


@jax.jit
def _located(maps: Array, region: Array) -> dict[str, Array]:
    return {name: metric(maps, region) for name, metric in LOCALISATION.items()}


@jax.jit
def _complexity(maps: Array) -> dict[str, Array]:
    return {name: metric(maps) for name, metric in COMPLEXITY.items()}
