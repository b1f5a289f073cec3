"""Checkpoints of a training state that are either whole or passed over.

A checkpoint holds the leaves of a `TrainState` under their paths, as host arrays, so it
does not depend on devices or on how the step was lifted; types and structure come from
the state that it is restored into. Beside them stand the run's configuration and a
CRC-32 of every leaf. Nothing is unpickled.
"""

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from xguide_jax.training import locking, soundness, storage
from xguide_jax.types import PyTree, TrainState

Directory = str | os.PathLike[str]

_NEXT = ".next"  # the folder of a checkpoint that will replace one of its step


def save_checkpoint(
    directory: Directory,
    state: TrainState,
    *,
    config: Mapping[str, Any],
    keep: int = 2,
) -> None:
    """The checkpoint of step `state.step`, whole on disk when this returns.

    It is written beside the older ones and renamed when complete; only then are the
    oldest removed, and none while steps are being skipped (`state.nonfinite` > 0): what
    comes after may be no good. A checkpoint of the same step stays if it is whole and
    the same. If not, it was damaged or is of a run that came to another state: it is
    removed when its successor is whole in the folder `.next`, which is read where that
    is lacking in its place. The directory is locked meanwhile; see `lock_directory` for
    keeping a second run out altogether. With several processes all must call this, with
    a directory they share.

    Args:
      directory: made if it is missing; local, or any that orbax knows ('gs://...').
      state: as it leaves a step, whichever way that was lifted over devices.
      config: nested mappings of JSON values. Leave out what may change between a run
        and its continuation.
      keep: how many checkpoints up to this step remain, at least 1; with 1 a damaged
        file loses all.

    Raises:
      ValueError: if `keep` is less than 1 or a field of `config` is no JSON value.
      NonFiniteError: if no run can go on from the state, naming leaves: NaN, or an
        infinity that the checkpoint before did not have. Nothing is written and
        nothing removed.
      LockedError: if another run is saving there, or holds the directory.
    """
    if keep < 1:
        raise ValueError(f"`keep` (={keep}) must be at least 1.")
    step = int(state.step)
    _check_sound(directory, step, state)
    leaves = jax.tree.map(np.asarray, jax.device_get(storage.raw(state)))
    meta = {
        "config": storage.fields_of(config),
        "leaves": storage.describe(state, leaves),
    }
    arguments = ocp.args.Composite(
        # Arrays without elements are in the descriptions; orbax does not take them.
        state=ocp.args.StandardSave({k: v for k, v in leaves.items() if v.size}),
        meta=ocp.args.JsonSave({"content": meta, "crc32": storage.json_crc(meta)}),
    )
    with (
        locking.lock_directory(directory),
        _manager(directory, cleanup_tmp_directories=True) as manager,
    ):
        beside = manager.directory / _NEXT
        is_there = step in manager.all_steps()
        if not (is_there and _holds(manager, step, meta)):
            if is_there:
                # Dying between a removal and the save after it would lose both.
                with _manager(beside, cleanup_tmp_directories=True) as other:
                    if step in other.all_steps():  # of a process that died
                        other.delete(step)
                    other.save(step, args=arguments, force=True)
                manager.delete(step)
            manager.save(step, args=arguments, force=True)
        if not int(state.nonfinite):
            if jax.process_index() == 0 and beside.exists():
                beside.rmtree()
            for old in sorted(n for n in manager.all_steps() if n <= step)[:-keep]:
                manager.delete(old)


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
    fields, types = storage.fields_of(config), storage.types_of(like)

    def check(step: int, meta: Mapping[str, Any]) -> None:
        if changes := storage.changes(meta["config"], fields):
            raise ValueError(
                f"the checkpoint of step {step} is of another configuration: "
                f"{changes}. Take the old values, or another directory."
            )
        if changes := storage.changes(storage.saved_types(meta), types):
            raise ValueError(
                f"the checkpoint of step {step} is of another state: {changes}."
            )

    leaves = _newest_whole(directory, check)
    return None if leaves is None else storage.rebuild(leaves, like)


