"""Losses that compare an attribution map with an annotated region.

`A` is the map, `M` the region: 1 on the evidence and 0 elsewhere, or the share of a
coarse cell that is covered. All axes but `B` are one map: [B, H, W] of an image, [B, T]
of tokens. All follow their formula on any region: on an empty one
some are 0 and some are not, and a term that guides a network leaves such rows out.
Other values, such as those of a mask of 0 and 255, are refused where they are known,
outside of `jit`; guidance terms see to them inside.
"""

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import pairing
from xguide_jax.types import Array


def energy(attribution_map: Array, region: Array) -> Array:
    """Share of a map's positive attribution that falls outside its region.

    1 − Σ M A⁺ / Σ A⁺ with A⁺ = max(A, 0), in float32 or wider. Unchanged by a positive
    factor on the map. Gradients flow into both arguments, zero where A ≤ 0; a map
    without a positive entry has loss 1 and zero gradient.

    Args:
      attribution_map: float [B, ...], raw attributions, signed and of any scale.
      region: float or bool [B, ...], 1 on the evidence; a share in [0, 1] is allowed.

    Returns:
      float [B] in [0, 1]; 1 for an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, "Studying How to Efficiently and
      Effectively Guide Models with Explanations", ICCV 2023, eq. 2 and 6, with the 1 of
      the authors' code added. That code does not divide where Σ A⁺ < 1e-7. The paper's
      supplement was not available to check.
    """
    maps, region, axes = pairing.with_region(attribution_map, region)
    positive = jax.nn.relu(maps)
    inside = jnp.sum(region * positive, axis=axes)
    total = jnp.sum(positive, axis=axes)
    # Sums of ordinary maps stay as they were, bit for bit: others are taken again.
    huge = ~jnp.isfinite(total)
    share = ops.safe_divide(jnp.where(huge, 0.0, inside), jnp.where(huge, 1.0, total))
    scaled = jnp.where(jnp.expand_dims(huge, axes), 2.0**-64 * positive, 1.0)
    again = ops.safe_divide(
        jnp.sum(region * scaled, axis=axes), jnp.sum(scaled, axis=axes)
    )
    return 1 - jnp.where(huge, again, share)


def leaky_energy(attribution_map: Array, region: Array, *, leak: float = 0.5) -> Array:
    """The energy outside a region, of a map whose negative part counts a little.

    (1 − σ) / (1 + λ), σ = Σ M (A⁺ − λ² A⁻) / Σ (A⁺ + λ A⁻), with A⁺ = max(A, 0) and
    A⁻ = max(−A, 0), in float32 or wider. Unchanged by a positive factor on the map.
    For λ = 0 it is `energy`, for λ = 1 half of 1 − Σ M A / Σ |A|; for a map without a
    negative entry it is `energy` / (1 + λ).

    `energy` has no gradient in cells with A <= 0: a map without a positive entry, or
    with none inside, stays as it is, and guiding by it leaves many such maps. Here the
    negative cells inside are pushed up at any map, until they are positive: a map that
    is 0 inside costs 1 / (1 + λ), and only positive cells inside cost less. Take signed
    maps, `attributions.signed_grad_cam`: behind a ReLU nothing negative arrives.

    Gradients flow into both arguments; the one of a cell with A = 0 is 0. So is that of
    a map of zeros, and of a map that is negative throughout where the region is
    constant: a loss that knows no scale cannot tell there where to go.

    Args:
      attribution_map: float [B, ...], raw attributions, signed and of any scale.
      region: float or bool [B, ...], 1 on the evidence; a share in [0, 1] is allowed.
      leak: λ, in [0, 1]; how much negative attribution counts.

    Returns:
      float [B] in [0, 1]; 0 where all attribution is positive and inside, 1 where all
      is negative and inside, 1 / (1 + λ) for an empty region or a map of zeros.

    Raises:
      ValueError: if `leak` is outside [0, 1], or `region`, where its values are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: ours, after `energy`.
    """
    if not 0 <= leak <= 1:
        raise ValueError(f"`leak` (={leak}) must lie in [0, 1].")
    maps, region, axes = pairing.with_region(attribution_map, region)
    maps = ops.rescale_extremes(maps, axis=axes)
    positive, negative = jax.nn.relu(maps), jax.nn.relu(-maps)
    inside = jnp.sum(region * (positive - leak**2 * negative), axis=axes)
    mass = jnp.sum(positive + leak * negative, axis=axes)
    return (1 - ops.safe_divide(inside, mass)) / (1 + leak)


