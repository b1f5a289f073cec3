"""DeepLIFT: the change of a score shared out by the changes that made it."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions import integrated
from xguide_jax.attributions.propagation import (
    graph as graphs,
)
from xguide_jax.attributions.propagation import (
    linear,
    scoring,
    walking,
)
from xguide_jax.attributions.propagation.walking import (
    Contributions,
    PrimitiveRule,
    Walk,
)
from xguide_jax.types import Array, PredictFn, ScoreFn

# A change this small beside its ends is rounding: the derivative takes its place.
_SMALLEST_CHANGE = 1e-5


def deep_lift(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    baselines: Array | float,
    score_fn: ScoreFn,
    primitive_rules: Mapping[str, PrimitiveRule] | None = None,
) -> Array:
    """Attributions that add up to the score's change, in one pass forwards and back.

    A_i = m_i (x_i − b_i) with a multiplier m for every value v of the function, the
    change of the score for a change Δv = v(x) − v(b), carried back as gradients are:

    * linear primitives: transposed, as in a gradient;
    * a function of one value, place by place (ReLU, GELU, tanh, a part of a softmax):
      Δf / Δv, the *rescale rule*; its derivative halfway where Δv is only rounding;
    * products u v of two values that both change (attention, gates): the mean of v at x
      and b for u, and of u for v, which is Shapley's value of the two; u / v likewise
      as u · (1/v), and a product of matrices as well;
    * maxima (pooling): where the maximum rises the place that has it at x is given the
      rise, where it falls the place that had it at b.

    Each rule is complete, so that Σ_i A_i = f(x) − f(b) exactly, at any depth: batch
    and layer norm in eval mode, softmax, residual connections and concatenations fall
    out. `jit`, `remat`, custom derivatives, `cond` (whose branches are all run) and
    `scan` are entered; what a function holds constant is not: values are shared out.
    Compile it: it is some hundred small steps. Differentiable again, in the inputs, the
    baselines and the parameters.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C], any function that JAX can trace; no
        example may depend on another one.
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      baselines: float, broadcastable to the shape of `inputs`, in the same units.
      score_fn: (logits, targets) -> [B]; see `scores`.
      primitive_rules: name of a primitive -> `propagation.walking.PrimitiveRule`, for
        one that has no rule here or in place of it; None adds none.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score; 0 wherever
      input and baseline agree.

    Raises:
      NotImplementedError: for a primitive without a rule, naming it and the line that
        called it.
      AssertionError: as `input_gradient`.
      ValueError: if the baselines do not broadcast to the inputs or are the inputs
        themselves.

    Source: Shrikumar, Greenside, Kundaje, "Learning Important Features Through
      Propagating Activation Differences", ICML 2017, the rescale rule; the midpoint for
      products is that of Lundberg and Lee's Shapley values for two factors (ours for
      matrices). Captum's `DeepLift` agrees on convolutions, dense layers, elementwise
      functions and average pooling; behind a ReLU its max-pooling was not complete
      where we compared the two (tests/attributions/test_against_captum.py), and it
      takes the gradient of products.
    """
    if baselines is inputs:
        raise ValueError(
            "`baselines` must not be the inputs themselves: the map of an input that "
            "is its own baseline is 0 everywhere."
        )
    baselines = integrated.broadcast_baselines(baselines, inputs)
    graph = scoring.trace_score(predict_fn, inputs, targets, score_fn)
    walk = Walk(graph, [inputs, baselines])
    start = jnp.ones(inputs.shape[:1], jnp.float32)
    multipliers = walk.back(start, _rule, primitive_rules)
    return multipliers * (
        ops.at_least_float32(inputs) - ops.at_least_float32(baselines)
    )


def _rule(walk: Walk, op: graphs.Op, carried: list[Array | None]) -> Contributions:
    parents = walk.parents
    operands = parents.operands(op)
    output = op.outputs[0]
    if (parent := parents.parent(output)) is not None:
        (multiplier,) = carried
        assert multiplier is not None
        if parents.is_affine(output):
            (share,) = walk.pull_back(op, carried, [parent], walk.values())
            return [(parent, share)]
        return [(parent, multiplier * _slope(walk, output, parent))]
    if op.name in linear.MOVES | linear.SUMS or _is_linear(walk, op, operands):
        shares = walk.pull_back(op, carried, operands, walk.values())
        return list(zip(operands, shares, strict=True))
    if op.name in linear.PRODUCTS or op.name == "mul":
        middle = {each: _middle(walk, each) for each in operands}
        shares = walk.pull_back(op, carried, operands, middle)
        return list(zip(operands, shares, strict=True))
    if op.name == "div":
        return _quotient(walk, op, carried)
    if op.name in linear.EXTREMES or op.name in ("max", "min"):
        return _extreme(walk, op, carried, operands)
    raise walking.refuse("deep_lift", op)


def _is_linear(walk: Walk, op: graphs.Op, operands: list[int]) -> bool:
    """Whether an op is linear in its inputs that depend on the argument, together."""
    if op.name in ("add", "add_any", "sub", "neg"):
        return True
    if op.name in linear.PRODUCTS:
        return len([ref for ref in op.inputs if ref in operands]) == 1
    if op.name in ("mul", "div"):  # broadcast: of one value it would have a parent
        return len(operands) == 1 and op.inputs[1] not in operands
    return op.name == "select_n" and op.inputs[0] not in operands


def _middle(walk: Walk, number: int) -> Array:
    return (walk.value(number, 0) + walk.value(number, 1)) / 2


def _slope(walk: Walk, output: int, parent: int) -> Array:
    """Δf / Δv, and the derivative of f where v hardly changes."""
    v, w = (ops.at_least_float32(walk.value(parent, p)) for p in (0, 1))
    f, g = (ops.at_least_float32(walk.value(output, p)) for p in (0, 1))
    is_small = jnp.abs(v - w) <= _SMALLEST_CHANGE * (jnp.abs(v) + jnp.abs(w))
    # A double `where`: 0/0 in the branch not taken would still be a NaN gradient.
    ratio = (f - g) / jnp.where(is_small, 1.0, v - w)
    function = walk.parents.function(output, parent, walk.values())
    middle = _middle(walk, parent)
    _, derivative = jax.jvp(function, (middle,), (jnp.ones_like(middle),))
    return jnp.where(is_small, ops.at_least_float32(derivative), ratio)


def _quotient(walk: Walk, op: graphs.Op, carried: list[Array | None]) -> Contributions:
    """The quotient u / v as u times 1 / v; Δ(1/v) = −Δv / (v(x) v(b)) exactly."""
    (multiplier,) = carried
    assert multiplier is not None
    top, bottom = op.inputs
    wide = lambda ref, point: ops.at_least_float32(walk.value(ref, point))
    v, w = wide(bottom, 0), wide(bottom, 1)
    shares = {
        top: multiplier * (1 / v + 1 / w) / 2,
        bottom: -multiplier * (wide(top, 0) + wide(top, 1)) / (2 * v * w),
    }
    return [
        (ref, walking.unbroadcast(share, jnp.shape(walk.value(ref))))
        for ref, share in shares.items()
        if isinstance(ref, int) and ref in walk.graph.depending
    ]


def _extreme(
    walk: Walk, op: graphs.Op, carried: list[Array | None], operands: list[int]
) -> Contributions:
    """A rise is that of the place that is the maximum now, a fall of the one that was.

    Whoever is the maximum at x has risen at least as much as the maximum has, and
    whoever was it at b has fallen as much, so the division is safe.
    """
    (multiplier,) = carried
    assert multiplier is not None
    new, old = (ops.at_least_float32(walk.value(op.outputs[0], p)) for p in (0, 1))
    is_minimum = op.name.endswith("min")
    rise = jnp.maximum(new - old, 0.0)
    fall = jnp.minimum(new - old, 0.0)
    to_new, to_old = (fall, rise) if is_minimum else (rise, fall)
    shares = []
    for point, part in enumerate((to_new, to_old)):
        pulled = functools.partial(_pull_at, walk, op, operands, point)
        shares.append(pulled(multiplier * part))
    return [
        (number, walking.safe_ratio(one + other, _change(walk, number)))
        for number, one, other in zip(operands, *shares, strict=True)
    ]


def _pull_at(
    walk: Walk, op: graphs.Op, operands: list[int], point: int, carried: Array
) -> list[Array]:
    at = {number: walk.value(number, point) for number in operands}
    return walk.pull_back(op, [carried], operands, at)


def _change(walk: Walk, number: int) -> Array:
    now, then = (ops.at_least_float32(walk.value(number, p)) for p in (0, 1))
    return now - then
