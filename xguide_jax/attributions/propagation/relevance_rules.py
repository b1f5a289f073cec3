"""Rules of LRP: how a layer's relevance is shared out over what it reads.

Here `a` are the inputs of a layer with a kernel, `w` the kernel, `z = a w + c` its
outputs with the bias, `R` their relevance; x⁺ and x⁻ are the positive and the negative
part. A rule is `(layer, relevance) -> relevance of the inputs`; yours may be one, too.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax.types import Array


class Layer(NamedTuple):
    """A convolution or a product with a matrix, as a rule sees it.

    Attributes:
      inputs: a.
      kernel: w.
      outputs: z, with the bias where there is one.
      apply: (a, w) -> a w, without the bias.
      name: of the primitive, 'conv_general_dilated' or 'dot_general'.
      is_first: whether a is the function's own argument, moved at most.
    """

    inputs: Array
    kernel: Array
    outputs: Array
    apply: Callable[[Array, Array], Array]
    name: str
    is_first: bool

    @property
    def bias(self) -> Array:
        """c, with the shape of the outputs."""
        return self.outputs - self.apply(self.inputs, self.kernel)

    def share(self, kernel: Array, carried: Array) -> Array:
        """Σ_j w_ij s_j, what the inputs get of `carried` through a kernel."""
        _, pull = jax.vjp(lambda a: self.apply(a, kernel), self.inputs)
        return pull(carried)[0]


RelevanceRule = Callable[[Layer, Array], Array]


def epsilon_rule(epsilon: float) -> RelevanceRule:
    """R_i = Σ_j a_i w_ij / (z_j + ε sign z_j) R_j.

    What the bias has of z is lost, and so is what ε takes; with neither, relevance is
    conserved. On a ReLU network without biases and ε near 0 it is gradient × input.

    Args:
      epsilon: at least 0; 0/0 counts as 0.

    Returns:
      A rule.

    Raises:
      ValueError: if `epsilon` is negative.

    Source: Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions
      by Layer-Wise Relevance Propagation", PLOS ONE 2015, eq. 58.
    """
    _check_at_least("epsilon", epsilon)

    def rule(layer: Layer, relevance: Array) -> Array:
        ratio = relevance / stabilised(layer.outputs, epsilon)
        return layer.inputs * layer.share(layer.kernel, ratio)

    return rule


def gamma_rule(gamma: float, *, epsilon: float = 1e-9) -> RelevanceRule:
    """R_i = Σ_j a_i (w_ij + γ w_ij⁺) / (Σ_k a_k (w_kj + γ w_kj⁺) + c_j) R_j.

    Positive weights count 1 + γ times. The kernel alone is changed, as in Captum's
    `GammaRule`, and not the bias; for a ≥ 0, behind a ReLU, as published. Where inputs
    have both signs, as behind a bottleneck without a ReLU, the divisor may vanish where
    z does not, and relevance explodes: take `epsilon_rule` there.

    Args:
      gamma: γ, at least 0; 0 is `epsilon_rule`.
      epsilon: as there.

    Returns:
      A rule.

    Raises:
      ValueError: if either is negative.

    Source: Montavon et al., "Layer-Wise Relevance Propagation: An Overview", 2019,
      table 10.1, where γ is applied to the bias too.
    """
    _check_at_least("gamma", gamma)
    _check_at_least("epsilon", epsilon)

    def rule(layer: Layer, relevance: Array) -> Array:
        kernel = layer.kernel + gamma * jnp.maximum(layer.kernel, 0)
        outputs = layer.apply(layer.inputs, kernel) + layer.bias
        ratio = relevance / stabilised(outputs, epsilon)
        return layer.inputs * layer.share(kernel, ratio)

    return rule


def alpha_beta_rule(alpha: float, beta: float) -> RelevanceRule:
    """R_i = Σ_j (α (a_i w_ij)⁺ / z_j⁺ − β (a_i w_ij)⁻ / z_j⁻) R_j.

    z_j⁺ = Σ_i (a_i w_ij)⁺ + c_j⁺, z_j⁻ likewise: contributions that speak for an output
    and against it are shared out apart. Without biases relevance is conserved wherever
    an output has contributions of both signs.

    Args:
      alpha: α, at least 1.
      beta: β = α − 1.

    Returns:
      A rule.

    Raises:
      ValueError: if `alpha` is below 1 or `beta` is not `alpha` − 1.

    Source: Bach et al., PLOS ONE 2015, eq. 60.
    """
    _check_at_least("alpha", alpha, least=1)
    if abs(alpha - beta - 1) > 1e-9:
        raise ValueError(f"`beta` (={beta}) must be `alpha` (={alpha}) minus 1.")

    def rule(layer: Layer, relevance: Array) -> Array:
        bias = layer.bias
        found = alpha * _of_one_sign(layer, relevance, jnp.maximum(bias, 0), sign=1)
        if beta:
            negative = _of_one_sign(layer, relevance, jnp.minimum(bias, 0), sign=-1)
            found = found - beta * negative
        return found

    return rule


def z_plus_rule() -> RelevanceRule:
    """R_i = Σ_j (a_i w_ij)⁺ / Σ_k (a_k w_kj)⁺ R_j.

    Contributions that speak for an output, and no bias: relevance is conserved wherever
    an output has one, and keeps its sign. For a ≥ 0 that is w⁺ alone, as published.

    Returns:
      A rule.

    Source: Montavon et al., "Explaining nonlinear classification decisions with deep
      Taylor decomposition", Pattern Recognition 2017, eq. 14.
    """
    return lambda layer, relevance: _of_one_sign(layer, relevance, 0.0, sign=1)


def flat_rule() -> RelevanceRule:
    """R_i = Σ_j R_j / |inputs of j|: every input of an output gets the same.

    For the first layer, where the picture itself should not decide. Conserves. Padding
    is no input.

    Returns:
      A rule.

    Source: Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what
      machines really learn", Nature Communications 2019.
    """

    def rule(layer: Layer, relevance: Array) -> Array:
        ones = jnp.ones_like(layer.kernel)
        count = layer.apply(jnp.ones_like(layer.inputs), ones)
        return layer.share(ones, relevance / stabilised(count, 0.0))

    return rule


def z_box_rule(low: Array | float, high: Array | float) -> RelevanceRule:
    """R_i = Σ_j (a_i w_ij − l_i w_ij⁺ − h_i w_ij⁻) / z_j' R_j, z_j' the sum over i.

    For the first layer, whose inputs lie between l and h. Conserves.

    Args:
      low: l, broadcastable to the inputs.
      high: h, likewise; nowhere below `low`.

    Returns:
      A rule.

    Raises:
      ValueError: if `low` is above `high` anywhere, where both are known.

    Source: Montavon et al., Pattern Recognition 2017, eq. 15.
    """
    known = not any(isinstance(each, jax.core.Tracer) for each in (low, high))
    if known and not bool(jnp.all(jnp.asarray(low) <= jnp.asarray(high))):
        raise ValueError(f"`low` (={low}) must be nowhere above `high` (={high}).")

    def rule(layer: Layer, relevance: Array) -> Array:
        a, w = layer.inputs, layer.kernel
        lowest = jnp.broadcast_to(jnp.asarray(low, a.dtype), a.shape)
        highest = jnp.broadcast_to(jnp.asarray(high, a.dtype), a.shape)
        parts = [(a, w), (-lowest, jnp.maximum(w, 0)), (-highest, jnp.minimum(w, 0))]
        outputs = sum(layer.apply(each, kernel) for each, kernel in parts)
        ratio = relevance / stabilised(jnp.asarray(outputs), 0.0)
        shares = [each * layer.share(kernel, ratio) for each, kernel in parts]
        return shares[0] + shares[1] + shares[2]

    return rule


def composite(
    *, first: RelevanceRule, convolution: RelevanceRule, dense: RelevanceRule
) -> RelevanceRule:
    """A rule for each kind of layer.

    Args:
      first: of those that read the function's own argument.
      convolution: of other convolutions.
      dense: of other products with a matrix.

    Returns:
      A rule.

    Source: Kohlbrenner et al., "Towards Best Practice in Explaining Neural Network
      Decisions with LRP", IJCNN 2020.
    """

    def rule(layer: Layer, relevance: Array) -> Array:
        if layer.is_first:
            return first(layer, relevance)
        is_dense = layer.name == "dot_general"
        return (dense if is_dense else convolution)(layer, relevance)

    return rule


def stabilised(values: Array, epsilon: float) -> Array:
    """The divisor z + ε sign z, sign 0 = 1; infinity where that is 0."""
    moved = values + jnp.where(values >= 0, epsilon, -epsilon)
    # A double `where` is not needed: x / inf is 0, and so are its derivatives.
    return jnp.where(moved == 0, jnp.inf, moved)


def _of_one_sign(layer: Layer, relevance: Array, bias: Any, *, sign: int) -> Array:
    """What the contributions of one sign get, each its share of their sum."""
    of_sign = lambda x, s: jnp.maximum(x, 0) if s > 0 else jnp.minimum(x, 0)
    parts = [
        (of_sign(layer.inputs, s), of_sign(layer.kernel, s * sign)) for s in (1, -1)
    ]
    outputs = sum(layer.apply(each, kernel) for each, kernel in parts) + bias
    ratio = relevance / stabilised(outputs, 0.0)
    return sum(each * layer.share(kernel, ratio) for each, kernel in parts)  # type: ignore[return-value]


def _check_at_least(name: str, value: float, *, least: float = 0) -> None:
    if not value >= least:
        raise ValueError(f"`{name}` (={value}) must be at least {least}.")
