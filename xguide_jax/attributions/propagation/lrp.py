"""Layer-wise relevance propagation: a score handed down, layer by layer."""

import functools
from collections.abc import Mapping

import jax

from xguide_jax import ops
from xguide_jax.attributions.propagation import (
    graph as graphs,
)
from xguide_jax.attributions.propagation import (
    linear,
    relevance_rules,
    scoring,
    softmax,
    walking,
)
from xguide_jax.attributions.propagation.relevance_rules import RelevanceRule
from xguide_jax.attributions.propagation.walking import (
    Contributions,
    PrimitiveRule,
    Walk,
)
from xguide_jax.types import Array, PredictFn, ScoreFn

# Of what has no kernel: sums, pooling, residual connections, a batch norm.
_EPSILON = 1e-9


def lrp(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    rules: RelevanceRule,
    score_fn: ScoreFn,
    primitive_rules: Mapping[str, PrimitiveRule] | None = None,
) -> Array:
    """The score itself, shared out over the inputs by the rules of each layer.

    The relevance of the score is its value f(x). Backwards:

    * convolutions and products with a matrix: `rules`; an addition directly behind one
      is its bias;
    * a function of one value, place by place (ReLU, GELU ...): passed unchanged;
    * what only moves values: moved back;
    * sums, residual connections, pooling, and the scale and shift of a batch norm in
      eval mode: in proportion, x_i ∂z/∂x_i / z, ε = 1e-9; a maximum's goes to the
      place that has it;
    * products of two values that both depend on the inputs: half to each; where one is
      a reciprocal root, as in a layer norm, all to the other; a quotient's to the
      dividend; a softmax s of z: z_i (R_i − s_i Σ_j R_j), its Taylor rule.

    Relevance is conserved by all of these but for biases, ε and the softmax. `jit`,
    `remat`, custom derivatives, `cond` and `scan` are entered. A batch norm is a layer
    by itself, not merged into the convolution before it: for the ε rule that is the
    same. Differentiable again, in the inputs and the parameters.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C], any function that JAX can trace; no
        example may depend on another one.
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      rules: of layers with a kernel: `epsilon_rule`, `gamma_rule`, `z_plus_rule`,
        `alpha_beta_rule`, `flat_rule`, `z_box_rule`, or a `composite` of them.
      score_fn: (logits, targets) -> [B], of which the value is handed down: a logit, no
        probability or logarithm.
      primitive_rules: name of a primitive -> `propagation.walking.PrimitiveRule`, for
        one that has no rule here or in place of it; None adds none.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score.

    Raises:
      NotImplementedError: for a primitive without a rule, naming it and the line that
        called it.
      AssertionError: as `input_gradient`.

    Source: Bach et al., PLOS ONE 2015; the rules for products, softmax and layer norm
      are those of Achtibat et al., "AttnLRP", ICML 2024. The implicit baseline is 0.
    """
    graph = scoring.trace_score(predict_fn, inputs, targets, score_fn)
    walk = Walk(graph, [inputs])
    start = ops.at_least_float32(walk.value(graph.output))
    return walk.back(start, functools.partial(_rule, rules), primitive_rules)


def _rule(
    rules: RelevanceRule, walk: Walk, op: graphs.Op, carried: list[Array | None]
) -> Contributions:
    parents = walk.parents
    operands = parents.operands(op)
    output = op.outputs[0]
    parent = parents.parent(output)
    if parent is not None and not parents.is_affine(output):
        assert carried[0] is not None
        return [(parent, carried[0])]
    if parent is not None:
        return _affine(rules, walk, output, carried)
    if op.name == "convert_element_type":  # float16 could not hold it
        return [(operands[0], carried[0])]  # type: ignore[list-item]
    if op.name in linear.MOVES or (
        op.name == "select_n" and op.inputs[0] not in operands
    ):
        shares = walk.pull_back(op, carried, operands, walk.values())
        return list(zip(operands, shares, strict=True))
    if op.name in linear.PRODUCTS and len(operands) == 1:
        return _layer(rules, walk, op, carried[0], walk.value(output))
    if op.name == "div" and (found := softmax.of(walk, op)) is not None:
        return softmax.taylor(walk, output, found, carried)
    if op.name in ("mul", "div", *linear.PRODUCTS):
        return _product(walk, op, operands, carried)
    if op.name in linear.SUMS | linear.EXTREMES | {
        "add",
        "add_any",
        "sub",
        "max",
        "min",
    }:
        return _in_proportion(walk, op, operands, carried)
    raise walking.refuse("lrp", op)


