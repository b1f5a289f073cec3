"""How alike two maps of the same input are: of two models, explainers or seeds.

One value an example, symmetric in the two, NaN where a map says nothing to compare. All
axes but `B` are one map. Scores of two *trained* networks have no natural zero: compare
them with those of a network whose parameters are random (`randomisation`).
"""

import chex
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.metrics import masking, ordering
from xguide_jax.types import Array

# Wang et al. 2004: an 11 x 11 Gaussian window of sigma 1.5, and C = (K · range)².
_SIGMA, _RADIUS = 1.5, 5
_K1, _K2 = 0.01, 0.03


def rank_correlation(
    first: Array, second: Array, *, where: Array | None = None
) -> Array:
    """Spearman's correlation of the cells of two maps.

    The Pearson correlation of the cells' ranks, equal cells sharing their mean rank.
    Unchanged by any increasing function of a map. Two sorts, O(n log n) a map.

    Args:
      first: float [B, ...].
      second: float, shaped like `first`.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [−1, 1], 1 for the same order and −1 for the opposite one, about 0
      for unrelated maps; NaN if a map is constant or holds a NaN.

    Raises:
      AssertionError: if the shapes differ or have no axis but B.

    Source: Spearman, 1904, with ties as SciPy's `spearmanr` has them. Adebayo et al.,
      "Sanity Checks for Saliency Maps", NeurIPS 2018, rank the values and, separately,
      the magnitudes: take them first where the sign should not matter.
    """
    first, second, valid = _paired(first, second, where)
    axes = tuple(range(1, first.ndim))
    num_valid = jnp.sum(valid, axis=axes, keepdims=True, dtype=first.dtype)
    ranks = []
    for maps in (first, second):
        centred = ordering.average_ranks(maps, valid) - (num_valid + 1) / 2
        # Of 1e5 cells the squares would add up to 1e15.
        ranks.append(jnp.where(valid, centred, 0.0) / jnp.maximum(num_valid, 1))
    return jnp.where(_vary(first, second, valid), _cosine(*ranks), jnp.nan)


def cosine_similarity(
    first: Array, second: Array, *, where: Array | None = None
) -> Array:
    """Cosine of the angle between two maps.

    Σ A B / (|A| |B|). Unchanged by a positive factor on either map, not by a shift.

    Args:
      first: float [B, ...].
      second: float, shaped like `first`.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [−1, 1], 1 for maps equal up to a positive factor; NaN if a map is 0
      everywhere or holds a NaN.

    Raises:
      AssertionError: if the shapes differ or have no axis but B.
    """
    first, second, valid = _paired(first, second, where)
    first, second = jnp.where(valid, first, 0.0), jnp.where(valid, second, 0.0)
    axes = tuple(range(1, first.ndim))
    defined = jnp.any(first != 0, axis=axes) & jnp.any(second != 0, axis=axes)
    return jnp.where(defined, _cosine(first, second), jnp.nan)


def top_k_intersection(
    first: Array, second: Array, *, k: int, where: Array | None = None
) -> Array:
    """Share of the k highest cells that two maps have in common.

    |top-k(A) ∩ top-k(B)| / k. Cells tied at the k-th place share the places left, each
    map by itself: the value is the mean over all ways to break the ties of the two.
    Sparse maps of fewer than k non-zero cells are therefore below 1 even to themselves.

    Args:
      first: float [B, ...], by the values as they are.
      second: float, shaped like `first`.
      k: how many cells, from 1 to n; of an example with fewer valid cells, all of them.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [0, 1], 1 if they share all; k / n on average for unrelated maps; NaN
      if a map is constant or holds a NaN.

    Raises:
      ValueError: if k is less than 1 or above n.
      AssertionError: if the shapes differ or have no axis but B.

    Source: Ghorbani, Abid, Zou, "Interpretation of Neural Networks is Fragile", AAAI
      2019. Ties broken by index, as sorts do, make blank parts of two maps agree.
    """
    if k < 1:
        raise ValueError(f"`k` (={k}) must be at least 1.")
    first, second, valid = _paired(first, second, where)
    shares = [ordering.top_k_shares(maps, k, valid) for maps in (first, second)]
    axes = tuple(range(1, first.ndim))
    common, size = (jnp.sum(s, axis=axes) for s in (shares[0] * shares[1], shares[0]))
    share = ops.safe_divide(common, size)
    return jnp.where(_vary(first, second, valid), share, jnp.nan)


