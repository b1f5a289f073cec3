"""Old names and old keywords, which keep working for one release and say what is new.

What was renamed stands in one table. A subpackage that had such a name defines
`__getattr__ = deprecating.old_names(__name__)`.
"""

import functools
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

# Old name: new name, both as code outside writes them after `xguide_jax.`.
NAMES = {
    "guidance.annotated": "guidance.reading",
    "losses.imputation_l1": "losses.region_l1",
    "reporting.Estimate": "evaluation.Estimate",
    "reporting.bootstrap_interval": "evaluation.bootstrap_interval",
    "reporting.paired_difference": "evaluation.paired_difference",
    "reporting.ratio_of_means": "evaluation.ratio_of_means",
    "reporting.t_interval": "evaluation.t_interval",
    "training.append_record": "files.append_record",
    "training.read_records": "files.read_records",
    "training.truncate_log": "files.truncate_log",
    "training.write_bytes": "files.write_bytes",
    "training.write_json": "files.write_json",
}


def old_names(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that some names have left.

    Args:
      module: its `__name__`.

    Returns:
      name -> what the table of this file has for it, with a DeprecationWarning.
    """

    def find(name: str) -> Any:
        old = f"{module.removeprefix('xguide_jax.')}.{name}"
        if old not in NAMES:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new = NAMES[old]
        warn(f"`{old}` is now `{new}`")
        place, _, attribute = f"xguide_jax.{new}".rpartition(".")
        return getattr(importlib.import_module(place), attribute)

    return find


def old_keywords(
    names: Sequence[str], *, instead: str, lift: Callable[..., dict[str, Any]]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A function that still takes the keywords it had.

    Its signature, as `inspect` and help show it, has the new ones alone.

    Args:
      names: of the old keywords.
      instead: what to write, for the message.
      lift: (the old keywords given) -> the new ones.

    Returns:
      a decorator.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in names if name in kwargs}
            if given:
                warn(
                    f"`{function.__name__}` no longer takes {sorted(given)}: give "
                    f"`{instead}` instead"
                )
                lifted = lift(**given)
                if both := sorted(lifted.keys() & kwargs.keys()):
                    raise TypeError(
                        f"`{function.__name__}` was given {sorted(given)} and {both}, "
                        "which replaces them."
                    )
                kwargs |= lifted
            return function(*args, **kwargs)

        return wrapped

    return decorate


def warn(change: str, *, stacklevel: int = 3) -> None:
    """Warns that an old way goes.

    Args:
      change: what is written instead, one sentence without its full stop.
      stacklevel: as of `warnings.warn`, seen from here.
    """
    message = f"{change}; the old way goes with the next release."
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)
