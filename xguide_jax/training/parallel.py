"""The only place that knows of devices: one step, lifted over all of them.

The step is the same per-replica function however it is lifted, and the state stays one
unstacked pytree, so checkpoints do not depend on the lifting.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xguide_jax import ops
from xguide_jax.types import Batch

How = Literal["pmap", "shard_map", "jit"]


def data_parallel(
    step: Callable[..., Any],
    *,
    how: How = "pmap",
    devices: Sequence[jax.Device] | None = None,
) -> Callable[..., Any]:
    """A step over the whole batch `[B, ...]`, shared among devices.

    A batch that the devices (times the parts of `accumulate`) do not divide is padded
    with rows of weight 0, so 1, 2 and 8 devices give the same loss and gradient. (Batch
    norm sees the padding: give such networks batches that divide.) With several
    processes each passes its own part of the batch, of the same size in all of them.
    Give parts that the devices of a process divide: else each part is padded, examples
    behind the first padding change their places, and a term's noise then depends on the
    number of devices.

    Args:
      step: from `make_train_step` or `make_eval_step`, made with an `axis_name`.
      how: 'pmap', on this process's devices or all processes'; 'shard_map', the choice
        for several hosts; 'jit', a mesh of one device.
      devices: which devices; all by default ('jit': the first).

    Returns:
      `(state, batch) -> what the step returns`, compiled once a shape; its
      `.lower(state, batch)` is the lowered program.

    Raises:
      ValueError: if the step has no `axis_name`, or `how` is none of the three.
    """
    axis_name = getattr(step, "axis_name", None)
    if axis_name is None:
        raise ValueError(
            "`step` has no axis_name: make it with axis_name='batch' to lift it."
        )
    if how not in ("pmap", "shard_map", "jit"):
        raise ValueError(f"`how` (={how!r}) must be 'pmap', 'shard_map' or 'jit'.")
    parts = getattr(step, "accumulate", 1)  # of the examples of a device
    if how == "pmap":
        lifted, place = _pmapped(step, axis_name, devices, parts)
    else:
        if devices is None:
            devices = jax.devices() if how == "shard_map" else jax.local_devices()[:1]
        if how == "jit" and len(devices) != 1:
            raise ValueError(f"how='jit' is for one device, got {len(devices)}.")
        lifted, place = _shard_mapped(step, axis_name, devices, parts)

    @functools.wraps(step)
    def parallel_step(state: Any, batch: Batch) -> Any:
        return lifted(*place(state, batch))

    parallel_step.lower = lambda state, batch: lifted.lower(  # type: ignore[attr-defined]
        *place(state, batch)
    )
    return parallel_step


def pad_batch(batch: Batch, multiple: int) -> dict[str, Any]:
    """The batch with rows of weight 0 appended until `multiple` divides it.

    Args:
      batch: [B, ...] or pytrees of such leaves; 'weight' is added (ones) where it is
        missing, so that full and padded batches compile to one program.
      multiple: at least 1.

    Returns:
      the same entries, [ceil(B / multiple) * multiple, ...]; padding repeats the last
      row.

    Raises:
      ValueError: if the entries disagree about B, or B is 0.
    """
    leaves = jax.tree_util.tree_leaves_with_path(dict(batch))
    sizes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.shape(leaf)[:1]
        for path, leaf in leaves
    }
    if len(set(sizes.values())) != 1 or () in sizes.values():
        raise ValueError(f"every entry of the batch must be [B, ...]; got {sizes}.")
    size = ops.batch_size(batch)
    if size == 0:
        raise ValueError("the batch is empty.")
    missing = -size % multiple
    weight = batch.get("weight", np.ones(size, np.float32))

    def pad(leaf: Any) -> Any:
        if not missing:
            return leaf
        xp = jnp if isinstance(leaf, jax.Array) else np
        return xp.concatenate([leaf, xp.repeat(leaf[-1:], missing, axis=0)])

    padded = jax.tree.map(pad, dict(batch))
    xp = jnp if isinstance(weight, jax.Array) else np
    padded["weight"] = xp.concatenate([weight, xp.zeros(missing, weight.dtype)])
    return padded


def _pmapped(
    step: Callable[..., Any],
    axis_name: str,
    devices: Sequence[jax.Device] | None,
    parts: int,
) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
    # out_axes=None: the outputs are equal on all devices, so one copy is the result.
    lifted = jax.pmap(
        step, axis_name=axis_name, in_axes=(None, 0), out_axes=None, devices=devices
    )
    process = jax.process_index()
    everyone = jax.devices() if devices is None else devices
    local = [device for device in everyone if device.process_index == process]
    everywhere = NamedSharding(Mesh(np.asarray(local), (axis_name,)), PartitionSpec())
    count = len(local)

    def place(state: Any, batch: Batch) -> tuple[Any, Any]:
        shard = lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:])
        # Placed as it is returned: else the second step would be compiled once more.
        state = _placed(state, everywhere)
        return state, jax.tree.map(shard, pad_batch(batch, count * parts))

    return lifted, place


def _placed(state: Any, sharding: NamedSharding) -> Any:
    """The state on all devices; as it is, where a step has left it there."""
    leaves = jax.tree.leaves(state)
    # To ask is some twenty times faster than to put it there again, leaf by leaf.
    if all(getattr(leaf, "sharding", None) == sharding for leaf in leaves):
        return state
    return jax.device_put(state, sharding)


def _shard_mapped(
    step: Callable[..., Any],
    axis_name: str,
    devices: Sequence[jax.Device],
    parts: int,
) -> tuple[Any, Callable[..., tuple[Any, Any]]]:
    mesh = Mesh(np.asarray(devices), (axis_name,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    sharded = NamedSharding(mesh, PartitionSpec(axis_name))
    # check_vma=False: with the default, differentiating with respect to replicated
    # parameters already sums over the devices, and the step's own psum would make
    # gradients larger by the number of devices, silently.
    lifted = jax.jit(
        jax.shard_map(
            step,
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(axis_name)),
            out_specs=PartitionSpec(),
            check_vma=False,
        )
    )
    count = sum(device.process_index == jax.process_index() for device in devices)

    def place(state: Any, batch: Batch) -> tuple[Any, Any]:
        batch = pad_batch(batch, count * parts)
        if jax.process_count() == 1:
            return _placed(state, everywhere), jax.device_put(batch, sharded)
        globalise = functools.partial(jax.make_array_from_process_local_data, sharded)
        replicate = functools.partial(_replicate, sharding=everywhere)
        return jax.tree.map(replicate, state), jax.tree.map(globalise, batch)

    return lifted, place


def _replicate(leaf: jax.Array, *, sharding: NamedSharding) -> jax.Array:
    """One array of all processes from the copy that each of them holds.

    `device_put` does this neither for typed keys nor for arrays bound to a device.
    """
    if not leaf.is_fully_addressable:
        return leaf  # what an earlier step returned
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _replicate(jax.random.key_data(leaf), sharding=sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))
