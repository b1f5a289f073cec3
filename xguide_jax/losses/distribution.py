"""Losses of many maps at once: whether they look like the maps that people drew.

That generated maps should follow the pattern of a data set's human maps, so that images
without a map teach as well, is the idea of multimodal explanation-guided learning
(Zhang, Jiang et al., arXiv 2411.13053); the paper's formula was not available. Every
loss here is our design.

A loss of a set has no value an example: each of these returns one number a batch, and a
term returns it for each example. Arrays hold the examples of all devices. Nothing is
compared map by map: a map that is pulled to the mean map loses what it shows.
"""

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array

_LAST_TWO = (-2, -1)


def kl_to_prior(map_mean: Array, prior: Array) -> Array:
    """Divergence of the mean of generated maps from the mean of human maps.

    KL(P || π) = Σ_ij P_ij (log P_ij − log π_ij), P and π the two arrays over their
    sums, logarithms at least −100, in float32 or wider. Gradients flow into both
    arguments, and it is unchanged by a positive factor on either. Where π is 0 each
    bit of P costs 100 nats and more: smooth a prior of few maps, by its mean with a
    uniform one.

    Two mean maps are compared: of what is not in the mean, such as maps on the left and
    maps on the right in turn, it knows nothing.

    Args:
      map_mean: float [..., h, w], at least 0: the mean over the examples of maps that
        each add up to 1. Leading axes are mean maps of their own, of classes.
      prior: float [..., h, w], at least 0, the same of human maps; of the training
        split only.

    Returns:
      float [...] in nats, at least 0 up to rounding; 0, with zero gradient, where
      either is 0 throughout.

    Raises:
      ValueError: if either is negative or not finite, where its values are known.
      AssertionError: if the shapes differ or lack an axis, or a dtype is not float.

    Source: our design; that maps follow a pattern of the data set is the paper's idea.
    """
    chex.assert_type([map_mean, prior], float)
    chex.assert_equal_shape([map_mean, prior])
    chex.assert_shape(map_mean, (..., None, None))
    checking.check_marks("map_mean", map_mean)
    checking.check_marks("prior", prior)
    map_mean, prior = _wide(map_mean, prior)
    found, expected = (_normalised(values) for values in (map_mean, prior))
    known = jnp.any(prior > 0, axis=_LAST_TWO, keepdims=True)
    difference = ops.clamped_log(found) - ops.clamped_log(expected)
    return jnp.sum(jnp.where(known, found * difference, 0.0), axis=_LAST_TWO)


def moment_distance(
    statistics: Array,
    means: Array,
    deviations: Array,
    *,
    where: Array | None = None,
    epsilon: float = 1e-6,
) -> Array:
    """Distance of a batch's mean and spread of statistics from those of human maps.

    mean_k [(μ_k − m_k)² / (s_k² + ε) + ¼ (log(σ_k² + ε) − log(s_k² + ε))²], μ and σ the
    mean and deviation of the statistics over the rows that count, m and s those of
    human maps, in float32 or wider. The second part is the squared difference of the
    logarithms of the deviations; without it all maps could have one coverage, the right
    one. Gradients flow into the first three arguments.

    σ² divides by n − 1: by n, a small batch of human maps would look too narrow.

    Args:
      statistics: float [B, K], numbers of each map: its coverage, its entropy, ...
      means: float [K], m.
      deviations: float [K], s, at least 0.
      where: bool [B], the rows that count; all if None. The others may be NaN.
      epsilon: ε, positive, in the square of the statistics' unit: deviations below its
        root count as equal. It keeps the slope finite where all rows are alike.

    Returns:
      float [], at least 0, the one number of the batch. The second part is 0 for one
      row, which has no spread; all is 0, with zero gradient, for none.

    Raises:
      ValueError: if `epsilon` is not positive and finite, or `deviations` negative or
        not finite, where its values are known.
      AssertionError: if the shapes or dtypes differ from the above.

    Source: our design; that maps follow a pattern of the data set is the paper's idea.
    """
    if not 0 < epsilon < float("inf"):
        raise ValueError(f"`epsilon` (={epsilon}) must be positive and finite.")
    chex.assert_rank([statistics, means, deviations], [2, 1, 1])
    chex.assert_type([statistics, means, deviations], float)
    chex.assert_shape([means, deviations], (statistics.shape[1],))
    checking.check_marks("deviations", deviations)
    statistics, means, deviations = _wide(statistics, means, deviations)
    statistics, weights = _counted(statistics, where)
    count = jnp.sum(weights)
    mean = ops.safe_divide(jnp.sum(statistics, axis=0), count)
    squares = weights[:, None] * jnp.square(statistics - mean)
    variance = ops.safe_divide(jnp.sum(squares, axis=0), jnp.maximum(count - 1, 0.0))
    expected = jnp.square(deviations) + epsilon
    location = jnp.square(mean - means) / expected
    spread = jnp.square(jnp.log(variance + epsilon) - jnp.log(expected)) / 4
    return jnp.mean(
        jnp.where(count > 0, location, 0.0) + jnp.where(count > 1, spread, 0.0)
    )


