"""Weights of a trained network, read from a file that any library can read."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from xguide_jax.types import Array, PyTree


def load_weights(
    path: str | os.PathLike[str], *, like: tuple[PyTree, PyTree] | None = None
) -> tuple[PyTree, PyTree]:
    """Reads the `model.safetensors` that the experiments write for every arm.

    The file holds the network alone, without optimiser and guidance parameters. Its
    names are the places of the leaves, joined by dots: 'params.Dense_0.kernel',
    'model_state.batch_stats.BatchNorm_0.mean'. Every array of it is used, or the file
    is refused. It needs safetensors, of `xguide_jax[experiments]`.

    Args:
      path: of the file.
      like: (params, model_state) of the network as it is initialised, arrays or shapes;
        the file must then hold exactly its leaves, of its shapes and types, and the
        result has its structure. None takes the structure from the names, as nested
        dicts: enough for a Linen or NNX network.

    Returns:
      (params, model_state), for the `ApplyFn` of the same network; {} for what has no
      arrays.

    Raises:
      ValueError: listing the arrays that are missing, that belong nowhere or that
        differ in shape or type.
    """
    # Here and not above: the library itself does without the extra that brings it.
    import safetensors.flax

    arrays = safetensors.flax.load_file(os.fspath(path))
    if like is None:
        tree = _nested(arrays, path)
        return tree.get("params", {}), tree.get("model_state", {})
    wanted, structure = jax.tree_util.tree_flatten_with_path(
        {"params": like[0], "model_state": like[1]}
    )
    leaves = {
        jax.tree_util.keystr(place, simple=True, separator="."): leaf
        for place, leaf in wanted
    }
    _refuse_another(arrays, leaves, path)
    tree = jax.tree_util.tree_unflatten(structure, [arrays[name] for name in leaves])
    return tree["params"], tree["model_state"]


def _nested(arrays: Mapping[str, Array], path: object) -> dict[str, Any]:
    """{'a.b': leaf} as {'a': {'b': leaf}}."""
    tree: dict[str, Any] = {}
    strange = [n for n in arrays if n.split(".")[0] not in ("params", "model_state")]
    for name, array in arrays.items():
        *folders, last = name.split(".")
        place: Any = tree
        for folder in folders:
            place = place.setdefault(folder, {}) if isinstance(place, dict) else None
        if not folders or not isinstance(place, dict) or last in place:
            strange.append(name)
        else:
            place[last] = array
    if strange:
        raise ValueError(
            f"{path} holds arrays that belong neither to 'params' nor to "
            f"'model_state': {sorted(set(strange))}."
        )
    return tree


def _refuse_another(
    arrays: Mapping[str, Array], leaves: Mapping[str, Any], path: object
) -> None:
    form = lambda array: f"{np.dtype(array.dtype)}{list(array.shape)}"
    faults = {
        "missing": sorted(leaves.keys() - arrays.keys()),
        "not of this network": sorted(arrays.keys() - leaves.keys()),
        "of another form": [
            f"{name} is {form(arrays[name])} and not {form(leaf)}"
            for name, leaf in leaves.items()
            if name in arrays and form(arrays[name]) != form(leaf)
        ],
    }
    told = [f"{what}: {', '.join(names)}" for what, names in faults.items() if names]
    if told:
        raise ValueError(f"{path} does not fit the network; {'; '.join(told)}.")