def outside_energy(attributions: Array, region: Array) -> Array:
    """Energy of the normalised attributions outside a region, RRR* in the literature.

    Σ (1 − M) Â² with Â = A / max |A|, in float32 or wider. Unchanged by a factor on the
    attributions. Gradients flow into both arguments and through the maximum; zero
    attributions have loss 0 and zero gradient.

    Args:
      attributions: float [B, ...], signed, of any scale.
      region: float or bool [B, ...], 1 on the evidence; a share in [0, 1] is allowed.

    Returns:
      float [B], between 0 and the area outside, in cells: a sum, not a mean. An empty
      region penalises all attributions.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, "Studying How to Efficiently and
      Effectively Guide Models with Explanations", ICCV 2023, eq. 5.
    """
    maps, region, axes = pairing.with_region(attributions, region)
    scaled = ops.normalise_by_max_magnitude(maps)
    return jnp.sum((1 - region) * jnp.square(scaled), axis=axes)


def region_l1(maps: Array, region: Array, *, where: Array | None = None) -> Array:
    """Mean distance between a normalised map and its region.

    (1 / n) Σ |M − A| over the n cells, in float32 or wider. Gradients flow into both
    arguments, so that a target that is trained learns as well; the one of a cell that
    equals its target is 0.

    Args:
      maps: float [B, ...] in [0, 1], for the published loss A⁺ / max A⁺.
      region: float or bool [B, ...], the target in [0, 1]: the region, or what was made
        of it, e.g. blurred and divided by its maximum, in RES and GRADIA.
      where: bool, broadcast to the maps: the n cells that count; all if None.

    Returns:
      float [B] in [0, 1]; for an empty region the mean of the map; 0 where no cell
      counts.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023, eq. 3, by their
      account after GRADIA (Gao et al., CSCW 2022) and RES (Gao et al., KDD 2022), whose
      papers were not available to check.
    """
    maps, region, axes = pairing.with_region(maps, region)
    distance = jnp.abs(maps - region)
    if where is None:
        return jnp.mean(distance, axis=axes)
    where = jnp.broadcast_to(where, distance.shape)
    total = jnp.sum(jnp.where(where, distance, 0.0), axis=axes)
    return ops.safe_divide(total, jnp.sum(where, axis=axes, dtype=total.dtype))


def pixel_cross_entropy(maps: Array, region: Array) -> Array:
    """Cross-entropy of a normalised map on the pixels of its region, PPCE.

    −(1 / Σ M) Σ M log A, in float32 or wider, with log A at least −100. What the map
    holds outside the region does not count. Gradients flow into both arguments; the one
    of a cell with A = 0 is 0, as there the logarithm is cut off.

    Args:
      maps: float [B, ...] in [0, 1], for the published loss A⁺ / max A⁺.
      region: float or bool [B, ...], 1 on the evidence; a share in [0, 1] is allowed.

    Returns:
      float [B] in [0, 100], in nats; 0, with zero gradient, for an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023, eq. 4, their form of a loss
      of HAICS (Shen et al., CHI EA 2021), whose paper was not available to check.
      `masked_cross_entropy` is another form.
    """
    maps, region, axes = pairing.with_region(maps, region)
    total = jnp.sum(region * ops.clamped_log(maps), axis=axes)
    return -ops.safe_divide(total, jnp.sum(region, axis=axes))


def masked_cross_entropy(maps: Array, annotations: Array) -> Array:
    """Binary cross-entropy of a normalised map on the annotated cells.

    Mean over the cells with Y ≠ 0 of −log A where Y > 0 and −log(1 − A) where Y < 0, in
    float32 or wider, with logarithms of at least −100. Gradients flow into the map,
    except where a logarithm is cut off at A = 0 or A = 1.

    Args:
      maps: float [B, ...] in [0, 1].
      annotations: int or float [B, ...], Y: 1 where the cell is evidence, -1 where it
        must not be, 0 where nobody said.

    Returns:
      float [B] in [0, 100], in nats; 0, with zero gradient, without annotated cells.

    Raises:
      ValueError: if `annotations` are not -1, 0 or 1, where they are known.
      AssertionError: if the shapes differ or are have no axis but B.

    Source: the HAICS baseline in the public code of RES (Gao et al., KDD 2022), with
      the mean over annotated cells that its mask intends: there the cross-entropy is
      averaged over all cells first. The HAICS paper (Shen et al., CHI EA 2021) was not
      available to check.
    """
    maps, targets, axes = pairing.with_signs(maps, annotations)
    positive = (targets > 0).astype(maps.dtype)
    negative = (targets < 0).astype(maps.dtype)
    for_and_against = ops.clamped_log(maps), ops.clamped_log(1 - maps)
    log_likelihood = positive * for_and_against[0] + negative * for_and_against[1]
    count = jnp.sum(positive + negative, axis=axes)
    return -ops.safe_divide(jnp.sum(log_likelihood, axis=axes), count)
