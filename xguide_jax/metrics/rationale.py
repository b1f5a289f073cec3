"""Plausibility: how well tokens that a model rests on agree with those people marked.

One value an example, [B], NaN where the question has no answer; padding, the class
token and separators are left out by `where` [B, T], e.g. a batch's
`inputs['mask'] & ~special`. Marks are bool: of a batch,
`(rationale > 0) & rationale_valid[:, None]`, so that a text which nobody marked has no
value. Of scores without a cut, `average_precision` is the AUPRC of token scores, and
`relevance_rank_accuracy` the F1 of the top k where k is the number of marks.
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.metrics import masking, ordering
from xguide_jax.types import Array

# Of a share of counts, e.g. 0.1 · 10 in float32.
_ROUNDING = 1e-6


class Agreement(NamedTuple):
    """A predicted set of tokens or spans beside a marked one.

    Attributes:
      precision: float [B] in [0, 1], the share of the predicted that is marked; NaN
        where nothing is predicted.
      recall: float [B] in [0, 1], the share of the marked that is predicted; NaN where
        nothing is marked.
      f1: float [B] in [0, 1], their harmonic mean, 0 where nothing agrees; NaN where
        nothing is marked.
    """

    precision: Array
    recall: Array
    f1: Array


def token_agreement(
    predicted: Array, marks: Array, *, where: Array | None = None
) -> Agreement:
    """Precision, recall and F1 of a predicted set of tokens.

    |P ∩ M| / |P|, |P ∩ M| / |M| and 2 |P ∩ M| / (|P| + |M|), of the tokens that count.
    Higher is better; predicting every token has a recall of 1.

    Args:
      predicted: bool [B, T], P.
      marks: bool [B, T], M.
      where: bool [B, T], False where a token does not count.

    Returns:
      `Agreement`.

    Raises:
      AssertionError: if the shapes differ or one is not bool.

    Source: DeYoung et al., "ERASER: A Benchmark to Evaluate Rationalized NLP Models",
      ACL 2020, token F1; their macro average is the mean of these. Their published code
      counts an undefined precision or recall of an example as 0, and divides by zero
      where nothing is predicted in any.
    """
    predicted, marks = _of_tokens(predicted, marks, where)
    return _agreement(predicted.astype(jnp.float32), marks)


def top_k_agreement(
    scores: Array, marks: Array, *, k: int | Array, where: Array | None = None
) -> Agreement:
    """Precision, recall and F1 of the k tokens of highest score.

    Those of `token_agreement` with P the top k, by the values as they are. Tokens tied
    at the k-th place share the places left, so each value is of the mean over all ways
    to break the tie. With k the number of marks all three are
    `relevance_rank_accuracy`. Higher is better.

    Args:
      scores: float [B, T].
      marks: bool [B, T], M.
      k: at least 0, an int or int [B], clipped to the number of tokens that count.
        ERASER takes the mean length of a data set's rationales.
      where: bool [B, T], False where a token does not count.

    Returns:
      `Agreement`; all NaN where the scores are constant or hold a NaN.

    Raises:
      AssertionError: if the shapes differ or a dtype is not that above.
      ValueError: if k is negative, or an int above T.

    Source: DeYoung et al., ACL 2020, and Attanasio et al., "ferret: a Framework for
      Benchmarking Explainers on Transformers", EACL 2023 demonstrations (unverified).
    """
    chex.assert_type(scores, float)
    scores = ops.at_least_float32(scores)
    valid = masking.valid_cells(scores, where)
    _, marks = _of_tokens(valid, marks, where)
    chosen = ordering.top_k_shares(scores, k, valid)
    found = _agreement(chosen, marks)
    defined = masking.varies(scores, valid)
    return Agreement(*(jnp.where(defined, value, jnp.nan) for value in found))


def token_iou(predicted: Array, marks: Array, *, where: Array | None = None) -> Array:
    """Intersection over union of a predicted set of tokens with the marked one.

    |P ∩ M| / |P ∪ M| = F1 / (2 − F1), of the tokens that count. The token-level
    counterpart of `span_agreement`: no spans, no threshold. Higher is better.

    Args:
      predicted: bool [B, T], P.
      marks: bool [B, T], M.
      where: bool [B, T], False where a token does not count.

    Returns:
      float32 [B] in [0, 1], 1 if the sets are one; NaN where nothing is marked.

    Raises:
      AssertionError: if the shapes differ or one is not bool.
    """
    predicted, marks = _of_tokens(predicted, marks, where)
    both, either = _count(predicted & marks), _count(predicted | marks)
    return _quotient(both, either, _count(marks) > 0)


def span_agreement(
    predicted: Array, marks: Array, *, iou_threshold: float, where: Array | None = None
) -> Agreement:
    """Precision, recall and F1 of predicted spans, matched by their overlap (IoU F1).

    A span is a run of neighbouring tokens of a set; a token that does not count ends
    it. Two spans match if |p ∩ m| / |p ∪ m| >= the threshold. Precision is the share of
    predicted spans that match a marked one, recall the share of marked spans that match
    a predicted one. Higher is better. O(T²) memory an example.

    Args:
      predicted: bool [B, T].
      marks: bool [B, T].
      iou_threshold: in (0, 1]; ERASER's is 0.5.
      where: bool [B, T], False where a token does not count.

    Returns:
      `Agreement` of spans.

    Raises:
      ValueError: if `iou_threshold` is outside (0, 1].
      AssertionError: if the shapes differ or one is not bool.

    Source: DeYoung et al., ACL 2020, where spans are given and two may touch; here they
      are one. Their published code counts matched predictions in the recall as well,
      which is above 1 where two of them match one marked span, and takes the F1 of the
      mean precision and recall instead of the mean F1.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"`iou_threshold` (={iou_threshold}) must lie in (0, 1].")
    found, true = (_spans(each) for each in _of_tokens(predicted, marks, where))
    # Counts of at most T tokens: exact in float32, on every device.
    both = jnp.einsum("bpt,bmt->bpm", found, true)
    sizes = [jnp.sum(spans, axis=-1) for spans in (found, true)]
    either = sizes[0][:, :, None] + sizes[1][:, None, :] - both
    match = (both > 0) & (both >= (iou_threshold - _ROUNDING) * either)
    num_found, num_true = (_count(size > 0) for size in sizes)
    precision = _quotient(_count(jnp.any(match, axis=2)), num_found, num_found > 0)
    recall = _quotient(_count(jnp.any(match, axis=1)), num_true, num_true > 0)
    known = jnp.where(num_found > 0, precision, 0.0)
    f1 = _quotient(2 * known * recall, known + recall, num_true > 0)
    return Agreement(precision, recall, f1)


