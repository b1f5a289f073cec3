"""The term of saliency-guided training on tokens as each arm has it."""

from xguide_jax import attributions, guidance, ops
from xguide_jax.types import RankFn, Terms

UNGUIDED, RANDOM = "unguided", "random"
ARMS = (UNGUIDED, "signed", "magnitude", "mean_magnitude", RANDOM, "k=0")
# Right behind the word embeddings stands a layer norm, which no shift of all channels
# passes: the mean of a gradient over them is 0, and the first two rank its rounding.
RANKS: dict[str, RankFn] = {
    "signed": ops.signed_channel_mean,  # as the published code has it of images
    "magnitude": ops.magnitude_of_mean,  # of the paper's prose
    "mean_magnitude": ops.mean_magnitude,
    RANDOM: ops.random_rank,
    "k=0": ops.signed_channel_mean,  # ranks tokens of which none is replaced
}


def terms_of(arm: str, *, mask_fraction: float) -> Terms:
    """The guidance of an arm.

    Args:
      arm: its name.
      mask_fraction: the share of the tokens that is replaced, but for 'k=0'.

    Returns:
      {name: term}; {} for the unguided arm.
    """
    if arm == UNGUIDED:
        return {}
    term = guidance.saliency_guided(
        layer="embeddings",
        mask_fraction=0.0 if arm == "k=0" else mask_fraction,
        fill=ops.previous_salient_token,
        score_fn=attributions.target_log_probability,
        rank_fn=RANKS[arm],
    )
    return {"sgt": term}
