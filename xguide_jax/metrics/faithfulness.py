"""Faithfulness: whether the prediction depends on what the map calls salient.

Features are replaced in the order of the map and the prediction is read again. All
curves are `[B, F]` over F fractions, one example a row; the mean over the rows is an
accuracy. The network is not retrained, so a curve also shows how it takes replaced
features: compare it with the curve of a random order on the *same* network, over
several draws.
"""

from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import deprecating, ops
from xguide_jax.metrics import removing
from xguide_jax.ops import removal
from xguide_jax.types import Array, PredictFn, PRNGKey, PyTree

_takes_correct = deprecating.old_keywords(
    ["correct"], instead="value=", lift=lambda correct: {"value": correct}
)


def _top_class_is_label(logits: Array, labels: Array) -> Array:
    """Of a softmax head; NaN where the label is none of its classes."""
    if logits.ndim != 2 or logits.shape[-1] < 2:
        raise ValueError(
            "`value` must be given for logits of shape "
            f"{logits.shape}: the top class is right or wrong among two or more. Of "
            "one logit and a sigmoid it is, e.g., "
            "lambda logits, labels: (logits[:, 0] > 0) == (labels == 1)."
        )
    chex.assert_rank(labels, 1)
    chex.assert_type(labels, int)
    return _hit(logits, labels)


@jax.jit
def _hit(logits: Array, labels: Array) -> Array:
    num_classes = logits.shape[-1]
    labels = labels.astype(jnp.int32)
    hit = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return jnp.where((labels >= 0) & (labels < num_classes), hit, jnp.nan)


@_takes_correct
def removal_curve(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    attributions: Array,
    *,
    fractions: Sequence[float],
    fill: removing.Replacement,
    key: PRNGKey,
    value: removing.ValueFn = _top_class_is_label,
    where: Array | None = None,
) -> Array:
    """The prediction as the most salient features are replaced, most salient first.

    At fraction d the k = floor(d n + 1e-6) highest of the n scores of an example are
    replaced, ties by lowest index. The fill sees the intact input and is drawn once, so
    that each step replaces more of the same values. The attributions are those of the
    intact input, signed or not, as ranked by the caller. A faithful map gives a curve
    that falls fast: lower is better. Read as correctness by default; with the
    probability of the class as `value` it is the deletion game. Of a map that was made
    against a baseline b, replace by b:
    `functools.partial(ops.constant_fill, value=b)`, b [B, ...] or a number.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; called once a fraction, so compile
        it and not the curve, which would hold it F times.
      inputs: float [B, ...], or a dict of arrays with an `ops.Removal` for `fill`.
      labels: integer [B], in [0, C); whatever `value` takes, [B, ...].
      attributions: float, of the inputs' rank and broadcastable to them; with a last
        axis of 1, [B, H, W, 1], all channels of a position go together.
      fractions: static, strictly increasing in [0, 1]; 0 is the clean prediction.
      fill: (key, inputs) -> replacement values like `inputs`; or an `ops.Removal`, how
        inputs of several arrays lose a position.
      key: for the fill; one key or [B].
      value: (logits, labels) -> [B], what is read of a prediction: whether it is right
        (1 or 0, or a share), a probability, a logit; NaN where that is undefined. By
        default the top class of a softmax head is compared with the label. A sigmoid
        head brings its own: of one logit
        `lambda logits, labels: (logits[:, 0] > 0) == (labels == 1)`.
      where: bool, of the attributions' rank and broadcast to their shape: the n
        features that can be replaced. Others, such as padding, are never touched.

    Returns:
      float32 [B, F], what `value` says: by default 1 where the predicted class is the
      label, 0 where it is not. NaN where that is undefined: the whole row of an example
      whose attributions hold a NaN or do not order anything (all equal), or whose label
      is out of range; and single entries whose logits hold a NaN.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: if the fractions are not increasing in [0, 1], `value` returns other
        than one value an example, or is left out for a head of one logit.

    Source: Ismail, Corrada Bravo, Feizi, "Improving Deep Learning Interpretability by
      Saliency Guided Training", NeurIPS 2021, public MNIST code: fractions 0, 0.1, …,
      0.9, the value of the image's first pixel as fill, the true class explained.
      Deviation: there at least one pixel is replaced, even at fraction 0. The paper's
      text was not available to check. Petsiuk, Das, Saenko, "RISE: Randomized Input
      Sampling for Explanation of Black-box Models", BMVC 2018: deletion, of the
      probability, to 0; there a fixed number of pixels goes at each step.
    """
    removing.check(inputs, labels, attributions, fill=fill)
    fractions = removing.checked_fractions(fractions)
    order = removing.Order(attributions, where)
    read = _reader(predict_fn, removing.without(fill, key, inputs), labels, value)
    rows = [read(order.highest(fraction)) for fraction in fractions]
    return _curve(rows, order.defined)


