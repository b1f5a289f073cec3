"""A check that users run on their own networks, of whatever library."""

import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from xguide_jax import ops
from xguide_jax.testing.asserting import check, check_close, check_finite, close
from xguide_jax.types import ApplyFn, Array, ModelOutput, PyTree

# The same numbers, but for the order of a sum.
_SAME = 1e-6


class _Replaced(NamedTuple):
    """A pass with one activation replaced: logits, and gradients of their sum."""

    logits: Array
    in_values: Array
    in_params: PyTree  # through the replaced activation and past it


def check_apply_fn(
    apply_fn: ApplyFn,
    params: PyTree,
    model_state: PyTree,
    inputs: PyTree,
    *,
    skips: Collection[str] = (),
    modes_differ: bool | None = None,
) -> None:
    """Runs a network of your own through the whole contract of `types.ApplyFn`.

    Output: a `ModelOutput`, logits float [B, C], finite, with a gradient in the
    parameters. Eval mode: no key is needed and none changes anything, the state
    comes back as it was, examples do not see each other, `jit` gives the same. Train
    mode: a pass is a function of its key, and the state keeps its structure, shapes and
    dtypes from step to step. Overrides: an exposed activation that is replaced by its
    clean value changes nothing, by another one the logits; what comes before it is then
    dead code; the gradient in the replacement completes the chain rule; a name that is
    not exposed is refused, since it would be ignored in silence.

    Args:
      apply_fn: the network.
      params: its parameters.
      model_state: its batch statistics and the like, () if none.
      inputs: [B, ...] or a nest of such arrays, at least two examples that differ.
      skips: activations that a connection skips, so that the inputs still reach the
        logits when the activation is replaced.
      modes_differ: whether dropout or batch norm make a pass in train mode another one
        than in eval mode. None: they do if there is a `model_state`.

    Raises:
      AssertionError: naming the promise that is broken.
      ValueError: if `inputs` hold fewer than two examples, or `skips` names what is not
        exposed.
    """
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(sizes) != 1 or min(sizes) < (2,):
        raise ValueError(
            f"`inputs` (of lengths {sorted(sizes)}) must be [B, ...], B at least 2."
        )
    ((size,),) = sizes
    evaluate = functools.partial(apply_fn, params, model_state, train=False)
    output = _checked_output(evaluate, inputs, size)
    unknown = sorted(set(skips) - set(output.intermediates))
    if unknown:
        raise ValueError(
            f"`skips` names {unknown}; the network exposes "
            f"{sorted(output.intermediates)}."
        )
    _check_eval_mode(evaluate, model_state, inputs, output)
    _check_train_mode(
        functools.partial(apply_fn, train=True), params, model_state, inputs, output,
        bool(jax.tree.leaves(model_state)) if modes_differ is None else modes_differ,
    )  # fmt: skip
    gradient = _gradient(apply_fn, params, model_state, inputs)
    for name, activation in output.intermediates.items():
        replace = _replacing(apply_fn, params, model_state, name)
        _check_override(
            replace, name, inputs, activation, output.logits, gradient,
            skipped=name in skips,
        )  # fmt: skip
    try:
        evaluate(inputs, overrides={"no such layer": jnp.zeros((size, 1))})
    except Exception:
        return
    raise AssertionError(
        "`overrides` may name what is not exposed, and nothing is said: a misspelt "
        "layer would be ignored"
    )


def _checked_output(
    evaluate: Callable[..., Any], inputs: PyTree, size: int
) -> ModelOutput:
    """The output of the first pass in eval mode, if it is one."""
    try:
        returned = evaluate(inputs)
    except Exception as error:
        raise AssertionError(
            f"a pass in eval mode, `train=False` without a key, fails: {error}"
        ) from error
    check(
        isinstance(returned, tuple)
        and len(returned) == 2
        and isinstance(returned[0], ModelOutput),
        f"apply_fn must return (ModelOutput, model_state); got {type(returned)}",
    )
    output = returned[0]
    logits = output.logits
    check(
        logits.ndim == 2
        and len(logits) == size
        and jnp.issubdtype(logits.dtype, jnp.floating),
        f"logits are {logits.dtype}{list(logits.shape)}; they must be float [B, C], "
        f"B = {size}",
    )
    for name, activation in output.intermediates.items():
        check(
            jnp.shape(activation)[:1] == (size,),
            f"{name!r} has shape {jnp.shape(activation)}; an activation is [B, ...], "
            f"B = {size}",
        )
    check_finite(output, "logits or activations")
    return output


def _check_eval_mode(
    evaluate: Callable[..., Any], state: PyTree, inputs: PyTree, output: ModelOutput
) -> None:
    with_key, next_state = evaluate(inputs, key=jax.random.key(1))
    check_close(
        with_key.logits, output.logits, "a key changes a pass in eval mode",
        tolerance=_SAME,
    )  # fmt: skip
    _check_same_kind(next_state, state, "eval")
    check_close(next_state, state, "a pass in eval mode changes the state", tolerance=0)
    compiled = jax.jit(lambda inputs: evaluate(inputs)[0])
    check_close(compiled(inputs), output, "jit changes the output")
    others = _others(inputs)
    check(
        not close(compiled(others).logits, output.logits),
        "the logits are the same for other inputs; give examples that differ",
    )
    first = lambda tree: jax.tree.map(lambda leaf: leaf[:1], tree)
    mixed = jax.tree.map(lambda x, y: jnp.concatenate([x[:1], y[1:]]), inputs, others)
    check_close(
        first(compiled(mixed)), first(output),
        "an example's output depends on the other examples in eval mode",
    )  # fmt: skip


