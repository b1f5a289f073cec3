"""RES and HAICS as the public code of RES has them, defects included.

Of the RES paper (Gao et al., KDD 2022) the abstract could be checked, its equations
could not. `differences.md` lists what differs, and what `robust_guided` does instead.
"""

import jax
import jax.numpy as jnp

from xguide_jax import losses, ops
from xguide_jax.guidance import base, explaining, reading, robust_parts
from xguide_jax.types import Array, Batch, Explain, GuidanceTerm, StepContext

_EPSILON = 1e-6


def res_gaussian_published(
    *, slack: float = 0.1, layer: str = "features"
) -> GuidanceTerm:
    """RES-G as published, by `differences.md`.

    Masks keep one pixel of each cell, the first of it; h(P) = blur(P) / (max + 1e-6)
    of these. Grad-CAM explains the logit of the label with constant weights.

    Args:
      slack: at least 0.
      layer: the activation [B, h, w, K] that Grad-CAM is taken at.

    Returns:
      A term like `res_gaussian`.

    Raises:
      ValueError: for a negative `slack`.

    Source: RES (Gao et al., KDD 2022), the public code, transform "Gaussian".
    """
    return robust_parts.robust_term(
        slack=slack,
        explain=_published_cam(layer),
        annotate=_by_nearest,
        impute=_blurred,
    )


def res_learned_published(
    *,
    slack: float = 0.1,
    kernel_size: int = 64,
    stride: int = 32,
    layer: str = "features",
) -> GuidanceTerm:
    """RES-L as published, by `differences.md`.

    Args:
      slack: at least 0.
      kernel_size: as `res_learned`.
      stride: as `res_learned`.
      layer: the activation [B, h, w, K] that Grad-CAM is taken at.

    Returns:
      A term like `res_learned`.

    Raises:
      ValueError: as `res_learned`.

    Source: RES (Gao et al., KDD 2022), the public code, transform "S1".
    """
    init, impute = robust_parts.learned_imputation(
        kernel_size=kernel_size, stride=stride
    )
    return robust_parts.robust_term(
        slack=slack,
        explain=_published_cam(layer),
        annotate=_by_nearest,
        impute=impute,
        init=init,
    )


def haics_published(*, layer: str = "features") -> GuidanceTerm:
    """The HAICS baseline of RES as published.

    The binary cross-entropy of M with max(Y, 0), averaged over *all* cells of the
    batch, times the share of its cells that are marked: the mask comes after the mean.

    Args:
      layer: the activation [B, h, w, K] that Grad-CAM is taken at.

    Returns:
      A term like `haics`.

    Source: the public code of RES (Gao et al., KDD 2022), transform "HAICS".
    """
    explain = _published_cam(layer)

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        maps = explain(context)
        h, w = maps.shape[1:]
        marked = _by_nearest(context.batch, shape=(h, w))
        everywhere = jnp.where(marked.signs > 0, 1.0, -1.0)
        entropy = losses.masked_cross_entropy(maps, everywhere)
        share = jnp.mean(marked.signs != 0, axis=(1, 2), dtype=maps.dtype)
        counted = marked.valid & reading.present(context.batch)
        values = jnp.stack([entropy, share, jnp.ones_like(share)])
        sums = jnp.sum(jnp.where(counted, values, 0.0), axis=1)
        entropy, share, count = ops.axis_sum(sums, context.axis_name)
        product = ops.safe_divide(entropy, count) * ops.safe_divide(share, count)
        weight = marked.valid.astype(maps.dtype)
        loss = jnp.broadcast_to(product, weight.shape)
        loss = reading.spoil(loss, marked.evidence)
        return loss, weight, {"blank": robust_parts.blank(maps)}

    return base.stateless(loss_fn)


def _published_cam(layer: str) -> Explain:
    return explaining.normalised_cam(layer=layer, epsilon=_EPSILON)


def _by_nearest(batch: Batch, *, shape: tuple[int, int]) -> robust_parts.Marked:
    """The first pixel of each cell; images without evidence take no part."""
    annotations, valid = reading.annotations_of(batch)
    valid &= jnp.any(annotations > 0, axis=(1, 2)) | reading.refused(annotations)
    annotations = jnp.where(valid[:, None, None], annotations, 0.0)
    signs = jnp.sign(_nearest(annotations, shape=shape))
    return robust_parts.Marked(jax.nn.relu(annotations), signs, valid, valid)


def _blurred(params: object, evidence: Array, *, shape: tuple[int, int]) -> Array:
    del params
    targets = ops.blur(_nearest(evidence, shape=shape))
    return targets / (jnp.max(targets, axis=(1, 2), keepdims=True) + _EPSILON)


def _nearest(maps: Array, *, shape: tuple[int, int]) -> Array:
    reading.check_aspect(maps.shape[1:], shape)
    rows, columns = (
        jnp.arange(cells) * size // cells
        for size, cells in zip(maps.shape[1:], shape, strict=True)
    )
    return maps[:, rows[:, None], columns]
