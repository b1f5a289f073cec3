"""Inputs that are several arrays: dicts of arrays, or of such dicts, without JAX."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def map_leaves(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """A function of every array of a dict, or of the one array there is.

    Args:
      function: of one array of each tree.
      tree: an array, or a dict of such, nested or not.
      *others: of the same keys.

    Returns:
      What the function returns, nested as `tree`.
    """
    if not isinstance(tree, Mapping):
        return function(tree, *others)
    return {
        name: map_leaves(function, value, *(other[name] for other in others))
        for name, value in tree.items()
    }


def named_leaves(name: str, tree: Any) -> dict[str, np.ndarray]:
    """{'inputs': array} of one array, {'inputs/tokens': ...} of a dict of them.

    Args:
      name: of the whole.
      tree: an array, or a dict of such, nested or not.

    Returns:
      The arrays by their names.
    """
    if not isinstance(tree, Mapping):
        return {name: np.asarray(tree)}
    parts = (named_leaves(f"{name}/{key}", value) for key, value in tree.items())
    return {key: leaf for found in parts for key, leaf in found.items()}
