"""Training a part of a network, the rest of it held as it is."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import traverse_util

from xguide_jax.types import ApplyFn, Array, ModelOutput, PRNGKey, PyTree


def freeze(
    apply_fn: ApplyFn, params: PyTree, model_state: PyTree, *, trained: PyTree
) -> tuple[ApplyFn, PyTree, PyTree]:
    """The same network, of which some weights are parameters and the others state.

    What is no parameter has no gradient, so that none is computed, none is checked, and
    the optimiser keeps no moments of it: an update of zeros, as by `optax.partition`,
    saves only the moments. It goes through steps and checkpoints to the bit, since it
    is kept as integers: devices average what a state has of floats, and the mean of
    equal numbers is not always that number. Batch statistics still move in train mode.

    Args:
      apply_fn: the network.
      params: its weights, nested dicts as the adapters return them.
      model_state: its state.
      trained: bool for each leaf of `params`, whether it is trained; e.g. by
        `top_layers`.

    Returns:
      (apply_fn, params, model_state): of `params` what is trained, and the state
      {'frozen': the bits of the others, 'network': `model_state`}.

    Raises:
      ValueError: if `trained` has other leaves than `params`, or none is True.
    """
    leaves, flags = (traverse_util.flatten_dict(tree) for tree in (params, trained))
    if leaves.keys() != flags.keys():
        place = ".".join(map(str, min(leaves.keys() ^ flags.keys())))
        raise ValueError(
            f"`trained` must have the leaves of `params`; {place} is in one of them."
        )
    if not any(flags.values()):
        raise ValueError("`trained` must be True somewhere; nothing would be trained.")
    kept = {place: leaf for place, leaf in leaves.items() if not flags[place]}
    moving = {place: leaf for place, leaf in leaves.items() if flags[place]}
    dtypes = {place: jnp.result_type(leaf) for place, leaf in kept.items()}

    def frozen_apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        bits = traverse_util.flatten_dict(model_state["frozen"])
        frozen = {place: _floats(leaf, dtypes[place]) for place, leaf in bits.items()}
        whole = {**frozen, **traverse_util.flatten_dict(params)}
        output, state = apply_fn(
            traverse_util.unflatten_dict(whole), model_state["network"], inputs,
            train=train, key=key, overrides=overrides,
        )  # fmt: skip
        return output, {**model_state, "network": state}

    bits = {place: _bits(leaf) for place, leaf in kept.items()}
    state = {"frozen": traverse_util.unflatten_dict(bits), "network": model_state}
    return frozen_apply_fn, traverse_util.unflatten_dict(moving), state


def _bits(leaf: Array) -> Array:
    """Floats as unsigned integers of their width."""
    width = jnp.finfo(jnp.result_type(leaf)).bits
    return jax.lax.bitcast_convert_type(leaf, jnp.dtype(f"uint{width}"))


def _floats(bits: Array, dtype: jnp.dtype) -> Array:
    return jax.lax.bitcast_convert_type(bits, dtype)
