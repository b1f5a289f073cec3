"""What a prediction loses without the features that a map names, and with them alone.

Both are means over shares of the features (AOPC), in units of the score, and of the
score itself, so that a network that is wrong or unsure can be measured too.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from xguide_jax.metrics import removing
from xguide_jax.types import Array, PredictFn, PRNGKey, PyTree


def comprehensiveness(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    attributions: Array,
    *,
    fractions: Sequence[float],
    fill: removing.Replacement,
    key: PRNGKey,
    value: removing.ValueFn,
    where: Array | None = None,
) -> Array:
    """How much the score falls as the most salient features are replaced.

    (1/F) Σ_d [f(x) − f(x without the top d)], k = ceil(d n) of the n features that
    count. Higher is better: all that the prediction rests on is in the map. Replacing
    nothing changes nothing, replacing all is the full drop, for any map.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; called F + 1 times, so compile it.
      inputs: [B, ...], or a dict of such with an `ops.Removal` for `fill`.
      labels: integer [B], the class of which the score is: ERASER takes the one
        predicted from the intact input.
      attributions: float, of the inputs' rank and broadcastable to them; of a removal
        [B, T], one score a position.
      fractions: static, strictly increasing in [0, 1].
      fill: (key, inputs) -> replacement values like `inputs`; or how tokens go, e.g.
        `ops.delete_positions(('tokens', 'segments'), mask='mask')`, as ERASER has it,
        or `ops.fill_leaf('tokens', ...)` with the id of a mask token.
      key: for the fill; one key or [B].
      value: (logits, labels) -> [B], the score; of ERASER the probability.
      where: bool, of the attributions' rank and broadcast to their shape: the features
        that can be replaced. Others, such as padding, are never touched or counted.

    Returns:
      float [B], in [−1, 1] of a probability, float32 or wider. NaN for an example whose
      attributions hold a NaN or do not order anything, or whose score is NaN.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: if the fractions are not increasing in [0, 1], or `value` returns
        other than one value an example.

    Source: DeYoung et al., "ERASER: A Benchmark to Evaluate Rationalized NLP Models",
      ACL 2020. There tokens are deleted, and the text gets shorter. The paper's
      aggregate adds a bin of 0 % and divides by |B| + 1: give the fraction 0 for it;
      the published code takes the plain mean over the given shares.
    """
    return _mean_drop(
        predict_fn, inputs, labels, attributions, keep=False, fractions=fractions,
        fill=fill, key=key, value=value, where=where,
    )  # fmt: skip


def sufficiency(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    attributions: Array,
    *,
    fractions: Sequence[float],
    fill: removing.Replacement,
    key: PRNGKey,
    value: removing.ValueFn,
    where: Array | None = None,
) -> Array:
    """How much the score falls where only the most salient features are left.

    (1/F) Σ_d [f(x) − f(the top d alone)], k = ceil(d n) of the n features that count.
    Lower is better: what the map names is enough for the prediction. Keeping all
    changes nothing, keeping nothing is the full drop, for any map.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; called F + 1 times, so compile it.
      inputs: [B, ...], or a dict of such with an `ops.Removal` for `fill`.
      labels: integer [B], as for `comprehensiveness`.
      attributions: float, of the inputs' rank and broadcastable to them; of a removal
        [B, T], one score a position.
      fractions: static, strictly increasing in [0, 1]: what is kept.
      fill: (key, inputs) -> replacement values like `inputs`, or a removal.
      key: for the fill; one key or [B].
      value: (logits, labels) -> [B], the score; of ERASER the probability.
      where: bool, of the attributions' rank and broadcast to their shape: the features
        that can be replaced. Others are always kept.

    Returns:
      float [B], in [−1, 1] of a probability, NaN where `comprehensiveness` has it.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: if the fractions are not increasing in [0, 1], or `value` returns
        other than one value an example.

    Source: as `comprehensiveness`. Of the bin of 0 % the paper's aggregate has the full
      drop here.
    """
    return _mean_drop(
        predict_fn, inputs, labels, attributions, keep=True, fractions=fractions,
        fill=fill, key=key, value=value, where=where,
    )  # fmt: skip


def _mean_drop(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    attributions: Array,
    *,
    keep: bool,
    fractions: Sequence[float],
    fill: removing.Replacement,
    key: PRNGKey,
    value: removing.ValueFn,
    where: Array | None,
) -> Array:
    removing.check(inputs, labels, attributions, fill=fill)
    fractions = removing.checked_fractions(fractions)
    order = removing.Order(attributions, where)
    without = removing.without(fill, key, inputs)
    clean = removing.read(value, predict_fn(inputs), labels)
    total = jnp.zeros_like(clean)
    for fraction in fractions:
        taken = order.all_but_highest if keep else order.highest
        replaced = taken(fraction, round_up=True)
        total += clean - removing.read(value, predict_fn(without(replaced)), labels)
    return jnp.where(order.defined, total / len(fractions), jnp.nan)
