"""Terms as the published code computes them, and where that differs from the paper.

The builders of the other modules leave out what looks like a slip; these keep it, as
far as a term can. What lies outside a term (data, optimiser, selection) is named here
only. Papers whose text could not be checked are not quoted. `published.md`, beside this
file, sets paper, code, our default and the preset side by side.

Saliency-guided training (Ismail, Corrada Bravo, Feizi, NeurIPS 2021):
  ranking: paper, "small and potentially noisy gradients"; code, the most negative
    signed ones, averaged over the channels (magnitudes by a flag that no command sets).
  explained: paper, f(x); code, the label's log-probability for digits, its logit for
    colour images, in eval mode.
  replacement: code, uniform noise in the range of the image (digits) or of each of its
    channels (colour), by a flag that all commands set; without it, the mean or a pixel.
  λ: paper, a hyper-parameter; code, 1.
  not reproduced: batch statistics updated by the masked pass too; digits never
    shuffled; early stopping on the test set; at least one pixel masked in colour.

Right for the right reasons (Ross, Hughes, Doshi-Velez, IJCAI 2017):
  reduction: code, plain sums over the examples, of the cross-entropy too. That is the
    mean over all examples times their number, those without annotation counting as 0.
    A flag divides by the number of examples and of marked features instead.
  parameters: code, λ₂ ‖θ‖² in the loss; in no term here, weight decay being the
    optimiser's.
  weight: code, 1e-4 by default, 1e3 to 1e5 in its experiments.

Model guidance (Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023):
  energy: paper, minus the share inside; code, 1 minus it, undivided below 1e-7.
  reduction: paper, a loss of one image; code, the *sum* over the annotated images of a
    batch beside a mean cross-entropy, so that the batch size changes the weight:
    `summed`.
  grid: code, maps enlarged to 224 x 224 before the loss; here regions are averaged onto
    the grid of the map.
  not a number: code, the cross-entropy on an empty box, and the gradient of a map of
    zeros; here 0.
"""

import functools
from typing import Literal

import jax.numpy as jnp

from xguide_jax import attributions, ops
from xguide_jax.guidance import base
from xguide_jax.guidance.right_reasons import right_for_right_reasons
from xguide_jax.guidance.saliency_guided import saliency_guided
from xguide_jax.types import GuidanceTerm, PyTree, StepContext, TermOutput


def saliency_guided_published(
    *, images: Literal["digits", "colour"], mask_fraction: float = 0.5
) -> GuidanceTerm:
    """Saliency-guided training with the choices of the published code.

    Both predictions learn; the weight beside the cross-entropy is 1.

    Args:
      images: 'digits' explains the log-probability and draws noise in the range of each
        image; 'colour' explains the logit, with a range for each image and channel.
      mask_fraction: in [0, 1]; 0.5 in the published commands and figures.

    Returns:
      A term with no parameters or state that needs 'inputs' [B, H, W, C] and 'labels'.

    Raises:
      ValueError: for unknown `images` or a `mask_fraction` outside [0, 1].

    Source: the published code of Ismail, Corrada Bravo, Feizi, NeurIPS 2021.
    """
    if images not in ("digits", "colour"):
        raise ValueError(f"`images` (={images!r}) must be 'digits' or 'colour'.")
    score_fn, axes = {
        "digits": (attributions.target_log_probability, (1, 2, 3)),
        "colour": (attributions.target_logit, (1, 2)),
    }[images]
    return saliency_guided(
        mask_fraction=mask_fraction,
        fill=functools.partial(ops.uniform_range_fill, axes=axes),
        rank_fn=ops.signed_channel_mean,
        score_fn=score_fn,
    )


def right_for_right_reasons_published() -> GuidanceTerm:
    """Right for the right reasons, divided as in the published code.

    The published objective, Σ CE + λ Σ l over the examples, is B times the mean CE plus
    λ times the mean l of *all* B examples, l = 0 where there is no annotation: so
    beside a mean task loss the mean is right, and the fewer are annotated, the smaller
    it is. Scale it by the published λ.

    Returns:
      The term `right_for_right_reasons()` with weight 1 for every example.

    Source: the published code of Ross, Hughes, Doshi-Velez, IJCAI 2017.
    """
    term = right_for_right_reasons()

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        out = term.apply(params, state, context)
        everyone = jnp.ones_like(out.weight)
        return out._replace(loss=out.weight * out.loss, weight=everyone)

    return GuidanceTerm(base.no_variables, apply)


def summed(term: GuidanceTerm) -> GuidanceTerm:
    """The sum of a term over the examples of a batch, in place of the mean.

    Σ w l, where the objective would add Σ w l / Σ w. The weight of the term beside the
    task then grows with the batch and with the share that is annotated.

    Args:
      term: any term.

    Returns:
      A term with the same parameters, state and metrics.

    Source: the published code of Rao, Böhle, Parchami-Araghi, Schiele, ICCV 2023.
    """

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        out = term.apply(params, state, context)
        weight = out.weight
        if "weight" in context.batch:
            weight = weight * context.batch["weight"].astype(weight.dtype)
        # The objective divides by the same sum.
        total = ops.axis_sum(jnp.sum(weight), context.axis_name)
        return out._replace(loss=out.loss * total.astype(out.loss.dtype))

    return GuidanceTerm(term.init, apply)
