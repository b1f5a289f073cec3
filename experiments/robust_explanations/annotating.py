"""The simulated annotator: who marks which images, and how carelessly."""

from typing import Any

import numpy as np

from experiments.running import flags
from xguide_jax import data

# Arguments of `data.corrupt_masks`, in pixels of 48, and a probability.
NOISE: dict[str, dict[str, Any]] = {
    "none": {},
    "moderate": {"shift": 3, "dilate": 3, "erode": 1, "drop": 0.1},
    "strong": {"shift": 8, "dilate": 6, "erode": 2, "drop": 0.3},
}
OTHER = "other"  # exact masks, of other images


def check_noise(name: str) -> None:
    """Refuses a level of noise that there is not.

    Args:
      name: of the level.

    Raises:
      ValueError: naming those that there are.
    """
    if name not in (*NOISE, OTHER):
        raise ValueError(f"annotation {name!r} is none of {[*NOISE, OTHER]}.")


def number_in_batch(share: float, batch_size: int, num_annotated: int) -> int:
    """How many images of a batch are drawn from the annotated ones.

    Args:
      share: the part of the batch that is asked for.
      batch_size: images a batch.
      num_annotated: images that are annotated.

    Returns:
      share * batch_size, to the nearest.

    Raises:
      ValueError: if that is none or all of the batch, or more than are annotated.
    """
    count = round(share * batch_size)
    if not 1 <= count <= min(batch_size - 1, num_annotated):
        raise ValueError(
            f"`annotated_share` (={share}) is {count} of `batch_size` (={batch_size}) "
            "images; it must leave others, and be between 1 and `num_annotated` "
            f"(={num_annotated})."
        )
    return count


def true_masks(dataset: data.Dataset) -> np.ndarray:
    """The digit with a margin of two pixels.

    Args:
      dataset: with 'strokes'.

    Returns:
      bool [N, 48, 48].
    """
    strokes = dataset.annotations["strokes"]
    padded = np.pad(strokes, ((0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    return windows.any(axis=(3, 4))


def annotate(
    train: data.Dataset, noise: str, *, count: int, seed: int
) -> tuple[data.Dataset, np.ndarray]:
    """The training images with what the annotator delivered for a few of them.

    Args:
      train: with 'strokes'.
      noise: a level, or 'other': exact masks, of other images.
      count: how many images are given to the annotator.
      seed: which ones, and the annotator's errors.

    Returns:
      The images with 'annotations' (1 where marked, -1 elsewhere, 0 on images without a
      mask); int [count], the images that were given.

    Raises:
      RefusedError: if `count` is more than there are.
    """
    flags.check_available(
        "num_annotated", count, available=len(train.labels), what="training images"
    )
    rng = data.generator(data.Stream.ANNOTATOR, seed)
    given = np.sort(rng.permutation(len(train.labels))[:count])
    masks = true_masks(data.take(train, given))
    if noise == OTHER:
        masks = np.roll(masks, 1, axis=0)
    delivered = data.corrupt_masks(rng, masks, **NOISE.get(noise, {}))
    signs = np.zeros((len(train.labels), *masks.shape[1:]), np.int8)
    marked = np.where(delivered.region, 1, -1).astype(np.int8)
    signs[given] = np.where(delivered.region_valid[:, None, None], marked, 0)
    return train._replace(annotations={"annotations": signs}), given
