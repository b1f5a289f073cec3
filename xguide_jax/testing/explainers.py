"""A check that users run on their own explainers."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from xguide_jax import ops
from xguide_jax.testing import networks
from xguide_jax.testing.asserting import check, check_close, check_finite
from xguide_jax.types import Array, Explainer, PyTree


def check_explainer(
    explainer: Explainer, *, input_shape: tuple[int, int, int] = (6, 6, 2)
) -> None:
    """Runs an explainer of inputs through what every explainer promises.

    Shaped like the inputs, and float32 like they; the same under `jit`; a batch equals
    its examples one by one; a function of the explanation has a non-zero gradient in
    the network's parameters; explanation and gradient are finite, on zero and constant
    inputs too; float16 inputs give finite float attributions where products and sums
    are beyond float16.

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

    def predict(params: PyTree, inputs: Array) -> Array:
        wide = ops.at_least_float32(inputs)
        return apply_fn(params, model_state, wide, train=False)[0].logits

    def explain(params: PyTree, inputs: Array, targets: Array) -> Array:
        return explainer(functools.partial(predict, params), inputs, targets)

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
    # Gradients of some 10^3 at inputs of some 10^2, both of which float16 holds.
    steep = lambda x: 1e4 * predict(params, x)
    narrow = jax.jit(functools.partial(explainer, steep))(
        (300 * inputs).astype(jnp.float16), targets
    )
    what = "attributions of float16 inputs, to be multiplied and added in float32"
    check(jnp.issubdtype(narrow.dtype, jnp.floating), f"{what}: {narrow.dtype}")
    check_finite(narrow, what)


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