def maximum_mean_discrepancy(
    x: Array, y: Array, *, bandwidth: float | Array, where: Array | None = None
) -> Array:
    """Squared distance of two sets of vectors in the space of a Gaussian kernel.

    mean_ij k(x_i, x_j) − 2 mean_ij k(x_i, y_j) + mean_ij k(y_i, y_j), k(a, b) =
    exp(−|a − b|² / (2 h²)), in float32 or wider; pairs of a vector with itself are
    counted, the biased estimate. Unlike the distance of means it tells any two
    distributions apart, at the scale h. Gradients flow into both sets; far beyond h
    they vanish.

    Args:
      x: float [B, K], e.g. pooled maps of a batch.
      y: float [N, K], the others, e.g. pooled human maps; N >= 1.
      bandwidth: h, positive, in the unit of the vectors. The median of the distances
        within `y` is a common choice.
      where: bool [B], the rows of `x` that count; all if None. The others may be NaN.

    Returns:
      float [] in [0, 2] up to rounding, the one number of the batch; 0 for equal sets,
      and, with zero gradient, where no row counts.

    Raises:
      ValueError: if `bandwidth` is not positive, where it is known.
      AssertionError: if the shapes or dtypes differ from the above, or `y` is empty.

    Source: Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012, the biased
      estimate (unverified); as a loss of maps our design.
    """
    if not isinstance(bandwidth, jax.core.Tracer) and not float(bandwidth) > 0:
        raise ValueError(f"`bandwidth` (={bandwidth}) must be positive.")
    x, y = _two_sets(x, y)
    x, weights = _counted(x, where)
    shares = ops.safe_divide(weights, jnp.sum(weights))
    others = jnp.full(len(y), 1 / len(y), y.dtype)

    def mean_kernel(a: Array, b: Array, of_a: Array, of_b: Array) -> Array:
        # Of differences: |a|² − 2 a·b + |b|² loses the digits of near pairs.
        gaps = (a[:, None] - b) / jnp.asarray(bandwidth, a.dtype)
        kernel = jnp.exp(-jnp.sum(jnp.square(gaps), axis=-1) / 2)
        return jnp.sum(of_a[:, None] * kernel * of_b)

    within = mean_kernel(x, x, shares, shares) + mean_kernel(y, y, others, others)
    distance = within - 2 * mean_kernel(x, y, shares, others)
    return jnp.where(jnp.sum(weights) > 0, distance, 0.0)