def attention_share(attention: Array, which: Array) -> Array:
    """The share of the attention that a class of tokens receives.

    Σ_{t in S} a_t / Σ_t a_t, of several heads the mean of their shares. The shares of
    classes that divide the tokens add up to 1, so a class that a text does not have has
    0. Give the attention of one query, e.g. of the class token, and leave padding out
    of every class. Neither high nor low is better by itself.

    Args:
      attention: float [B, T] or [B, heads, T], at least 0.
      which: bool [B, T], the tokens of the class, S.

    Returns:
      float [B] in [0, 1]; NaN where the attention is 0 throughout, negative or NaN.

    Raises:
      AssertionError: if the shapes do not fit or a dtype is not that above.

    Source: Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations
      for Robust Natural Language Inference", AAAI 2022, who compare the attention of
      the class token by classes of words; their tables were not available to check.
    """
    chex.assert_rank(attention, {2, 3})
    chex.assert_rank(which, 2)
    chex.assert_type([attention, which], [float, bool])
    chex.assert_equal((attention.shape[0], attention.shape[-1]), which.shape)
    attention = ops.at_least_float32(attention)
    attention = attention.reshape(len(which), -1, which.shape[-1])
    inside = jnp.sum(jnp.where(which[:, None], attention, 0.0), axis=-1)
    total = jnp.sum(attention, axis=-1)
    # A comparison with a NaN is False.
    defined = jnp.all(attention >= 0, axis=-1) & (total > 0)
    share = jnp.where(defined, ops.safe_divide(inside, total), jnp.nan)
    return jnp.mean(share, axis=1)


def _of_tokens(
    predicted: Array, marks: Array, where: Array | None
) -> tuple[Array, Array]:
    """Both sets without the tokens that do not count."""
    chex.assert_rank([predicted, marks], 2)
    chex.assert_equal_shape([predicted, marks])
    chex.assert_type([predicted, marks], bool)
    valid = masking.valid_cells(jnp.asarray(predicted), where)
    return predicted & valid, marks & valid


def _agreement(predicted: Array, marks: Array) -> Agreement:
    """Of a set, or of the share of each token in it on average, float [B, T]."""
    both = jnp.sum(jnp.where(marks, predicted, 0.0), axis=-1)
    num_predicted = jnp.sum(predicted, axis=-1)
    num_marks = _count(marks)
    return Agreement(
        precision=_quotient(both, num_predicted, num_predicted > 0),
        recall=_quotient(both, num_marks, num_marks > 0),
        f1=_quotient(2 * both, num_predicted + num_marks, num_marks > 0),
    )


def _spans(tokens: Array) -> Array:
    """Each run of True by itself: bool [B, T] -> float32 [B, S, T] of 0 and 1."""
    length = tokens.shape[-1]
    before = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    number = jnp.cumsum(tokens & ~before, axis=-1)
    # No more than every second token begins a run.
    numbers = jnp.arange(1, (length + 1) // 2 + 1)
    spans = (number[:, None] == numbers[:, None]) & tokens[:, None]
    return spans.astype(jnp.float32)


def _count(where: Array) -> Array:
    return jnp.sum(where, axis=-1, dtype=jnp.float32)


def _quotient(part: Array, whole: Array, defined: Array) -> Array:
    return jnp.where(defined, ops.safe_divide(part, whole), jnp.nan)
