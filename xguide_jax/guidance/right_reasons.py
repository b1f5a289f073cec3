"""Right for the right reasons: no influence of what lies outside the region."""

import functools

import jax
import jax.numpy as jnp

from xguide_jax import attributions, deprecating, losses
from xguide_jax.guidance import base, explaining, reading, sequences
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
def right_for_right_reasons(
    *, explain: Explain | None = None, evidence: str | None = None
) -> GuidanceTerm:
    """Squared input gradient outside the annotated region.

    l = Σ ((1 − M) A)² over pixels and channels, A = ∂s(x)/∂x and M the region, the same
    for all channels; of a coarser map, the share of each cell that the region covers.
    A sum, so its size grows with the image and with the scale of the inputs:
    the literature weighs it by anything from 1e-4 to 1e5. Gradients flow through the
    input gradient (a double backward pass), not into the region. An example without a
    region has weight 0, loss 0 and gradient 0.

    Of a sequence, `evidence` names the entry that is M: [B, T] of tokens, whose
    attributions are [B, T, D], or [B, T, F] of the cells of a series. Padding and
    special tokens are neither inside nor outside.

    Args:
      explain: (context) -> the attributions, [B, H, W, C] or [B, h, w, K] of a layer,
        or [B, h, w]; from `guidance.explain`. If None, as published: the input gradient
        of the sum of all classes' log-probabilities, which needs no label. That
        gradient vanishes where the prediction is uniform, the one of
        `attributions.target_logit` does not. Tokens are explained at a layer,
        `guidance.explain(..., layer='embeddings')`.
      evidence: 'rationale' or 'region', see `evidence_of`; None for the region or the
        boxes of an image.

    Returns:
      A term with no parameters or state that needs 'inputs' [B, H, W, C], 'labels' and
      'region', or 'boxes' with 'boxes_valid'; or with `evidence` that entry of the
      batch and what `evidence_of` reads.

    Raises:
      ValueError: in the first step, for maps whose aspect is not that of the image, or
        that do not fit the evidence.

    Source: Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017, with
      the mean over the annotated examples; `right_for_right_reasons_published` divides
      as the published code does.
    """
    maps_of = _explain()["explain"] if explain is None else explain

    def of_sequence(context: StepContext, name: str) -> tuple[Array, Array]:
        marks, valid = sequences.evidence_of(context.batch, name)
        maps = maps_of(context)
        outside = sequences.fitted(1 - jax.lax.stop_gradient(marks), maps, name)
        counted = sequences.counted_of(context.batch)
        if counted is not None:
            outside = jnp.where(sequences.spread(counted, outside), outside, 0.0)
        values = losses.right_for_right_reasons(maps, outside)
        return jnp.where(valid, values, 0.0), valid.astype(values.dtype)

    def loss_fn(context: StepContext) -> tuple[Array, Array]:
        if evidence is not None:
            return of_sequence(context, evidence)
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
