"""Whether a training state is one that a run can go on from."""

from collections.abc import Mapping, Sequence

import numpy as np

from xguide_jax.training import storage
from xguide_jax.types import TrainState


class NonFiniteError(RuntimeError):
    """A state, or too many steps in a row, held values that are not finite."""


def unsound_leaves(
    state: TrainState, before: Mapping[str, np.ndarray] | None = None
) -> list[str]:
    """The leaves that no training recovers from, by their paths.

    NaN always. Infinity where it was none before, so that masks of -inf and the best
    loss of an optimiser that has seen none are no faults, as in the step.

    Args:
      state: on the device or on the host.
      before: {path: values} of an earlier state, as `storage.raw`; where it is left
        out, or has no such leaf, infinities are accepted.

    Returns:
      Paths such as ".params['model']['kernel']"; empty for a sound state.
    """
    before = before or {}
    return [
        path
        for path, leaf in storage.inexact(state).items()
        if _is_unsound(leaf, before.get(path))
    ]


def has_infinities(state: TrainState) -> bool:
    """Whether an earlier state must be looked at to tell whether this one is sound.

    Args:
      state: on the device or on the host.

    Returns:
      True if a number is infinite.
    """
    return any(np.isinf(leaf).any() for leaf in storage.inexact(state).values())


def describe(paths: Sequence[str], *, shown: int = 5) -> str:
    """The paths in one line, the first few of many.

    Args:
      paths: of leaves.
      shown: how many are written out.

    Returns:
      'a, b and 3 more'.
    """
    more = f" and {len(paths) - shown} more" if len(paths) > shown else ""
    return ", ".join(paths[:shown]) + more


def _is_unsound(leaf: np.ndarray, before: np.ndarray | None) -> bool:
    if np.isnan(leaf).any():
        return True
    if before is None or before.shape != leaf.shape:
        return False
    return bool((np.isinf(leaf) & (leaf != before)).any())