def structural_similarity(
    first: Array, second: Array, *, data_range: float | Array
) -> Array:
    """SSIM of two maps: alike in mean, contrast and pattern, window by window.

    The mean over all windows inside the map of
    (2 μ_a μ_b + C₁)(2 σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂)),
    C₁ = (0.01 R)², C₂ = (0.03 R)², moments under an 11 x 11 Gaussian window of σ = 1.5.
    Two constant maps are compared by their means alone; that is defined.

    Args:
      first: float [B, H, W], H and W at least 11; in one range with `second`, so
        normalise both if they come from different scales.
      second: float, shaped like `first`.
      data_range: R above 0, the largest difference that values can have: 1 of maps in
        [0, 1], 2 of maps in [−1, 1]. One number or [B]; a traced one is not checked.

    Returns:
      float [B], at most 1, which is for equal maps alone; below 0 for opposite
      patterns; NaN if a map holds a NaN or the range is not above 0.

    Raises:
      ValueError: if H or W is below 11, or `data_range` is not above 0.
      AssertionError: if the shapes differ or are not rank 3.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error
      Visibility to Structural Similarity", IEEE TIP 2004; equal to scikit-image's with
      `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`. Its defaults, a
      uniform 7 x 7 window and sample covariances, give other numbers.
    """
    chex.assert_rank([first, second], 3)
    first, second, _ = _paired(first, second, None)
    _, height, width = first.shape
    if min(height, width) <= 2 * _RADIUS:
        raise ValueError(
            f"`first` (of {height} x {width} cells) must have at least "
            f"{2 * _RADIUS + 1} on each side; enlarge it, or use `rank_correlation`."
        )
    data_range = _checked_range(data_range, first)
    smooth_rows, smooth_columns = (
        jnp.asarray(_windows(size), first.dtype) for size in (height, width)
    )

    def smooth(maps: Array) -> Array:
        # At the default precision an accelerator rounds the factors to ten bits.
        return jnp.einsum(
            "bhw,hi,wj->bij", maps, smooth_rows, smooth_columns, precision="highest"
        )

    # Second moments are of maps without their mean, or they would be small differences
    # of large numbers.
    centre = jnp.mean((first + second) / 2, axis=(1, 2), keepdims=True)
    a, b = first - centre, second - centre
    mean_a, mean_b = smooth(a), smooth(b)
    variances = smooth(a * a + b * b) - (mean_a**2 + mean_b**2)
    covariance = smooth(a * b) - mean_a * mean_b
    mean_a, mean_b = mean_a + centre, mean_b + centre
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    means = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    patterns = (2 * covariance + c2) / (variances + c2)
    similarity = jnp.mean(means * patterns, axis=(1, 2))
    return jnp.where(data_range[:, 0, 0] > 0, similarity, jnp.nan)


def _paired(
    first: Array, second: Array, where: Array | None
) -> tuple[Array, Array, Array]:
    """Both in one dtype of float32 or wider, and the cells that count."""
    chex.assert_equal_shape([first, second])
    chex.assert_axis_dimension_gt(first, 1, 0)
    first, second = ops.at_least_float32(first), ops.at_least_float32(second)
    dtype = max(first.dtype, second.dtype, key=lambda dtype: dtype.itemsize)
    return first.astype(dtype), second.astype(dtype), masking.valid_cells(first, where)


def _vary(first: Array, second: Array, valid: Array) -> Array:
    return masking.varies(first, valid) & masking.varies(second, valid)


def _cosine(first: Array, second: Array) -> Array:
    axes = tuple(range(1, first.ndim))
    first, second = (ops.rescale_extremes(m, axis=axes) for m in (first, second))
    product = jnp.sum(first * second, axis=axes)
    norms = [ops.safe_norm(m, axis=axes) for m in (first, second)]
    # Rounding may pass 1.
    return jnp.clip(ops.safe_divide(product, norms[0] * norms[1]), -1, 1)


def _windows(size: int) -> np.ndarray:
    """Gaussian weights of the windows inside, a column each: [size, size − 10]."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    columns = np.zeros((size, size - 2 * _RADIUS))
    for place in range(columns.shape[1]):
        columns[place : place + len(weights), place] = weights / weights.sum()
    return columns


def _checked_range(data_range: float | Array, maps: Array) -> Array:
    """[B, 1, 1]."""
    if not isinstance(data_range, jnp.ndarray | np.ndarray) and not data_range > 0:
        raise ValueError(f"`data_range` (={data_range}) must be above 0.")
    values = jnp.asarray(data_range, maps.dtype)
    return jnp.broadcast_to(values, len(maps))[:, None, None]
