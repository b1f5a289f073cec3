"""Checks that users run on their own explainers and terms.

Each returns None, or raises AssertionError saying which promise is broken. A term whose
loss is reduced, or that needs what the batch lacks, is refused by the objective itself,
with its ValueError.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from xguide_jax import training
from xguide_jax.testing import networks
from xguide_jax.types import (
    ApplyFn,
    Array,
    Batch,
    GuidanceTerm,
    ModelOutput,
    PredictFn,
    PyTree,
)

Explainer = Callable[[PredictFn, Array, Array], Array]


class Evaluation(NamedTuple):
    """A term's loss [], next states and gradient, evaluated once."""

    loss: Array
    states: PyTree
    gradient: PyTree


def check_explainer(
    explainer: Explainer, *, input_shape: tuple[int, int, int] = (6, 6, 2)
) -> None:
    """Runs an explainer of inputs through what every explainer promises.

    Shape and dtype of the inputs; the same under `jit`; a batch equals its examples
    one by one; a function of the explanation has a non-zero gradient in the network's
    parameters; explanation and gradient are finite, on zero and constant inputs too.

    Args:
      explainer: (predict_fn, inputs, targets) -> attributions shaped like the inputs.
      input_shape: (H, W, C) to try it on, H and W even.

    Raises:
      AssertionError: naming the promise that is broken.
    """
    apply_fn, params, model_state = networks.smooth_network(
        jax.random.key(0), input_shape=input_shape
    )
    batch = networks.example_batch(jax.random.key(1), input_shape=input_shape)
    inputs, targets = batch["inputs"], batch["labels"]

    def explain(params: PyTree, inputs: Array, targets: Array) -> Array:
        predict = lambda x: apply_fn(params, model_state, x, train=False)[0].logits
        return explainer(predict, inputs, targets)

    _check_values(functools.partial(explain, params), inputs, targets)

    def magnitude(params: PyTree, inputs: Array) -> Array:
        return jnp.sum(jnp.square(explain(params, inputs, targets)))

    differentiate = jax.jit(jax.grad(magnitude))
    gradient = differentiate(params, inputs)
    _check_finite(gradient, "the gradient in the parameters")
    _check(
        optax.tree.norm(gradient) > 0,
        "the explanation has no gradient in the network's parameters: it cannot guide",
    )
    for value in (0.0, 1.0):
        gradient = differentiate(params, jnp.full_like(inputs, value))
        what = f"the gradient in the parameters, for inputs that are all {value}"
        _check_finite(gradient, what)


def _check_values(
    explain: Callable[[Array, Array], Array], inputs: Array, targets: Array
) -> None:
    attributions = explain(inputs, targets)
    _check(
        attributions.shape == inputs.shape and attributions.dtype == inputs.dtype,
        f"attributions are {attributions.dtype}{attributions.shape}, "
        f"inputs {inputs.dtype}{inputs.shape}",
    )
    compiled = jax.jit(explain)
    _check_close(compiled(inputs, targets), attributions, "jit changes the result")
    pairs = zip(inputs, targets, strict=True)
    singles = jnp.concatenate([compiled(x[None], y[None]) for x, y in pairs])
    _check_close(singles, attributions, "a batch differs from its examples")
    for value in (0.0, 1.0):
        constant = compiled(jnp.full_like(inputs, value), targets)
        _check_finite(constant, f"attributions of inputs that are all {value}")


