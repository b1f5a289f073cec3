"""The guidance of each arm of saliency-guided training on the cells of a series."""

import functools

from xguide_jax import attributions, guidance, ops
from xguide_jax.types import RankFn, Terms

UNGUIDED, RANDOM, ORACLE = "unguided", "random", "right reasons"
RANKS: dict[str, RankFn] = {
    "signed": ops.signed_channel_mean,  # as the published code has it of images
    "magnitude": ops.mean_magnitude,  # of the paper's prose
    RANDOM: ops.random_rank,
    "k=0": ops.signed_channel_mean,  # ranks cells of which none is replaced
}
ARMS = (UNGUIDED, *RANKS, ORACLE)
GUIDED = ("signed", "magnitude")


def terms_of(arm: str, *, mask_fraction: float, oracle_weight: float) -> Terms:
    """The guidance of an arm.

    Args:
      arm: its name.
      mask_fraction: the share of the cells that is replaced, but for 'k=0'.
      oracle_weight: of the penalty on gradients outside the true cells.

    Returns:
      {name: term}; {} for the unguided arm.
    """
    if arm == UNGUIDED:
        return {}
    score_fn = attributions.target_log_probability
    if arm == ORACLE:
        maps = functools.partial(attributions.input_gradient, score_fn=score_fn)
        term = guidance.right_for_right_reasons(
            explain=guidance.explain(maps, layer="series"), evidence="region"
        )
        return {"rrr": guidance.scale(term, oracle_weight)}
    term = guidance.saliency_guided(
        layer="series",
        mask_fraction=0.0 if arm == "k=0" else mask_fraction,
        fill=ops.uniform_feature_range_fill,
        rank_fn=ops.by_feature(RANKS[arm]),
        score_fn=score_fn,
    )
    return {"sgt": term}
