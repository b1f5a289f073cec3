"""Right for the right reasons: no influence of what lies outside the region."""

import jax
import jax.numpy as jnp

from xguide_jax import attributions, losses
from xguide_jax.guidance import annotated, base, explained
from xguide_jax.types import Array, GuidanceTerm, ScoreFn, StepContext


def right_for_right_reasons(
    *,
    score_fn: ScoreFn = attributions.sum_log_probabilities,
    explain_in: explained.Mode = "eval",
) -> GuidanceTerm:
    """Squared input gradient outside the annotated region.

    l = Σ ((1 − M) ∂s(x)/∂x)² over pixels and channels, M the region, the same for all
    channels. A sum, so its size grows with the image and with the scale of the inputs:
    the literature weighs it by anything from 1e-4 to 1e5. Gradients flow through the
    input gradient (a double backward pass), not into the region. An example without a
    region has weight 0, loss 0 and gradient 0.

    Args:
      score_fn: what is explained; the sum of all classes' log-probabilities as
        published, which needs no label. Its gradient vanishes where the prediction is
        uniform, that of `attributions.target_logit` does not.
      explain_in: the mode of the explained pass. 'train' shares the clean pass where
        there is dropout or batch norm, and couples the examples of a batch under batch
        norm.

    Returns:
      A term with no parameters or state that needs 'inputs' [B, H, W, C], 'labels' and
      'region', or 'boxes' with 'boxes_valid'.

    Raises:
      ValueError: for an unknown `explain_in`.

    Source: Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017, with
      the mean over the annotated examples; `right_for_right_reasons_published` divides
      as the published code does.
    """
    explained.check_mode(explain_in)

    def loss_fn(context: StepContext) -> tuple[Array, Array]:
        region, valid = annotated.region_of(context.batch)
        function, point = explained.function_and_point(
            context, layer=None, explain_in=explain_in
        )
        gradient = attributions.input_gradient(
            function, point, annotated.targets_of(context.batch), score_fn=score_fn
        )
        irrelevant = 1 - jax.lax.stop_gradient(region)[..., None]
        values = losses.right_for_right_reasons(gradient, irrelevant)
        return jnp.where(valid, values, 0.0), valid.astype(values.dtype)

    return base.stateless(loss_fn)
