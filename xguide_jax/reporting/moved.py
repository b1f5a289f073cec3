"""Names that moved to `xguide_jax.evaluation`, kept for one release."""

import functools
import warnings
from typing import Any

from xguide_jax import evaluation

MOVED = (
    "Estimate",
    "bootstrap_interval",
    "paired_difference",
    "ratio_of_means",
    "t_interval",
)


def __getattr__(name: str) -> Any:
    """What `reporting` no longer holds: the new object, and a warning.

    Args:
      name: of an attribute.

    Returns:
      That of `xguide_jax.evaluation`.

    Raises:
      AttributeError: if the name did not move.
    """
    if name not in MOVED:
        raise AttributeError(f"module 'xguide_jax.reporting' has no attribute {name!r}")
    warnings.warn(
        f"`reporting.{name}` is now `evaluation.{name}`.",
        DeprecationWarning,
        stacklevel=2,
    )
    if name == "bootstrap_interval":
        return _bootstrap_interval
    return getattr(evaluation, name)


@functools.wraps(evaluation.bootstrap_interval)
def _bootstrap_interval(*args: Any, **settings: Any) -> Any:
    """Takes `resamples`, which is now `num_resamples`."""
    if "resamples" in settings:
        settings["num_resamples"] = settings.pop("resamples")
    return evaluation.bootstrap_interval(*args, **settings)
