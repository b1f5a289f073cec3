"""Saliency-guided training as published; see `differences.md`."""

import functools
from typing import Literal

from xguide_jax import attributions, ops
from xguide_jax.guidance.saliency_guided import saliency_guided
from xguide_jax.types import GuidanceTerm


def saliency_guided_published(
    *, images: Literal["digits", "colour"], mask_fraction: float = 0.5
) -> GuidanceTerm:
    """Saliency-guided training with the choices of the published code.

    Both predictions learn; the weight beside the cross-entropy is 1.

    Args:
      images: 'digits' explains the log-probability and draws noise in the range of each
        image; 'colour' explains the logit, with a range for each image and channel.
      mask_fraction: in [0, 1]; 0.5 in the published commands and figures.

    Returns:
      A term with no parameters or state that needs 'inputs' [B, H, W, C] and 'labels'.

    Raises:
      ValueError: for unknown `images` or a `mask_fraction` outside [0, 1].

    Source: the published code of Ismail, Corrada Bravo, Feizi, NeurIPS 2021.
    """
    if images not in ("digits", "colour"):
        raise ValueError(f"`images` (={images!r}) must be 'digits' or 'colour'.")
    score_fn, axes = {
        "digits": (attributions.target_log_probability, (1, 2, 3)),
        "colour": (attributions.target_logit, (1, 2)),
    }[images]
    return saliency_guided(
        mask_fraction=mask_fraction,
        fill=functools.partial(ops.uniform_range_fill, axes=axes),
        rank_fn=ops.signed_channel_mean,
        score_fn=score_fn,
    )
