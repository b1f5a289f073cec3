"""What a text is said by, whatever network that is: a causal model after a prefix.

The prefix [B, P, D] stands where an image is spoken of: pooled features, a grid of
them, any states of the head's width. L is the length of a text, with the token that
begins it; V the size of the vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax.models.text_decoder import Cache, TextDecoder
from xguide_jax.types import Array, ModelOutput, PRNGKey, PyTree


class TokenIds(NamedTuple):
    """The ids of tokens that are no words.

    Attributes:
      pad: fills a text up behind its end.
      begin: at place 0.
      end: behind the last word.
      unknown: for a word outside the vocabulary.
    """

    pad: int = 0
    begin: int = 1
    end: int = 2
    unknown: int = 3


IDS = TokenIds()

# (cache, tokens int [B], place) -> (logits [B, V] about the place behind, cache): texts
# one token further. Each leaf of the cache begins with B; `place` is an int32 scalar.
TextStep = Callable[[PyTree, Array, Array], tuple[Array, PyTree]]


class BeginText(Protocol):
    """The start of texts of L places that are said token by token."""

    def __call__(
        self, params: PyTree, prefix: Array, length: int
    ) -> tuple[PyTree, TextStep]:
        """The cache before place 0, and the step from each place to the next."""


class TextHead(NamedTuple):
    """A causal model of texts after a prefix, as a pair of pure functions and more.

    Any vision-language model is one: `apply` puts `prefix` where its image tokens go.

    Attributes:
      init: key -> params.
      apply: (params, prefix float [B, P, D], tokens int [B, L], mask bool [B, L]) ->
        logits float [B, L, V]; logits[:, t] are about tokens[:, t + 1], a function of
        the prefix and of tokens[:, : t + 1] alone. `mask` is False on padding.
      width: D.
      begin: what decoding keeps between two tokens, if the model has such a cache; None
        runs `apply` on the whole text for each.
    """

    init: Callable[[PRNGKey], PyTree]
    apply: Callable[[PyTree, Array, Array, Array], Array]
    width: int
    begin: BeginText | None = None


def linen_text_head(module: nn.Module, *, width: int | None = None) -> TextHead:
    """A Linen module as a `TextHead`.

    Args:
      module: an unbound Linen module, called with (prefix, tokens, mask), that returns
        logits [B, L, V] or a `ModelOutput` of them. Its parameters are all that it
        holds, and their shapes depend neither on P nor on L.
      width: D; None is the module's field `width`.

    Returns:
      The head; of a `TextDecoder` with its cache.

    Raises:
      ValueError: if there is no width.
    """
    width = getattr(module, "width", None) if width is None else width
    if width is None:
        raise ValueError(
            f"`width` (=None) must be given: {type(module).__name__} has no such field."
        )

    def init(key: PRNGKey) -> PyTree:
        prefix, tokens = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), jnp.int32)
        given = (prefix, tokens, jnp.ones((1, 1), bool))
        return jax.jit(module.init)(key, *given)["params"]

    def apply(params: PyTree, prefix: Array, tokens: Array, mask: Array) -> Array:
        output: Any = module.apply({"params": params}, prefix, tokens, mask)
        return output.logits if isinstance(output, ModelOutput) else output

    begin = _begin(module) if isinstance(module, TextDecoder) else None
    return TextHead(init, apply, width, begin)


def _begin(decoder: TextDecoder) -> BeginText:
    """The cache of a `TextDecoder`, and its steps."""

    def begin(params: PyTree, prefix: Array, length: int) -> tuple[Cache, TextStep]:
        variables, num_prefix = {"params": params}, prefix.shape[1]

        def step(cache: Cache, tokens: Array, place: Array) -> tuple[Array, Cache]:
            given = (cache, tokens, num_prefix + place)
            result: Any = decoder.apply(variables, *given, method="step")
            return result

        cache: Any = decoder.apply(variables, prefix, length=length, method="begin")
        return cache, step

    return begin
