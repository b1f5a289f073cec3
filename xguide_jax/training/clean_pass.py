"""The pass in train mode that everything of a step shares, forwards and backwards."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax.types import ApplyFn, Array, ModelOutput, PRNGKey, PyTree


class CleanPass(NamedTuple):
    """The pass in train mode that the task loss is taken of.

    Attributes:
      output: what the network returned.
      model_state: the next one.
      input_pullback: see `StepContext`.
    """

    output: ModelOutput
    model_state: PyTree
    input_pullback: Callable[[Array], Array] | None


def run(
    apply_fn: ApplyFn,
    params: PyTree,
    model_state: PyTree,
    inputs: PyTree,
    *,
    key: PRNGKey,
    with_pullback: bool,
) -> CleanPass:
    """Runs the network in train mode, once.

    Args:
      apply_fn: the network.
      params: its parameters.
      model_state: batch statistics and the like.
      inputs: [B, ...], or a pytree of such arrays.
      key: of dropout.
      with_pullback: also keep the way back to the inputs, which costs tracing; what no
        term takes of it is no part of the program.

    Returns:
      A `CleanPass`.
    """

    def forward(inputs: PyTree) -> tuple[Array, tuple[ModelOutput, PyTree]]:
        output, after = apply_fn(params, model_state, inputs, train=True, key=key)
        return output.logits, (output, after)

    is_array = hasattr(inputs, "dtype") and jnp.issubdtype(inputs.dtype, jnp.floating)
    if not (with_pullback and is_array):
        return CleanPass(*forward(inputs)[1], None)
    try:
        _, pull, (output, after) = jax.vjp(forward, inputs, has_aux=True)
    except (ValueError, TypeError, NotImplementedError):
        # Such as a callback on the inputs, without a derivative: what is explained
        # there says so. A fault of the network itself is raised again.
        return CleanPass(*forward(inputs)[1], None)
    return CleanPass(output, after, jax.tree_util.Partial(_pull_back, pull))


def _pull_back(pull: Callable[[Array], tuple[Array]], cotangent: Array) -> Array:
    return pull(cotangent)[0]