def restore_params(
    directory: Directory,
    params: PyTree,
    model_state: PyTree,
    *,
    step: int | None = None,
    partly: bool = False,
) -> tuple[PyTree, PyTree]:
    """The network of another run: its weights and batch statistics, and no more.

    Optimiser, guidance, steps and configuration of that run do not matter. The results
    go where the initial ones went, to `init_train_state` or to the network itself.

    Args:
      directory: as given to `save_checkpoint`.
      params: the network's, of the structure, shapes and dtypes to restore; arrays, or
        what `jax.eval_shape` gives.
      model_state: likewise; a network with batch norm is not whole without it.
      step: of which checkpoint; the newest that is whole if None.
      partly: whether the saved network may have leaves that are not asked for, as when
        `params` lacks the head that will be another.

    Returns:
      (params, model_state), bit for bit, on the default device.

    Raises:
      FileNotFoundError: if there is no such checkpoint, or none that is whole.
      ValueError: if the saved network is another one, naming leaves.
    """
    like = {"params": params, "model_state": model_state}
    types = storage.types_of(like, storage.network_path)

    def check(step: int, meta: Mapping[str, Any]) -> None:
        saved = {
            path: kind
            for path, kind in storage.saved_types(meta).items()
            if path in types
            or (not partly and path.startswith((".params['model']", ".model_state")))
        }
        if changes := storage.changes(saved, types):
            raise ValueError(
                f"the checkpoint of step {step} is of another network: {changes}."
            )

    leaves = _newest_whole(directory, check, step)
    if leaves is None:
        which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FileNotFoundError(
            f"`directory` (={os.fspath(directory)}) holds {which} that is whole."
        )
    restored = storage.rebuild(leaves, like, storage.network_path)
    return restored["params"], restored["model_state"]


def _check_sound(directory: Directory, step: int, state: TrainState) -> None:
    before = None
    if soundness.has_infinities(state):
        with warnings.catch_warnings():  # of damage, which restoring tells of
            warnings.simplefilter("ignore")
            before = _newest_whole(directory, lambda step, meta: None)
    if unsound := soundness.unsound_leaves(state, before):
        raise soundness.NonFiniteError(
            f"the state of step {step} was not saved, since it is not finite in "
            f"{soundness.describe(unsound)}. Older checkpoints are as they were."
        )


def _newest_whole(
    directory: Directory,
    check: Callable[[int, Mapping[str, Any]], None],
    wanted: int | None = None,
) -> storage.Leaves | None:
    """The leaves of the newest checkpoint that is whole, or of one step's.

    `check` sees the description first, and raises where it is of another run.
    """
    with contextlib.ExitStack() as stack:
        managers = [stack.enter_context(_manager(directory, create=False))]
        if (beside := managers[0].directory / _NEXT).exists():
            managers.append(stack.enter_context(_manager(beside, create=False)))
        found = [
            (step, manager) for manager in managers for step in manager.all_steps()
        ]
        for step, manager in sorted(found, key=lambda pair: pair[0], reverse=True):
            if wanted not in (None, step):
                continue
            meta = _attempt(step, _read_meta, manager, step)
            if meta is None:
                continue
            check(step, meta)
            leaves = _attempt(step, _read_leaves, manager, step, meta["leaves"])
            if leaves is not None:
                return leaves
    return None


def _holds(manager: ocp.CheckpointManager, step: int, meta: dict[str, Any]) -> bool:
    """Whether a step's checkpoint is whole and what would be written now."""
    try:
        saved = _read_meta(manager, step)
        # Its own description is as it comes back from JSON.
        return saved == json.loads(json.dumps(meta)) and bool(
            _read_leaves(manager, step, saved["leaves"])
        )
    except Exception:
        return False


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
    if storage.json_crc(meta["content"]) != meta["crc32"]:
        raise ValueError("its description does not match its checksum.")
    return meta["content"]


def _read_leaves(
    manager: ocp.CheckpointManager, step: int, descriptions: Mapping[str, Any]
) -> storage.Leaves:
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
        if storage.crc(leaves[path]) != leaf["crc32"]:
            raise ValueError(f"{path} does not match its checksum.")
    return leaves
