"""Localisation: attribution maps compared with an annotated region.

Any explainer at any layer, any loss of a map and a region. `A` is the map [B, h, w],
`M` the region averaged onto the map's grid, a share in [0, 1] for each cell.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from xguide_jax import attributions, ops
from xguide_jax.guidance import annotated, base, explained
from xguide_jax.types import (
    Array,
    Explainer,
    GuidanceTerm,
    PredictFn,
    ScoreFn,
    StepContext,
)

MapLoss = Callable[[Array, Array], Array]


def localisation(
    *,
    loss: MapLoss,
    explainer: Explainer,
    layer: str | None = None,
    explain_in: explained.Mode = "eval",
) -> GuidanceTerm:
    """A loss of the attribution map and the annotated region.

    l = loss(A, M), A = explainer(head, F, labels) at `layer`. Gradients flow into the
    map, through everything that the explainer does not hold constant; none flows into
    the region. An example without a region has weight 0, loss 0 and gradient 0, as long
    as `loss` has a finite gradient at an empty region; those of `losses` do.

    A map without a positive entry has no gradient of the losses that read the positive
    part of a map alone: `losses.energy` and those of `ops.normalise_by_max`. The metric
    'blank' is the share of the annotated examples with such a map.

    The losses of `losses` ask for different maps:
      `losses.leaky_energy` raw ones with their sign, `attributions.signed_grad_cam`;
      `losses.energy` and `losses.outside_energy` raw ones;
      `lambda A, M: losses.region_l1(ops.normalise_by_max(A), M)` those in [0, 1], as
      does `losses.pixel_cross_entropy`.

    Args:
      loss: (A [B, h, w], M [B, h, w]) -> [B].
      explainer: (head_fn, features, labels) -> [B, h, w], e.g. `functools.partial(
        attributions.grad_cam, score_fn=attributions.target_logit)` or with
        `guidance.frozen_grad_cam`; or [B, h, w, K], such as
        `attributions.input_gradient`, of which the channels are summed.
      layer: the activation that is explained; the input if None.
      explain_in: the mode of the explained pass. 'train' takes a layer's features from
        the clean pass, which about halves the cost of a step guided at a late layer;
        under batch norm it couples the examples of a batch.

    Returns:
      A term with no parameters or state that needs 'inputs', 'labels' and 'region', or
      'boxes' with 'boxes_valid', see `annotated.region_of`; its metric is 'blank'.

    Raises:
      ValueError: for an unknown `explain_in`; in the first step, for an unknown layer,
        a map of one cell, or one whose aspect is not that of the image.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, "Studying How to Efficiently and
      Effectively Guide Models with Explanations", ICCV 2023, eq. 1, with the label as
      the explained class and the mean over the annotated examples (their code sums).
    """
    explained.check_mode(explain_in)

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        region, valid = annotated.region_of(context.batch)
        function, point = explained.function_and_point(
            context, layer=layer, explain_in=explain_in
        )
        maps = explainer(function, point, annotated.targets_of(context.batch))
        if maps.ndim == 4:
            maps = jnp.sum(ops.at_least_float32(maps), axis=-1)
        explained.check_cells(maps.shape, layer=layer)
        _, h, w = maps.shape
        cells = annotated.on_cells(jax.lax.stop_gradient(region), shape=(h, w))
        values = annotated.spoil(loss(maps, cells), region)
        blank = ~jnp.any(maps > 0, axis=(1, 2))
        return (
            jnp.where(valid, values, 0.0),
            valid.astype(values.dtype),
            {"blank": blank.astype(values.dtype)},
        )

    return base.stateless(loss_fn)


def frozen_grad_cam(
    head_fn: PredictFn, features: Array, targets: Array, *, score_fn: ScoreFn
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

    Returns:
      float [B, h, w], at least 0.

    Raises:
      AssertionError: as `attributions.grad_cam`.

    Source: the public code of RES (Gao et al., KDD 2022) and GRADIA (Gao et al., CSCW
      2022), which hold the weights constant, but omit the ReLU.
    """
    weights = attributions.grad_cam_weights(
        head_fn, features, targets, score_fn=score_fn
    )
    return attributions.grad_cam(
        head_fn, features, targets, score_fn=score_fn,
        weights=jax.lax.stop_gradient(weights),
    )  # fmt: skip
