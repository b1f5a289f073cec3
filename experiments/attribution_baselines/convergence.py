"""How fast sums along the path come to the integral, by where the points lie."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attribution_baselines import judging
from experiments.attribution_baselines.methods import SCORE
from xguide_jax.types import ApplyFn, Array

RULES = ("left", "right", "trapezoid", "midpoint")
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CHUNK = 19
_ROUNDING = 1e-5


def make_convergence(
    apply_fn: ApplyFn, layer: str, *, counts: tuple[int, ...] = COUNTS
) -> Callable[[judging.Explained, str], dict[str, np.ndarray]]:
    """The error of integrated gradients by the number of points and the rule.

    The derivative along the path, Σ_i (x_i - b_i) g_i, is taken once at twice as many
    places as the largest number of points; every rule and number picks its own of them.

    Args:
      apply_fn: the network.
      layer: its name, or INPUT.
      counts: numbers of points, powers of 2.

    Returns:
      `(explained, name of a baseline) -> {rule: error [P] of a data set}`.
    """
    finest = 2 * max(counts)

    @jax.jit
    def slopes(
        explained: judging.Explained, baselines: Array, places: Array
    ) -> tuple[Array, Array]:
        head, features, carry = judging.cut(apply_fn, layer, explained)
        start = carry(baselines)
        score = lambda z: SCORE(head(z), explained.labels)

        def along(place: Array) -> Array:
            point = start + place * (features - start)
            gradient = jax.grad(lambda z: jnp.sum(score(z)))(point)
            product = gradient * (features - start)
            return jnp.sum(product.reshape(len(product), -1), axis=-1)

        return jax.vmap(along)(places), score(features) - score(start)

    def measure(explained: judging.Explained, baseline: str) -> dict[str, np.ndarray]:
        alone = explained._replace(baselines={}, region=np.zeros(0))
        places = np.arange(finest + 1) / finest
        padded = np.pad(places, (0, -len(places) % _CHUNK), mode="edge")
        parts = [
            slopes(alone, explained.baselines[baseline], jnp.asarray(part, jnp.float32))
            for part in padded.reshape(-1, _CHUNK)
        ]
        along = np.concatenate([np.asarray(s) for s, _ in parts])[: len(places)]
        target = np.asarray(parts[0][1])
        return {
            rule: np.array(
                [judging.error(_sum(rule, along, n), target) for n in counts]
            )
            for rule in RULES
        }

    return measure


def slope(errors: np.ndarray, counts: tuple[int, ...] = COUNTS) -> float:
    """The power of the number of points by which an error falls, from 8 points on.

    Args:
      errors: [P].
      counts: [P].

    Returns:
      d log error / d log n, fitted; NaN where an error is that of rounding, or there
      are too few.
    """
    kept = (np.array(counts) >= 8) & (np.array(counts) <= 128)
    if kept.sum() < 2 or not np.all(errors[kept] > _ROUNDING):
        return float("nan")
    return float(np.polyfit(np.log(np.array(counts)[kept]), np.log(errors[kept]), 1)[0])


def _sum(rule: str, along: np.ndarray, count: int) -> np.ndarray:
    """The quadrature [N] of values [T + 1, N] at equal distances."""
    step = (len(along) - 1) // count
    if rule == "midpoint":
        return along[step // 2 :: step].mean(axis=0)
    left, right = along[:-1:step].mean(axis=0), along[step::step].mean(axis=0)
    return {"left": left, "right": right, "trapezoid": (left + right) / 2}[rule]
