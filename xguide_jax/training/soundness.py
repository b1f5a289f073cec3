"""Whether a training state is one that a run can go on from."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.types import Array, TrainState


class NonFiniteError(RuntimeError):
    """A state, or too many steps in a row, held values that are not finite."""


def unsound_leaves(state: TrainState) -> list[str]:
    """The leaves that no training recovers from, by their paths.

    NaN or infinity in parameters, batch statistics and carried states; NaN alone in
    the optimiser's state, since some begin with an infinite 'best loss so far'.

    Args:
      state: on the device or on the host.

    Returns:
      Paths such as ".params['model']['kernel']"; empty for a sound state.
    """
    fields: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "params": np.isfinite,
        "model_state": np.isfinite,
        "guidance_state": np.isfinite,
        "opt_state": lambda values: ~np.isnan(values),
    }
    return [
        f".{field}{jax.tree_util.keystr(path)}"
        for field, is_sound in fields.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(state, field))
        if not _all(is_sound, leaf)
    ]


def describe(paths: list[str], *, shown: int = 5) -> str:
    """The paths in one line, the first few of many.

    Args:
      paths: of leaves.
      shown: how many are written out.

    Returns:
      'a, b and 3 more'.
    """
    more = f" and {len(paths) - shown} more" if len(paths) > shown else ""
    return ", ".join(paths[:shown]) + more


def _all(is_sound: Callable[[np.ndarray], np.ndarray], leaf: Array) -> bool:
    leaf = jnp.asarray(leaf)
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return True
    return bool(np.all(is_sound(np.asarray(leaf))))
