"""Linear surrogates: a function of on and off segments fitted to the score.

v(z) is the score of the input whose segments outside the coalition z have the values of
the baseline. LIME fits v near the whole input; KernelSHAP chooses the weights for which
the fit is the Shapley value.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special

from xguide_jax import ops
from xguide_jax.attributions import perturbing, shapley
from xguide_jax.attributions import segments as segmenting
from xguide_jax.ops import checking
from xguide_jax.types import Array, PredictFn, PRNGKey, ScoreFn


def lime(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    segments: Array,
    num_segments: int,
    num_samples: int,
    kernel_width: float | Array,
    ridge: float | Array,
    baselines: Array | float,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
) -> Array:
    """Coefficients of a linear fit of the score around the input.

    φ, c = argmin Σ_n π_n (v(z_n) − c − φ · z_n)² + λ |φ|² over coalitions z_n, the
    first of which is the whole input and the others switch every segment on with
    probability ½. π = exp(−d² / σ²), d = 1 − sqrt(|z| / S) the cosine distance of z
    from the whole. A segment's coefficient is shared out evenly over its features; the
    map adds up to φ · 1, what the *surrogate* says of all segments together, and to
    f(x) − f(b) only as far as the fit is good. Exact, up to the ridge, where the score
    is a sum of functions of the segments.

    Sample n of example i depends on the key, i and n alone: more samples extend the
    sequence, and a key array [B] makes an example independent of its batch.

    `num_samples` forwards of the batch and no gradient of the network, in the memory of
    `chunk_size` of them beside all coalitions. On a CPU compile time grows with the
    number of chunks; that and two exceptions are told at `ops.barriered_sum`.
    Differentiable in the inputs, the baselines and the parameters: the fit is linear in
    the scores.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float or integer (token ids) [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      segments: integer, broadcastable to the shape of `inputs`, in [-1, S); −1 is never
        perturbed. See `grid_segments`.
      num_segments: S, at least 1; static.
      num_samples: how many coalitions; static. At least S + 1, so many as the fit has
        unknowns; some ten times as many for a steady map.
      kernel_width: σ, above 0, may be traced; 0.25 in the authors' code. Infinity
        weighs all alike.
      ridge: λ, at least 0, may be traced, of the coefficients and not of c; 1 in the
        authors' code. A coalition weighs at most 1 beside it.
      baselines: broadcastable to the shape of `inputs`, in the same units.
      score_fn: (logits, targets) -> [B]; see `scores`.
      chunk_size: coalitions evaluated at once, at least 1; None is 1.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score; 0 where the
      segment is −1. NaN where a traced segment is out of range, and in all of an
      example whose samples do not determine the fit, as happens without a ridge.

    Raises:
      AssertionError: if the batch sizes differ or the score is not one number an
        example.
      ValueError: if an argument is not as above.

    Source: Ribeiro, Singh, Guestrin, "Why Should I Trust You?", KDD 2016, without its
      choice of few features. The authors' code takes the square root of π.
    """
    baselines = perturbing.checked_baselines(inputs, targets, baselines)
    regions, num_segments = segmenting.checked_segments(
        segments, num_segments, inputs.shape
    )
    _check_at_least("num_samples", num_samples, num_segments + 1, "`num_segments` + 1")
    perturbing.check_number("kernel_width", kernel_width, lambda w: w > 0, "be above 0")
    perturbing.check_number("ridge", ridge, lambda r: r >= 0, "be at least 0")
    keys = ops.example_keys(key, inputs.shape[0])

    def draw(key: PRNGKey, number: Array) -> Array:
        on = jax.random.bernoulli(jax.random.fold_in(key, number), 0.5, (num_segments,))
        return on | (number == 0)

    numbers = jnp.arange(num_samples)
    by_example = jax.vmap(draw, (0, None))
    coalitions = jax.vmap(by_example, (None, 0))(keys, numbers)

    def switch_to(values: Array, number: Array) -> Array:
        return segmenting.switch(values, baselines, regions, coalitions[number])

    scores = perturbing.perturbed_scores(
        predict_fn, inputs, targets, switch_to,
        count=num_samples, chunk_size=chunk_size, score_fn=score_fn,
    ).T  # fmt: skip
    rows = jnp.swapaxes(coalitions, 0, 1).astype(scores.dtype)
    distance = 1 - jnp.sqrt(jnp.mean(rows, axis=-1))
    weights = jnp.exp(-jnp.square(distance / kernel_width))[..., None]
    # Without its weighted means a fit needs no constant, and the ridge spares it.
    shares = weights / jnp.sum(weights, axis=1, keepdims=True)
    mean = lambda x: jnp.sum(shares * x, axis=1, keepdims=True)
    scores = scores[..., None]
    rows = jnp.sqrt(weights) * (rows - mean(rows))
    scores = jnp.sqrt(weights) * (scores - mean(scores))
    penalty = jnp.eye(num_segments, dtype=rows.dtype)
    penalty *= jnp.sqrt(jnp.asarray(ridge, rows.dtype))
    penalty = jnp.broadcast_to(penalty, (len(rows), *penalty.shape))
    rows = jnp.concatenate([rows, penalty], axis=1)
    scores = jnp.pad(scores[..., 0], ((0, 0), (0, num_segments)))
    coefficients = _least_squares(rows, scores)
    return segmenting.share_out(coefficients, regions, inputs.shape)


def kernel_shap(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    segments: Array,
    num_segments: int,
    num_samples: int,
    baselines: Array | float,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
) -> Array:
    """Shapley values as the coefficients of a weighted linear fit.

    φ = argmin Σ_z π(z) (v(z) − v(none) − φ · z)² subject to φ · 1 = v(all) − v(none),
    π(z) = (S − 1) / (C(S, |z|) |z| (S − |z|)). The constraint holds up to rounding, so
    the map adds up to f(x) − f(b) where every feature belongs to a segment; a segment's
    value is shared out evenly over its features.

    If `num_samples` is at least 2^S − 2 all coalitions are taken, the key is not used
    and the values are the exact Shapley values. Otherwise the 2 S coalitions of one
    segment and of all but one, which have the largest weights, and random ones of the
    other sizes, drawn by their weights, each followed by its complement. The fit is
    then always determined; it is consistent, and biased for few samples. Sample n of
    example i depends on the key, i and n alone, and a key array [B] makes an example
    independent of its batch.

    2 + min(`num_samples`, 2^S − 2) forwards of the batch and no gradient of the
    network, in the memory of `chunk_size` of them beside all coalitions. On a CPU
    compile time grows with the number of chunks; that and two exceptions are told at
    `ops.barriered_sum`. Differentiable in the inputs, the baselines and the parameters:
    the fit is linear in the scores.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float or integer (token ids) [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      segments: integer, broadcastable to the shape of `inputs`, in [-1, S); −1 is never
        perturbed. See `grid_segments`.
      num_segments: S, at least 1; static.
      num_samples: how many coalitions, at least the smaller of 2 S and 2^S − 2; static.
      baselines: broadcastable to the shape of `inputs`, in the same units.
      score_fn: (logits, targets) -> [B]; see `scores`.
      chunk_size: coalitions evaluated at once, at least 1; None is 1.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score; 0 where the
      segment is −1, NaN where a traced one is out of range.

    Raises:
      AssertionError: if the batch sizes differ or the score is not one number an
        example.
      ValueError: if an argument is not as above.

    Source: Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions",
      NeurIPS 2017; the constrained fit and complements as Covert, Lee, "Improving
      KernelSHAP", AISTATS 2021.
    """
    baselines = perturbing.checked_baselines(inputs, targets, baselines)
    regions, num_segments = segmenting.checked_segments(
        segments, num_segments, inputs.shape
    )
    fewest = 2 * num_segments
    if num_segments < 4:
        fewest = 2**num_segments - 2
    _check_at_least(
        "num_samples", num_samples, fewest, "the smaller of 2 S and 2^S - 2"
    )
    keys = ops.example_keys(key, inputs.shape[0])
    none, full = shapley.end_scores(
        predict_fn, inputs, targets, baselines, regions, num_segments, score_fn
    )
    change = (full - none)[:, None]
    if num_segments == 1:
        return segmenting.share_out(change, regions, inputs.shape)
    coalitions, weights = _shapley_coalitions(keys, num_segments, num_samples)

    def switch_to(values: Array, number: Array) -> Array:
        return segmenting.switch(values, baselines, regions, coalitions[number])

    scores = perturbing.perturbed_scores(
        predict_fn, inputs, targets, switch_to,
        count=len(coalitions), chunk_size=chunk_size, score_fn=score_fn,
    ).T  # fmt: skip
    rows = jnp.swapaxes(coalitions, 0, 1).astype(scores.dtype)
    # φ is an equal share and a part that adds up to 0, free in S − 1 directions.
    scores = scores - none[:, None] - jnp.mean(rows, axis=-1) * change
    directions = jnp.asarray(_zero_sum_directions(num_segments), rows.dtype)
    root = jnp.sqrt(jnp.asarray(weights, rows.dtype))
    rows = root[:, None] * jnp.matmul(rows, directions, precision="highest")
    free = _least_squares(rows, root * scores)
    uneven = jnp.matmul(free, directions.T, precision="highest")
    values = change / num_segments + uneven
    return segmenting.share_out(values, regions, inputs.shape)


def _shapley_coalitions(
    keys: PRNGKey, num_segments: int, num_samples: int
) -> tuple[Array, np.ndarray]:
    """Coalitions, bool [N, B or 1, S], and the weights of the fit, [N]."""
    sizes = np.arange(1, num_segments)
    mass = (num_segments - 1) / (sizes * (num_segments - sizes))  # of all of a size
    if num_samples >= 2**num_segments - 2:
        every = shapley.all_coalitions(num_segments)[1:-1]
        of_size = mass / scipy.special.comb(num_segments, sizes)
        weights = of_size[np.sum(every, axis=1) - 1]
        return jnp.asarray(every)[:, None], weights
    single = np.eye(num_segments, dtype=bool)
    outer = jnp.asarray(np.concatenate([single, ~single]))[:, None]
    num_random = num_samples - len(outer)
    weights = np.full(num_samples, 1 / num_segments)
    weights[len(outer) :] = np.sum(mass[1:-1]) / max(num_random, 1)

    def draw(key: PRNGKey, number: Array) -> Array:
        size_key, order_key = jax.random.split(jax.random.fold_in(key, number // 2))
        logits = jnp.asarray(np.log(mass[1:-1]), jnp.float32)
        size = 2 + jax.random.categorical(size_key, logits)
        on = jax.random.permutation(order_key, num_segments) < size
        return on ^ (number % 2 == 1)

    by_example = jax.vmap(draw, (0, None))
    drawn = jax.vmap(by_example, (None, 0))(keys, jnp.arange(num_random))
    outer = jnp.broadcast_to(outer, (len(outer), *drawn.shape[1:]))
    return jnp.concatenate([outer, drawn]), weights


def _check_at_least(name: str, count: int, least: int, rule: str) -> None:
    """Refuses a static count below what a fit needs to be determined."""
    if checking.checked_count(name, count) < least:
        raise ValueError(f"`{name}` (={count}) must be at least {least}, {rule}.")


def _zero_sum_directions(size: int) -> np.ndarray:
    """Orthonormal vectors that add up to 0, as columns [S, S − 1]."""
    return scipy.linalg.helmert(size).T


def _least_squares(rows: Array, values: Array) -> Array:
    """argmin_u |rows u − values|²: [B or 1, N, K], [B, N] -> [B, K].

    By QR, since normal equations square the condition number. NaN where the rows do not
    determine u. Linear in the values; the rows depend on nothing differentiable.
    """
    q, r = jnp.linalg.qr(rows)
    pivots = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
    tolerance = jnp.finfo(r.dtype).eps * rows.shape[1] * jnp.max(pivots, axis=-1)
    known = jnp.min(pivots, axis=-1) > tolerance
    # With NaN in `r` instead, the NaN of one example would still be its own.
    r = jnp.where(known[:, None, None], r, jnp.nan)
    projected = jnp.einsum("bnk,bn->bk", q, values, precision="highest")
    r = jnp.broadcast_to(r, (len(values), *r.shape[1:]))
    solve = lambda r, y: jax.scipy.linalg.solve_triangular(r, y, lower=False)
    return jax.vmap(solve)(r, projected)
