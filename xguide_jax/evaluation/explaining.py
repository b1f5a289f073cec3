"""Explaining a data set many ways, in one compiled program.

An `ExplainFn` says which map, and where; `of_inputs`, `of_layer` and `of_explain` make
one from what there is. The network's variables are an argument of the program, so that
one program serves every arm and seed of an experiment.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from xguide_jax import attributions, ops
from xguide_jax.evaluation import chunking
from xguide_jax.types import (
    ApplyFn,
    Array,
    Forward,
    ModelOutput,
    PredictFn,
    PRNGKey,
    PyTree,
    StepContext,
)

# (predict_fn, inputs, targets) -> maps [B, ...], everything else bound; where a layer
# is explained, (head_fn, features, targets).
Explainer = Callable[[PredictFn, Array, Array], Array]

# (forward, inputs, targets [B], keys [B]) -> maps, a pytree whose leaves begin with B.
# `forward` is the network in eval mode.
ExplainFn = Callable[[Forward, PyTree, Array, PRNGKey], PyTree]


class ExplainRows(Protocol):
    """What `make_explain` returns."""

    def __call__(
        self,
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        targets: Array,
        *,
        key: PRNGKey,
    ) -> dict[str, Any]:
        """{name: maps}, NumPy arrays whose leaves begin with N."""


def of_inputs(explainer: Explainer) -> ExplainFn:
    """An explainer that takes a predict function, at the network's inputs.

    Args:
      explainer: (predict_fn, inputs, targets) -> maps [B, ...], such as
        `functools.partial(attributions.input_gradient, score_fn=target_logit)`.

    Returns:
      An `ExplainFn`.
    """

    def explain(
        forward: Forward, inputs: PyTree, targets: Array, keys: PRNGKey
    ) -> PyTree:
        del keys
        return explainer(lambda x: forward(x).logits, inputs, targets)

    return explain


def of_layer(explainer: Explainer, layer: str) -> ExplainFn:
    """An explainer of a named activation instead of the inputs.

    Args:
      explainer: (head_fn, features, targets) -> maps [B, ...], such as
        `functools.partial(attributions.grad_cam, score_fn=target_logit)`.
      layer: name of an activation that the network exposes, such as 'features'.

    Returns:
      An `ExplainFn`; it raises what `attributions.split_at` raises.
    """

    def explain(
        forward: Forward, inputs: PyTree, targets: Array, keys: PRNGKey
    ) -> PyTree:
        del keys
        head_fn, features = attributions.split_at(forward, inputs, layer)
        return explainer(head_fn, features, targets)

    return explain


def of_explain(explain: Callable[[StepContext], Array]) -> ExplainFn:
    """The maps that a guidance term is about, of a network that is not in training.

    What trained a network and what judges it are then one function. It sees a context
    in which the batch has 'inputs', and 'labels' and 'targets' both the explained
    class, and the clean pass is one in eval mode.

    Args:
      explain: context -> maps [B, ...], one that explains in eval mode.

    Returns:
      An `ExplainFn`; it raises ValueError for an `explain` that asks for train mode or
      for the gradient of the task loss.
    """

    def in_eval_mode(
        forward: Forward, inputs: PyTree, targets: Array, keys: PRNGKey
    ) -> PyTree:
        context = StepContext(
            forward=forward,
            task_input_gradient=_no_task_loss,
            batch={"inputs": inputs, "labels": targets, "targets": targets},
            output=forward(inputs),
            step=jnp.zeros((), jnp.int32),
            key=keys,
            axis_name=None,
        )
        return explain(context)

    return in_eval_mode


def make_explain(
    apply_fn: ApplyFn, explain_fns: Mapping[str, ExplainFn], *, batch_size: int
) -> ExplainRows:
    """One program that explains any number of examples in every way at once.

    Passes that several ways have in common are merged by the compiler. Example i has
    the key `fold_in(key, i)` in all of them: what is drawn for it depends neither on
    the batch size nor on what else is explained.

    Args:
      apply_fn: the network; it is run in eval mode.
      explain_fns: {name: `ExplainFn`}; the names, in this order, are the result's.
      batch_size: B, the examples a call of the compiled program, at least 1.

    Returns:
      `(params, model_state, inputs, targets, *, key) -> {name: maps}`: inputs are
      [N, ...] or a pytree of such, targets int [N], one typed key or [N]; maps are
      NumPy arrays [N, ...], or a pytree of such where an `ExplainFn` returns one.

      It raises ValueError if there is no example, the inputs and targets differ in N,
      or an `ExplainFn` returns leaves that do not begin with B.

    Raises:
      ValueError: if `batch_size` is below 1 or there is no `ExplainFn`.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` (={batch_size}) must be at least 1.")
    if not explain_fns:
        raise ValueError("`explain_fns` must hold at least one function.")
    program = jax.jit(functools.partial(_explain, apply_fn, dict(explain_fns)))

    def explain(
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        targets: Array,
        *,
        key: PRNGKey,
    ) -> dict[str, Any]:
        keys = ops.example_keys(key, len(targets))
        maps = chunking.map_rows(
            lambda rows: program(params, model_state, *rows),
            (inputs, targets, keys),
            batch_size=batch_size,
        )
        # Trees sort the keys of a dict; the names are wanted in the order given.
        return {name: maps[name] for name in explain_fns}

    return explain


def _explain(
    apply_fn: ApplyFn,
    explain_fns: Mapping[str, ExplainFn],
    params: PyTree,
    model_state: PyTree,
    inputs: PyTree,
    targets: Array,
    keys: PRNGKey,
) -> dict[str, PyTree]:
    """Every map of one batch."""

    def forward(
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
        key: PRNGKey | None = None,
    ) -> ModelOutput:
        if train:
            raise ValueError("networks are evaluated in eval mode; `train` is True.")
        output, _ = apply_fn(
            params, model_state, inputs, train=False, key=key, overrides=overrides
        )
        return output

    maps = {}
    for name, explain_fn in explain_fns.items():
        maps[name] = explain_fn(forward, inputs, targets, keys)
        for leaf in jax.tree.leaves(maps[name]):
            if jnp.shape(leaf)[:1] != targets.shape[:1]:
                raise ValueError(
                    f"`explain_fns`[{name!r}] must return {len(targets)} maps, one an "
                    f"example; it returned {list(jnp.shape(leaf))}."
                )
    return maps


def _no_task_loss(train: bool = True) -> Array:
    raise ValueError(
        "`task_input_gradient` is the gradient of a training step's task loss, which "
        "an evaluation has not: explain a score."
    )
