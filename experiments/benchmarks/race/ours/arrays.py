"""Trees of weights as arrays by name, as a file holds them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from experiments.benchmarks.race import jobs
from xguide_jax.types import PyTree


def flattened(tree: PyTree, prefix: str) -> dict[str, np.ndarray]:
    """{'prefix/layer/kernel': array} of a nested dict."""
    flat = traverse_util.flatten_dict({prefix: tree}, sep="/")
    return {name: np.asarray(leaf) for name, leaf in flat.items()}


def nested(arrays: jobs.Arrays, prefix: str) -> dict[str, Any]:
    """The nested dict again, of the names that begin so; {} if none does."""
    flat = {
        name.removeprefix(f"{prefix}/"): jnp.asarray(value)
        for name, value in arrays.items()
        if name.startswith(f"{prefix}/")
    }
    return traverse_util.unflatten_dict(flat, sep="/")
