"""How well an attribution map agrees with an annotated region.

One value an example, NaN where the question has no answer: without a region, or for a
map that says nothing. A NaN stays in its row; who averages decides whether it is left
out or counted as 0, and reports how many there were. Regions count where they exceed
one half. All axes but `B` are one map: [B, H, W] of an image, [B, T] of tokens.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.metrics import masking, ordering
from xguide_jax.ops import pairing
from xguide_jax.types import Array


def energy_pointing_game(
    maps: Array, region: Array, *, where: Array | None = None
) -> Array:
    """Share of a map's positive attribution that falls inside its region.

    Σ M A⁺ / Σ A⁺ with A⁺ = max(A, 0). Unchanged by a positive factor on the map, hence
    blind to how much is attributed at all; a large region scores high by its size.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence; a share in [0, 1] is allowed
        and counts as such.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [0, 1], 1 if all of it is inside; NaN without positive attribution or
      with an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or have no axis but B.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, "Studying How to Efficiently and
      Effectively Guide Models with Explanations", ICCV 2023, eq. 2. The authors' code
      counts a map without positive attribution as 0.
    """
    maps, region, _ = pairing.with_region(maps, region)
    return _mass_inside(jax.nn.relu(maps), region, masking.valid_cells(maps, where))


def relevance_mass_accuracy(
    maps: Array, region: Array, *, where: Array | None = None
) -> Array:
    """Share of a map's magnitude that falls inside its region.

    Σ M |A| / Σ |A|. Of maps without a negative cell it is the energy pointing game;
    of others it also counts what speaks against the score, inside and outside.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence; a share counts as such.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [0, 1], 1 if all of it is inside; NaN for a map of zeros or with an
      empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or have no axis but B.

    Source: Arras, Osman, Samek, "CLEVR-XAI: A benchmark dataset for the ground truth
      evaluation of neural network explanations", Information Fusion 2022, whose maps
      are made non-negative when their channels are pooled. Code that sums signed values
      leaves [0, 1] where they cancel.
    """
    maps, region, _ = pairing.with_region(maps, region)
    return _mass_inside(jnp.abs(maps), region, masking.valid_cells(maps, where))


def relevance_rank_accuracy(
    maps: Array, region: Array, *, where: Array | None = None
) -> Array:
    """Share of a region among the cells of highest attribution, as many as it has.

    |top-K ∩ M| / K with K = |M|, by the values as they are: take magnitudes first where
    the sign should not matter. Cells tied at the K-th place share the places left, so
    the value is the mean over all ways to break the tie.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [0, 1], 1 if no cell outside is above one inside; |M| / n on average
      for a random map of n cells; NaN for a constant map or an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or have no axis but B.

    Source: Arras, Osman, Samek, Information Fusion 2022. Their code and Quantus' break
      ties by the index of a sort, which favours regions at one end of a sparse map.
    """
    maps, region, axes = pairing.with_region(maps, region)
    valid = masking.valid_cells(maps, where)
    inside = valid & (region > 0.5)
    size = jnp.sum(inside, axis=axes, dtype=jnp.int32)
    shares = ordering.top_k_shares(maps, size, valid)
    found = jnp.sum(jnp.where(inside, shares, 0.0), axis=axes)
    defined = masking.varies(maps, valid) & (size > 0)
    return jnp.where(defined, ops.safe_divide(found, size.astype(maps.dtype)), jnp.nan)


def average_precision(
    maps: Array, region: Array, *, where: Array | None = None
) -> Array:
    """Area under the precision-recall curve (AUPRC) of a map as a detector of a region.

    1/|M| Σ_{i in M} P(a_i), P(t) the precision of the cells with A >= t: the sum over
    all thresholds of precision times the step of recall, without interpolation. Equal
    cells are one threshold. Two sorts and two binary searches, O(n log n) a map.

    Args:
      maps: float [B, ...], raw attributions; only their order counts.
      region: float or bool [B, ...], 1 on the evidence.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in (0, 1], 1 if every cell inside is above every cell outside; about
      |M| / n for a random map of n cells, so compare regions of one size; NaN for a
      constant map or an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or have no axis but B.

    Source: scikit-learn's `average_precision_score`, which gives a constant map |M| / n
      and an empty region 0. ERASER (DeYoung et al., ACL 2020) and ferret take the
      trapezoids under the same curve, which are higher where it falls steeply.
    """
    maps, region, axes = pairing.with_region(maps, region)
    valid = masking.valid_cells(maps, where)
    inside = valid & (region > 0.5)
    count = lambda cells: jnp.sum(cells, axis=axes, keepdims=True, dtype=jnp.int32)
    cells_below, _ = ordering.count_below(maps, maps, valid)
    inside_below, _ = ordering.count_below(maps, maps, inside)
    # At the threshold of a cell: how many reach it, and how many of those are inside.
    reaching = (count(valid) - cells_below).astype(maps.dtype)
    hits = (count(inside) - inside_below).astype(maps.dtype)
    precision = jnp.where(inside, ops.safe_divide(hits, reaching), 0.0)
    size = count(inside).reshape(-1).astype(maps.dtype)
    mean = ops.safe_divide(jnp.sum(precision, axis=axes), size)
    return jnp.where(masking.varies(maps, valid) & (size > 0), mean, jnp.nan)


def pointing_game(
    maps: Array, region: Array, *, tolerance: int = 0, where: Array | None = None
) -> Array:
    """Whether a map is largest inside its region, or close to it.

    1 if a cell of the region lies within the tolerance of the cell of the largest
    attribution, else 0; of equal ones the first in reading order counts.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence.
      tolerance: Euclidean distance in cells that is forgiven, at least 0.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] of 0 and 1, 1 a hit; NaN for a constant map or an empty region.

    Raises:
      ValueError: if `tolerance` is negative, or `region` not in [0, 1], where its
        values are known.
      AssertionError: if the shapes differ or have no axis but B.

    Source: Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016,
      with a tolerance of 15 pixels; TorchRay's 15 forgives distances below 15 only.
      Quantus counts any of several equal peaks, and an empty region, as a hit.
    """
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` (={tolerance}) must not be negative.")
    maps, region, axes = pairing.with_region(maps, region)
    valid = masking.valid_cells(maps, where)
    inside = valid & (region > 0.5)
    shape = maps.shape[1:]
    flat = jnp.where(valid, maps, -jnp.inf).reshape(len(maps), math.prod(shape))
    peak = jnp.argmax(flat, axis=-1)
    cells = np.indices(shape, np.int32).reshape(len(shape), -1)
    offsets = jnp.asarray(cells)[:, None] - jnp.asarray(cells)[:, peak, None]
    close = jnp.sum(jnp.square(offsets), axis=0) <= tolerance**2
    hit = jnp.any(close & inside.reshape(flat.shape), axis=-1).astype(maps.dtype)
    defined = masking.varies(maps, valid) & jnp.any(inside, axis=axes)
    return jnp.where(defined, hit, jnp.nan)


def _mass_inside(mass: Array, region: Array, valid: Array) -> Array:
    """Σ M m / Σ m of the cells that count; NaN where there is no mass or no region."""
    axes = tuple(range(1, mass.ndim))
    mass = ops.rescale_extremes(jnp.where(valid, mass, 0.0), axis=axes)
    region = jnp.where(valid, region, 0.0)
    inside, total = jnp.sum(region * mass, axis=axes), jnp.sum(mass, axis=axes)
    defined = (total > 0) & jnp.any(region > 0, axis=axes)
    return jnp.where(defined, ops.safe_divide(inside, total), jnp.nan)
