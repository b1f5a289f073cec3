"""RISE: the mean score of randomly masked inputs, where the mask shows a feature."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.attributions import perturbing, segments
from xguide_jax.ops import checking, reducing
from xguide_jax.types import Array, PredictFn, PRNGKey, ScoreFn


def rise(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    num_masks: int,
    grid: tuple[int, ...],
    keep_probability: float | Array,
    baselines: Array | float,
    score_fn: ScoreFn,
    chunk_size: int | None = None,
) -> Array:
    """Mean score of masked inputs, weighted by how much each mask shows a feature.

    A_i = Σ_n f(M_n x + (1 − M_n) b) M_n,i / Σ_n M_n,i, estimating E[f M_i] / E[M_i].
    A mask is a coarse grid of cells, each 1 with probability p and 0 otherwise, drawn
    up bilinearly to one cell more than the input has and cut to its size at a random
    shift below one cell. Dividing by the sample's own sum, and not by N p as published,
    makes a constant score a constant map for any number of masks.

    The map is no share of f(x) − f(b): a feature without influence gets the mean score
    of masked inputs, not 0, so values are compared within a map only.

    Mask n of example i depends on the key, i and n alone: more masks extend the
    sequence, and a key array [B] makes an example independent of its batch.
    `num_masks` forwards of the batch and no gradient of the network, in the memory of
    `chunk_size` of them beside the cells of all masks. On a CPU compile time grows with
    the number of chunks; that and two exceptions are told at `ops.barriered_sum`.
    Differentiable in the inputs, the baselines and the parameters; the masks are
    constant.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      num_masks: N, at least 1; static. Thousands for a smooth map of an image.
      grid: the number of cells along the first axes after `B`, at most their sizes;
        axes that are not named share a mask. (7, 7) for [B, H, W, C], (8,) for
        [B, T, D].
      keep_probability: p, in (0, 1], may be traced; ½ in the paper.
      baselines: float, broadcastable to the shape of `inputs`, in the same units; the
        paper takes 0 of normalised images.
      score_fn: (logits, targets) -> [B]; see `scores`. The paper takes the probability.
      chunk_size: masks evaluated at once, at least 1; None is 1. Thousands of masks
        want dozens at once, or the program takes minutes to compile.

    Returns:
      Shaped like `inputs`, float32 or wider, in units of the score and between its
      extremes over the masked inputs; 0 for a feature that no mask shows.

    Raises:
      AssertionError: if the batch sizes differ, the inputs are not float or the score
        is not one number an example.
      ValueError: if an argument is not as above.

    Source: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of
      Black-box Models", BMVC 2018.
    """
    chex.assert_type(inputs, float)
    baselines = perturbing.checked_baselines(inputs, targets, baselines)
    wide_baselines = ops.at_least_float32(baselines)
    num_masks = checking.checked_count("num_masks", num_masks)
    grid = segments.checked_sizes("grid", grid, inputs.shape[1:])
    sizes = inputs.shape[1 : 1 + len(grid)]
    if any(cells > size for cells, size in zip(grid, sizes, strict=True)):
        raise ValueError(
            f"`grid` (={grid}) must not be larger than the inputs, {sizes}."
        )
    perturbing.check_number(
        "keep_probability", keep_probability, lambda p: 0 < p <= 1, "be in (0, 1]"
    )
    chunk_size = checking.checked_count(
        "chunk_size", 1 if chunk_size is None else chunk_size
    )
    keys = ops.example_keys(key, inputs.shape[0])
    # Drawn before the loop: random bits in each of its steps take minutes to compile.
    cells, shifts = _draw(keys, num_masks, grid, sizes, keep_probability)
    trailing = (1,) * (inputs.ndim - 1 - len(grid))

    def chunk(values: Array, numbers: np.ndarray) -> Array:
        def masked(number: Array) -> Array:
            mask = jax.vmap(_mask, (0, 0, None))(cells[number], shifts[number], sizes)
            shown = mask.reshape(mask.shape + trailing).astype(wide_baselines.dtype)
            copies = shown * ops.at_least_float32(values) + (1 - shown) * wide_baselines
            copies = copies.astype(inputs.dtype)
            score = perturbing.score_at(predict_fn, copies, targets, score_fn)
            mask = mask.astype(score.dtype)
            weighted = score.reshape((-1,) + (1,) * len(grid)) * mask
            return jnp.stack([weighted, mask])

        places = jnp.asarray(numbers, jnp.int32)
        if len(numbers) == 1:
            return masked(places[0])
        return jnp.sum(jax.vmap(masked)(places), axis=0)

    weighted, shown = ops.barriered_sum(
        reducing.traced_once(chunk, inputs),
        inputs,
        count=num_masks,
        chunk_size=chunk_size,
    )
    maps = ops.safe_divide(weighted, shown)
    return jnp.broadcast_to(maps.reshape(maps.shape + trailing), inputs.shape)


def _draw(
    keys: PRNGKey,
    num_masks: int,
    grid: tuple[int, ...],
    sizes: tuple[int, ...],
    keep_probability: float | Array,
) -> tuple[Array, Array]:
    """The cells of all masks, bool [N, B, *grid], and their shifts, int32 [N, B, a]."""
    widths = np.array(_cell_widths(grid, sizes), np.int32)

    def draw(key: PRNGKey, number: Array) -> tuple[Array, Array]:
        cell_key, shift_key = jax.random.split(jax.random.fold_in(key, number))
        cells = jax.random.bernoulli(cell_key, keep_probability, grid)
        return cells, jax.random.randint(shift_key, widths.shape, 0, widths)

    by_example = jax.vmap(draw, (0, None))
    return jax.vmap(by_example, (None, 0))(keys, jnp.arange(num_masks))


def _mask(cells: Array, shifts: Array, sizes: tuple[int, ...]) -> Array:
    """One mask of one example, float32 in [0, 1], of these sizes."""
    mask = cells.astype(jnp.float32)
    widths = _cell_widths(cells.shape, sizes)
    for count, shift, width, size in zip(
        cells.shape, shifts, widths, sizes, strict=True
    ):
        # Where each place of the axis lies on the grid, in cells from the first centre.
        place = (jnp.arange(size) + shift).astype(jnp.float32) + np.float32(0.5)
        place = place * np.float32(count / ((count + 1) * width)) - np.float32(0.5)
        place = jnp.clip(place, 0, count - 1)
        distance = jnp.abs(place[:, None] - jnp.arange(count, dtype=jnp.float32))
        weights = jnp.maximum(0, 1 - distance)
        # The axis comes back as the last, so that after all of them the order is right.
        mask = jnp.tensordot(mask, weights, axes=(0, 1), precision="highest")
    return mask


def _cell_widths(grid: tuple[int, ...], sizes: tuple[int, ...]) -> list[int]:
    """How many places a cell spans along each axis, rounded up."""
    return [-(-size // count) for count, size in zip(grid, sizes, strict=True)]