def _check_train_mode(
    apply: Callable[..., tuple[ModelOutput, PyTree]],
    params: PyTree,
    model_state: PyTree,
    inputs: PyTree,
    clean: ModelOutput,
    modes_differ: bool,
) -> None:
    step = jax.jit(lambda state, key: apply(params, state, inputs, key=key))
    output, state = step(model_state, jax.random.key(1))
    _check_same_kind(state, model_state, "train")
    _check_same_kind(step(state, jax.random.key(2))[1], model_state, "train")
    check(
        output.logits.shape == clean.logits.shape
        and sorted(output.intermediates) == sorted(clean.intermediates),
        "train and eval mode differ in the shape of the logits or in what is exposed",
    )
    check_finite((output, state), "a pass in train mode")
    # Not the compiled one, which could not show a draw from elsewhere.
    again, _ = apply(params, model_state, inputs, key=jax.random.key(1))
    check_close(
        again.logits, output.logits,
        "a pass in train mode is no function of its key (or jit changes it)",
    )  # fmt: skip
    check(
        not modes_differ
        or not close(output.logits, clean.logits)
        or not close(state, model_state),
        "a pass in train mode is that of eval mode and leaves the state as it was: is "
        "`train` passed on? (`modes_differ=False` if this is meant)",
    )


def _gradient(
    apply_fn: ApplyFn, params: PyTree, model_state: PyTree, inputs: PyTree
) -> PyTree:
    """Of the logits' weighted sum in the parameters; finite, and not zero."""
    kinds = {jnp.result_type(leaf) for leaf in jax.tree.leaves(params)}
    check(
        all(jnp.issubdtype(kind, jnp.floating) for kind in kinds),
        f"params hold {sorted(map(str, kinds))}; an optimiser updates every leaf, so "
        "that all must be float: what is not belongs to model_state",
    )

    @jax.jit
    def gradient(params: PyTree) -> PyTree:
        total = lambda params: _weighted_sum(
            apply_fn(params, model_state, inputs, train=False)[0].logits
        )
        return jax.grad(total)(params)

    of_params = gradient(params)
    check_finite(of_params, "the gradient in the parameters")
    check(
        optax.tree.norm(of_params) > 0,
        "the logits have no gradient in the parameters",
    )
    return of_params


def _replacing(
    apply_fn: ApplyFn, params: PyTree, model_state: PyTree, name: str
) -> Callable[[PyTree, Array], _Replaced]:
    """(inputs, values) -> the pass with `name` replaced by `values`, compiled."""

    @jax.jit
    def replaced(inputs: PyTree, values: Array) -> _Replaced:
        evaluate = lambda params, overrides: apply_fn(
            params, model_state, inputs, train=False, overrides=overrides
        )[0]

        def total(params: PyTree, values: Array) -> tuple[Array, Array]:
            logits = evaluate(params, {name: values}).logits
            return _weighted_sum(logits), logits

        (past, in_values), logits = jax.grad(total, (0, 1), has_aux=True)(
            params, values
        )
        activation = lambda params: evaluate(params, None).intermediates[name]
        (through,) = jax.vjp(activation, params)[1](in_values)
        return _Replaced(logits, in_values, jax.tree.map(jnp.add, past, through))

    return replaced


def _check_override(
    replace: Callable[[PyTree, Array], _Replaced],
    name: str,
    inputs: PyTree,
    activation: Array,
    logits: Array,
    gradient: PyTree,
    *,
    skipped: bool,
) -> None:
    if not jnp.issubdtype(activation.dtype, jnp.floating):
        return
    clean = replace(inputs, activation)
    of = f"the override of {name!r}"
    check_close(clean.logits, logits, f"{of} by its clean value changes the logits")
    changed = replace(inputs, 1.5 * activation + jnp.asarray(0.5, activation.dtype))
    check(not close(changed.logits, logits), f"{of} changes nothing")
    check(jnp.any(clean.in_values != 0), f"{of} has no gradient")
    flat = lambda tree: jax.flatten_util.ravel_pytree(tree)[0]
    check_close(
        flat(clean.in_params), flat(gradient),
        f"{of} has another gradient than the activation: the chain rule does not hold",
        tolerance=1e-3,
    )  # fmt: skip
    other = replace(_others(inputs), activation)
    check(
        skipped or close(other.logits, clean.logits, tolerance=_SAME),
        f"{of} does not replace it: the inputs still change the logits (an activation "
        "that a connection skips belongs in `skips`)",
    )


def _check_same_kind(state: PyTree, expected: PyTree, mode: str) -> None:
    kind = lambda tree: jax.tree.map(
        lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree
    )
    check(
        kind(state) == kind(expected),
        f"a pass in {mode} mode returns a state of another structure, shape or dtype: "
        f"{kind(state)} after {kind(expected)}",
    )


def _weighted_sum(logits: Array) -> Array:
    """Different weights, since the softmax hides a sum of all logits."""
    logits = ops.at_least_float32(logits)
    weights = jnp.cos(jnp.arange(logits.size, dtype=logits.dtype))
    return jnp.sum(weights.reshape(logits.shape) * logits)


def _others(inputs: PyTree) -> PyTree:
    """Each example another one of the batch."""
    return jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), inputs)
