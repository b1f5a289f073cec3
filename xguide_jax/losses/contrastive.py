"""Losses that pull an image's features towards its object, away from its background.

Three pooled vectors an image: of the object's region, of the background, and of the
whole image (the anchor, what a classifier after mean pooling sees). s⁺ and s⁻ are the
cosines of the anchor with the object and with the background.

The loss is this library's own definition, after an unverified description in a
survey; no paper is its source. As the anchor is a mixture of the two regions, it mostly
compares area times norm of their features: small objects start with a large loss.
"""

import chex
import jax
import jax.numpy as jnp

from xguide_jax.losses import cosines
from xguide_jax.types import Array


def region_contrastive(
    object_features: Array,
    background_features: Array,
    image_features: Array,
    *,
    temperature: float,
) -> Array:
    """Contrast of the object with the image's own background.

    −log[exp(s⁺/τ) / (exp(s⁺/τ) + exp(s⁻/τ))] = softplus((s⁻ − s⁺) / τ), in float32 or
    wider. Unchanged by a positive factor on any of the vectors. Gradients flow into all
    three; hold `image_features` constant to keep the anchor out. The cosine with a zero
    vector is 0, and so is the gradient with respect to that vector.

    Args:
      object_features: float [B, K], pooled over the object, `ops.masked_pool`.
      background_features: float [B, K], pooled over the rest.
      image_features: float [B, K], pooled over all cells.
      temperature: τ, positive.

    Returns:
      float [B], in nats, log(1 + exp(−2/τ)) to log(1 + exp(2/τ)); ln 2 for s⁺ = s⁻.

    Raises:
      ValueError: if `temperature` is not positive.
      AssertionError: if the shapes differ or are not rank 2.

    Source: our definition after an unverified survey description.
    """
    cosines.check_temperature(temperature)
    gap = _cosine_gap(object_features, background_features, image_features)
    return jax.nn.softplus(gap / temperature)


def region_contrastive_triplet(
    object_features: Array,
    background_features: Array,
    image_features: Array,
    *,
    margin: float,
) -> Array:
    """Contrast of the object with the image's own background, as a hinge.

    max(0, margin + s⁻ − s⁺), in float32 or wider. Gradients as `region_contrastive`,
    and 0 once the margin is kept.

    Args:
      object_features: float [B, K], pooled over the object.
      background_features: float [B, K], pooled over the rest.
      image_features: float [B, K], pooled over all cells.
      margin: at least 0, a difference of cosines.

    Returns:
      float [B] in [0, margin + 2].

    Raises:
      ValueError: if `margin` is negative.
      AssertionError: if the shapes differ or are not rank 2.

    Source: our definition after an unverified survey description.
    """
    if not float(margin) >= 0:
        raise ValueError(f"`margin` (={margin}) must not be negative.")
    gap = _cosine_gap(object_features, background_features, image_features)
    return jax.nn.relu(margin + gap)


def region_contrastive_batch(
    object_features: Array,
    background_features: Array,
    image_features: Array,
    *,
    temperature: float,
    where: Array | None = None,
) -> Array:
    """Contrast of the object with the backgrounds of all images of the batch.

    −log[exp(s⁺ᵢ/τ) / (exp(s⁺ᵢ/τ) + Σ_j exp(cos(background_j, image_i)/τ))], j over
    i itself and the other images that `where` admits, in float32 or wider. At least
    `region_contrastive`, and equal to it for one image. The value of an example depends
    on its batch: another image's background may hold this image's object. Gradients
    flow into all three arguments, across the examples.

    Args:
      object_features: float [B, K], pooled over the object.
      background_features: float [B, K], pooled over the rest.
      image_features: float [B, K], pooled over all cells.
      temperature: τ, positive.
      where: bool [B], the images whose background serves the others; all if None.

    Returns:
      float [B], in nats, at least 0.

    Raises:
      ValueError: if `temperature` is not positive.
      AssertionError: if the shapes differ or do not fit.

    Source: our definition after an unverified survey description.
    """
    cosines.check_temperature(temperature)
    objects, backgrounds, images = _directions(
        object_features, background_features, image_features
    )
    positive = jnp.sum(objects * images, axis=-1, keepdims=True)
    negatives = jnp.einsum(
        "ik,jk->ij", images, backgrounds, precision=jax.lax.Precision.HIGHEST
    )
    admitted = jnp.eye(len(images), dtype=bool)
    if where is not None:
        chex.assert_shape(where, (len(images),))
        chex.assert_type(where, bool)
    admitted |= True if where is None else where
    # Relative to the positive, so that a small temperature costs no digits.
    logits = jnp.pad((negatives - positive) / temperature, ((0, 0), (1, 0)))
    admitted = jnp.pad(admitted, ((0, 0), (1, 0)), constant_values=True)
    return jax.nn.logsumexp(logits, axis=-1, where=admitted)


def _cosine_gap(
    object_features: Array, background_features: Array, image_features: Array
) -> Array:
    """s⁻ − s⁺, [B]."""
    objects, backgrounds, images = _directions(
        object_features, background_features, image_features
    )
    return jnp.sum(backgrounds * images, axis=-1) - jnp.sum(objects * images, axis=-1)


def _directions(*features: Array) -> list[Array]:
    """Each vector over its norm; zero vectors stay zero and get no gradient."""
    chex.assert_rank(features, 2)
    chex.assert_equal_shape(features)
    return [cosines.directions(vectors) for vectors in features]