def sliced_wasserstein(
    x: Array,
    y: Array,
    *,
    num_projections: int,
    key: Array,
    where: Array | None = None,
) -> Array:
    """Squared Wasserstein distance of two sets of vectors, along random lines.

    mean_θ ∫₀¹ (X_θ(t) − Y_θ(t))² dt, X_θ and Y_θ the quantiles of θ·x and θ·y, θ drawn
    uniformly from the unit sphere, in float32 or wider: on a line the transport is the
    sorted order, exact for sets of any two sizes. Shifted sets are |v|² / K apart on
    average. Gradients flow into both sets, and do not vanish with the distance as those
    of a kernel do; at ties they are those of one of the orders.

    Args:
      x: float [B, K], e.g. pooled maps of a batch.
      y: float [N, K], the others, e.g. pooled human maps; N >= 1.
      num_projections: how many lines, at least 1.
      key: of the lines; one key for all devices.
      where: bool [B], the rows of `x` that count; all if None. The others may be NaN.

    Returns:
      float [], at least 0, in the square of the vectors' unit, the one number of the
      batch; 0 for equal sets, and, with zero gradient, where no row counts.

    Raises:
      ValueError: if `num_projections` is not a whole number of at least 1.
      AssertionError: if the shapes or dtypes differ from the above, or `y` is empty.

    Source: Bonneel, Rabin, Peyré, Pfister, "Sliced and Radon Wasserstein Barycenters of
      Measures", JMIV 51, 2015 (unverified); as a loss of maps our design.
    """
    num_projections = checking.checked_count("num_projections", num_projections)
    x, y = _two_sets(x, y)
    x, weights = _counted(x, where)
    lines = jax.random.normal(key, (num_projections, x.shape[1]), x.dtype)
    lines /= ops.safe_norm(lines, axis=-1)[:, None]
    project = lambda values: jnp.einsum(
        "pk,bk->pb", lines, values, precision=jax.lax.Precision.HIGHEST
    )
    projected_x, projected_y = project(x), jnp.sort(project(y), axis=-1)
    # Rows that do not count come last, where no quantile is read.
    order = jnp.argsort(jnp.where(weights > 0, projected_x, jnp.inf), axis=-1)
    projected_x = jnp.take_along_axis(projected_x, order, axis=-1)
    widths, of_x, of_y = _common_steps(jnp.sum(weights), len(x), len(y))
    gaps = projected_x[:, of_x] - projected_y[:, of_y]
    distance = jnp.mean(jnp.sum(widths * jnp.square(gaps), axis=-1))
    return jnp.where(jnp.sum(weights) > 0, distance, 0.0)


def _common_steps(count: Array, most: int, size: int) -> tuple[Array, Array, Array]:
    """Steps on which the quantiles of both sets are constant, [most + size] each.

    Their widths, and the places in the sorted sets of `count` and of `size` values.
    """
    dtype = count.dtype
    num_x = jnp.maximum(count, 1.0)
    ends_x = jnp.minimum(jnp.arange(1, most + 1, dtype=dtype) / num_x, 1.0)
    ends_y = jnp.arange(1, size + 1, dtype=dtype) / size
    ends = jnp.sort(jnp.concatenate([ends_x, ends_y]))
    widths = jnp.diff(ends, prepend=jnp.zeros(1, dtype))
    middles = ends - widths / 2
    place = lambda number: jnp.floor(jnp.minimum(middles * number, number - 1)).astype(
        jnp.int32
    )
    return widths, place(num_x), place(jnp.asarray(size, dtype))


def _normalised(maps: Array) -> Array:
    """Maps that add up to 1, or hold zeros."""
    return ops.safe_divide(maps, jnp.sum(maps, axis=_LAST_TWO, keepdims=True))


def _counted(rows: Array, where: Array | None) -> tuple[Array, Array]:
    """Rows with zeros in place of those that do not count; float [B], 1 for those."""
    if where is None:
        return rows, jnp.ones(len(rows), rows.dtype)
    chex.assert_shape(where, (len(rows),))
    chex.assert_type(where, bool)
    return jnp.where(where[:, None], rows, 0.0), jnp.asarray(where).astype(rows.dtype)


def _two_sets(x: Array, y: Array) -> tuple[Array, Array]:
    chex.assert_rank([x, y], 2)
    chex.assert_type([x, y], float)
    chex.assert_equal(x.shape[1], y.shape[1])
    chex.assert_axis_dimension_gt(y, 0, 0)
    x, y = _wide(x, y)
    return x, y


def _wide(*arrays: Array) -> list[Array]:
    """In float32, or in float64 if the first is."""
    first, *others = (ops.at_least_float32(array) for array in arrays)
    return [first, *(array.astype(first.dtype) for array in others)]
