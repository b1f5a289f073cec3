"""A text as the mean of what its tokens say, in whatever order."""

from collections.abc import Mapping

import chex
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax.models import overriding, pooling
from xguide_jax.types import Array, ModelOutput, PyTree


class BagOfTokens(nn.Module):
    """Embeddings, their mean over the mask, and a dense layer.

    logits = W Σ_t m_t e_t / Σ_t m_t + b. It takes a dict of 'tokens' int [B, T] and
    'mask' bool [B, T], False on padding, and exposes 'embeddings' [B, T, E]. A text
    without tokens has the logits b. Padding does not change the logits, and no token
    can be told from its copy elsewhere in the text. Embeddings start from N(0, 1 / E).

    Attributes:
      vocabulary_size: token ids are 0 to this minus 1; any other on the mask makes the
        logits of its row NaN.
      width: E.
      num_classes: C, or the width D of a vector.
    """

    vocabulary_size: int
    width: int
    num_classes: int

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Reads {'tokens', 'mask'}, each [B, T]."""
        del train  # no layer has a mode
        names = ("tokens", "mask")
        if not isinstance(inputs, Mapping) or set(inputs) != set(names):
            present = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs)
            raise ValueError(f"`inputs` ({present}) must be a dict of {sorted(names)}.")
        tokens, mask = (inputs[name] for name in names)
        chex.assert_rank(tokens, 2)
        chex.assert_equal_shape([tokens, mask])
        chex.assert_type([tokens, mask], [int, bool])
        # A negative id would count from the end; one too large is NaN already.
        tokens = jnp.where(tokens < 0, self.vocabulary_size, tokens)
        # What stands on padding must not reach the mean: 0 times NaN is NaN.
        tokens = jnp.where(mask, tokens, 0)
        exposed: dict[str, Array] = {}

        def expose(name: str, activation: Array) -> Array:
            exposed[name] = overriding.override(name, activation, overrides)
            return exposed[name]

        words = nn.Embed(self.vocabulary_size, self.width, name="word_embeddings")
        mean = pooling.pooled("mean", expose("embeddings", words(tokens)), mask, expose)
        return ModelOutput(nn.Dense(self.num_classes, name="projection")(mean), exposed)
