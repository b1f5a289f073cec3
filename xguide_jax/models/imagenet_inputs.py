"""How photographs are fed to networks that were trained on ImageNet."""

import jax
import jax.numpy as jnp
import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_inputs(
    image: np.ndarray,
    *,
    size: int = 224,
    shorter_side: int = 256,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> np.ndarray:
    """A photograph as the evaluation of torchvision feeds it.

    Resized by a bilinear filter that averages where it shrinks, the square in the
    middle cut out, and (x / 255 − mean) / std. torchvision rounds to integers after the
    resizing, so that a value differs by up to 1 / 255 / std there. A mask that is to
    keep its place goes through `central_square` for the default sizes, and is resized
    to `size`: to one pixel it shows the same square.

    Args:
      image: uint8 [H, W, 3].
      size: pixels a side of the result.
      shorter_side: pixels that the shorter side of the image is resized to, at least
        `size`.
      mean: of each channel, in [0, 1]. Some networks of timm take 0.5: see the
        file's config.
      std: of each channel, positive.

    Returns:
      float32 [size, size, 3].

    Raises:
      ValueError: if the image is of another form, or a size or `std` does not fit.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"`image` ({image.dtype}{image.shape}) must be uint8 [H, W, 3]."
        )
    if not 1 <= size <= shorter_side:
        raise ValueError(
            f"`size` (={size}) must lie between 1 and `shorter_side` (={shorter_side})."
        )
    if not all(value > 0 for value in std):
        raise ValueError(f"`std` (={std}) must be positive.")
    height, width = (
        shorter_side * side // min(image.shape[:2]) for side in image.shape[:2]
    )
    pixels = jnp.asarray(image, jnp.float32)
    resized = np.asarray(jax.image.resize(pixels, (height, width, 3), "linear"))
    top, left = (round((side - size) / 2) for side in (height, width))
    square = resized[top : top + size, left : left + size] / 255
    return ((square - np.array(mean)) / np.array(std)).astype(np.float32)
