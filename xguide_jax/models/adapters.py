"""From a Flax network to an `ApplyFn`, the one contract with a network library.

`params` is what an optimiser updates and `model_state` what else a network carries
(batch statistics and the like), both nested dicts of arrays. Dropout masks are a
function of `key` alone. Any other library needs no adapter: a function of the
`ApplyFn` shape will do.
"""

import contextlib
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors, nnx
from flax import linen as nn

from xguide_jax.models import modes
from xguide_jax.types import ApplyFn, Array, ModelOutput, PRNGKey, PyTree

# Collections that a pass writes for its reader; they are no state of the network.
_TRANSIENT = ("intermediates", "perturbations")

# A Linen module, or a function train -> module where the mode is a field.
LinenModule = nn.Module | Callable[[bool], nn.Module]


def init_linen(
    module: LinenModule,
    key: PRNGKey,
    inputs: PyTree,
    *,
    mode_arguments: modes.ModeArguments | None = None,
) -> tuple[PyTree, PyTree]:
    """Initial parameters and state of a Linen module.

    The module is initialised in eval mode, where it has one.

    Args:
      module: an unbound Linen module, or `train -> module`; as `linen_apply_fn`.
      key: the key of the initial weights.
      inputs: [B, ...] or a pytree of such arrays; only shape and dtype matter.
      mode_arguments: as `linen_apply_fn`.

    Returns:
      (params, model_state): the collection 'params', and the others by name; without
      'intermediates' and 'perturbations', whose shapes are those of one batch, and
      without what `sow` appends to at every pass. What is sown with a `reduce_fn` that
      keeps its structure looks like state: take it out of `model_state` yourself.
    """
    module = _at(module, train=False)
    arguments = modes.call_arguments(
        module, train=False, overrides=None, mode_arguments=mode_arguments
    )
    variables = jax.jit(lambda *args: module.init(*args, **arguments))(key, inputs)
    state = {
        name: value
        for name, value in variables.items()
        if name != "params" and name not in _TRANSIENT
    }
    if any(isinstance(leaf, tuple) for leaf in _variables(state)):
        again = lambda variables, key: module.apply(
            variables, inputs, rngs={"params": key}, mutable=list(state), **arguments
        )[1]
        state = _that_keeps_its_structure(state, jax.eval_shape(again, variables, key))
    return variables.get("params", {}), state


def linen_apply_fn(
    module: LinenModule, *, mode_arguments: modes.ModeArguments | None = None
) -> ApplyFn:
    """A Linen module as an `ApplyFn`.

    The module may return logits [B, C] or a `ModelOutput`. The mode is passed on by
    every usual name that its `__call__` has, with its sense: `train`, `training`,
    `is_training`, `deterministic`, `use_running_average`; and `overrides` if it has
    that. In train mode the collections of `model_state` are mutable; in eval mode
    `model_state` is returned as it came. It keeps its structure: what `sow` appends is
    dropped. `key` feeds the 'dropout' stream, and every other stream that the module
    asks for gets a key of its own, derived from it and the stream's name.

    Args:
      module: an unbound Linen module; or a function `train -> module`, where the mode
        is a field of it or of its layers.
      mode_arguments: `train -> {name: value}`, the keyword arguments of `__call__` that
        say the mode, for other names and for a module that takes `**kwargs`.

    Returns:
      `(params, model_state, inputs, *, train, key, overrides)` ->
      `(ModelOutput, model_state)`. It raises a ValueError for `overrides` that the
      module does not take or names that it does not expose, and for a module without a
      switch that runs dropout or batch norm in the other mode than the pass.
    """
    told = mode_arguments is not None or not isinstance(module, nn.Module)

    def apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        network = _at(module, train=train)
        arguments = modes.call_arguments(
            network, train=train, overrides=overrides, mode_arguments=mode_arguments
        )
        run = lambda rngs: network.apply(
            {"params": params, **model_state},
            inputs,
            rngs=rngs,
            mutable=list(model_state) if train else [],
            **arguments,
        )
        checked: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if not told and not modes.has_switch(network):
            checked = modes.refusing_stuck_layers(network, train=train)
        with checked:
            output, updates = _with_streams(run, key)
        updated = {**model_state, **updates}
        return _as_model_output(output, overrides), _updated(model_state, updated)

    return apply_fn


