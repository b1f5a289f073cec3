"""Random processes that a series is made of, each feature a path of its own."""

from collections.abc import Callable, Mapping

import numpy as np

Process = Callable[[np.random.Generator, np.ndarray, int], np.ndarray]

_SPAN = 20.0  # from the first step to behind the last
_NARMA_ORDER = 10
_NARMA_LIMIT = 14.0


def sample_times(
    rng: np.random.Generator, num_steps: int, *, irregular: bool
) -> np.ndarray:
    """When the steps of a series are taken, in [0, 20).

    Args:
      rng: draws irregular times.
      num_steps: T.
      irregular: t_i = (g_i + u_i) 20 / 2T with g the sorted half of 0 .. 2T − 1 and u_i
        uniform in [0, 1); else t_i = 20 i / T.

    Returns:
      float64 [T], increasing.
    """
    if not irregular:
        return np.arange(num_steps) * _SPAN / num_steps
    cells = np.sort(rng.permutation(2 * num_steps)[:num_steps])
    return (cells + rng.random(num_steps)) * _SPAN / (2 * num_steps)


def gaussian(rng: np.random.Generator, times: np.ndarray, count: int) -> np.ndarray:
    """Independent N(0, 1) at every step."""
    return rng.normal(size=(len(times), count))


def harmonic(rng: np.random.Generator, times: np.ndarray, count: int) -> np.ndarray:
    """sin(2π 2 t), the same for all features."""
    del rng
    return np.repeat(np.sin(4 * np.pi * times)[:, None], count, axis=1)


def pseudo_periodic(
    rng: np.random.Generator, times: np.ndarray, count: int
) -> np.ndarray:
    """A_t sin(2π f_t t) with A_t ~ N(1, 0.5²) f_t ~ N(2, 0.01²), drawn each step."""
    shape = (len(times), count)
    amplitudes, frequencies = rng.normal(1, 0.5, shape), rng.normal(2, 0.01, shape)
    return amplitudes * np.sin(2 * np.pi * frequencies * times[:, None])


def gaussian_process(
    rng: np.random.Generator, times: np.ndarray, count: int
) -> np.ndarray:
    """Covariance (1 + √3 d) exp(−√3 d) at distance d: Matérn 3/2 of length 1."""
    distances = np.sqrt(3) * np.abs(times[:, None] - times)
    covariance = (1 + distances) * np.exp(-distances)
    # Times that nearly coincide would leave it not positive definite by rounding.
    root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(times)))
    return root @ rng.normal(size=(len(times), count))


def autoregressive(
    rng: np.random.Generator, times: np.ndarray, count: int
) -> np.ndarray:
    """x_t = 0.9 x_{t−1} + 0.5 ε_t, stationary: covariance 0.9^k 0.25 / 0.19 at lag k.

    It knows steps, not times.
    """
    noise = rng.normal(size=(len(times), count))
    values = np.empty_like(noise)
    values[0] = 0.5 / np.sqrt(1 - 0.9**2) * noise[0]
    for step in range(1, len(times)):
        values[step] = 0.9 * values[step - 1] + 0.5 * noise[step]
    return values


def continuous_autoregressive(
    rng: np.random.Generator, times: np.ndarray, count: int
) -> np.ndarray:
    """Stationary, covariance 0.01² 0.9^d at distance d in time.

    x(t + d) = 0.9^d x(t) + 0.01 √(1 − 0.9^{2d}) ε. Under the noise of a planted series
    almost nothing is seen of it.
    """
    noise = 0.01 * rng.normal(size=(len(times), count))
    values = noise.copy()
    for step, factor in enumerate(0.9 ** np.diff(times), start=1):
        spread = np.sqrt(1 - factor**2)
        values[step] = factor * values[step - 1] + spread * noise[step]
    return values


def narma(rng: np.random.Generator, times: np.ndarray, count: int) -> np.ndarray:
    """y_k+1 = 0.3 y_k + 0.05 y_k Σ_{i<10} y_{k−i} + 1.5 u_{k−9} u_k + 0.1.

    From 0, with u uniform in [0, 0.5). It knows steps, not times. A path that reaches
    14 is drawn again: from there 0.3 y + 0.05 y² >= y, and it grows to infinity. Of 50
    steps about one in 200,000 does, of 200 steps one in 2,000.
    """
    values = _narma_paths(rng, len(times), count)
    # Not `>=`: a path that overflows may be NaN.
    while len(lost := np.flatnonzero(~(values.max(axis=0) < _NARMA_LIMIT))):
        values[:, lost] = _narma_paths(rng, len(times), len(lost))
    return values


def _narma_paths(rng: np.random.Generator, num_steps: int, count: int) -> np.ndarray:
    order = _NARMA_ORDER
    drive = rng.uniform(0, 0.5, (order + num_steps, count))
    values = np.zeros_like(drive)
    with np.errstate(over="ignore"):
        for step in range(order, len(values)):
            last = values[step - 1]
            values[step] = (
                0.3 * last
                + 0.05 * last * values[step - order : step].sum(axis=0)
                + 1.5 * drive[step - order] * drive[step - 1]
                + 0.1
            )
    return values[order:]


PROCESSES: Mapping[str, Process] = {
    "gaussian": gaussian,
    "harmonic": harmonic,
    "pseudo_periodic": pseudo_periodic,
    "gaussian_process": gaussian_process,
    "ar": autoregressive,
    "car": continuous_autoregressive,
    "narma": narma,
}
