"""A term that several networks are raced with."""

import functools

from xguide_jax import attributions, guidance
from xguide_jax.types import Terms


def right_reasons() -> Terms:
    """Explained in train mode, where it shares the pass of the task loss."""
    explain = guidance.explain(
        functools.partial(
            attributions.input_gradient, score_fn=attributions.sum_log_probabilities
        ),
        explain_in="train",
    )
    term = guidance.right_for_right_reasons(explain=explain)
    return {"rrr": guidance.scale(term, 1e-2)}