def nnx_apply_fn(
    model: nnx.Module, *, mode_arguments: modes.ModeArguments | None = None
) -> tuple[ApplyFn, PyTree, PyTree]:
    """An NNX model as an `ApplyFn`, with its present parameters and state.

    The model itself is never changed: each call works on a copy, set to its mode by
    `train()` or `eval()`, and by the usual switches of its `__call__`. Its random
    streams are no state: each call seeds them all from `key`, so equal keys give equal
    dropout masks. Otherwise as `linen_apply_fn`.

    Args:
      model: an NNX model that returns logits [B, C] or a `ModelOutput`.
      mode_arguments: as `linen_apply_fn`.

    Returns:
      (apply_fn, params, model_state): every `nnx.Param`, and every other variable but
      random streams, intermediates and perturbations. `apply_fn` raises a ValueError
      for a pass in train mode without a key if the model holds random streams, and
      where a call without a usual switch runs the layers in the other mode.
    """
    filters = (nnx.Param, nnx.RngState, (nnx.Intermediate, nnx.Perturbation))
    graph, *states = nnx.split(model, *filters, ...)
    params, streams, transient, model_state = states
    stream_leaves, stream_tree = jax.tree.flatten(nnx.to_pure_dict(streams))

    def apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
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
        modes.set_nnx_mode(copy, train=train)
        arguments = modes.call_arguments(
            copy, train=train, overrides=overrides, mode_arguments=mode_arguments
        )
        before = modes.nnx_traces(copy)
        output = _as_model_output(copy(inputs, **arguments), overrides)
        hidden = modes.takes_more(copy) and not modes.has_switch(copy)
        if mode_arguments is None and hidden:
            modes.refuse_stuck_nnx(copy, before, train=train)
        if not train:
            return output, model_state
        after = nnx.to_pure_dict(nnx.split(copy, *filters, ...)[-1])
        return output, _updated(model_state, after)

    return apply_fn, nnx.to_pure_dict(params), nnx.to_pure_dict(model_state)


def _reseed(leaves: list[Array], key: PRNGKey) -> list[Array]:
    """Random streams at their start: own keys drawn from `key`, counts of zero."""
    return [
        jax.random.split(jax.random.fold_in(key, index), leaf.shape)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else jnp.zeros_like(leaf)
        for index, leaf in enumerate(leaves)
    ]


def _at(module: LinenModule, *, train: bool) -> nn.Module:
    return module if isinstance(module, nn.Module) else module(train)


def _with_streams(run: Callable[[dict[str, PRNGKey]], Any], key: PRNGKey | None) -> Any:
    """`run` with a key for every random stream that it asks for."""
    if key is None:
        return run({})
    streams = {"dropout": key}
    while True:
        try:
            return run(streams)
        except errors.InvalidRngError as error:
            # Flax says which stream is missing in the message only.
            asked = re.search(r'needs PRNG for "(.+)"', str(error))
            if asked is None or asked[1] in streams:
                raise
            name = asked[1]
            fold = np.uint32(zlib.crc32(name.encode()))
            streams = {**streams, name: jax.random.fold_in(key, fold)}


def _variables(state: PyTree) -> list[Any]:
    """What the nested dicts of a state hold."""
    return jax.tree.leaves(state, is_leaf=lambda node: not isinstance(node, Mapping))


def _that_keeps_its_structure(before: PyTree, after: PyTree) -> dict[str, PyTree]:
    """The variables of `before` that a pass did not append to, without empty dicts."""
    kept = {}
    for name, value in before.items():
        if isinstance(value, Mapping):
            inner = _that_keeps_its_structure(value, after[name])
            if inner or not value:
                kept[name] = inner
        elif _same_structure(value, after[name]):
            kept[name] = value
    return kept


def _updated(before: PyTree, after: PyTree) -> PyTree:
    """`after` with the structure of `before`: neither new names nor longer tuples."""
    if isinstance(before, Mapping):
        return {name: _updated(before[name], after[name]) for name in before}
    return after if _same_structure(before, after) else before


def _same_structure(one: PyTree, other: PyTree) -> bool:
    structure: Callable[[PyTree], Any] = jax.tree.structure
    return structure(one) == structure(other)


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
