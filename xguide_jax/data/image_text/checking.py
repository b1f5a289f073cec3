"""Checks of texts in a batch on the host, where a bad token can still be named.

Inside a compiled step a token beyond the vocabulary is clipped or NaN, a mask of other
tokens trains a decoder to write padding, and a valid row without words has loss 0.
"""

from collections.abc import Mapping

import numpy as np

from xguide_jax.data.image_text import references

# Of one drawn text [B, L], and of several references [B, R, L].
_RANKS = {"text": 2, "texts": 3}


def check_texts(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuses texts that no decoder can be trained on.

    * 'text' [B, L] and 'texts' [B, R, L] are whole numbers at least 0.
    * 'text_mask' and 'texts_mask' are bool of the same shape, True on a token and then
      on all before it; what is False is 0.
    * 'text_valid' [B] and 'texts_valid' [B, R] are 0 or 1; a valid text begins with
      [BOS] and has another token.

    Args:
      arrays: of a batch, those that it has.

    Raises:
      ValueError: naming array, row and rule.
    """
    for name, rank in _RANKS.items():
        if name not in arrays:
            continue
        missing = {f"{name}_mask", f"{name}_valid"} - arrays.keys()
        if missing:
            raise ValueError(f"`{name}` needs {sorted(missing)} beside it.")
        tokens, mask = arrays[name], arrays[f"{name}_mask"]
        valid = arrays[f"{name}_valid"]
        if tokens.ndim != rank or tokens.dtype.kind not in "iu":
            axes = "[B, L]" if rank == 2 else "[B, R, L]"
            raise ValueError(
                f"`{name}` ({tokens.dtype} {tokens.shape}) must be int {axes}."
            )
        if mask.shape != tokens.shape or mask.dtype != bool:
            raise ValueError(
                f"`{name}_mask` ({mask.dtype} {mask.shape}) must be bool "
                f"{tokens.shape}, one a token."
            )
        if valid.shape != tokens.shape[:-1] or not np.isin(valid, (0, 1)).all():
            raise ValueError(
                f"`{name}_valid` of shape {valid.shape} must be 0 or 1, of shape "
                f"{tokens.shape[:-1]}."
            )
        _check_tokens(name, tokens, mask, valid != 0)


def _check_tokens(
    name: str, tokens: np.ndarray, mask: np.ndarray, valid: np.ndarray
) -> None:
    begins = (tokens[..., 0] == references.BOS_ID) & (mask.sum(axis=-1) > 1)
    rules = {
        "be at least 0": tokens < 0,
        "be 0 where its mask is False": (tokens != references.PAD_ID) & ~mask,
        "have no gap in its mask": mask[..., 1:] & ~mask[..., :-1],
        "begin with [BOS] and have another token, or not be valid": valid & ~begins,
    }
    for rule, wrong in rules.items():
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            raise ValueError(f"`{name}` in row {row} must {rule}.")
