"""A check that users run on their own metrics of maps."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.testing.asserting import check, check_close
from xguide_jax.types import Array

# The arguments of a metric for one example, [1, ...] each, the map first.
Example = tuple[Any, ...]

_MANY = 8192  # numbers in the maps of a large batch


def check_metric(
    metric_fn: Callable[..., Array],
    *,
    better: Example,
    worse: Example,
    higher_is_better: bool,
    bounds: tuple[float, float],
    scale_invariant: bool,
    undefined: Sequence[Example] = (),
) -> None:
    """Runs a metric of maps through what every metric promises.

    One float an example, [B]; the known pair, and random maps in the better one's
    place, within the bounds; the pair in the order that is documented; NaN for what is
    undefined, and for a map with a NaN in its first, its last or every cell; such a row
    changes no other; a batch equals its examples one by one; the same under `jit`; and,
    where that is claimed, unchanged by a positive factor on the map.

    Args:
      metric_fn: (maps [B, ...], *others [B, ...]) -> [B]; what examples do not have of
        their own is bound. A metric that draws takes its keys [B] as one of the others.
      better: the arguments of one example, (map [1, ...], *others [1, ...]).
      worse: those of another example, which the metric must judge to be worse.
      higher_is_better: the direction of the metric.
      bounds: (lowest, highest) value it can take; infinite where there is none.
      scale_invariant: whether a positive factor on the map must change nothing.
      undefined: arguments of examples for which the metric must be NaN.

    Raises:
      AssertionError: naming the promise that is broken.
    """
    examples = [better, worse, *undefined]
    values = _checked_values(metric_fn, _batch(examples))
    _check_range(metric_fn, better, values[:2], bounds)
    best, worst = (values[0], values[1]) if higher_is_better else (values[1], values[0])
    check(
        best > worst,
        f"of the better example the metric is {values[0]}, of the worse one "
        f"{values[1]}; {'higher' if higher_is_better else 'lower'} must be better",
    )
    for number, value in enumerate(values[2:]):
        check(np.isnan(value), f"`undefined`[{number}] has the value {value}, not NaN")
    _check_rows(metric_fn, examples, values)
    _check_nan_maps(metric_fn, [better, worse], values[:2])
    if scale_invariant:
        _check_scaling(metric_fn, [better, worse], values[:2])


def _checked_values(metric_fn: Callable[..., Array], batch: Example) -> np.ndarray:
    values = metric_fn(*batch)
    size = len(batch[0])
    check(
        values.shape == (size,) and jnp.issubdtype(values.dtype, jnp.floating),
        f"of {size} examples the metric must return float [{size}]; it returned "
        f"{values.dtype}{list(values.shape)}",
    )
    return np.asarray(values)


def _check_range(
    metric_fn: Callable[..., Array],
    better: Example,
    known: np.ndarray,
    bounds: tuple[float, float],
) -> None:
    maps, *others = better
    draws = jax.random.normal(jax.random.key(0), (8, *maps.shape[1:]))
    repeated = (jnp.concatenate([other] * len(draws)) for other in others)
    random = metric_fn(draws.astype(maps.dtype), *repeated)
    low, high = bounds
    for value in [*known, *np.asarray(random)]:
        # A random map may be one that the metric has no value for.
        inside = low - 1e-5 <= value <= high + 1e-5
        check(inside or np.isnan(value), f"{value} is outside of {bounds}")


def _check_rows(
    metric_fn: Callable[..., Array], examples: Sequence[Example], values: np.ndarray
) -> None:
    _check_same(jax.jit(metric_fn)(*_batch(examples)), values, "jit changes the result")
    singles = np.concatenate([metric_fn(*_batch([example])) for example in examples])
    _check_same(singles, values, "a batch differs from its examples")


def _check_nan_maps(
    metric_fn: Callable[..., Array], pair: Sequence[Example], values: np.ndarray
) -> None:
    (maps, *others), _ = pair
    flat = jnp.asarray(maps).reshape(1, -1)
    broken = {
        "its first cell": flat.at[0, 0].set(jnp.nan),
        "its last cell": flat.at[0, -1].set(jnp.nan),
        "every cell": jnp.full_like(flat, jnp.nan),
    }
    for place, nan in broken.items():
        row = (nan.reshape(maps.shape), *others)
        # Over 4096 numbers, a maximum on a CPU overlooks a NaN that it otherwise shows.
        copies = 1 + _MANY // (2 * flat.size)
        large = [
            jnp.concatenate([first, two[np.arange(2 * copies) % 2]])
            for first, two in zip(_batch([row]), _batch(pair), strict=True)
        ]
        found = np.asarray(metric_fn(*large))
        what = f"a map with a NaN in {place}, of {len(found)} maps,"
        check(np.isnan(found[0]), f"{what} has the value {found[0]}")
        _check_same(
            found[1:], np.tile(values, copies), "a NaN in one map changes others"
        )


def _check_scaling(
    metric_fn: Callable[..., Array], pair: Sequence[Example], values: np.ndarray
) -> None:
    for factor in (1e-3, 0.7, 1e3):
        scaled = [(factor * maps, *others) for maps, *others in pair]
        found = metric_fn(*_batch(scaled))
        _check_same(found, values, f"a factor of {factor} on the map changes it")


def _batch(examples: Sequence[Example]) -> Example:
    return tuple(jnp.concatenate(parts) for parts in zip(*examples, strict=True))


def _check_same(actual: Any, expected: np.ndarray, message: str) -> None:
    actual = np.asarray(actual)
    check(np.array_equal(np.isnan(actual), np.isnan(expected)), f"{message}: NaN")
    check_close(np.nan_to_num(actual), np.nan_to_num(expected), message)
