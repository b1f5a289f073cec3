"""From a Flax network to an `ApplyFn`, the one contract with a network library.

`params` is what an optimiser updates and `model_state` what else a network carries
(batch statistics and the like), both nested dicts of arrays. Dropout masks are a
function of `key` alone. Any other library needs no adapter: a function of the
`ApplyFn` shape will do.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from xguide_jax.types import ApplyFn, Array, ModelOutput, PRNGKey, PyTree

# Collections that a pass writes for its reader; they are no state of the network.
_TRANSIENT = ("intermediates", "perturbations")


def init_linen(module: nn.Module, key: PRNGKey, inputs: Array) -> tuple[PyTree, PyTree]:
    """Initial parameters and state of a Linen module.

    The module is initialised in eval mode, where it has one.

    Args:
      module: an unbound Linen module.
      key: the key of the initial weights.
      inputs: [B, ...]; only shape and dtype matter.

    Returns:
      (params, model_state): the collection 'params', and the others by name; without
      'intermediates' and 'perturbations', whose shapes are those of one batch.
    """
    arguments = _call_arguments(module, train=False, overrides=None)
    variables = jax.jit(lambda *args: module.init(*args, **arguments))(key, inputs)
    state = {name: value for name, value in variables.items() if name != "params"}
    return variables.get("params", {}), _without_transient(state)


def linen_apply_fn(module: nn.Module) -> ApplyFn:
    """A Linen module as an `ApplyFn`.

    The module may return logits [B, C] or a `ModelOutput`. `train` and `overrides`
    are passed on if its `__call__` names them; a module that switches its mode by an
    argument of another name stays in its default mode. In train mode the collections
    of `model_state` are mutable; in eval mode `model_state` is returned as it came.
    `key` feeds the 'dropout' stream.

    Args:
      module: an unbound Linen module.

    Returns:
      `(params, model_state, inputs, *, train, key, overrides)` ->
      `(ModelOutput, model_state)`. It raises a ValueError for `overrides` that the
      module does not take or names that it does not expose.
    """

    def apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        output, updates = module.apply(
            {"params": params, **model_state},
            inputs,
            rngs={} if key is None else {"dropout": key},
            mutable=list(model_state) if train else [],
            **_call_arguments(module, train=train, overrides=overrides),
        )
        return _as_model_output(output, overrides), {**model_state, **updates}

    return apply_fn


def nnx_apply_fn(model: nnx.Module) -> tuple[ApplyFn, PyTree, PyTree]:
    """An NNX model as an `ApplyFn`, with its present parameters and state.

    The model itself is never changed: each call works on a copy, set to its mode by
    `train()` or `eval()`. Its random streams are no state: each call seeds them all
    from `key`, so equal keys give equal dropout masks. Otherwise as `linen_apply_fn`.

    Args:
      model: an NNX model that returns logits [B, C] or a `ModelOutput`.

    Returns:
      (apply_fn, params, model_state): every `nnx.Param`, and every other variable but
      random streams, intermediates and perturbations. `apply_fn` raises a ValueError
      for a pass in train mode without a key if the model holds random streams.
    """
    filters = (nnx.Param, nnx.RngState, (nnx.Intermediate, nnx.Perturbation))
    graph, *states = nnx.split(model, *filters, ...)
    params, streams, transient, model_state = states
    stream_leaves, stream_tree = jax.tree.flatten(nnx.to_pure_dict(streams))

    def apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        if train and key is None and stream_leaves:
            raise ValueError(
                "`key` (=None) must be given with `train=True`: the model holds random "
                "streams, and without it every step would draw the same masks."
            )
        leaves = stream_leaves if key is None else _reseed(stream_leaves, key)
        seeded = jax.tree.unflatten(stream_tree, leaves)
        copy = nnx.merge(graph, params, seeded, transient, model_state, copy=True)
        copy.train() if train else copy.eval()
        arguments = _call_arguments(copy, train=train, overrides=overrides)
        output = _as_model_output(copy(inputs, **arguments), overrides)
        if not train:
            return output, model_state
        return output, nnx.to_pure_dict(nnx.split(copy, *filters, ...)[-1])

    return apply_fn, nnx.to_pure_dict(params), nnx.to_pure_dict(model_state)


def _reseed(leaves: list[Array], key: PRNGKey) -> list[Array]:
    """Random streams at their start: own keys drawn from `key`, counts of zero."""
    return [
        jax.random.split(jax.random.fold_in(key, index), leaf.shape)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros_like(leaf)
        for index, leaf in enumerate(leaves)
    ]


def _call_arguments(
    call: Callable[..., Any], *, train: bool, overrides: Mapping[str, Array] | None
) -> dict[str, Any]:
    """The keyword arguments that a network's `__call__` names."""
    accepted = inspect.signature(call).parameters
    arguments: dict[str, Any] = {"train": train} if "train" in accepted else {}
    if "overrides" in accepted:
        arguments["overrides"] = overrides
    elif overrides:
        raise ValueError(
            f"`overrides` names {sorted(overrides)}, but the `__call__` of "
            f"{type(call).__name__} takes no `overrides`."
        )
    return arguments


def _as_model_output(
    output: Array | ModelOutput, overrides: Mapping[str, Array] | None
) -> ModelOutput:
    if not isinstance(output, ModelOutput):
        output = ModelOutput(output, {})
    # A misspelt name would be ignored, and its gradient silently zero.
    unknown = set(overrides or ()) - set(output.intermediates)
    if unknown:
        raise ValueError(
            f"`overrides` names {sorted(unknown)}; the model exposes "
            f"{sorted(output.intermediates)}."
        )
    return output


def _without_transient(state: Mapping[str, PyTree]) -> dict[str, PyTree]:
    return {name: value for name, value in state.items() if name not in _TRANSIENT}
