"""How well an attribution map agrees with an annotated region.

One value an example, NaN where the question has no answer: without a region, or for a
map that says nothing. A NaN stays in its row; who averages decides whether it is left
out or counted as 0, and reports how many there were. Regions count where they exceed
one half. All axes but `B` are one map: [B, H, W] of an image, [B, T] of tokens.
"""

import functools

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import pairing
from xguide_jax.types import Array


def energy_pointing_game(maps: Array, region: Array) -> Array:
    """Share of a map's positive attribution that falls inside its region.

    Σ M A⁺ / Σ A⁺ with A⁺ = max(A, 0). Unchanged by a positive factor on the map, hence
    blind to how much is attributed at all; a large region scores high by its size.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence; a share in [0, 1] is allowed
        and counts as such.

    Returns:
      float [B] in [0, 1]; NaN without positive attribution or with an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, "Studying How to Efficiently and
      Effectively Guide Models with Explanations", ICCV 2023, eq. 2. The authors' code
      counts a map without positive attribution as 0.
    """
    maps, region, axes = pairing.with_region(maps, region)
    positive = jax.nn.relu(ops.rescale_extremes(maps, axis=axes))
    inside = jnp.sum(region * positive, axis=axes)
    total = jnp.sum(positive, axis=axes)
    share = ops.safe_divide(inside, total)
    defined = (total > 0) & jnp.any(region > 0, axis=axes)
    return jnp.where(defined, share, jnp.nan)


def pointing_game(maps: Array, region: Array) -> Array:
    """Whether a map is largest inside its region.

    1 if the cell of the largest attribution lies inside, else 0; of equal ones the
    first in reading order counts.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence.

    Returns:
      float [B] of 0 and 1; NaN for a constant map or an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or are have no axis but B.
    """
    maps, region, axes = pairing.with_region(maps, region)
    inside = region > 0.5
    flat = maps.reshape(len(maps), -1)
    peak = jnp.argmax(flat, axis=-1, keepdims=True)
    hit = jnp.take_along_axis(inside.reshape(flat.shape), peak, axis=-1)[:, 0]
    defined = _varies(maps, axes) & jnp.any(inside, axis=axes)
    return jnp.where(defined, hit.astype(maps.dtype), jnp.nan)


def iou(maps: Array, region: Array, *, threshold: float | Array) -> Array:
    """Intersection over union of a binarised map with its region.

    |B ∩ M| / |B ∪ M|, B the cells where the positive part of the map, scaled to
    [0, 1] by its own minimum and maximum, is strictly above the threshold. The best
    threshold depends on the explainer; choose it on held-out data.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence.
      threshold: in [0, 1]; a traced one is not checked, so `jax.vmap` tries many.

    Returns:
      float [B] in [0, 1]; NaN if the positive part is constant or the region empty.

    Raises:
      ValueError: if `threshold` or, where its values are known, `region` is outside
        [0, 1].
      AssertionError: if the shapes differ or are have no axis but B.

    Source: the public code of Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023, where a
      constant positive map counts as all ones and an empty union as 0.
    """
    _check_threshold(threshold)
    maps, region, axes = pairing.with_region(maps, region)
    positive = jax.nn.relu(maps)
    marked = ops.min_max_normalise(positive) > threshold
    inside = region > 0.5
    count = functools.partial(jnp.sum, axis=axes, dtype=maps.dtype)
    intersection, union = count(marked & inside), count(marked | inside)
    defined = _varies(positive, axes) & jnp.any(inside, axis=axes)
    return jnp.where(defined, ops.safe_divide(intersection, union), jnp.nan)


def explanation_precision_recall(
    maps: Array, annotations: Array, *, threshold: float | Array
) -> tuple[Array, Array, Array]:
    """Precision, recall and F1 of a binarised map on the annotated cells.

    With B the cells where the map is strictly above the threshold: true positives B on
    Y > 0, false positives B on Y < 0, false negatives not B on Y > 0; cells with Y = 0
    do not count. Without negative cells the precision is 1 by construction.

    Args:
      maps: float [B, ...] in [0, 1], normalised.
      annotations: int or float [B, ...], Y of -1, 0 and 1.
      threshold: in [0, 1]; a traced one is not checked.

    Returns:
      float [B] each, in [0, 1]: precision TP / (TP + FP), NaN if no annotated cell is
      marked; recall TP / (TP + FN) and F1 = 2 TP / (2 TP + FP + FN), NaN without
      positive cells. All are NaN for a constant map.

    Raises:
      ValueError: if `threshold` is outside [0, 1], or `annotations` are not -1, 0 or
        1, where they are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: the public code of RES (Gao et al., KDD 2022), where 1e-6 in every
      denominator makes undefined values 0.
    """
    _check_threshold(threshold)
    maps, annotations, axes = pairing.with_signs(maps, annotations)
    marked, evidence = maps > threshold, annotations > 0
    count = functools.partial(jnp.sum, axis=axes, dtype=maps.dtype)
    true_positives = count(marked & evidence)
    false_positives = count(marked & (annotations < 0))
    positives, varies = count(evidence), _varies(maps, axes)
    marks = true_positives + false_positives
    quotients = (
        (true_positives, marks, marks > 0),
        (true_positives, positives, positives > 0),
        # 2 TP + FP + FN, as positives = TP + FN.
        (2 * true_positives, marks + positives, positives > 0),
    )
    precision, recall, f1 = (
        jnp.where(defined & varies, ops.safe_divide(part, whole), jnp.nan)
        for part, whole, defined in quotients
    )
    return precision, recall, f1


def _varies(maps: Array, axes: tuple[int, ...]) -> Array:
    """Whether each map is not constant, and NaN nowhere."""
    return jnp.max(maps, axis=axes) > jnp.min(maps, axis=axes)


def _check_threshold(threshold: float | Array) -> None:
    if isinstance(threshold, jax.core.Tracer):
        return
    # A comparison of arrays inside `jit` would be a tracer.
    if not 0 <= float(threshold) <= 1:
        raise ValueError(f"`threshold` (={threshold}) must lie in [0, 1].")
