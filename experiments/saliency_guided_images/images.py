"""The images of the main job: their parts, their changes at random, their network."""

import functools

from xguide_jax import data, models


def network_of(dataset: data.Dataset) -> models.SaliencyGuidedCNN:
    """The published network.

    Args:
      dataset: of which the classes are counted.

    Returns:
      A Linen module.
    """
    return models.SaliencyGuidedCNN(num_classes=len(dataset.class_names))


def parts_of(
    dataset: data.Dataset, seed: int
) -> tuple[data.Dataset, data.Dataset, data.Dataset]:
    """What a seed is trained on, looked at and tested on.

    Args:
      dataset: the whole.
      seed: of the split.

    Returns:
      (training, validation, test): 70, 10 and 20 %.
    """
    train, validation, test = data.split(dataset, seed=seed, fractions=(0.7, 0.1, 0.2))
    return train, validation, test


def augmentation(*, flip: bool, shift: int, pad_value: float) -> data.Augment | None:
    """How training images are changed at random; None if they are not.

    Args:
      flip: whether they are mirrored.
      shift: by how many pixels they are moved at most.
      pad_value: what comes in from outside.

    Returns:
      For `feeding.batches_of`.
    """
    if not (flip or shift):
        return None
    return functools.partial(
        data.transform_together, flip=flip, pad_crop=shift, pad_value=pad_value
    )
