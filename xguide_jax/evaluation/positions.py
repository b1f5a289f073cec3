"""Maps and annotations on the positions of the inputs, whatever they came as."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.types import Array, Batch, PRNGKey


def positions_of(maps: Array, inputs: Array) -> Array:
    """The maps with one value a position: the channels of a position added up.

    Σ_c A_c of maps shaped like inputs [B, ..., C] that have an axis between the first
    and the last: an image, tokens, a series. Of inputs [B, F] every feature is a
    position. What a map attributes in all stays the same.

    Args:
      maps: float, shaped like the inputs, or without their channels, or with one.
      inputs: float [B, ..., C] or [B, F].

    Returns:
      float32 or wider [B, ...].

    Raises:
      ValueError: for maps of another shape, naming both.
    """
    shape, full = maps.shape, inputs.shape
    positions = _shape_of_positions(inputs)
    if shape == positions:
        return ops.at_least_float32(maps)
    if shape in (full, (*positions, 1)):
        return jnp.sum(ops.at_least_float32(maps), axis=-1)
    raise ValueError(
        f"maps of shape {shape} do not fit inputs of shape {full}: they must be {full} "
        f"or, with one value a position, {positions}. Maps of a layer are resized "
        "first, e.g. by `ops.bilinear_resize`."
    )


def scores_of(positions: Array, inputs: Array) -> Array:
    """One score a position, of the inputs' rank: a mask of it covers all channels.

    Args:
      positions: float [B, ...] or [B, F], of `positions_of`.
      inputs: float [B, ..., C] or [B, F].

    Returns:
      float, [B, ..., 1] or [B, F].
    """
    return positions if positions.ndim == inputs.ndim else positions[..., None]


def random_values(inputs: Array, keys: PRNGKey) -> Array:
    """Uniform values, one a position, as the map of somebody who knows nothing.

    Args:
      inputs: float [B, ..., C] or [B, F].
      keys: [B].

    Returns:
      float32 [B, ...] or [B, F], in [0, 1).
    """
    places = jnp.zeros((*_shape_of_positions(inputs), 1))
    return ops.random_rank(places, key=keys)[..., 0]


def region_of(batch: Batch) -> Array | None:
    """The annotated region of each example; empty where it has none.

    Args:
      batch: with 'region' [B, ...], one value a position of the inputs, or 'boxes'
        [B, N, 4] in pixels with 'boxes_valid' [B, N]; 'region_valid' [B] is optional.

    Returns:
      float32 [B, ...], or None for a batch without annotations.

    Raises:
      ValueError: for a region that does not fit the inputs, naming both shapes; for
        boxes without 'boxes_valid'.
    """
    inputs = batch["inputs"]
    positions = _shape_of_positions(inputs)
    if "region" in batch:
        region = jnp.asarray(batch["region"], jnp.float32)
        if region.shape != positions:
            raise ValueError(
                f"`batch`['region'] of shape {region.shape} does not fit inputs of "
                f"shape {inputs.shape}: it must be {positions}."
            )
    elif "boxes" in batch:
        if "boxes_valid" not in batch:
            raise ValueError(
                "`batch`['boxes'] needs 'boxes_valid' [B, N], which of them are there."
            )
        region = ops.rasterise_boxes(
            jnp.asarray(batch["boxes"]),
            jnp.asarray(batch["boxes_valid"]),
            shape=inputs.shape[1:3],
        )
    else:
        return None
    valid: Any = batch.get("region_valid", np.ones(len(inputs), bool))
    valid = jnp.asarray(valid).reshape(-1, *[1] * (region.ndim - 1))
    return jnp.where(valid, region, 0.0)


def _shape_of_positions(inputs: Array) -> tuple[int, ...]:
    return inputs.shape if inputs.ndim == 2 else inputs.shape[:-1]
