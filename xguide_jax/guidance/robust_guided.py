"""Guidance by annotations that are inexact: GRADIA, HAICS and RES.

All compare a map `M` in [0, 1], at the resolution of a layer or of the input, with what
people marked: evidence `P` and, where they said so, non-evidence, together the signs
`Y` in {-1, 0, 1}. By default `M` is the signed Grad-CAM at 'features' between its own
minimum and maximum, `normalised_cam`; `explain` says another map or another place.
These terms leave out defects of the published code; `published` has and lists them.

Batches come as `reading.annotations_of` reads them. Masks must be mirrored and moved
together with their images, as `data.transform_together` does.
"""

import functools
from typing import Any

from xguide_jax import deprecating, losses
from xguide_jax.guidance import base, explaining, reading, robust_parts
from xguide_jax.types import Array, Explain, GuidanceTerm, StepContext


def _explain(**cam: Any) -> dict[str, Explain]:
    return {"explain": explaining.normalised_cam(**cam)}


_takes_old_keywords = deprecating.old_keywords(
    ("layer", "score_fn", "frozen_weights", "explain_in"),
    instead="explain=guidance.normalised_cam(layer=..., score_fn=...)",
    lift=_explain,
)


@_takes_old_keywords
def gradia(
    *,
    explain: Explain | None = None,
) -> GuidanceTerm:
    """Distance of the Grad-CAM to the softened evidence.

    (1 / hw) Σ |M − G|, G = blur(P averaged onto the cells) / max. Of the annotation
    only the evidence counts; without any an example has no loss.

    As published, but for a constant map, where that code divides by 0. Its weights by
    "reasonability", one for the task loss and one for this loss of each example, are
    yours to apply: in a `task_loss`, and in a term that multiplies this one's loss.

    Args:
      explain: (context) -> M, [B, h, w] in [0, 1]; from `guidance.normalised_cam`, the
        default, or `guidance.explain` with a `normalise`. Of [B, h, w, K] the channels
        are summed.

    Returns:
      A term without parameters or state that needs 'inputs', 'labels' and annotations;
      its metric 'blank' is the share of the annotated examples whose map is constant.

    Raises:
      ValueError: in the first step, for a map of one cell, or one whose aspect is not
        that of the image.

    Source: GRADIA (Gao et al., CSCW 2022), the public code; the paper itself was not
      available to check.
    """
    maps_of = explain or explaining.normalised_cam()

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        maps = explaining.without_channels(maps_of(context))
        h, w = maps.shape[1:]
        marked = robust_parts.by_area(context.batch, shape=(h, w))
        targets = robust_parts.softened((), marked.evidence, shape=(h, w))
        loss = losses.region_l1(maps, targets)
        loss = reading.spoil(loss, marked.evidence)
        weight = marked.with_evidence.astype(loss.dtype)
        return loss, weight, {"blank": robust_parts.blank(maps)}

    return base.stateless(loss_fn)


@_takes_old_keywords
def haics(
    *,
    explain: Explain | None = None,
    inside_share: float = 0.0,
) -> GuidanceTerm:
    """Cross-entropy of the Grad-CAM on the cells that were marked.

    Mean over the cells with Y ≠ 0 of −log M where Y = 1 and −log(1 − M) where Y = −1.
    M always has a cell at 0 and one at 1; where these are marked otherwise, they cost
    100 each and have no gradient: the other cells must overtake them.

    Args:
      explain: as `gradia`.
      inside_share: in [0, 1); the share of a cell that must be marked before the cell
        is. 0 as published by RES; of coarse maps it counts many cells on a border.

    Returns:
      A term without parameters or state that needs 'inputs', 'labels' and annotations;
      its metric is as `gradia`'s.

    Raises:
      ValueError: for an `inside_share` outside [0, 1), and as `gradia`.

    Source: the HAICS baseline (Shen et al., CHI EA 2021) in the public code of RES, see
      `losses.masked_cross_entropy`; the HAICS paper was not available to check.
    """
    reading.check_inside_share(inside_share)
    maps_of = explain or explaining.normalised_cam()

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        maps = explaining.without_channels(maps_of(context))
        h, w = maps.shape[1:]
        marked = robust_parts.by_area(
            context.batch, shape=(h, w), inside_share=inside_share
        )
        loss = losses.masked_cross_entropy(maps, marked.signs)
        loss = reading.spoil(loss, marked.evidence)
        weight = marked.valid.astype(loss.dtype)
        return loss, weight, {"blank": robust_parts.blank(maps)}

    return base.stateless(loss_fn)


