"""Textured digits for one seed: what is trained on, selected on and tested on.

Training and validation share a correlation between texture and class; one test set has
it, too, and one has none. Their textures come from other halves of the photographs.
"""

import re
from typing import NamedTuple

import numpy as np

from xguide_jax import data, models

NUM_GROUPS = 4  # class x texture
CORRELATION = 0.95


class Parts(NamedTuple):
    """The parts of one seed; all carry 'boxes', 'region', 'strokes' and 'groups'.

    Attributes:
      train: with the correlation asked for.
      validation: likewise, of other digits.
      in_distribution: a test with the correlation 0.95, whatever the training had.
      balanced: the same test digits at the same places, texture and class independent.
    """

    train: data.Dataset
    validation: data.Dataset
    in_distribution: data.Dataset
    balanced: data.Dataset


def network() -> models.SmallCNN:
    """The network that is trained on them.

    Returns:
      A Linen module of two classes; its features have a quarter of the image's side.
    """
    return models.SmallCNN(num_classes=2, strides=(2, 2, 1))


def make_parts(source: data.Dataset, *, rho: float, seed: int, size: int = 48) -> Parts:
    """All parts of one seed.

    Args:
      source: digits.
      rho: the correlation in training and validation.
      seed: of split, textures and places.
      size: pixels a side; the images are made with 48.

    Returns:
      The parts: 70, 10 and 20 % of the digits.
    """
    train, validation, test = data.split(source, seed=seed, fractions=(0.7, 0.1, 0.2))
    # Seeds of the two that share a half must differ, or their places would be alike.
    parts = Parts(
        data.textured_digits(train, rho=rho, half="train", seed=2 * seed),
        data.textured_digits(validation, rho=rho, half="train", seed=2 * seed + 1),
        data.textured_digits(test, rho=CORRELATION, half="test", seed=2 * seed),
        data.textured_digits(test, rho=0.5, half="test", seed=2 * seed),
    )
    return Parts(*(resized(part, size) for part in parts))


def blanked(dataset: data.Dataset) -> data.Dataset:
    """The images with everything outside the box at 0, their mean.

    Args:
      dataset: with 'region'.

    Returns:
      The same examples.
    """
    region = dataset.annotations["region"][..., None]
    return dataset._replace(inputs=np.where(region, dataset.inputs, np.float32(0)))


def check_annotation(how: str) -> None:
    """Refuses an annotation that `annotated` does not know, before anything is trained.

    Args:
      how: as for `annotated`.

    Raises:
      ValueError: for another, or a percentage outside [0, 100].
    """
    percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", how)
    if percent and float(percent[1]) <= 100:
        return
    if how not in ("boxes", "strokes", "random", "dilated"):
        raise ValueError(
            f"annotation {how!r} is none of boxes, strokes, random, dilated and N%."
        )


def annotated(dataset: data.Dataset, how: str, *, seed: int) -> data.Dataset:
    """The annotation that an arm is guided by, and no other.

    Args:
      dataset: with all annotations.
      how: 'boxes'; 'strokes'; 'random', boxes of the same size anywhere; 'dilated',
        boxes with a margin of a half of their size; or 'N%', boxes for so many.
      seed: of what is random.

    Returns:
      The same images with 'region' and 'region_valid' alone.

    Raises:
      ValueError: for another `how`.
    """
    check_annotation(how)
    region = dataset.annotations["region"]
    valid = np.ones(len(region), bool)
    if how == "strokes":
        region = dataset.annotations["strokes"]
    elif how == "random":
        region = random_boxes(dataset, seed=seed)
    elif how == "dilated":
        shape = region.shape[1:]
        boxes = data.dilate_boxes(
            dataset.annotations["boxes"], fraction=0.5, shape=shape
        )
        region = _filled(boxes[:, 0].astype(int), shape)
    elif how.endswith("%"):
        fraction = float(how.removesuffix("%")) / 100
        valid = data.keep_fraction(len(region), fraction=fraction, seed=seed)
    return dataset._replace(annotations={"region": region, "region_valid": valid})


def random_boxes(dataset: data.Dataset, *, seed: int) -> np.ndarray:
    """Boxes as large as the true ones at uniformly random places.

    A digit's box takes more than half of the image's side, so that a random one covers
    a good half of the true one on average.

    Args:
      dataset: with 'boxes' [N, 1, 4] and 'region' [N, H, W].
      seed: of the places.

    Returns:
      bool [N, H, W].
    """
    rng = data.generator(data.Stream.RANDOM_BOXES, seed)
    shape = dataset.annotations["region"].shape[1:]
    boxes = dataset.annotations["boxes"][:, 0].astype(int)
    size = boxes[:, 2:] - boxes[:, :2]
    corners = rng.integers(0, np.array(shape[::-1]) - size + 1)
    return _filled(np.concatenate([corners, corners + size], axis=1), shape)


def resized(dataset: data.Dataset, size: int) -> data.Dataset:
    """Images and their maps of another size; a cell is in a mask if any pixel was.

    Args:
      dataset: square images, whose annotations are maps and boxes alone.
      size: pixels a side.

    Returns:
      The same examples.
    """
    if dataset.inputs.shape[1:3] == (size, size):
        return dataset
    rows = range(len(dataset.labels))
    annotations = lambda row: {k: v[row] for k, v in dataset.annotations.items()}
    examples = [
        data.resize(dataset.inputs[row], annotations(row), shape=(size, size))
        for row in rows
    ]
    stacked = {k: np.stack([e[1][k] for e in examples]) for k in dataset.annotations}
    inputs = np.stack([inputs for inputs, _ in examples])
    return dataset._replace(inputs=inputs, annotations=stacked)


def _filled(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    masks = np.zeros((len(boxes), *shape), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks
