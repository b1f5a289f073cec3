"""Overlap of a map, cut at a threshold, with what was annotated of it.

One value an example, NaN where the question has no answer. A threshold that fits one
explainer does not fit another: choose it on held-out data. All axes but `B` are one
map: [B, H, W] of an image, [B, T] of tokens.
"""

import functools

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.metrics import masking
from xguide_jax.ops import pairing
from xguide_jax.types import Array


def iou(
    maps: Array,
    region: Array,
    *,
    threshold: float | Array,
    where: Array | None = None,
) -> Array:
    """Intersection over union of a binarised map with its region.

    |B ∩ M| / |B ∪ M|, B the cells where the positive part of the map, scaled to
    [0, 1] by its own minimum and maximum, is strictly above the threshold. The best
    threshold depends on the explainer; choose it on held-out data.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence.
      threshold: in [0, 1]; a traced one is not checked, so `jax.vmap` tries many.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] in [0, 1], 1 if the marked cells are the region; NaN if the positive
      part is constant or the region empty.

    Raises:
      ValueError: if `threshold` or, where its values are known, `region` is outside
        [0, 1].
      AssertionError: if the shapes differ or have no axis but B.

    Source: the public code of Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023, where a
      constant positive map counts as all ones and an empty union as 0.
    """
    _check_threshold(threshold)
    maps, region, axes = pairing.with_region(maps, region)
    valid = masking.valid_cells(maps, where)
    positive = jax.nn.relu(maps)
    lowest = jnp.min(jnp.where(valid, positive, jnp.inf), axis=axes, keepdims=True)
    # At the lowest value a cell is never marked, and does not move the scale.
    scaled = ops.min_max_normalise(jnp.where(valid, positive, lowest))
    marked, inside = scaled > threshold, valid & (region > 0.5)
    count = functools.partial(jnp.sum, axis=axes, dtype=maps.dtype)
    intersection, union = count(marked & inside), count(marked | inside)
    defined = masking.varies(positive, valid) & jnp.any(inside, axis=axes)
    return jnp.where(defined, ops.safe_divide(intersection, union), jnp.nan)


def explanation_precision_recall(
    maps: Array,
    annotations: Array,
    *,
    threshold: float | Array,
    where: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Precision, recall and F1 of a binarised map on the annotated cells.

    With B the cells where the map is strictly above the threshold: true positives B on
    Y > 0, false positives B on Y < 0, false negatives not B on Y > 0; cells with Y = 0
    do not count. Without negative cells the precision is 1 by construction.

    Args:
      maps: float [B, ...] in [0, 1], normalised.
      annotations: int or float [B, ...], Y of -1, 0 and 1.
      threshold: in [0, 1]; a traced one is not checked.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B] each, in [0, 1], higher is better: precision TP / (TP + FP), NaN if no
      annotated cell is marked; recall TP / (TP + FN) and F1 = 2 TP / (2 TP + FP + FN),
      NaN without positive cells. All are NaN for a constant map.

    Raises:
      ValueError: if `threshold` is outside [0, 1], or `annotations` are not -1, 0 or
        1, where they are known.
      AssertionError: if the shapes differ or have no axis but B.

    Source: the public code of RES (Gao et al., KDD 2022), where 1e-6 in every
      denominator makes undefined values 0.
    """
    _check_threshold(threshold)
    maps, annotations, axes = pairing.with_signs(maps, annotations)
    valid = masking.valid_cells(maps, where)
    annotations = jnp.where(valid, annotations, 0.0)
    marked, evidence = maps > threshold, annotations > 0
    count = functools.partial(jnp.sum, axis=axes, dtype=maps.dtype)
    true_positives = count(marked & evidence)
    false_positives = count(marked & (annotations < 0))
    positives, varies = count(evidence), masking.varies(maps, valid)
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


def _check_threshold(threshold: float | Array) -> None:
    if isinstance(threshold, jax.core.Tracer):
        return
    # A comparison of arrays inside `jit` would be a tracer.
    if not 0 <= float(threshold) <= 1:
        raise ValueError(f"`threshold` (={threshold}) must lie in [0, 1].")