@_takes_old_keywords
def res_gaussian(
    *,
    slack: float,
    explain: Explain | None = None,
    inside_share: float = 0.0,
) -> GuidanceTerm:
    """Robust explanation supervision with a blurred target, RES-G.

    relu(R − slack) + (1 / hw) Σ |M − h(P)|. R is the mean of |tanh(5 (M − a)) − Y| over
    the marked cells of the whole batch of all devices, a the threshold that separates
    its cells best, held constant (`ops.balanced_threshold`); h(P) = blur(P averaged
    onto the cells) / max. An example without evidence takes part in R alone.

    By default a cell counts as evidence where a pixel of it is, so that small regions
    survive.

    Args:
      slack: at least 0, the part of R that is free; 0.1 in the published runs.
      explain: as `gradia`.
      inside_share: in [0, 1); the share of a cell that must be marked before the cell
        is. 0 as published by RES; of coarse maps it counts many cells on a border.

    Returns:
      A term without parameters or state that needs 'inputs', 'labels' and annotations;
      its metrics 'robust' and 'imputation' are the two summands, and 'blank' is as
      `gradia`'s.

    Raises:
      ValueError: for a negative `slack`, and as `haics`.

    Source: RES (Gao et al., KDD 2022), the public code. The paper's equations were not
      available to check.
    """
    reading.check_inside_share(inside_share)
    maps_of = explain or explaining.normalised_cam()
    return robust_parts.robust_term(
        slack=slack,
        explain=maps_of,
        annotate=functools.partial(robust_parts.by_area, inside_share=inside_share),
        impute=robust_parts.softened,
    )


@_takes_old_keywords
def res_learned(
    *,
    slack: float,
    kernel_size: int = 64,
    stride: int = 32,
    explain: Explain | None = None,
    inside_share: float = 0.0,
) -> GuidanceTerm:
    """Robust explanation supervision with a target that is learned, RES-L.

    As `res_gaussian`, but h is one convolution of P from the pixels to the cells, then
    (h − min h) / (max h − min h + 1e-6). Its kernel is the term's parameter: trained
    with the network, and not part of it. The published bias is left out, for the
    minimum removes it.

    Args:
      slack: at least 0, the part of R that is free; 0.1 in the published runs.
      kernel_size: side of the kernel in pixels, at least `stride`. It starts uniform in
        ±1 / kernel_size; zeros, (kernel_size − stride) / 2 wide, surround the image.
      stride: pixels to a cell. The published 64 and 32 fit images of 224 x 224 and maps
        of 7 x 7.
      explain: as `gradia`.
      inside_share: in [0, 1); the share of a cell that must be marked before the cell
        is. 0 as published by RES; of coarse maps it counts many cells on a border.

    Returns:
      A term with params {'kernel': [kernel_size, kernel_size]} and otherwise as
      `res_gaussian`.

    Raises:
      ValueError: unless 1 <= stride <= kernel_size, where the strides do not lead from
        the image to the map or the params are missing, and as `res_gaussian`.

    Source: RES (Gao et al., KDD 2022), the public code, transform "S1".
    """
    reading.check_inside_share(inside_share)
    maps_of = explain or explaining.normalised_cam()
    init, impute = robust_parts.learned_imputation(
        kernel_size=kernel_size, stride=stride
    )
    return robust_parts.robust_term(
        slack=slack,
        explain=maps_of,
        annotate=functools.partial(robust_parts.by_area, inside_share=inside_share),
        impute=impute,
        init=init,
    )