def check_guidance_term(
    term: GuidanceTerm,
    *,
    batch: Batch | None = None,
    network: tuple[ApplyFn, PyTree, PyTree] | None = None,
) -> None:
    """Runs a term through what the training step expects of it.

    One loss and weight an example; the carried state keeps its structure; the same
    under `jit`, traced once, also when the state is carried on; a non-zero, finite
    gradient in the network's parameters; zero weight gives zero loss and gradient;
    finite on zero and constant inputs; two devices give the loss, gradient and state of
    one, the states equal on both.

    Args:
      term: any term that does not rely on dropout.
      batch: what to try it on, an even number of examples; `example_batch` by default.
      network: (apply_fn, params, model_state) for that batch; `smooth_network` by
        default.

    Raises:
      AssertionError: naming the promise that is broken.
      ValueError: if a loss or weight is not [B], or the batch lacks an entry.
    """
    if batch is None:
        batch = networks.example_batch(jax.random.key(1))
    given = {name: jnp.asarray(value) for name, value in batch.items()}
    # With weights throughout, one compiled program serves every batch below.
    batch = {"weight": jnp.ones(len(given["inputs"])), **given}
    network = network or networks.smooth_network(jax.random.key(0))
    value_of, params, states, traces = _value_of(term, network, batch)
    evaluate = _evaluation_of(value_of, params)
    compiled = jax.jit(evaluate)
    result = compiled(batch, states)
    chex.assert_trees_all_equal_shapes_and_dtypes(result.states, states)
    _check_finite(result, "loss, state or gradient")
    _check(
        optax.tree.norm(result.gradient["model"]) > 0,
        "the loss has no gradient in the network's parameters: it cannot guide",
    )
    eager = value_of(params, given, states)
    _check_close(eager, result[:2], "jit changes the result")
    traces.clear()
    for value in (0.0, 1.0):
        constant = {**batch, "inputs": jnp.full_like(batch["inputs"], value)}
        carried_on = compiled(constant, result.states)
        _check_finite(carried_on, f"inputs that are all {value}")
    _check(not traces, "the same shapes are traced again")
    silent = compiled({**batch, "weight": jnp.zeros(len(batch["inputs"]))}, states)
    _check(
        silent.loss == 0 and optax.tree.norm(silent.gradient) == 0,
        "a batch of weight 0 has a loss or gradient that is not 0",
    )
    _check_two_devices(lambda b: evaluate(b, states, "devices"), batch, result)


def _value_of(
    term: GuidanceTerm, network: tuple[ApplyFn, PyTree, PyTree], batch: Batch
) -> tuple[Callable[..., tuple[Array, PyTree]], PyTree, PyTree, list[None]]:
    """A function to loss and next states; first params, states; an entry a call."""
    apply_fn, params, model_state = network
    terms = {"term": term}
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optax.identity(), batch
    )
    calls: list[None] = []

    def value_of(
        params: PyTree, batch: Batch, states: PyTree, axis_name: str | None = None
    ) -> tuple[Array, PyTree]:
        calls.append(None)
        objective = training.make_objective(
            apply_fn, terms, task_loss=_no_task_loss, axis_name=axis_name
        )
        loss, aux = objective(params, state._replace(guidance_state=states), batch)
        return loss, aux.guidance_state

    return value_of, state.params, state.guidance_state, calls


def _evaluation_of(
    value_of: Callable[..., tuple[Array, PyTree]], params: PyTree
) -> Callable[..., Evaluation]:
    differentiate = jax.value_and_grad(value_of, has_aux=True)

    def evaluate(
        batch: Batch, states: PyTree, axis_name: str | None = None
    ) -> Evaluation:
        (loss, next_states), gradient = differentiate(params, batch, states, axis_name)
        return Evaluation(loss, next_states, gradient)

    return evaluate


def _no_task_loss(output: ModelOutput, batch: Batch) -> Array:
    del batch
    return 0.0 * output.logits[:, 0]


def _check_two_devices(
    on_device: Callable[[Batch], Evaluation], batch: Batch, expected: Evaluation
) -> None:
    shards = jax.tree.map(lambda x: x.reshape(2, len(x) // 2, *x.shape[1:]), batch)
    both = jax.jit(jax.vmap(on_device, axis_name="devices"))(shards)
    loss, gradient = jax.tree.map(
        lambda x: jnp.sum(x, axis=0), (both.loss, both.gradient)
    )
    _check_close(loss, expected.loss, "the loss of two devices differs from one's")
    _check_close(
        gradient, expected.gradient, "two devices' gradient differs from one's"
    )
    first, second = (jax.tree.map(lambda x, i=i: x[i], both.states) for i in (0, 1))
    _check_close(first, second, "the carried state differs between devices")
    _check_close(
        first, expected.states, "the carried state of two devices is not one's"
    )


def _check(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _check_finite(tree: PyTree, what: str) -> None:
    finite = all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))
    _check(finite, f"{what}: not finite")


def _check_close(actual: PyTree, expected: PyTree, message: str) -> None:
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = max(1e-6, float(jnp.max(jnp.abs(b)))) if b.size else 1.0
        error = float(jnp.max(jnp.abs(a - b))) / scale if b.size else 0.0
        _check(error <= 1e-4, f"{message} (relative error {error:.1e})")
