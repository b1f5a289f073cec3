"""Explaining any layer: a network cut in two at a named activation.

An explainer explains a function at a point. At the input that pair is
`(predict_fn, inputs)`; at a layer it is `(head_fn, features)`. Every explainer of this
package takes either.
"""

from collections.abc import Callable, Mapping
from typing import Any

from xguide_jax.types import Array, ModelOutput, PredictFn


def split_at(
    forward: Callable[..., Any],
    inputs: Array,
    name: str,
    *,
    output: ModelOutput | None = None,
) -> tuple[PredictFn, Array]:
    """The rest of a network behind a named activation, and that activation.

    `head_fn(values)` runs `forward` on the same inputs with the activation *replaced*
    by `values`. What comes before it is then dead code and costs nothing once compiled;
    a connection that skips the layer still sees the true inputs. Gradients flow through
    `features` into the parameters before the layer, and through `head_fn` into those
    behind it.

    Args:
      forward: `(inputs, *, overrides=None)` -> a `ModelOutput`, or a tuple that begins
        with one: a `StepContext.forward`, or an `ApplyFn` with all but the inputs
        bound, `functools.partial(apply_fn, params, model_state, train=False)`. It must
        be deterministic from call to call.
      inputs: float [B, ...].
      name: of an activation that the network exposes, such as 'features'.
      output: what `forward` returned for these inputs, if there is such a pass already.
        Its features are then used: compilers merge equal forward passes, but not the
        backward passes through them.

    Returns:
      head_fn: values like `features` -> logits [B, C].
      features: the activation at `inputs`, e.g. [B, h, w, K] or [B, T, D].

    Raises:
      ValueError: if the network exposes no such activation; it names those present.
    """
    if output is None:
        output = _run(forward, inputs)
    present = output.intermediates
    if name not in present:
        raise ValueError(
            f"`name` (={name!r}) must be an activation that the network exposes; it "
            f"exposes {sorted(present)}."
        )

    def head_fn(values: Array) -> Array:
        return _run(forward, inputs, overrides={name: values}).logits

    return head_fn, present[name]


def _run(
    forward: Callable[..., Any],
    inputs: Array,
    *,
    overrides: Mapping[str, Array] | None = None,
) -> ModelOutput:
    """The output of `forward`, without the next model state where it returns one."""
    returned = forward(inputs, overrides=overrides)
    return returned if isinstance(returned, ModelOutput) else returned[0]
