"""A check that users run on their own explainers."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from xguide_jax.testing import networks
from xguide_jax.testing.asserting import check, check_close, check_finite
from xguide_jax.types import Array, PredictFn, PyTree

Explainer = Callable[[PredictFn, Array, Array], Array]


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
    check_finite(gradient, "the gradient in the parameters")
    check(
        optax.tree.norm(gradient) > 0,
        "the explanation has no gradient in the network's parameters: it cannot guide",
    )
    for value in (0.0, 1.0):
        gradient = differentiate(params, jnp.full_like(inputs, value))
        what = f"the gradient in the parameters, for inputs that are all {value}"
        check_finite(gradient, what)


def _check_values(
    explain: Callable[[Array, Array], Array], inputs: Array, targets: Array
) -> None:
    attributions = explain(inputs, targets)
    check(
        attributions.shape == inputs.shape and attributions.dtype == inputs.dtype,
        f"attributions are {attributions.dtype}{attributions.shape}, "
        f"inputs {inputs.dtype}{inputs.shape}",
    )
    compiled = jax.jit(explain)
    check_close(compiled(inputs, targets), attributions, "jit changes the result")
    pairs = zip(inputs, targets, strict=True)
    singles = jnp.concatenate([compiled(x[None], y[None]) for x, y in pairs])
    check_close(singles, attributions, "a batch differs from its examples")
    for value in (0.0, 1.0):
        constant = compiled(jnp.full_like(inputs, value), targets)
        check_finite(constant, f"attributions of inputs that are all {value}")
