"""Localisation: attribution maps compared with an annotated region.

Any explainer at any layer, any loss of a map and a region. `A` is the map [B, h, w],
`M` the region averaged onto the map's grid, a share in [0, 1] for each cell.
"""

from typing import Any

import jax
import jax.numpy as jnp

from xguide_jax import deprecating, ops
from xguide_jax.guidance import base, explaining, map_losses, reading, sequences
from xguide_jax.types import Array, Explain, Explainer, GuidanceTerm, StepContext


def _explain(explainer: Explainer, **where: Any) -> dict[str, Explain]:
    return {"explain": explaining.explain(explainer, **where)}


@deprecating.old_keywords(
    ("explainer", "layer", "explain_in"),
    instead="explain=guidance.explain(explainer, layer=...)",
    lift=_explain,
)
def localisation(
    *, loss: map_losses.MapLoss, explain: Explain, evidence: str | None = None
) -> GuidanceTerm:
    """A loss of the attribution map and the annotated region.

    l = loss(A, M), A the map that `explain` gives. Gradients flow into the map, through
    everything that the explainer does not hold constant; none flows into the region. An
    example without a region has weight 0, loss 0 and gradient 0, as long as `loss` has
    a finite gradient at an empty region; those of `losses` do.

    A map without a positive entry has no gradient of the losses that read the positive
    part of a map alone: `losses.energy` and those of `ops.normalise_by_max`. The metric
    'blank' is the share of the annotated examples with such a map.

    The losses of `losses` ask for different maps:
      `losses.leaky_energy` raw ones with their sign, `attributions.signed_grad_cam`;
      `losses.energy` and `losses.outside_energy` raw ones;
      `lambda A, M: losses.region_l1(ops.normalise_by_max(A), M)` those in [0, 1], as
      does `losses.pixel_cross_entropy`.

    Of a sequence, `evidence` names the entry that is M: [B, T] of tokens, or [B, T, F]
    of the cells of a series. Padding and special tokens are neither inside nor outside:
    there A = M = 0. A loss that divides by the number of cells is told which count:
    `guidance.counted_loss(losses.region_l1)`.

    Args:
      loss: (A [B, h, w], M [B, h, w]) -> [B]; with `evidence` both are shaped like it.
        One made by `counted_loss` also gets `where`, the cells of a sequence that
        count.
      explain: (context) -> A [B, h, w], from `guidance.explain`; or [B, h, w, K], such
        as that of `attributions.input_gradient`, of which the channels are summed. With
        `evidence` [B, T] A is [B, T], or [B, T, D] summed over D, such as that of
        `layer='embeddings'`; in front of a layer norm that sum is 0 of a gradient, and
        one of `attributions.gradient_x_input` is meant.
      evidence: 'rationale' or 'region', see `evidence_of`; None for the region or the
        boxes of an image.

    Returns:
      A term with no parameters or state that needs 'inputs', 'labels' and 'region', or
      'boxes' with 'boxes_valid', see `reading.region_of`; or with `evidence` that entry
      of the batch and what `evidence_of` reads. Its metric is 'blank'.

    Raises:
      ValueError: in the first step, for a map whose aspect is not that of the image or
        that does not fit the evidence, and as `guidance.explain`.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, "Studying How to Efficiently and
      Effectively Guide Models with Explanations", ICCV 2023, eq. 1, with the label as
      the explained class and the mean over the annotated examples (their code sums).
    """

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        counted = None
        if evidence is None:
            region, valid = reading.region_of(context.batch)
            maps = explaining.without_channels(explain(context))
            _, h, w = maps.shape
            cells = reading.on_cells(region, shape=(h, w))
        else:
            region, valid = sequences.evidence_of(context.batch, evidence)
            maps, counted = _on_places(explain(context), region, context, evidence)
            cells = region
        cells = jax.lax.stop_gradient(cells)
        values = map_losses.apply(loss, maps, cells, where=counted)
        values = reading.spoil(values, region)
        blank = ~jnp.any(maps > 0, axis=tuple(range(1, maps.ndim)))
        return (
            jnp.where(valid, values, 0.0),
            valid.astype(values.dtype),
            {"blank": blank.astype(values.dtype)},
        )

    return base.stateless(loss_fn)


def _on_places(
    maps: Array, marks: Array, context: StepContext, name: str
) -> tuple[Array, Array | None]:
    """Maps shaped like the evidence, 0 where nothing counts; where something does."""
    sequences.fitted(marks, maps, name)
    if maps.ndim > marks.ndim:
        maps = jnp.sum(ops.at_least_float32(maps), axis=-1)
    counted = sequences.counted_of(context.batch)
    if counted is None:
        return maps, None
    counted = sequences.spread(counted, maps)
    return jnp.where(counted, maps, jnp.zeros_like(maps)), counted