def _affine(
    rules: RelevanceRule, walk: Walk, output: int, carried: list[Array | None]
) -> Contributions:
    """Scale and shift: in proportion, but for what is the bias of a layer."""
    parents = walk.parents
    chain = [output]
    while parents.is_affine(chain[-1]):
        chain.append(parents.parent(chain[-1]))  # type: ignore[arg-type]
    start, layer = chain[-1], parents.producer(chain[-1])
    behind = parents.producer(chain[-2])
    assert behind is not None
    if (
        layer is not None
        and layer.name in linear.PRODUCTS
        and len(parents.operands(layer)) == 1
        and behind.name in ("add", "add_any")
    ):
        if len(chain) == 2:
            return _layer(rules, walk, layer, carried[0], walk.value(output))
        start = chain[-2]
    function = parents.function(output, start, walk.values())
    value = walk.value(start)
    ratio = _ratio(carried[0], walk.value(output))
    _, pull = jax.vjp(function, value)
    (share,) = pull(ratio)
    return [(start, _product_of(value, share))]


def _layer(
    rules: RelevanceRule,
    walk: Walk,
    op: graphs.Op,
    relevance: Array | None,
    outputs: Array,
) -> Contributions:
    is_input = [ref in walk.graph.depending for ref in op.inputs[:2]]
    at = is_input.index(True)
    number, kernel = op.inputs[at], op.inputs[1 - at]

    def apply(values: Array, weights: Array) -> Array:
        pair = (values, weights) if at == 0 else (weights, values)
        return op.apply(*pair)[0]

    layer = relevance_rules.Layer(
        inputs=walk.value(number),
        kernel=walk.value(kernel),
        outputs=outputs,
        apply=apply,
        name=op.name,
        is_first=_is_first(walk, number),  # type: ignore[arg-type]
    )
    assert relevance is not None
    share = rules(layer, relevance.astype(outputs.dtype))
    return [(number, ops.at_least_float32(share))]  # type: ignore[list-item]


def _is_first(walk: Walk, number: int) -> bool:
    """Whether a value is the argument, moved at most."""
    op = walk.parents.producer(number)
    while op is not None and op.name in linear.MOVES and len(op.inputs) == 1:
        number = op.inputs[0]  # type: ignore[assignment]
        op = walk.parents.producer(number)
    return number == walk.graph.input


def _in_proportion(
    walk: Walk, op: graphs.Op, operands: list[int], carried: list[Array | None]
) -> Contributions:
    """R_i = x_i ∂z/∂x_i / z R."""
    ratio = _ratio(carried[0], walk.value(op.outputs[0]))
    shares = walk.pull_back(op, [ratio], operands, walk.values())
    return [
        (number, _product_of(walk.value(number), share))
        for number, share in zip(operands, shares, strict=True)
    ]


def _product(
    walk: Walk, op: graphs.Op, operands: list[int], carried: list[Array | None]
) -> Contributions:
    """Half to each factor; all to the one that a norm divides, or a quotient."""
    kept = [number for number in operands if not _is_norm(walk, number)]
    if op.name == "div":
        kept = [number for number in operands if number == op.inputs[0]]
    if not kept:
        kept = operands
    found = _in_proportion(walk, op, kept, carried)
    return [(number, share / len(kept)) for number, share in found]


def _is_norm(walk: Walk, number: int) -> bool:
    """Whether a value is a reciprocal root, scaled and repeated at most."""
    op = walk.parents.producer(number)
    while op is not None and (op.name in linear.MOVES or op.name == "mul"):
        inside = walk.parents.operands(op)
        if len(inside) != 1:
            return False
        op = walk.parents.producer(inside[0])
    return op is not None and op.name == "rsqrt"


def _ratio(relevance: Array | None, outputs: Array) -> Array:
    """R / z in the dtype of z."""
    assert relevance is not None
    wide = ops.at_least_float32(outputs)
    return (relevance / relevance_rules.stabilised(wide, _EPSILON)).astype(
        outputs.dtype
    )


def _product_of(value: Array, share: Array) -> Array:
    return ops.at_least_float32(value) * ops.at_least_float32(share)
