"""What an arm sees of the training part: regions, random ones, or other captions."""

import numpy as np

from experiments.image_text_matching import sources
from xguide_jax import data


def check_annotation(how: str) -> None:
    """Refuses an annotation that `annotated` does not know, before anything is trained.

    Args:
      how: as for `annotated`.

    Raises:
      ValueError: for another.
    """
    if how not in ("regions", "random"):
        raise ValueError(f"annotation {how!r} is neither 'regions' nor 'random'.")


def annotated(train: data.Dataset, how: str, *, seed: int) -> data.Dataset:
    """The regions that an arm is guided by.

    Args:
      train: with 'region'.
      how: 'regions'; or 'random', each moved as a whole to a random place of its image.
      seed: of the places.

    Returns:
      The same examples.

    Raises:
      ValueError: for another `how`.
    """
    check_annotation(how)
    if how == "regions":
        return train
    region = moved(train.annotations["region"], seed=seed)
    return train._replace(annotations={**train.annotations, "region": region})


def moved(region: np.ndarray, *, seed: int) -> np.ndarray:
    """Regions of the same shape at uniformly random places, whole within the image.

    Args:
      region: bool [N, H, W].
      seed: of the places.

    Returns:
      bool [N, H, W]; what fills the image stays, and so does an empty one.
    """
    rng = data.generator(data.Stream.RANDOM_BOXES, seed)
    placed = np.zeros_like(region)
    for before, after in zip(region, placed, strict=True):
        draws = rng.random(2)  # of each image, whatever its region
        inside = np.argwhere(before)
        if not len(inside):
            continue
        low = inside.min(axis=0)
        extent = inside.max(axis=0) - low + 1
        corner = np.floor(draws * (np.array(before.shape) - extent + 1)).astype(int)
        after[tuple((inside - low + corner).T)] = True
    return placed


def without_ground(parts: sources.Parts) -> data.Dataset:
    """The training part with captions from which the ground was struck out.

    Args:
      parts: of digits.

    Returns:
      The same images.
    """
    captions = [tuple(map(_struck, each)) for each in parts.captions]
    return sources.with_texts(parts.train, captions, parts.tokenizer)


def _struck(text: str) -> str:
    for ground in sources.GROUNDS:
        text = text.removesuffix(f", {ground}")
    return text