@_takes_correct
def insertion_curve(
    predict_fn: PredictFn,
    inputs: PyTree,
    labels: Array,
    attributions: Array,
    *,
    fractions: Sequence[float],
    fill: removing.Replacement,
    key: PRNGKey,
    value: removing.ValueFn = _top_class_is_label,
    where: Array | None = None,
) -> Array:
    """The prediction as the most salient features are put back, most salient first.

    The counterpart of `removal_curve`: at fraction d all but the k highest scores are
    replaced, by the same draw. 0 is the fill alone and 1 the intact input. A faithful
    map gives a curve that rises fast: higher is better.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; called once a fraction, so compile
        it and not the curve, which would hold it F times.
      inputs: float [B, ...], or a dict of arrays with an `ops.Removal` for `fill`.
      labels: integer [B], in [0, C); whatever `value` takes, [B, ...].
      attributions: float, of the inputs' rank and broadcastable to them.
      fractions: static, strictly increasing in [0, 1].
      fill: (key, inputs) -> replacement values like `inputs`; or an `ops.Removal`, how
        inputs of several arrays lose a position.
      key: for the fill; one key or [B].
      value: as for `removal_curve`.
      where: as for `removal_curve`; features that do not count are always there.

    Returns:
      float32 [B, F], what `value` says, and NaN where `removal_curve` has it.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: if the fractions are not increasing in [0, 1], `value` returns other
        than one value an example, or is left out for a head of one logit.

    Source: Petsiuk et al., BMVC 2018: insertion, into a blurred image.
    """
    removing.check(inputs, labels, attributions, fill=fill)
    fractions = removing.checked_fractions(fractions)
    order = removing.Order(attributions, where)
    read = _reader(predict_fn, removing.without(fill, key, inputs), labels, value)
    rows = [read(order.all_but_highest(fraction)) for fraction in fractions]
    return _curve(rows, order.defined)


def area_under_curve(values: Array, *, fractions: Sequence[float]) -> Array:
    """Mean height of a curve over the fractions it covers, by trapezoids.

    1 / (d_F − d_1) Σ_j (d_{j+1} − d_j) (v_j + v_{j+1}) / 2. Over 0, 0.1, …, 0.9 that is
    the trapezoid sum divided by 0.9, so that curves over other ranges compare. Trained
    on replaced inputs, a network has a flatter random curve too: compare the gap to the
    random order of the same network, not the areas of two networks.

    Args:
      values: float, int or bool [..., F].
      fractions: static, strictly increasing in [0, 1], at least two.

    Returns:
      float32 (float64 if the values are) [...], within the range of the values; NaN
      where one of them is.

    Raises:
      ValueError: if the fractions are not increasing in [0, 1], fewer than two, or not
        as many as the values.
    """
    fractions = removing.checked_fractions(fractions)
    if len(fractions) < 2:
        raise ValueError(f"`fractions` (={fractions}) must be at least two.")
    # A width of 0.1 is 0 as an integer, True as a bool and 1.0078 times itself in
    # bfloat16.
    values = ops.at_least_float32(values)
    if values.shape[-1] != len(fractions):
        raise ValueError(
            f"`fractions` (={fractions}) must be as many as the last axis of "
            f"`values` is long, {values.shape[-1]}."
        )
    widths = jnp.asarray(np.diff(fractions), values.dtype)
    trapezoids = widths * (values[..., 1:] + values[..., :-1]) / 2
    return jnp.sum(trapezoids, axis=-1) / (fractions[-1] - fractions[0])


def _reader(
    predict_fn: PredictFn,
    without: removal.WithoutFn,
    labels: Array,
    value: removing.ValueFn,
) -> Callable[[Array], Array]:
    """(which features are replaced) -> what is read of the prediction, float [B]."""

    def read(replaced: Array) -> Array:
        return removing.read(value, predict_fn(without(replaced)), labels)

    # The callers' plain loop, since a network in a compiled one is slow on CPU.
    return read


def _curve(rows: Sequence[Array], defined: Array) -> Array:
    return jnp.where(defined[:, None], jnp.stack(rows, axis=-1), jnp.nan)
