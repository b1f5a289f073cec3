"""The one function that changes an image and its annotations together.

Changing the inputs only is the mistake it is there to prevent.
"""

from collections.abc import Mapping

import numpy as np

from xguide_jax.data.images import shapes, spatial


def transform_together(
    rng: np.random.Generator,
    inputs: np.ndarray,
    annotations: Mapping[str, np.ndarray],
    *,
    dilation: float = 0.0,
    shape: tuple[int, int] | None = None,
    flip: bool = False,
    pad_crop: int = 0,
    pad_value: float = 0.0,
) -> spatial.Example:
    """Dilation, resizing, a random flip and a random crop of one annotated image.

    In this order: 'boxes' and 'region' get margins (`dilate`); image, boxes and maps
    are stretched to `shape` (`resize`), where a cell is inside a mask if any pixel of
    it is, so that small masks survive; with probability 1/2, if `flip`, all is mirrored
    (`flip_horizontally`); and all is moved by up to `pad_crop` pixels in each direction
    (`shift`), as padding by that much and cropping at random to the old size does. Each
    is left out, and changes no bit, by default. Fix the keywords with
    `functools.partial` to pass it to `make_batch`.

    Args:
      rng: where flip and crop come from, as many draws whatever is asked for; with the
        example it decides the result.
      inputs: [H, W, channels].
      annotations: {name: array} of this one example, without the axis of examples:
        'region', 'strokes', 'annotations' and other maps [H, W], 'boxes' [boxes, 4] in
        pixels with 'boxes_valid', 'region_valid', and what is not in space.
      dilation: at least 0, the margin on each side of a box as a fraction of its size,
        as a careless annotator draws it; strokes and signs have none.
      shape: `(h, w)` of the result; that of `inputs` if None.
      flip: whether mirroring left and right leaves the label as it is; it does not for
        digits.
      pad_crop: the largest shift in pixels of the result; 0 for none.
      pad_value: what comes in from outside the image.

    Returns:
      inputs [h, w, channels] and annotations, dtypes unchanged; 'region_valid' and
      'boxes_valid' are False where nothing of the annotation is left in the image. The
      boxes cover the pixels of 'region' if they did before.

    Raises:
      ValueError: if `dilation` is negative, if `shape` holds no cell, or if `pad_crop`
        is negative or not less than the result is wide and high; if an annotation has
        not the image's height and width (`resize_mask` brings a mask of the image to
        them), or the image not its channels last. What is looked at does not depend on
        what is drawn.
    """
    shapes.check_example(inputs, annotations)
    if not 0 <= dilation < np.inf:
        raise ValueError(f"`dilation` (={dilation}) must be at least 0.")
    if shape is not None and (len(shape) != 2 or min(shape) < 1):
        raise ValueError(f"`shape` (={shape}) must be two positive numbers, (h, w).")
    height, width = inputs.shape[:2] if shape is None else shape
    if not 0 <= pad_crop < min(height, width):
        raise ValueError(
            f"`pad_crop` (={pad_crop}) must lie in 0 .. {min(height, width) - 1}."
        )
    # Both are drawn always, so that one option does not change the other's noise.
    mirrored = rng.random() < 0.5
    dy, dx = rng.integers(-pad_crop, pad_crop + 1, size=2).tolist()
    example = inputs, dict(annotations)
    if dilation > 0:
        example = spatial.dilate(*example, fraction=dilation)
    if (height, width) != inputs.shape[:2]:
        example = spatial.resize(*example, shape=(height, width))
    if flip and mirrored:
        example = spatial.flip_horizontally(*example)
    if dy or dx:
        example = spatial.shift(*example, dy=dy, dx=dx, pad_value=pad_value)
    return example
