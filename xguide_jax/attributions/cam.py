"""Class activation maps: where in a feature map the evidence lies.

`A` are features [B, h, w, K], `f` the score as a function of them and
`g = ∂f / ∂A` its gradient. All maps come at the resolution of the features,
`[B, h, w]`. Get `(head_fn, features)` from `layers.split_at`.

Their implicit baseline is A = 0, so what they estimate is f(A) − f(0), exactly where
the head is affine and nothing is clipped (`hi_res_cam`). Those that drop negative
evidence, as `layer_cam`, `odam` and `grad_cam` do, add up to more than that whenever
there is any: on untrained heads three to six times as much. Report them against 0 and
against the baseline that other methods are given.

Whatever dtype the features have, means, products and sums are of float32 or wider, and
so are the maps: in float16 a sum of 512 channels may overflow.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.attributions import gradients
from xguide_jax.types import Array, PredictFn, ScoreFn


def grad_cam(
    head_fn: PredictFn,
    features: Array,
    targets: Array,
    *,
    score_fn: ScoreFn,
    weights: Array | None = None,
) -> Array:
    """Channels weighted by their mean gradient, positive evidence only.

    L_ij = relu(Σ_k w_k A_ijk), w_k = 1/(hw) Σ_ij g_ijk. Gradients flow through the
    features and, where the weights are computed here, through them as well (a double
    backward pass). To differentiate through the features only, pass `weights` from
    `grad_cam_weights` held constant. A map without positive evidence is 0 everywhere
    with gradient 0, and guidance cannot revive it; nor can a loss of the positive part
    of `signed_grad_cam`, such as `losses.energy`. `losses.leaky_energy` of that can.

    Args:
      head_fn: features [B, h, w, K] -> logits [B, C].
      features: float [B, h, w, K].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.
      weights: float [B, K], used in place of the mean gradients; `head_fn` is then not
        called.

    Returns:
      float [B, h, w], float32 or wider, at least 0.

    Raises:
      AssertionError: if the shapes are not those above, or as `input_gradient`.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
      Gradient-based Localization", ICCV 2017.
    """
    return jax.nn.relu(
        signed_grad_cam(head_fn, features, targets, score_fn=score_fn, weights=weights)
    )


def signed_grad_cam(
    head_fn: PredictFn,
    features: Array,
    targets: Array,
    *,
    score_fn: ScoreFn,
    weights: Array | None = None,
) -> Array:
    """Channels weighted by their mean gradient, evidence for and against.

    L_ij = Σ_k w_k A_ijk: `grad_cam` before its ReLU. The public code of RES and GRADIA
    rescales this map to [0, 1] by its minimum and maximum, with the weights held
    constant. Behind global average pooling and a linear head, where the gradient of a
    logit is the same at every place, it sums to f(A) − f(0).

    Args:
      head_fn: features [B, h, w, K] -> logits [B, C].
      features: float [B, h, w, K].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.
      weights: float [B, K], used in place of the mean gradients.

    Returns:
      float [B, h, w], float32 or wider, signed.

    Raises:
      AssertionError: if the shapes are not those above, or as `input_gradient`.
    """
    chex.assert_rank(features, 4)
    if weights is None:
        weights = grad_cam_weights(head_fn, features, targets, score_fn=score_fn)
    chex.assert_shape(weights, (features.shape[0], features.shape[-1]))
    features, weights = ops.at_least_float32(features), ops.at_least_float32(weights)
    return jnp.einsum("bhwk,bk->bhw", features, weights)


def grad_cam_weights(
    head_fn: PredictFn, features: Array, targets: Array, *, score_fn: ScoreFn
) -> Array:
    """The weight of each channel in Grad-CAM, w_k = 1/(hw) Σ_ij g_ijk.

    Differentiable again; hold the result constant for the published RES and GRADIA.

    Args:
      head_fn: features [B, h, w, K] -> logits [B, C].
      features: float [B, h, w, K].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      float [B, K], float32 or wider, signed.

    Raises:
      AssertionError: if the features are not of rank 4, or as `input_gradient`.

    Source: Selvaraju et al., ICCV 2017, the neuron importance weights.
    """
    chex.assert_rank(features, 4)
    gradient = gradients.input_gradient(head_fn, features, targets, score_fn=score_fn)
    return jnp.mean(ops.at_least_float32(gradient), axis=(1, 2))


def layer_cam(
    head_fn: PredictFn, features: Array, targets: Array, *, score_fn: ScoreFn
) -> Array:
    """Features weighted by their own positive gradient, place by place.

    L_ij = Σ_k relu(g_ijk) A_ijk. No outer ReLU, as in the authors' public code:
    features behind a ReLU make the map non-negative by themselves; apply `jax.nn.relu`
    to the result where yours are signed. Negative gradients are dropped, so with
    non-negative features the map sums to at least Σ g A. Differentiable again, through
    both factors.

    Args:
      head_fn: features [B, h, w, K] -> logits [B, C].
      features: float [B, h, w, K].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      float [B, h, w], float32 or wider, at least 0 where the features are.

    Raises:
      AssertionError: if the features are not of rank 4, or as `input_gradient`.

    Source: LayerCAM, the public Jittor code of its authors, before bilinear resizing
      and min-max scaling.
    """
    chex.assert_rank(features, 4)
    gradient = gradients.input_gradient(head_fn, features, targets, score_fn=score_fn)
    gradient, features = ops.at_least_float32(gradient), ops.at_least_float32(features)
    return jnp.sum(jax.nn.relu(gradient) * features, axis=-1)


def hi_res_cam(
    head_fn: PredictFn, features: Array, targets: Array, *, score_fn: ScoreFn
) -> Array:
    """Gradient times features, summed over the channels, evidence for and against.

    L_ij = Σ_k g_ijk A_ijk, without a ReLU: `gradient_x_input` at the layer, its
    channels added up. It is the Taylor estimate of f(A) − f(0) taken at A, and sums to
    exactly that for every affine head, also one whose gradient differs from place to
    place, where Grad-CAM's does not. Differentiable again, through both factors.

    Args:
      head_fn: features [B, h, w, K] -> logits [B, C].
      features: float [B, h, w, K].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      float [B, h, w], float32 or wider, signed, in units of the score.

    Raises:
      AssertionError: if the features are not of rank 4, or as `input_gradient`.

    Source: Draelos, Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations
      of convolutional neural networks", 2020; there with a ReLU for display.
    """
    chex.assert_rank(features, 4)
    product = gradients.gradient_x_input(head_fn, features, targets, score_fn=score_fn)
    return jnp.sum(product, axis=-1)


def odam(
    head_fn: PredictFn, features: Array, targets: Array, *, score_fn: ScoreFn
) -> Array:
    """Gradient times features, summed over the channels, positive places only.

    L_ij = relu(Σ_k g_ijk A_ijk), `hi_res_cam` clipped place by place: its sum is at
    least that of `hi_res_cam`, so it over-attributes by the evidence against that it
    drops. For a detector the score is that of one box, or one of its coordinates, and
    the features are those of the level that made the box. Differentiable again.

    Args:
      head_fn: features [B, h, w, K] -> logits [B, C].
      features: float [B, h, w, K].
      targets: integer [B], the classes explained.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      float [B, h, w], float32 or wider, at least 0.

    Raises:
      AssertionError: if the features are not of rank 4, or as `input_gradient`.

    Source: Zhao, Chan, "ODAM: Gradient-based Instance-Specific Visual Explanations for
      Object Detection", ICLR 2023, before resizing and min-max scaling.
    """
    return jax.nn.relu(hi_res_cam(head_fn, features, targets, score_fn=score_fn))


def upsample_conserving(maps: Array, shape: tuple[int, int]) -> Array:
    """Maps laid over a finer grid, bilinear, with the sum that they had.

    The value of every cell is shared out among the pixels near it, by the weights of
    bilinear interpolation divided by what they add up to: for whole factors s and t
    that is `ops.bilinear_resize` divided by s t, for others nearly so, and the sum is
    the same for any. A resize that keeps the values makes the sum s t times as large,
    and an attribution error meaningless. Linear; gradients flow.

    Args:
      maps: float [B, h, w].
      shape: `(H, W)`, at least `(h, w)`.

    Returns:
      float [B, H, W], float32 or wider, in the units of the score, not per cell.

    Raises:
      AssertionError: if the maps are not of rank 3.
      ValueError: if `shape` is smaller than the maps in one direction.
    """
    chex.assert_rank(maps, 3)
    if len(shape) != 2 or shape[0] < maps.shape[1] or shape[1] < maps.shape[2]:
        raise ValueError(
            f"`shape` (={shape}) must be (H, W), at least that of the maps, "
            f"{maps.shape[1:]}."
        )
    maps = ops.at_least_float32(maps)
    return jnp.einsum(
        "ip,bpq,jq->bij",
        jnp.asarray(_shares(maps.shape[1], shape[0]), maps.dtype),
        maps,
        jnp.asarray(_shares(maps.shape[2], shape[1]), maps.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )


def _shares(cells: int, size: int) -> np.ndarray:
    """[size, cells]: which share of each cell every pixel gets; columns add up to 1."""
    # Pixel centres in units of cells; what lies outside the outer centres repeats them.
    centres = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    weights = np.maximum(1 - np.abs(centres[:, None] - np.arange(cells)), 0)
    return weights / weights.sum(axis=0)
