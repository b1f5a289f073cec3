"""Which map a term is about, and where in the network: said once, for every term.

A term that reads a map takes `explain`, (context) -> maps. `explain` makes it from any
explainer at the input or at any layer; whoever wants a map of another kind writes the
function itself.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from xguide_jax import attributions, ops
from xguide_jax.guidance import reading
from xguide_jax.types import (
    Array,
    Explain,
    Explainer,
    PredictFn,
    PyTree,
    ScoreFn,
    StepContext,
)

Mode = Literal["eval", "train"]


def explain(
    explainer: Explainer,
    *,
    layer: str | None = None,
    explain_in: Mode = "eval",
    normalise: Callable[[Array], Array] | None = None,
) -> Explain:
    """The maps of an explainer in every step, at the input or at a layer.

    A = normalise(explainer(f, x, targets)), f and x the network and its input, or the
    rest of it behind a layer and the layer's features. 'targets' are the batch's, or
    else its labels. Gradients flow into the maps through everything that the explainer
    does not hold constant.

    Args:
      explainer: (function, point, targets) -> [B, h, w] or [B, h, w, K], or maps of
        another rank; e.g. `functools.partial(guidance.frozen_grad_cam, score_fn=
        attributions.target_logit)`, or with `attributions.input_gradient`.
      layer: the activation that is explained; the input if None.
      explain_in: the mode of the explained pass. 'eval' keeps the examples of a batch
        apart. 'train' shares the clean pass: a layer's features are its own, which
        about halves the cost of a step guided at a late layer; under batch norm it
        couples the examples of a batch.
      normalise: applied to what the explainer returns, e.g. `ops.min_max_normalise` or
        `ops.normalise_by_max`; nothing if None. Channels are the explainer's or this
        function's to sum, where a norm of their sum is meant.

    Returns:
      (context) -> maps [B, ...].

    Raises:
      ValueError: for an unknown `explain_in`; in the first step, for a layer that the
        network does not expose, and for maps of one cell.
    """
    check_mode(explain_in)

    def maps_of(context: StepContext) -> Array:
        function, point = function_and_point(
            context, layer=layer, explain_in=explain_in,
            at_point_only=_is_at_point_only(explainer),
        )  # fmt: skip
        maps = explainer(function, point, reading.targets_of(context.batch))
        check_cells(maps.shape, layer=layer)
        return maps if normalise is None else normalise(maps)

    return maps_of


def normalised_cam(
    *,
    layer: str = "features",
    score_fn: ScoreFn = attributions.target_logit,
    frozen_weights: bool = True,
    explain_in: Mode = "eval",
    epsilon: float = 0.0,
) -> Explain:
    """The signed Grad-CAM between its own minimum and maximum, as RES and GRADIA have.

    Args:
      layer: the activation [B, h, w, K] that it is taken at.
      score_fn: what is explained, at the targets.
      frozen_weights: hold the channel weights constant, as published, so that only the
        features learn; False differentiates them too, by a double backward pass. The
        value is the same.
      explain_in: as `explain`.
      epsilon: see `ops.min_max_normalise`.

    Returns:
      (context) -> float [B, h, w] in [0, 1]; zeros for a constant map.

    Raises:
      ValueError: as `explain`.
    """
    cam = (
        functools.partial(frozen_grad_cam, signed=True)
        if frozen_weights
        else attributions.signed_grad_cam
    )
    return explain(
        functools.partial(cam, score_fn=score_fn),
        layer=layer,
        explain_in=explain_in,
        normalise=functools.partial(ops.min_max_normalise, epsilon=epsilon),
    )


def frozen_grad_cam(
    head_fn: PredictFn,
    features: Array,
    targets: Array,
    *,
    score_fn: ScoreFn,
    signed: bool = False,
) -> Array:
    """Grad-CAM whose channel weights are constants.

    The value of `attributions.grad_cam`; its gradient flows through the features only,
    without a double backward pass, and so never into the head. Rao et al. differentiate
    the weights too.

    Args:
      head_fn: features [B, h, w, K] -> logits [B, C].
      features: float [B, h, w, K].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `attributions.scores`.
      signed: leave the ReLU out, as `attributions.signed_grad_cam`.

    Returns:
      float [B, h, w], at least 0 unless `signed`.

    Raises:
      AssertionError: as `attributions.grad_cam`.

    Source: the public code of RES (Gao et al., KDD 2022) and GRADIA (Gao et al., CSCW
      2022), which hold the weights constant, but omit the ReLU.
    """
    weights = attributions.grad_cam_weights(
        head_fn, features, targets, score_fn=score_fn
    )
    cam = attributions.signed_grad_cam if signed else attributions.grad_cam
    return cam(
        head_fn, features, targets, score_fn=score_fn,
        weights=jax.lax.stop_gradient(weights),
    )  # fmt: skip


def function_and_point(
    context: StepContext,
    *,
    layer: str | None,
    explain_in: Mode,
    at_point_only: bool = False,
) -> tuple[PredictFn, Array]:
    """What explainers take: a function and where to explain it.

    In train mode a layer's features are those of the clean pass, so that explaining it
    costs no pass of its own, forwards or backwards, up to the layer. Nor does the
    gradient at the input, which is taken by the clean pass's pullback: two equal passes
    would be merged forwards, but not backwards, where each has its own cotangents.

    Args:
      context: of the step.
      layer: an activation that the network exposes; the input if None.
      explain_in: the mode of the explained pass.
      at_point_only: that the function will be called at the point alone.

    Returns:
      (head_fn, features), or (predict_fn, inputs).

    Raises:
      ValueError: for a layer that the network does not expose, and without one for
        inputs that are not one array.
    """
    inputs, train = context.batch["inputs"], explain_in == "train"
    forward = functools.partial(context.forward, train=train)
    if layer is None:
        check_array(inputs)
        pullback = context.input_pullback
        if train and at_point_only and pullback is not None:
            logits = context.output.logits
            return lambda values: _logits_at_point(values, logits, pullback), inputs
        return lambda values: forward(values).logits, inputs
    output = context.output if train else None
    return attributions.split_at(forward, inputs, layer, output=output)


def _is_at_point_only(explainer: Explainer) -> bool:
    """Whether an explainer calls its function at the point it is given, nowhere else.

    Those that take a path, noise or parts of an input do not, and of others nothing is
    known.
    """
    while isinstance(explainer, functools.partial):
        explainer = explainer.func
    return explainer in (attributions.input_gradient, attributions.gradient_x_input)


@jax.custom_vjp
def _logits_at_point(
    values: Array, logits: Array, pullback: Callable[[Array], Array]
) -> Array:
    """The network at the clean inputs, which `values` are; its gradient in them.

    Args:
      values: [B, ...], the clean inputs, for their gradient alone.
      logits: [B, C], of the clean pass.
      pullback: of the clean pass, a pytree of what that saved.

    Returns:
      `logits`.
    """
    del values, pullback
    return logits


def _save_pullback(
    values: Array, logits: Array, pullback: Callable[[Array], Array]
) -> tuple[Array, Callable[[Array], Array]]:
    del values
    return logits, pullback


def _pull_back(
    pullback: Callable[[Array], Array], cotangent: Array
) -> tuple[Array, Array, None]:
    # Second derivatives flow through what the pullback saved, not through this rule.
    return pullback(cotangent), cotangent, None


_logits_at_point.defvjp(_save_pullback, _pull_back)


def without_channels(maps: Array) -> Array:
    """One number a cell: the channels of [B, h, w, K] are summed.

    Args:
      maps: float [B, h, w] or [B, h, w, K].

    Returns:
      float [B, h, w].
    """
    return jnp.sum(ops.at_least_float32(maps), axis=-1) if maps.ndim == 4 else maps


def check_mode(explain_in: Mode) -> None:
    """Refuses an unknown mode when a term is built.

    Args:
      explain_in: the mode of the explained pass.

    Raises:
      ValueError: if it is neither 'eval' nor 'train'.
    """
    if explain_in not in ("eval", "train"):
        raise ValueError(f"`explain_in` (={explain_in!r}) must be 'eval' or 'train'.")


def check_array(inputs: PyTree) -> None:
    """Refuses inputs that have no gradient as they are: tokens and a mask.

    Args:
      inputs: of the batch.

    Raises:
      ValueError: if they are not one array.
    """
    if hasattr(inputs, "ndim"):
        return
    kinds = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", inputs)
    raise ValueError(
        f"`layer` (=None) explains inputs that are one array; these are {kinds}. Name "
        "the activation they become, such as layer='embeddings' or layer='series'."
    )


def check_cells(shape: tuple[int, ...], *, layer: str | None) -> None:
    """Refuses maps of one cell: a loss of where in them has no gradient.

    Args:
      shape: (B, h, w) or (B, h, w, K) of the maps.
      layer: the activation that is explained; the input if None.

    Raises:
      ValueError: if h w = 1.
    """
    if math.prod(shape[1:3]) == 1:
        raise ValueError(
            f"`layer` (={layer!r}) gives maps of shape {tuple(shape)}: one cell for "
            "the whole image cannot be guided; explain an earlier layer."
        )
