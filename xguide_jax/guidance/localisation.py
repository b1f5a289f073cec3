"""Localisation: attribution maps compared with an annotated region.

Any explainer at any layer, any loss of a map and a region. `A` is the map [B, h, w],
`M` the region averaged onto the map's grid, a share in [0, 1] for each cell.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from xguide_jax import deprecating
from xguide_jax.guidance import base, explaining, reading
from xguide_jax.types import Array, Explain, Explainer, GuidanceTerm, StepContext

MapLoss = Callable[[Array, Array], Array]


def _explain(explainer: Explainer, **where: Any) -> dict[str, Explain]:
    return {"explain": explaining.explain(explainer, **where)}


@deprecating.old_keywords(
    ("explainer", "layer", "explain_in"),
    instead="explain=guidance.explain(explainer, layer=...)",
    lift=_explain,
)
def localisation(*, loss: MapLoss, explain: Explain) -> GuidanceTerm:
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

    Args:
      loss: (A [B, h, w], M [B, h, w]) -> [B].
      explain: (context) -> A [B, h, w], from `guidance.explain`; or [B, h, w, K], such
        as that of `attributions.input_gradient`, of which the channels are summed.

    Returns:
      A term with no parameters or state that needs 'inputs', 'labels' and 'region', or
      'boxes' with 'boxes_valid', see `reading.region_of`; its metric is 'blank'.

    Raises:
      ValueError: in the first step, for a map whose aspect is not that of the image,
        and as `guidance.explain`.

    Source: Rao, Böhle, Parchami-Araghi, Schiele, "Studying How to Efficiently and
      Effectively Guide Models with Explanations", ICCV 2023, eq. 1, with the label as
      the explained class and the mean over the annotated examples (their code sums).
    """

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        region, valid = reading.region_of(context.batch)
        maps = explaining.without_channels(explain(context))
        _, h, w = maps.shape
        cells = reading.on_cells(jax.lax.stop_gradient(region), shape=(h, w))
        values = reading.spoil(loss(maps, cells), region)
        blank = ~jnp.any(maps > 0, axis=(1, 2))
        return (
            jnp.where(valid, values, 0.0),
            valid.astype(values.dtype),
            {"blank": blank.astype(values.dtype)},
        )

    return base.stateless(loss_fn)
