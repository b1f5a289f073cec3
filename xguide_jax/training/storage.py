"""The leaves of a state as a checkpoint holds them: paths, types, checksums."""

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.types import PyTree, TrainState

Leaves = dict[str, np.ndarray]  # path of a leaf -> its values


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def network_path(path: Any) -> str:
    """Where a `TrainState` has a leaf of {'params': ..., 'model_state': ...}."""
    part = {"params": ".params['model']", "model_state": ".model_state"}[path[0].key]
    return part + jax.tree_util.keystr(path[1:])


def by_path(
    tree: PyTree, name: Callable[[Any], str] = jax.tree_util.keystr
) -> dict[str, Any]:
    """{path: leaf}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {name(path): leaf for path, leaf in leaves}


def raw(state: TrainState) -> dict[str, Any]:
    """{path: leaf}, with keys as the integers they consist of."""
    as_data = lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf
    return by_path(jax.tree.map(lambda x: as_data(jnp.asarray(x)), state))


def inexact(state: TrainState) -> Leaves:
    """{path: values} of the leaves that can hold other than finite numbers."""
    return {
        path: np.asarray(leaf)
        for path, leaf in raw(state).items()
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }


def types_of(
    tree: PyTree, name: Callable[[Any], str] = jax.tree_util.keystr
) -> dict[str, str]:
    """{path: a leaf's type as a person reads it}, e.g. 'float32[3, 4]'."""
    abstract = by_path(jax.eval_shape(lambda tree: tree, tree), name)
    return {path: f"{x.dtype}{list(x.shape)}" for path, x in abstract.items()}


def saved_types(meta: Mapping[str, Any]) -> dict[str, str]:
    """{path: type} of a checkpoint's description, as `types_of`."""
    return {path: leaf["type"] for path, leaf in meta["leaves"].items()}


def describe(state: TrainState, leaves: Leaves) -> dict[str, Any]:
    """{path: a leaf's type, how it is stored, and the checksum of its values}."""
    return {
        path: {
            "type": kind,
            "dtype": str(leaves[path].dtype),
            "shape": list(leaves[path].shape),
            "crc32": crc(leaves[path]),
        }
        for path, kind in types_of(state).items()
    }


def rebuild(
    leaves: Leaves, like: PyTree, name: Callable[[Any], str] = jax.tree_util.keystr
) -> PyTree:
    """A tree of the structure of `like`, with the values under its paths."""

    def rebuild(path: Any, leaf: Any) -> jax.Array:
        array = jnp.asarray(leaves[name(path)])
        if hasattr(leaf, "dtype") and _is_key(leaf):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return array

    return jax.tree_util.tree_map_with_path(rebuild, like)


def crc(array: np.ndarray) -> int:
    """The checksum of an array's values."""
    return zlib.crc32(array.tobytes())


def json_crc(value: Any) -> int:
    """The checksum of a JSON value."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def fields_of(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'dotted.name': JSON value} of nested mappings."""
    fields: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            fields.update(fields_of(value, f"{name}."))
            continue
        try:
            fields[name] = json.loads(json.dumps(value))
        except TypeError as error:
            raise ValueError(
                f"`config` field {name!r} (={value!r}) must be a JSON value."
            ) from error
    return fields


def changes(saved: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """'<name> was <old> and is <new>' for all that differ, '' for none."""

    def text(values: Mapping[str, Any], name: str) -> str:
        # As JSON text, in which NaN equals itself and a tuple its list.
        return json.dumps(values[name], sort_keys=True) if name in values else "absent"

    return "; ".join(
        f"{name} was {text(saved, name)} and is {text(given, name)}"
        for name in {**saved, **given}
        if text(saved, name) != text(given, name)
    )
