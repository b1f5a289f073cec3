"""Objects on the backgrounds of other classes, a test of where a network looks."""

import numpy as np

from xguide_jax.data import seeds


def swapped_backgrounds(
    images: np.ndarray, regions: np.ndarray, labels: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each object on the background of an image of another class.

    x̃_i = m_i x_i + (1 − m_i) b_j, b_j image j with its own region filled by the mean of
    its background, each channel by itself, so that no other object comes in. j is drawn
    uniformly from the images of other classes that have both a region and a background.
    An image without a region, or for which there is no j, stays as it is.

    What is in the region of image i and is no object comes along: with boxes, their
    corners.

    Args:
      images: [N, H, W, C], uint8 or float.
      regions: bool [N, H, W].
      labels: int [N].
      seed: of the partners.

    Returns:
      (composites, shaped and typed like `images`; int [N], the partners, −1 where an
      image stayed as it is).

    Raises:
      ValueError: if the arrays do not fit together, or the regions are not bool.
    """
    if regions.shape != images.shape[:3]:
        raise ValueError(
            f"`regions` {regions.shape} must be [N, H, W] of `images` {images.shape}."
        )
    partners = other_class_partners(regions, labels, seed=seed)
    composites = images.copy()
    for row in np.flatnonzero(partners >= 0):
        partner = partners[row]
        composites[row] = on_background(
            images[row], regions[row], images[partner], regions[partner]
        )
    return composites, partners


def other_class_partners(
    regions: np.ndarray, labels: np.ndarray, *, seed: int
) -> np.ndarray:
    """Which image lends each object a background, without any pixel.

    Args:
      regions: bool [N, H, W].
      labels: int [N].
      seed: of the choice.

    Returns:
      int [N], as `swapped_backgrounds` has them.

    Raises:
      ValueError: if the arrays do not fit together, or the regions are not bool.
    """
    if regions.dtype != bool or regions.ndim != 3:
        raise ValueError(
            f"`regions` ({regions.dtype} {regions.shape}) must be bool [N, H, W]."
        )
    if labels.shape != regions.shape[:1]:
        raise ValueError(f"`labels` {labels.shape} must be [N], {regions.shape[:1]}.")
    rng = seeds.generator(seeds.Stream.COMPOSITES, seed)
    found = np.any(regions, axis=(1, 2))
    lends = found & ~np.all(regions, axis=(1, 2))
    partners = np.full(len(regions), -1)
    # One number an image, drawn whether it is used or not: what is annotated of one
    # image moves no partner of others of its class.
    draws = rng.random(len(regions))
    for label in np.unique(labels):
        others = np.flatnonzero(lends & (labels != label))
        rows = np.flatnonzero(found & (labels == label))
        if len(others):
            partners[rows] = others[(draws[rows] * len(others)).astype(int)]
    return partners


def on_background(
    image: np.ndarray,
    region: np.ndarray,
    other: np.ndarray,
    other_region: np.ndarray,
) -> np.ndarray:
    """The object of one image before the background of another.

    Args:
      image: [H, W, C].
      region: bool [H, W], its object.
      other: [H, W, C], of the same type.
      other_region: bool [H, W], not all of it; filled by the mean of the rest.

    Returns:
      Shaped and typed like `image`.
    """
    return np.where(region[..., None], image, without_object(other, other_region))


def without_object(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """An image with its region filled by the mean of the rest.

    Args:
      image: [H, W, C], uint8 or float.
      region: bool [H, W], not all of it.

    Returns:
      Shaped and typed like `image`; whole numbers are rounded.
    """
    mean = image[~region].mean(axis=0)
    if image.dtype.kind in "ui":
        mean = np.round(mean)
    return np.where(region[..., None], mean.astype(image.dtype), image)
