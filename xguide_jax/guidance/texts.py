"""What a batch says in words of its images, as guidance terms read it.

Position 0 of a text is the token that begins it; its words follow, the token that ends
it, then padding.
"""

import chex
import jax.numpy as jnp

from xguide_jax.types import Array, Batch


def text_of(batch: Batch) -> tuple[Array, Array, Array]:
    """The text of each example, and which examples have one.

    Args:
      batch: with 'text', integer [B, L], token ids, and 'text_mask', bool [B, L], True
        on all but padding. 'text_valid', [B], is optional: 0 where there is no text.

    Returns:
      integer [B, L], 0 where the mask is False; bool [B, L], the mask; bool [B], True
      where the example has a text: 'text_valid' and a token behind the first. In rows
      without one ids and mask are 0 throughout, whatever the batch holds there.

    Raises:
      AssertionError: if the shapes or dtypes differ from the above.
      KeyError: for a missing entry.
    """
    tokens, mask = batch["text"], batch["text_mask"]
    chex.assert_rank(tokens, 2)
    chex.assert_equal_shape([tokens, mask])
    chex.assert_type([tokens, mask], [int, bool])
    valid = jnp.any(mask[:, 1:], axis=1)
    if "text_valid" in batch:
        chex.assert_shape(batch["text_valid"], valid.shape)
        valid &= batch["text_valid"].astype(bool)
    mask = mask & valid[:, None]
    return jnp.where(mask, tokens, 0), mask, valid
