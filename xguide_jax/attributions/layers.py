"""Explaining any layer: a network cut in two at a named activation.

An explainer explains a function at a point. At the input that pair is
`(predict_fn, inputs)`; at a layer it is `(head_fn, features)`. Every explainer of this
package takes either. For several layers there are two questions: `split_each` asks of
each layer what the output owes to it, `split_at` with several names asks what it owes
to them together.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from xguide_jax.types import Array, ModelOutput, PredictFn

# A head of several activations: their values, in the order of their names -> logits.
JointHead = Callable[[tuple[Array, ...]], Array]


@overload
def split_at(
    forward: Callable[..., Any],
    inputs: Any,
    name: str,
    *,
    output: ModelOutput | None = None,
) -> tuple[PredictFn, Array]: ...


@overload
def split_at(
    forward: Callable[..., Any],
    inputs: Any,
    name: Sequence[str],
    *,
    output: ModelOutput | None = None,
) -> tuple[JointHead, tuple[Array, ...]]: ...


def split_at(
    forward: Callable[..., Any],
    inputs: Any,
    name: str | Sequence[str],
    *,
    output: ModelOutput | None = None,
) -> tuple[Any, Any]:
    """The rest of a network behind a named activation, and that activation.

    `head_fn(values)` runs `forward` on the same inputs with the activation *replaced*
    by `values`. What comes before it is then dead code and costs nothing once compiled;
    a connection that skips the layer still sees the true inputs. Gradients flow through
    `features` into the parameters before the layer, and through `head_fn` into those
    behind it.

    Several names replace several activations at once, e.g. all that connect the input
    with the output. The gradient in one of them is then a *partial* derivative: where
    one lies behind another, the later one is held and hides all that passes through it.
    For the derivative of the output in each of several layers, take `split_each`.

    Args:
      forward: `(inputs, *, overrides=None)` -> a `ModelOutput`, or a tuple that begins
        with one: a `StepContext.forward`, or an `ApplyFn` with all but the inputs
        bound, `functools.partial(apply_fn, params, model_state, train=False)`. It must
        be deterministic from call to call.
      inputs: float [B, ...], or whatever `forward` takes.
      name: of an activation that the network exposes, such as 'features'; or several
        names.
      output: what `forward` returned for these inputs, if there is such a pass already.
        Its features are then used: compilers merge equal forward passes, but not the
        backward passes through them.

    Returns:
      head_fn: values like `features` -> logits [B, C].
      features: the activation at `inputs`, e.g. [B, h, w, K] or [B, T, D]; for several
        names a tuple in their order.

    Raises:
      ValueError: if the network exposes no such activation; it names those present. If
        there is no name, or one twice.
    """
    if output is None:
        output = _run(forward, inputs)
    features = _pick(output, name)

    def head_fn(values: Any) -> Array:
        replaced = {name: values} if isinstance(name, str) else _zip(name, values)
        return _run(forward, inputs, overrides=replaced).logits

    return head_fn, features


def split_each(
    forward: Callable[..., Any],
    inputs: Any,
    names: Sequence[str],
    *,
    output: ModelOutput | None = None,
) -> tuple[tuple[PredictFn, ...], tuple[Array, ...]]:
    """A head for each of several layers, and the layers' activations.

    Each head replaces its own activation only, so its gradient is the total derivative
    dY/dA_l, everything behind the layer following. That is what methods mean which
    weigh several layers by their gradients. The activations are those of one pass; each
    head costs what stands behind its layer.

    Args:
      forward: as for `split_at`.
      inputs: as for `split_at`.
      names: of activations that the network exposes.
      output: as for `split_at`.

    Returns:
      head_fns: for each name, values like its activation -> logits [B, C].
      features: the activations at `inputs`, in the order of the names.

    Raises:
      ValueError: as `split_at`.
    """
    if output is None:
        output = _run(forward, inputs)
    features = _pick(output, tuple(names))
    heads = [split_at(forward, inputs, name, output=output)[0] for name in names]
    return tuple(heads), features


@overload
def layer_baseline(forward: Callable[..., Any], baselines: Any, name: str) -> Array: ...


@overload
def layer_baseline(
    forward: Callable[..., Any], baselines: Any, name: Sequence[str]
) -> tuple[Array, ...]: ...


def layer_baseline(
    forward: Callable[..., Any], baselines: Any, name: str | Sequence[str]
) -> Any:
    """A baseline of the input, carried to a layer.

    z_b = φ(x_b), φ the network up to the layer. Attributions of the head h between z_b
    and z = φ(x) then add up to h(z) − h(z_b) = f(x) − f(x_b) at every layer, so that
    layers can be compared; features of 0 are in general those of no input, and the
    target changes from layer to layer.

    That holds where all that the output knows of the input passes through the layer. A
    connection that skips it still sees x, not x_b: h(z_b) is then a mixture of the two,
    and h(z) − h(z_b) is what the layer alone adds, *not* f(x) − f(x_b). Compare
    `attribution_target` of the head with that of the network, or cut the skip too: name
    it beside the layer, here and in `split_at`.

    Args:
      forward: as for `split_at`.
      baselines: float [B, ...], of the shape of the inputs, or whatever `forward`
        takes.
      name: as for `split_at`.

    Returns:
      The activation at the baselines, like the features of `split_at`; a tuple for
      several names. Gradients flow into the parameters before the layer.

    Raises:
      ValueError: as `split_at`.
    """
    return _pick(_run(forward, baselines), name)


def _pick(output: ModelOutput, name: str | Sequence[str]) -> Any:
    """The activation called `name`, or a tuple of them."""
    present = output.intermediates
    names = (name,) if isinstance(name, str) else tuple(name)
    for one in names:
        if one not in present:
            raise ValueError(
                f"`name` (={one!r}) must be an activation that the network exposes; it "
                f"exposes {sorted(present)}."
            )
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`name` (={names}) must be one or more different names.")
    return present[name] if isinstance(name, str) else tuple(map(present.get, names))


def _zip(names: Sequence[str], values: tuple[Array, ...]) -> dict[str, Array]:
    if len(values) != len(names):
        raise ValueError(
            f"`values` ({len(values)} of them) must be one for each of {tuple(names)}."
        )
    return dict(zip(names, values, strict=True))


def _run(
    forward: Callable[..., Any],
    inputs: Any,
    *,
    overrides: Mapping[str, Array] | None = None,
) -> ModelOutput:
    """The output of `forward`, without the next model state where it returns one."""
    returned = forward(inputs, overrides=overrides)
    return returned if isinstance(returned, ModelOutput) else returned[0]
