"""Which features a step of a faithfulness test replaces, and how it is asked of.

One sort of a map serves every step: a feature is replaced once its place in the order
of the map is below the number of features replaced.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.metrics import masking
from xguide_jax.ops import removal
from xguide_jax.types import Array, FillFn, PRNGKey, PyTree

# (logits, labels) -> [B]: what is read of a prediction along a curve.
ValueFn = Callable[[Array, Array], Array]

# How features go: others in their place, or a way that inputs of several arrays have.
Replacement = FillFn | removal.Removal


class Order:
    """The order of the features in each map, and the rows that have one."""

    def __init__(self, attributions: Array, where: Array | None = None) -> None:
        """Sorts them.

        Args:
          attributions: float [B, ...].
          where: bool, of their rank and broadcast to their shape: the features that
            are ordered. Default: all are.
        """
        valid = None if where is None else masking.valid_cells(attributions, where)
        self._places, self.defined, self._num_valid = _ordered(attributions, valid)
        self._num_scores = math.prod(attributions.shape[1:])
        self._is_partial = where is not None

    def highest(self, fraction: float, *, round_up: bool = False) -> Array:
        """The most salient features of each map.

        Args:
          fraction: of the n features that are ordered.
          round_up: whether ceil(d n) features or floor(d n) are taken.

        Returns:
          bool, shaped like the attributions.
        """
        return self.between(0, self.count(fraction, round_up=round_up))

    def all_but_highest(self, fraction: float, *, round_up: bool = False) -> Array:
        """All other features that are ordered.

        Args:
          fraction: as for `highest`.
          round_up: as for `highest`.

        Returns:
          bool, shaped like the attributions.
        """
        return self.between(self.count(fraction, round_up=round_up), self.count(1.0))

    def count(self, fraction: float, *, round_up: bool = False) -> int | Array:
        """How many features a fraction of those that are ordered is.

        Args:
          fraction: d.
          round_up: whether it is ceil(d n) or floor(d n).

        Returns:
          one number for all maps, or where they have different n, int32 [B, 1, ...].
        """
        among = functools.partial(count, fraction, round_up=round_up)
        if not self._is_partial:
            return among(self._num_scores)
        counts = np.array([among(n) for n in range(self._num_scores + 1)], np.int32)
        shape = (-1, *[1] * (self._places.ndim - 1))
        return jnp.asarray(counts)[self._num_valid].reshape(shape)

    def between(self, first: int | Array, last: int | Array) -> Array:
        """The features from one place of the order to another.

        Args:
          first: the lowest place, 0 that of the most salient; one for all maps, or
            int [B, 1, ...].
          last: the place after the highest.

        Returns:
          bool, shaped like the attributions.
        """
        return _between(self._places, first, last)


def count(fraction: float, number: int, *, round_up: bool = False) -> int:
    """How many features a fraction of them is.

    Args:
      fraction: d, in [0, 1].
      number: n, of the features.
      round_up: whether it is ceil(d n) or floor(d n).

    Returns:
      the number, of d n up to 1e-6.
    """
    # 0.29 * 100 is 28.999...: without the small number k would be 28 and not 29.
    if round_up:
        return math.ceil(fraction * number - 1e-6)
    return int(fraction * number + 1e-6)


@jax.jit
def _between(places: Array, first: int | Array, last: int | Array) -> Array:
    return (places >= first) & (places < last)


@jax.jit
def _ordered(attributions: Array, valid: Array | None) -> tuple[Array, Array, Array]:
    """The place of each score in its example's order, 0 the highest, ties by index.

    What does not count has the last places. An example whose scores hold a NaN or are
    all equal has no order.
    """
    scores = attributions.reshape(attributions.shape[0], -1)
    if valid is None:
        lowest, highest = jnp.min(scores, axis=-1), jnp.max(scores, axis=-1)
        number = jnp.full(scores.shape[:1], scores.shape[-1])
        clear = ~jnp.any(jnp.isnan(scores), axis=-1)
        keys = -scores
    else:
        counted = valid.reshape(scores.shape)
        lowest = jnp.min(jnp.where(counted, scores, jnp.inf), axis=-1)
        highest = jnp.max(jnp.where(counted, scores, -jnp.inf), axis=-1)
        number = jnp.sum(counted, axis=-1)
        clear = ~jnp.any(jnp.isnan(scores) & counted, axis=-1)
        keys = jnp.where(counted, -scores, jnp.nan)  # NaN is sorted last
    order = jnp.argsort(keys, axis=-1, stable=True)
    rows = jnp.arange(len(order))[:, None]
    # Inverting the order by a scatter is cheaper than by a second sort.
    numbers = jnp.broadcast_to(jnp.arange(order.shape[-1]), order.shape)
    places = jnp.zeros_like(order).at[rows, order].set(numbers.astype(order.dtype))
    varied = (lowest < highest) | ((number == 1) & (lowest == highest))
    # Of 4096 numbers or more XLA's minimum and maximum on a CPU overlook a NaN.
    return places.reshape(attributions.shape), varied & clear, number


def read(value: ValueFn, logits: Array, labels: Array) -> Array:
    """What `value` says of each prediction, NaN where the prediction holds a NaN.

    Args:
      value: (logits, labels) -> [B].
      logits: float [B, ...].
      labels: [B, ...].

    Returns:
      float [B], float32 or wider.

    Raises:
      ValueError: if it is not one value an example.
    """
    values = jnp.asarray(value(logits, labels))
    if values.shape != (len(logits),):
        raise ValueError(
            f"`value` must return {(len(logits),)}, one value an example; it "
            f"returned {values.shape}."
        )
    return _nan_where_unclear(values, logits)


@jax.jit
def _nan_where_unclear(values: Array, logits: Array) -> Array:
    unclear = jnp.any(jnp.isnan(logits.reshape(len(logits), -1)), axis=-1)
    return jnp.where(unclear, jnp.nan, ops.at_least_float32(values))


def without(fill: Replacement, key: PRNGKey, inputs: PyTree) -> removal.WithoutFn:
    """The inputs without some features, for every step of a test.

    Args:
      fill: (key, inputs) -> replacement values like the array `inputs`, or a removal.
      key: for the fill, which is drawn once.
      inputs: [B, ...], or a dict of such.

    Returns:
      (which are replaced, bool) -> inputs.
    """
    if isinstance(fill, removal.Removal):
        return fill(key, inputs)
    filled = fill(key, inputs)
    return lambda replaced: _replace(inputs, replaced, filled)


# One program a step: many small ones would cost as much as a small network.
_replace = jax.jit(ops.replace)


def random_scores(maps: Array, key: PRNGKey, count: int) -> list[Array]:
    """Uniform scores for the features of the maps: the control of every order.

    Args:
      maps: float [B, ...], of which only shape and dtype are used.
      key: folded with 0, 1, …, one for each; one key or [B].
      count: R.

    Returns:
      float [B, ...], R times.
    """
    keys = ops.example_keys(key, len(maps))

    def draw(key: PRNGKey, number: int) -> Array:
        key = jax.random.fold_in(key, number)
        return jax.random.uniform(key, maps.shape[1:], maps.dtype)

    return [jax.vmap(draw, (0, None))(keys, number) for number in range(count)]


def check(
    inputs: PyTree,
    labels: Array,
    attributions: Array,
    *,
    fill: Replacement | None = None,
) -> None:
    """Refuses maps that do not belong to their inputs.

    Args:
      inputs: [B, ...], or a dict of such where `fill` is a removal.
      labels: [B, ...].
      attributions: float, of the inputs' rank and broadcastable to them; of what it
        takes out, where `fill` is a removal.
      fill: how features go.

    Raises:
      AssertionError: if the shapes or dtypes are not those.
      ValueError: for inputs of several arrays and a fill of one.
    """
    chex.assert_type(attributions, float)
    arrays = jax.tree.leaves(inputs)
    chex.assert_equal_shape_prefix([*arrays, labels, attributions], 1)
    if isinstance(fill, removal.Removal):
        return
    if not hasattr(inputs, "shape"):
        raise ValueError(
            f"inputs of several arrays (of type {type(inputs).__name__}) need an "
            "`ops.Removal` for `fill`, which says how they lose a position, e.g. "
            "`ops.hide_positions('mask')`."
        )
    chex.assert_equal_rank([inputs, attributions])
    chex.assert_is_broadcastable(attributions.shape, inputs.shape)


def checked_fractions(fractions: Sequence[float]) -> tuple[float, ...]:
    """Fractions of the features, as floats.

    Args:
      fractions: at least one.

    Returns:
      them.

    Raises:
      ValueError: if they do not increase strictly or leave [0, 1].
    """
    checked = tuple(float(fraction) for fraction in fractions)
    inside = all(0 <= fraction <= 1 for fraction in checked)
    increasing = all(low < high for low, high in itertools.pairwise(checked))
    if not (checked and inside and increasing):
        raise ValueError(
            f"`fractions` (={checked}) must increase strictly and lie in [0, 1]."
        )
    return checked
