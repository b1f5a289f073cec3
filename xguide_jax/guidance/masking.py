"""Which scores of an example are masked, and what takes the place of its features."""

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.guidance import sequences
from xguide_jax.types import Array, Batch, FillFn, PRNGKey, RankFn

Fill = FillFn | ops.SequenceFill


def check_fraction(mask_fraction: float, fill: Fill) -> None:
    """Refuses a fraction when a term is built.

    Args:
      mask_fraction: of the scores, that are masked.
      fill: what takes their place.

    Raises:
      ValueError: outside [0, 1], and for 1 with a fill that copies what is kept.
    """
    if not 0 <= mask_fraction <= 1:
        raise ValueError(f"`mask_fraction` (={mask_fraction}) must lie in [0, 1].")
    if mask_fraction == 1 and isinstance(fill, ops.SequenceFill) and fill.copies:
        raise ValueError(
            f"`mask_fraction` (={mask_fraction}) must be below 1 with `fill` "
            f"(={getattr(fill, '__name__', fill)}), which copies what is kept."
        )


def counted_scores(batch: Batch, scores: Array, *, layer: str) -> Array | None:
    """Which scores of a layer count: neither of padding nor of special tokens.

    Args:
      batch: as `sequences.counted_of` reads it.
      scores: [B, T, ...].
      layer: that they rank, for the message.

    Returns:
      bool [B, T, 1, ...], of the rank of the scores; None where all count.

    Raises:
      ValueError: if the scores are not of the mask's length.
    """
    counted = sequences.counted_of(batch)
    if counted is None:
        return None
    if scores.shape[:2] != counted.shape:
        raise ValueError(
            f"`layer` (={layer!r}) is ranked by scores of shape {scores.shape}, which "
            f"does not fit the mask of the inputs, [B, T] = {counted.shape}."
        )
    return sequences.spread(counted, scores)


def lowest(
    scores: Array, mask_fraction: float, *, counted: Array | None, rank_fn: RankFn
) -> tuple[Array, Array]:
    """The mask of the lowest scores of each example.

    k_i = floor(mask_fraction · n_i + 1e-6) of the n_i scores of example i that count,
    ties by the lowest index.

    Args:
      scores: float [B, ...].
      mask_fraction: in [0, 1].
      counted: bool, of the scores' rank and broadcast to their shape; None where all
        count.
      rank_fn: that the scores are of, for the message.

    Returns:
      bool, shaped like the scores; bool [B], the examples of which something is asked:
      of the others nothing counts, or too little to mask any of it.

    Raises:
      ValueError: for a fraction above 0 that masks no score of the longest example
        there may be.
    """
    k = _number_masked(scores, mask_fraction, rank_fn)
    if counted is None:
        return ops.bottom_k_mask(scores, k), jnp.ones(len(scores), bool)
    axes = tuple(range(1, scores.ndim))
    n = jnp.sum(jnp.broadcast_to(counted, scores.shape), axis=axes, dtype=jnp.int32)
    if mask_fraction == 0:
        return ops.bottom_k_mask(scores, k, where=counted), n > 0
    # By a table, since a float32 product may fall short of the whole number it is.
    counts = np.arange(scores.size // len(scores) + 1)
    numbers = np.floor(mask_fraction * counts + 1e-6).astype(np.int32)
    each = jnp.asarray(numbers)[n]
    return ops.bottom_k_mask(scores, each, where=counted), each > 0


def filled(
    fill: Fill,
    key: PRNGKey,
    point: Array,
    *,
    mask: Array,
    counted: Array | None,
    batch: Batch,
) -> Array:
    """What is filled in: constants, but for copies of what is kept.

    Args:
      fill: of the term.
      key: typed keys [B].
      point: [B, ...], the inputs or the activation.
      mask: bool, of the point's rank: what is replaced.
      counted: as `lowest`.
      batch: as `sequences.texts_of` reads it, for a fill that is told of texts.

    Returns:
      shaped and typed like the point.
    """
    if not isinstance(fill, ops.SequenceFill):
        return jax.lax.stop_gradient(fill(key, point))
    everywhere = jnp.ones_like(mask) if counted is None else counted
    texts = None
    if fill.by_text:
        texts = sequences.spread(sequences.texts_of(batch, mask.shape[:2]), mask)
    values = fill(key, point, counted=everywhere, kept=everywhere & ~mask, texts=texts)
    return values if fill.copies else jax.lax.stop_gradient(values)


def _number_masked(scores: Array, mask_fraction: float, rank_fn: RankFn) -> int:
    """k, which is 0 only where that was asked for."""
    num_scores = scores.size // len(scores)
    k = int(mask_fraction * num_scores + 1e-6)
    if k == 0 and mask_fraction > 0:
        rank = getattr(rank_fn, "__name__", rank_fn)
        raise ValueError(
            f"`mask_fraction` (={mask_fraction}) must mask at least one of the n = "
            f"{num_scores} scores an example that `rank_fn` (={rank}) gives (shape "
            f"{scores.shape}); else nothing is ever replaced. Take a larger fraction, "
            "a rank with a score for each feature, or exactly 0 for no mask."
        )
    return k
