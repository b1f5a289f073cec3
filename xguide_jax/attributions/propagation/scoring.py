"""The score of every example as one function of the inputs, traced."""

import chex

from xguide_jax.attributions.propagation import graph as graphs
from xguide_jax.types import Array, PredictFn, ScoreFn


def trace_score(
    predict_fn: PredictFn, inputs: Array, targets: Array, score_fn: ScoreFn
) -> graphs.Graph:
    """The list of what makes the scores.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B].
      score_fn: (logits, targets) -> [B].

    Returns:
      A `Graph`, inputs -> scores [B].

    Raises:
      AssertionError: if the batch sizes differ, the inputs are not float or the score
        is not one number an example.
    """
    chex.assert_type(inputs, float)
    chex.assert_rank(targets, 1)
    chex.assert_equal_shape_prefix([inputs, targets], 1)

    def score(values: Array) -> Array:
        found = score_fn(predict_fn(values), targets)
        chex.assert_equal_shape([found, targets])
        return found

    return graphs.trace(score, inputs)
