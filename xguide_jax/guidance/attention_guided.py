"""Attention supervised by what people marked in a text."""

import operator
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.guidance import base, explaining, sequences
from xguide_jax.types import Array, GuidanceTerm, StepContext


class AttentionLoss(Protocol):
    """A loss of attention weights and a target, as those of `losses` are."""

    def __call__(self, attention: Array, target: Array, *, where: Array) -> Array:
        """[B]; attention [B, heads, T] or [B, T], target and `where` [B, T]."""


def attention_guided(
    *,
    layer: str,
    heads: Sequence[int] | None,
    divergence: AttentionLoss,
    target: str = "rationale",
    explain_in: explaining.Mode = "train",
    permuted: bool = False,
) -> GuidanceTerm:
    """Distance of what the class token attends to from what a person marked.

    l = divergence(A_h0, d): row 0 of the heads' attention weights, before dropout, and
    d = marks / Σ marks over the tokens that are neither padding nor special. [CLS] and
    [SEP] have d = 0 and count; padding does not. The target is a constant; gradients
    flow through the attention into everything before it. A row without a mark has
    weight 0, loss 0 and gradient 0.

    Args:
      layer: the activation that is supervised, such as 'attention_11' [B, heads, T, T];
        or [B, T] of a layer without heads, 'attention_top'.
      heads: which of them, from 0, e.g. (1, 2, 3), `random_heads(3, num_heads=12,
        seed=0)` for a control; None for all of them, and for a layer without heads.
      divergence: (attention, target, where=) -> [B]; `losses.attention_supervision` as
        published, or `losses.attention_divergence`.
      target: the entry of the batch that holds the marks.
      explain_in: the pass that is supervised. 'train' is the clean pass, which costs
        nothing more, as published; 'eval' one without dropout in the layers before.
      permuted: the control: the marks of each text are permuted among its tokens, drawn
        anew for each example in each step. The marks of each segment, one of a pair of
        texts, stay in it, and so does their mass.

    Returns:
      A term with no parameters or state that needs 'inputs' and the entry `target`,
      float [B, T]; it reads '<target>_valid' [B], 'special' [B, T] and, of the inputs,
      'mask' and 'segments' [B, T] where there are such.

    Raises:
      ValueError: for heads that are empty, negative, no whole numbers or the same one
        twice, or an unknown `explain_in`; in the first step, for a head or a layer that
        the network has not, a layer of another shape, heads of a layer without heads,
        and marks that are refused.

    Source: Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations
      for Robust Natural Language Inference", AAAI 2022, by their code, with the mean
      over the annotated examples; `attention_guided_published` sums as it does.
    """
    explaining.check_mode(explain_in)
    checked = None if heads is None else _checked_heads(heads)

    def loss_fn(context: StepContext) -> tuple[Array, Array]:
        marks, valid = sequences.marks_of(context.batch, target)
        output = context.output
        if explain_in == "eval":
            output = context.forward(context.batch["inputs"], train=False)
        attention = _of_class_token(output.intermediates[layer], layer, checked)
        where = sequences.mask_of(context.batch)
        if where is None:
            where = jnp.ones(marks.shape, bool)
        _check_length(attention, marks, layer, target)
        if permuted:
            texts = sequences.texts_of(context.batch, marks.shape)
            marks = ops.permute_within(context.key, marks, texts)
        total = jnp.sum(marks, axis=-1, keepdims=True)
        distribution = jax.lax.stop_gradient(ops.safe_divide(marks, total))
        values = divergence(attention, distribution, where=where)
        return jnp.where(valid, values, 0.0), valid.astype(values.dtype)

    return base.stateless(loss_fn)


def random_heads(count: int, *, num_heads: int, seed: int) -> tuple[int, ...]:
    """Heads drawn once: the control of heads that were chosen.

    Args:
      count: how many, from 1 to `num_heads`.
      num_heads: of the layer.
      seed: the same seed gives the same heads.

    Returns:
      `count` different heads in ascending order.

    Raises:
      ValueError: for a count outside of its range.
    """
    if not 1 <= count <= num_heads:
        raise ValueError(
            f"`count` (={count}) must lie in [1, num_heads], num_heads = {num_heads}."
        )
    drawn = np.random.default_rng(seed).choice(num_heads, count, replace=False)
    return tuple(sorted(drawn.tolist()))


def _of_class_token(
    attention: Array, layer: str, heads: tuple[int, ...] | None
) -> Array:
    """What the class token reads: [B, heads, T], or [B, T] of a layer without heads."""
    if attention.ndim == 2:
        if heads is not None:
            raise ValueError(
                f"`heads` (={heads}) must be None for a layer without heads: `layer` "
                f"(={layer!r}) is [B, T] = {attention.shape}."
            )
        return attention
    if attention.ndim != 4 or attention.shape[2] != attention.shape[3]:
        raise ValueError(
            f"`layer` (={layer!r}) of shape {attention.shape} must be attention "
            "weights, [B, heads, T, T] or [B, T]."
        )
    num_heads = attention.shape[1]
    if heads is None:
        return attention[:, :, 0]
    if max(heads) >= num_heads:
        raise ValueError(
            f"`heads` (={heads}) must lie in [0, {num_heads}), since `layer` "
            f"(={layer!r}) has {num_heads} heads."
        )
    return attention[:, np.asarray(heads), 0]


def _checked_heads(heads: Sequence[int]) -> tuple[int, ...]:
    try:
        checked = tuple(operator.index(head) for head in heads)
    except TypeError:
        checked = ()
    if not checked or len(set(checked)) < len(checked) or min(checked) < 0:
        raise ValueError(
            f"`heads` (={heads!r}) must be one or more different whole numbers from 0, "
            "or None for all heads."
        )
    return checked


def _check_length(attention: Array, marks: Array, layer: str, target: str) -> None:
    if attention.shape[-1] != marks.shape[-1]:
        raise ValueError(
            f"`layer` (={layer!r}) attends to {attention.shape[-1]} tokens; batch"
            f"[{target!r}] of shape {marks.shape} must have as many."
        )
