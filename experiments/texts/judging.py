"""What maps of texts are worth: agreement with people, and with the network."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.running.scored import Scored, scored
from experiments.texts import explaining
from xguide_jax import attributions, data, evaluation, metrics, ops
from xguide_jax.types import Array, PredictFn

# Of ERASER.
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)


class Plausibility(NamedTuple):
    """How well the magnitudes of a map agree with what people marked.

    Attributes:
      auprc: area under the precision-recall curve.
      rank: the share of the marked tokens among as many of highest magnitude.
      mass: the share of the magnitudes on marked tokens.
    """

    auprc: Scored
    rank: Scored
    mass: Scored


def plausibility(
    maps: Mapping[str, np.ndarray], texts: data.Dataset
) -> dict[str, Plausibility]:
    """Agreement of several maps with the marks of a data set.

    Args:
      maps: {explainer: float [N, T]}.
      texts: with 'rationale' and 'rationale_valid'.

    Returns:
      {explainer: `Plausibility`} of the texts with marks, {} where there are none; a
      map that says nothing is undefined.
    """
    # A text that nobody marked is no failure of a map.
    rows = np.flatnonzero(texts.annotations["rationale_valid"])
    if not len(rows):
        return {}
    marks = texts.annotations["rationale"][rows] > 0
    where = explaining.counted(texts)[rows]
    return {
        name: Plausibility(
            *(scored(v) for v in _agreement(np.abs(m[rows]), marks, where))
        )
        for name, m in maps.items()
    }


def erasure(
    predict_fn: PredictFn,
    maps: Mapping[str, np.ndarray],
    texts: data.Dataset,
    *,
    mask_id: int,
    num_draws: int,
    seed: int,
) -> dict[str, dict[str, evaluation.Erasure]]:
    """What the predicted class loses as tokens go, beside random orders.

    Args:
      predict_fn: inputs -> logits, compiled.
      maps: {explainer: float [N, T]}, ranked as they are.
      texts: the same examples.
      mask_id: of the token that stands for nothing.
      num_draws: random orders.
      seed: of them.

    Returns:
      {explainer: {'deleted' or 'masked': `evaluation.Erasure`}}.
    """
    inputs = jax.tree.map(jnp.asarray, texts.inputs)
    where = jnp.asarray(explaining.counted(texts))
    scores = {name: jnp.asarray(m) for name, m in maps.items()}
    masked = functools.partial(ops.constant_fill, value=mask_id)
    return evaluation.measure_erasure(
        predict_fn,
        inputs,
        jnp.argmax(predict_fn(inputs), axis=-1),
        scores,
        orders=evaluation.random_orders_like(
            where, key=jax.random.key(seed), num_orders=num_draws
        ),
        fills={
            "deleted": ops.delete_positions(("tokens", "segments"), mask="mask"),
            "masked": ops.fill_leaf("tokens", masked),
        },
        fractions=FRACTIONS,
        key=jax.random.key(seed),
        batch_size=len(where),
        value=probability,
        where=where,
    )


def probability(logits: Array, labels: Array) -> Array:
    """What ERASER reads of a prediction.

    Args:
      logits: float [B, C].
      labels: integer [B].

    Returns:
      float [B], the probability of the label.
    """
    return jnp.exp(attributions.target_log_probability(logits, labels))


@jax.jit
def _agreement(maps: Array, marks: Array, where: Array) -> tuple[Array, Array, Array]:
    # Marked tokens of a text are a region of its map.
    return (
        metrics.average_precision(maps, marks, where=where),
        metrics.relevance_rank_accuracy(maps, marks, where=where),
        metrics.relevance_mass_accuracy(maps, marks, where=where),
    )
