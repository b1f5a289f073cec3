"""Checkpoints of a training state that are either whole or passed over.

A checkpoint holds the leaves of a `TrainState` under their paths, as host arrays, so it
does not depend on devices or on how the step was lifted; types and structure come from
the state that it is restored into. Beside them stand the run's configuration and a
CRC-32 of every leaf. Nothing is unpickled.
"""

import json
import os
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from xguide_jax.types import PyTree, TrainState

Directory = str | os.PathLike[str]
Leaves = dict[str, np.ndarray]  # path of a leaf -> its values


def save_checkpoint(
    directory: Directory,
    state: TrainState,
    *,
    config: Mapping[str, Any],
    keep: int = 2,
) -> None:
    """The checkpoint of step `state.step`, whole on disk when this returns.

    It is written beside the older ones and renamed when complete; only then are the
    oldest removed. A checkpoint of the same step is deleted first: it was damaged, or a
    resumed run would not come to its step again. With several processes all must call
    this, with a directory they share.

    Args:
      directory: made if it is missing; local, or any that orbax knows ('gs://...').
      state: as it leaves a step, whichever way that was lifted over devices.
      config: nested mappings of JSON values. Leave out what may change between a run
        and its continuation.
      keep: how many checkpoints remain, at least 1; with 1 a damaged file loses all.

    Raises:
      ValueError: if `keep` is less than 1 or a field of `config` is no JSON value.
    """
    if keep < 1:
        raise ValueError(f"`keep` (={keep}) must be at least 1.")
    leaves = jax.tree.map(np.asarray, jax.device_get(_raw(state)))
    step = int(state.step)
    meta = {"config": _fields(config), "leaves": _describe(state, leaves)}
    arguments = ocp.args.Composite(
        # Arrays without elements are in the descriptions; orbax does not take them.
        state=ocp.args.StandardSave({k: v for k, v in leaves.items() if v.size}),
        meta=ocp.args.JsonSave({"content": meta, "crc32": _json_crc(meta)}),
    )
    with _manager(directory, max_to_keep=keep, cleanup_tmp_directories=True) as manager:
        if step in manager.all_steps():
            manager.delete(step)
        manager.save(step, args=arguments, force=True)


def restore_checkpoint(
    directory: Directory, like: TrainState, *, config: Mapping[str, Any]
) -> TrainState | None:
    """The newest checkpoint that is whole, or None where there is none.

    One that is half written, truncated or altered is passed over with a warning that
    names its step and what is wrong; the one before it is tried.

    Args:
      directory: as given to `save_checkpoint`; may be missing.
      like: a state of the same structure, shapes and dtypes, e.g. the initial one.
      config: as given to `save_checkpoint`.

    Returns:
      A `TrainState` equal to the saved one bit for bit, on the default device, or None.

    Raises:
      ValueError: if the checkpoint is of another configuration, naming fields and both
        values, or of a state of another structure, naming leaves.
    """
    fields = _fields(config)
    with _manager(directory, create=False) as manager:
        for step in sorted(manager.all_steps(), reverse=True):
            meta = _attempt(step, _read_meta, manager, step)
            if meta is None:
                continue
            _check_same_run(step, meta, fields, like)
            leaves = _attempt(step, _read_leaves, manager, step, meta["leaves"])
            if leaves is not None:
                return _rebuild(leaves, like)
    return None


def _manager(directory: Directory, **options: Any) -> ocp.CheckpointManager:
    directory = os.fspath(directory)
    if "://" not in directory:
        directory = os.path.abspath(directory)
    return ocp.CheckpointManager(
        directory,
        options=ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False, num_deletion_threads=1, **options
        ),
    )


def _attempt(step: int, read: Callable[..., Any], *args: Any) -> Any:
    # Whatever a damaged file makes orbax raise, the answer is the checkpoint before.
    try:
        return read(*args)
    except Exception as error:
        reason = str(error).partition("\n")[0][:300]
        warnings.warn(
            f"the checkpoint of step {step} is damaged and is passed over: "
            f"{type(error).__name__}: {reason}",
            stacklevel=3,
        )
        return None


def _read_meta(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    restored = manager.restore(
        step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
    )
    meta = restored.meta
    if _json_crc(meta["content"]) != meta["crc32"]:
        raise ValueError("its description does not match its checksum.")
    return meta["content"]


def _read_leaves(
    manager: ocp.CheckpointManager, step: int, descriptions: Mapping[str, Any]
) -> Leaves:
    empty = {
        path: np.broadcast_to(np.zeros((), leaf["dtype"]), leaf["shape"])
        for path, leaf in descriptions.items()
    }
    target = {path: array for path, array in empty.items() if array.size}
    restored = manager.restore(
        step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
    )
    leaves = {**empty, **restored.state}
    for path, leaf in descriptions.items():
        if _crc(leaves[path]) != leaf["crc32"]:
            raise ValueError(f"{path} does not match its checksum.")
    return leaves


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _by_path(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _raw(state: TrainState) -> dict[str, Any]:
    """{path: leaf}, with keys as the integers they consist of."""
    as_data = lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf
    return _by_path(jax.tree.map(lambda x: as_data(jnp.asarray(x)), state))


def _types(state: TrainState) -> dict[str, str]:
    """{path: a leaf's type as a person reads it}, e.g. 'float32[3, 4]'."""
    abstract = _by_path(jax.eval_shape(lambda tree: tree, state))
    return {path: f"{x.dtype}{list(x.shape)}" for path, x in abstract.items()}


def _describe(state: TrainState, leaves: Leaves) -> dict[str, Any]:
    """{path: a leaf's type, how it is stored, and the checksum of its values}."""
    return {
        path: {
            "type": kind,
            "dtype": str(leaves[path].dtype),
            "shape": list(leaves[path].shape),
            "crc32": _crc(leaves[path]),
        }
        for path, kind in _types(state).items()
    }


def _rebuild(leaves: Leaves, like: TrainState) -> TrainState:
    def rebuild(path: Any, leaf: Any) -> jax.Array:
        array = jnp.asarray(leaves[jax.tree_util.keystr(path)])
        leaf = jnp.asarray(leaf)
        if _is_key(leaf):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return array

    return jax.tree_util.tree_map_with_path(rebuild, like)


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(array.tobytes())


def _json_crc(value: Any) -> int:
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def _fields(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'dotted.name': JSON value} of nested mappings."""
    fields: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            fields.update(_fields(value, f"{name}."))
            continue
        try:
            fields[name] = json.loads(json.dumps(value))
        except TypeError as error:
            raise ValueError(
                f"`config` field {name!r} (={value!r}) must be a JSON value."
            ) from error
    return fields


def _changes(saved: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """'<name> was <old> and is <new>' for all that differ, '' for none."""

    def text(values: Mapping[str, Any], name: str) -> str:
        # As JSON text, in which NaN equals itself and a tuple its list.
        return json.dumps(values[name], sort_keys=True) if name in values else "absent"

    return "; ".join(
        f"{name} was {text(saved, name)} and is {text(given, name)}"
        for name in {**saved, **given}
        if text(saved, name) != text(given, name)
    )


def _check_same_run(
    step: int, meta: Mapping[str, Any], fields: Mapping[str, Any], like: TrainState
) -> None:
    if changes := _changes(meta["config"], fields):
        raise ValueError(
            f"the checkpoint of step {step} is of another configuration: {changes}. "
            "Take the old values, or another directory."
        )
    saved = {path: leaf["type"] for path, leaf in meta["leaves"].items()}
    if changes := _changes(saved, _types(like)):
        raise ValueError(
            f"the checkpoint of step {step} is of another state: {changes}."
        )
