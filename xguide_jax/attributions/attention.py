"""What attention weights say of the tokens, as the class token reads them.

`A_l` are the attention weights of layer l, [B, heads, T, T] with rows that add up to 1:
row i says how much token i reads of each token. Token 0 is the class token. A network
exposes them as named activations; get several layers, each with its own head, from
`layers.split_each`. Maps are [B, T], the class token's own entry among them. Where a
`mask` [B, T] is False there is padding: it is never salient and passes nothing on.

Attention weights add up to nothing that a network computes, so these maps have no
attribution target. The first two take no class and no gradient.
"""

from collections.abc import Sequence
from typing import TypeVar

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions import gradients
from xguide_jax.types import Array, PredictFn, ScoreFn

_T = TypeVar("_T")


def class_token_attention(
    attentions: Array | Sequence[Array], *, mask: Array | None = None
) -> Array:
    """How much the class token reads of each token in the last layer.

    R_j = mean_h A_h0j, row 0 of the last layer, averaged over the heads. Differentiable
    in the attention weights, and so in everything before them.

    Args:
      attentions: float [B, heads, T, T], or a sequence of layers from first to last, of
        which the last is taken.
      mask: bool [B, T], False on the padding; None where there is none.

    Returns:
      float [B, T], float32 or wider, at least 0; 0 on the padding. Rows add up to 1 if
      the network masks its padding itself.

    Raises:
      AssertionError: if the shapes are not those above.
      ValueError: if there is no layer.
    """
    return _layers(attentions, mask)[-1][:, 0]


def attention_rollout(
    attentions: Array | Sequence[Array], *, mask: Array | None = None
) -> Array:
    """How much of each token reaches the class token through all layers.

    R = Â_L ... Â_1, Â_l = ½ mean_h A_lh + ½ I with rows that add up to 1, where the
    identity stands for the residual connection; the map is row 0 of R. Differentiable.

    Args:
      attentions: float [B, heads, T, T], or a sequence of layers from first to last.
      mask: bool [B, T], False on the padding; None where there is none.

    Returns:
      float [B, T], float32 or wider, at least 0; each row adds up to 1. 0 on the
      padding, except for a class token that is padding itself.

    Raises:
      AssertionError: if the shapes are not those above.
      ValueError: if there is no layer.

    Source: Abnar, Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020.
    """
    layers = _layers(attentions, mask)
    relevance = _class_row(layers[0])
    for layer in reversed(layers):
        mixed = layer + jnp.eye(layer.shape[-1], dtype=layer.dtype)
        mixed = mixed / jnp.sum(mixed, axis=-1, keepdims=True)
        relevance = _read(relevance, mixed)
    return relevance


def attention_x_gradient(
    head_fn: PredictFn | Sequence[PredictFn],
    attentions: Array | Sequence[Array],
    targets: Array,
    *,
    score_fn: ScoreFn,
    mask: Array | None = None,
    signed: bool = False,
) -> Array:
    """Attention weights times the score's gradient in them, read by the class token.

    Ā_l = mean_h relu(A_lh ∂f/∂A_lh), as published; with `signed`, without the ReLU. Of
    one layer the map is row 0 of Ā; of several it is row 0 of (I + Ā_L) ... (I + Ā_1),
    so that the class token's own entry holds a 1 that no layer gave it. A map that the
    ReLU empties has a gradient of 0; a guidance loss revives the signed one.

    The gradients are total derivatives: everything behind a layer follows it. That
    takes one head for each layer, of `layers.split_each`; the joint head of
    `layers.split_at` would hold the later layers' attention, and is refused.
    Differentiable again.

    Args:
      head_fn: attention weights -> logits [B, C]; one for each layer.
      attentions: float [B, heads, T, T], or a sequence of layers from first to last.
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.
      mask: bool [B, T], False on the padding; None where there is none.
      signed: keep negative products; a choice for training, not as published.

    Returns:
      float [B, T], float32 or wider, at least 0 unless `signed`; 0 on the padding.

    Raises:
      AssertionError: if the shapes are not those above, or as `input_gradient`.
      ValueError: if there is no layer, or not one head for each.

    Source: Chefer, Gur, Wolf, "Generic Attention-model Explainability for Interpreting
      Bi-Modal and Encoder-Decoder Transformers", ICCV 2021, for self-attention.
    """
    single = not isinstance(attentions, Sequence)
    layers, heads = _listed(attentions), _listed(head_fn)
    if isinstance(head_fn, Sequence) == single or len(heads) != len(layers):
        raise ValueError(
            "`head_fn` must be one head for each layer of `attentions`, as "
            "`layers.split_each` returns them: a head of all layers gives partial "
            "derivatives, in which the later layers are held."
        )
    products = []
    for head, layer in zip(heads, layers, strict=True):
        product = gradients.gradient_x_input(head, layer, targets, score_fn=score_fn)
        products.append(product if signed else jax.nn.relu(product))
    averaged = _layers(products, mask)
    if single:
        return averaged[0][:, 0]
    relevance = _class_row(averaged[0])
    for layer in reversed(averaged):
        relevance = relevance + _read(relevance, layer)
    return relevance


def _layers(attentions: Array | Sequence[Array], mask: Array | None) -> list[Array]:
    """The mean over the heads of each layer, [B, T, T], without padding's columns."""
    layers = _listed(attentions)
    if not layers:
        raise ValueError("`attentions` must be one layer or more.")
    chex.assert_equal_shape(layers)
    chex.assert_rank(layers[0], 4)
    batch, _, tokens, _ = layers[0].shape
    chex.assert_shape(layers[0], (batch, None, tokens, tokens))
    means = [jnp.mean(ops.at_least_float32(layer), axis=1) for layer in layers]
    if mask is None:
        return means
    chex.assert_shape(mask, (batch, tokens))
    chex.assert_type(mask, bool)
    return [jnp.where(mask[:, None], mean, 0.0) for mean in means]


def _listed(one_or_more: _T | Sequence[_T]) -> list[_T]:
    return list(one_or_more) if isinstance(one_or_more, Sequence) else [one_or_more]


def _class_row(layer: Array) -> Array:
    """The relevance before any layer: all of it at the class token, [B, T]."""
    return jnp.zeros_like(layer[:, 0]).at[:, 0].set(1.0)


def _read(relevance: Array, layer: Array) -> Array:
    """Relevance [B, T] passed on to what the tokens read of each other, [B, T, T]."""
    return jnp.einsum(
        "bi,bij->bj", relevance, layer, precision=jax.lax.Precision.HIGHEST
    )
