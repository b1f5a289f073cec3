"""Losses of images with text: what a text costs, and which text belongs to which image.

Texts are token ids [B, L] with their mask: position 0 is the token that begins a text,
then its words and the token that ends it, then padding. `logits[:, t]` are about
`tokens[:, t + 1]`. Images and texts that are matched are vectors, [B, D] and [N, D].

Both losses are standard ones. That a text's likelihood guides the map it is told from
is the idea of multimodal explanation-guided learning (Zhang, Jiang et al., arXiv
2411.13053); the paper's formulas were not available, and nothing here is theirs.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.losses import cosines
from xguide_jax.types import Array


def token_negative_log_likelihood(logits: Array, tokens: Array, mask: Array) -> Array:
    """Mean negative log-likelihood of a text's tokens, each given those before it.

    −(1 / |T|) Σ_{t in T} log p(tokens_t | tokens_<t), T the positions from 1 on where
    the mask is True, log p = log softmax(logits_{t−1}) at tokens_t, in float32 or
    wider. Gradients flow into the logits, (softmax − onehot) / |T| where a token is
    predicted and 0 elsewhere, whatever the logits hold there.

    The mean over the tokens weighs a short text like a long one. Its exponential is the
    perplexity of the text.

    Args:
      logits: float [B, L, V], unnormalised; those of the last position are not used.
      tokens: int [B, L], ids in [0, V) where the mask is True; of any value elsewhere.
      mask: bool [B, L], True on the tokens of the text, False on padding. Position 0
        is given and never predicted.

    Returns:
      float [B], in nats a token, at least 0; 0, with zero gradient, for a text without
      a predicted token; NaN where a token is out of range and traced.

    Raises:
      ValueError: if a token is outside [0, V), where the values are known.
      AssertionError: if the shapes or dtypes differ from the above.

    Source: the textual loss of the idea above with each text by its own mean, our
      design; the sum over its tokens is the usual maximum likelihood.
    """
    chex.assert_rank([logits, tokens, mask], [3, 2, 2])
    chex.assert_type([logits, tokens, mask], [float, int, bool])
    chex.assert_shape([tokens, mask], logits.shape[:2])
    vocabulary = logits.shape[-1]
    _check_indices("tokens", tokens, vocabulary, where=mask)
    predicted = jnp.asarray(mask)[:, 1:]
    targets = jnp.where(predicted, tokens[:, 1:], 0)
    # Nobody looks at the others, and a NaN there must not reach a gradient.
    logits = jnp.where(predicted[..., None], logits[:, :-1], 0.0)
    log_p = jax.nn.log_softmax(ops.at_least_float32(logits))
    chosen = _at(log_p, targets)
    count = jnp.sum(predicted, axis=-1, dtype=log_p.dtype)
    return ops.safe_divide(-jnp.sum(jnp.where(predicted, chosen, 0.0), axis=-1), count)


def info_nce(
    queries: Array,
    keys: Array,
    positives: Array,
    *,
    temperature: float | Array,
    negatives: Array | None = None,
) -> Array:
    """Cost of finding a query's own key among all keys, by their cosines.

    −log[exp(s_i / τ) / Σ_j exp(s_j / τ)], s_j the cosine of the query with key j, i its
    positive, j over i and the keys that `negatives` admits, in float32 or wider.
    Unchanged by a positive factor on any vector. Gradients flow into queries, keys and
    the temperature. The cosine with a zero vector is 0, and so is the gradient with
    respect to that vector. A key that no query may look at gets none, and may be NaN.

    The symmetric loss of images and texts is the mean of both directions, each with the
    keys of all devices. Keys of the same text as the positive are no negatives: a query
    would be pushed away from its own text.

    Args:
      queries: float [B, D].
      keys: float [N, D].
      positives: int [B], in [0, N), which key belongs to each query.
      temperature: τ, positive; a number, or float [] of a learned one, which should be
        kept away from 0.
      negatives: bool [B, N], False leaves a key out of a query's sum; all count if
        None. The positive counts whatever it says.

    Returns:
      float [B], in nats, at least 0; ln N where all cosines are equal and all keys
      count, 0 with zero gradient where no key but the positive does. NaN where a
      positive is out of range and traced.

    Raises:
      ValueError: if `temperature` is not positive or a positive outside [0, N), where
        the values are known.
      AssertionError: if the shapes or dtypes differ from the above.

    Source: van den Oord, Li, Vinyals, "Representation Learning with Contrastive
      Predictive Coding", arXiv 1807.03748, eq. 4; cosines over a temperature as in
      Radford et al., "Learning Transferable Visual Models From Natural Language
      Supervision", ICML 2021 (unverified). The mask is our design.
    """
    cosines.check_temperature(temperature)
    chex.assert_rank([queries, keys, positives], [2, 2, 1])
    chex.assert_type([queries, keys, positives], [float, float, int])
    chex.assert_equal(queries.shape[1], keys.shape[1])
    chex.assert_shape(positives, (len(queries),))
    _check_indices("positives", positives, len(keys))
    positives = jnp.asarray(positives)
    own = positives[:, None] == jnp.arange(len(keys), dtype=positives.dtype)
    admitted = jnp.ones_like(own)
    if negatives is not None:
        chex.assert_shape(negatives, own.shape)
        chex.assert_type(negatives, bool)
        admitted = own | negatives
    # A zero cotangent times a NaN is NaN: what nobody looks at is taken out here.
    keys = jnp.where(jnp.any(admitted, axis=0)[:, None], keys, 0.0)
    queries, keys = cosines.directions(queries), cosines.directions(keys)
    keys = keys.astype(queries.dtype)
    similarities = jnp.einsum(
        "bd,nd->bn", queries, keys, precision=jax.lax.Precision.HIGHEST
    )
    positive = _at(similarities, positives)
    # Relative to the positive, so that a small temperature costs no digits.
    gaps = similarities - positive[:, None]
    logits = gaps / jnp.asarray(temperature, gaps.dtype)
    return jax.nn.logsumexp(logits, axis=-1, where=admitted)


def _at(values: Array, indices: Array) -> Array:
    """`values[..., indices]`; NaN where an index is out of range."""
    size = values.shape[-1]
    known = (indices >= 0) & (indices < size)
    places = jnp.where(known, indices, 0)[..., None]
    chosen = jnp.take_along_axis(values, places, axis=-1)[..., 0]
    return jnp.where(known, chosen, jnp.nan)


def _check_indices(
    name: str, indices: Array, size: int, *, where: Array | None = None
) -> None:
    if isinstance(indices, jax.core.Tracer) or isinstance(where, jax.core.Tracer):
        return
    numbers = np.asarray(indices)
    bad = (numbers < 0) | (numbers >= size)
    if where is not None:
        bad &= np.asarray(where)
    if np.any(bad):
        place = tuple(np.argwhere(bad)[0].tolist())
        raise ValueError(
            f"`{name}`{list(place)} (={numbers[place]}) must lie in [0, {size})."
        )
