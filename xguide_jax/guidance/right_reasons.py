"""Right for the right reasons: no influence of what lies outside the region."""

import functools

import jax
import jax.numpy as jnp

from xguide_jax import attributions, deprecating, losses
from xguide_jax.guidance import base, explaining, reading
from xguide_jax.types import Array, Explain, GuidanceTerm, ScoreFn, StepContext


def _explain(
    score_fn: ScoreFn = attributions.sum_log_probabilities,
    explain_in: explaining.Mode = "eval",
) -> dict[str, Explain]:
    explainer = functools.partial(attributions.input_gradient, score_fn=score_fn)
    return {"explain": explaining.explain(explainer, explain_in=explain_in)}


@deprecating.old_keywords(
    ("score_fn", "explain_in"),
    instead="explain=guidance.explain(functools.partial(attributions.input_gradient, "
    "score_fn=...))",
    lift=_explain,
)
def right_for_right_reasons(*, explain: Explain | None = None) -> GuidanceTerm:
    """Squared input gradient outside the annotated region.

    l = Σ ((1 − M) A)² over pixels and channels, A = ∂s(x)/∂x and M the region, the same
    for all channels; of a coarser map, the share of each cell that the region covers.
    A sum, so its size grows with the image and with the scale of the inputs:
    the literature weighs it by anything from 1e-4 to 1e5. Gradients flow through the
    input gradient (a double backward pass), not into the region. An example without a
    region has weight 0, loss 0 and gradient 0.

    Args:
      explain: (context) -> the attributions, [B, H, W, C] or [B, h, w, K] of a layer,
        or [B, h, w]; from `guidance.explain`. If None, as published: the input gradient
        of the sum of all classes' log-probabilities, which needs no label. That
        gradient vanishes where the prediction is uniform, the one of
        `attributions.target_logit` does not.

    Returns:
      A term with no parameters or state that needs 'inputs' [B, H, W, C], 'labels' and
      'region', or 'boxes' with 'boxes_valid'.

    Raises:
      ValueError: in the first step, for maps whose aspect is not that of the image.

    Source: Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017, with
      the mean over the annotated examples; `right_for_right_reasons_published` divides
      as the published code does.
    """
    maps_of = _explain()["explain"] if explain is None else explain

    def loss_fn(context: StepContext) -> tuple[Array, Array]:
        region, valid = reading.region_of(context.batch)
        maps = maps_of(context)
        _, h, w, *channels = maps.shape
        cells = jax.lax.stop_gradient(region)
        if (h, w) != cells.shape[1:]:
            cells = reading.on_cells(cells, shape=(h, w))
        irrelevant = 1 - cells[..., None] if channels else 1 - cells
        values = losses.right_for_right_reasons(maps, irrelevant)
        return jnp.where(valid, values, 0.0), valid.astype(values.dtype)

    return base.stateless(loss_fn)
