"""The term of saliency-guided training as each arm has it."""

import functools

from xguide_jax import guidance, ops
from xguide_jax.types import RankFn, ScoreFn, Terms

ARMS = ("unguided", "signed", "magnitude", "random", "k=0")
RANKS: dict[str, RankFn] = {
    "signed": ops.signed_channel_mean,  # of the published code
    "magnitude": ops.magnitude_of_mean,  # of the paper's prose
    "random": ops.random_rank,
    "k=0": ops.signed_channel_mean,  # ranks pixels of which none is replaced
}


def terms_of(arm: str, *, mask_fraction: float, score_fn: ScoreFn) -> Terms:
    """The guidance of an arm.

    Args:
      arm: its name.
      mask_fraction: the share of the pixels that is replaced, but for 'k=0'.
      score_fn: what is explained.

    Returns:
      {name: term}; {} for the unguided arm.
    """
    if arm == "unguided":
        return {}
    term = guidance.saliency_guided(
        mask_fraction=0.0 if arm == "k=0" else mask_fraction,
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2)),
        score_fn=score_fn,
        rank_fn=RANKS[arm],
    )
    return {"sgt": term}
