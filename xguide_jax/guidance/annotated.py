"""Annotations as guidance terms read them out of a batch.

Every reader returns the annotation and which examples carry one. Rows that carry none
hold zeros, so that what is computed from them is finite; their loss is left out by a
weight of 0.
"""

from collections.abc import Sequence

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array, Batch


def region_of(batch: Batch) -> tuple[Array, Array]:
    """Where the evidence of each example lies, as a mask.

    Args:
      batch: with 'region', bool or float [B, H, W] in [0, 1], or with 'boxes' [B, N, 4]
        and 'boxes_valid', bool [B, N], whose union is taken at the resolution of
        'inputs'. 'region_valid', bool [B], is optional.

    Returns:
      float [B, H, W]; bool [B], True where the example is annotated: `region_valid` and
      a region that is not empty.

    Raises:
      ValueError: if the batch has neither, naming what it has.
      AssertionError: if the shapes differ from the above.
    """
    if "region" in batch:
        region = batch["region"]
    elif {"boxes", "boxes_valid"} <= batch.keys():
        _, height, width, *_ = batch["inputs"].shape
        region = ops.rasterise_boxes(
            batch["boxes"], batch["boxes_valid"], shape=(height, width)
        )
    else:
        raise _missing(("'region'", "'boxes' with 'boxes_valid'"), batch)
    return _with_validity(region, batch)


def annotations_of(batch: Batch) -> tuple[Array, Array]:
    """What an annotator said about each pixel: evidence, not evidence, or nothing.

    Args:
      batch: with 'annotations', int or float [B, H, W] of 1, -1 and 0, or else what
        `region_of` takes, whose pixels inside are 1 and outside 0.

    Returns:
      float [B, H, W]; bool [B], True where the example is annotated: `region_valid`,
      where there is one, and a pixel that is not 0.

    Raises:
      ValueError: if the batch has none of them, naming what it has.
      AssertionError: if the shapes differ from the above.
    """
    if "annotations" in batch:
        return _with_validity(batch["annotations"], batch)
    if "region" in batch or {"boxes", "boxes_valid"} <= batch.keys():
        return region_of(batch)
    raise _missing(("'annotations'", "'region'", "'boxes' with 'boxes_valid'"), batch)


def targets_of(batch: Batch) -> Array:
    """The class of each example that is explained.

    Args:
      batch: with 'targets' [B] or, where the class that is explained is the label, with
        'labels' [B].

    Returns:
      integer [B].

    Raises:
      ValueError: if the batch has neither, or has multi-hot 'labels' [B, C] alone.
    """
    if "targets" in batch:
        return batch["targets"]
    if "labels" not in batch:
        raise _missing(("'targets'", "'labels'"), batch)
    labels = batch["labels"]
    if labels.ndim != 1:
        raise ValueError(
            f"`labels` of shape {labels.shape} are not one class an example: give the "
            "one that is explained as 'targets' [B]."
        )
    return labels


def present(batch: Batch) -> Array:
    """Which examples are no padding: statistics of a batch count only those.

    Args:
      batch: with or without 'weight' [B].

    Returns:
      bool [B].
    """
    if "weight" in batch:
        return batch["weight"] > 0
    return jnp.ones(len(batch["inputs"]), bool)


def _with_validity(maps: Array, batch: Batch) -> tuple[Array, Array]:
    chex.assert_rank(maps, 3)
    maps = ops.at_least_float32(maps)
    valid = jnp.any(maps != 0, axis=(1, 2))
    if "region_valid" in batch:
        chex.assert_shape(batch["region_valid"], valid.shape)
        valid &= batch["region_valid"].astype(bool)
    return jnp.where(valid[:, None, None], maps, 0.0), valid


def _missing(needed: Sequence[str], batch: Batch) -> ValueError:
    return ValueError(
        f"a batch needs {' or '.join(needed)} here; it has {sorted(batch)}."
    )
