"""Saliency-guided training: predict the same when what is not salient is replaced."""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xguide_jax import attributions, deprecating, losses, ops
from xguide_jax.guidance import base, explaining, reading
from xguide_jax.types import (
    Array,
    FillFn,
    GuidanceTerm,
    PyTree,
    RankFn,
    ScoreFn,
    StepContext,
    TermOutput,
)


def saliency_guided(
    *,
    mask_fraction: float,
    fill: FillFn,
    rank_fn: RankFn,
    score_fn: ScoreFn,
    explain_in: explaining.Mode = "eval",
    frozen_teacher: bool = False,
    consistency: Callable[[Array, Array], Array] = losses.kl_consistency,
) -> GuidanceTerm:
    """Divergence of the prediction on the salient part of an input from that on all.

    I = rank(∂s_y(x)/∂x); x̃ = x with the k lowest scores of I replaced by `fill`;
    l = consistency(f(x), f(x̃)), by default KL(softmax f(x) || softmax f(x̃)), with
    k = floor(mask_fraction · n + 1e-6) of the n scores an example has *after* ranking.
    Saliency, mask and fill are constants; gradients flow through both predictions. x̃ is
    predicted in train mode with a dropout draw of its own, as published, so that with
    dropout even k = 0 gives a loss.

    The paper's prose ("low gradients") and the published code (the most negative signed
    gradients) rank differently, and the code fills with uniform noise where the prose
    does not say: `rank_fn`, `mask_fraction` and `fill` have no default.

    Args:
      mask_fraction: in [0, 1], the fraction of scores whose features are replaced; 0
        is the arm without a mask.
      fill: (keys [B], inputs) -> replacement values, e.g.
        `functools.partial(ops.uniform_range_fill, axes=(1, 2, 3))`.
      rank_fn: attributions -> scores; `ops.signed_channel_mean` (the published code),
        `ops.magnitude_of_mean`, `ops.mean_magnitude`, `ops.random_rank` (the control);
        one of yours that draws is marked by `ops.keyed`.
      score_fn: what is explained, at the targets; `attributions.target_log_probability`
        for the published digits, `attributions.target_logit` for its colour images;
        `attributions.sigmoid_log_probability` and the like for a sigmoid head.
      explain_in: the mode of the explained pass. 'eval' as published; 'train' shares
        the clean pass where there is dropout or batch norm (and couples the examples
        of a batch under batch norm).
      frozen_teacher: hold f(x) constant. Then the saliency of
        `target_log_probability` at the labels is minus the gradient of the step's own
        cross-entropy (`training.softmax_cross_entropy`), and comes by the clean pass's
        pullback: 2.0 instead of 2.33 times the cost of an unguided step. Beside any
        other task loss, and for 'targets', it comes by a pass of its own.
      consistency: (logits, masked logits) -> [B]; `losses.bernoulli_consistency` for
        a sigmoid head, `losses.squared_consistency` for a regression.

    Returns:
      A term with no parameters or state that needs 'inputs' and 'labels', or 'targets'
      [B] where the labels are not what is explaining.

    Raises:
      ValueError: for a `mask_fraction` outside [0, 1] or an unknown `explain_in`; when
        the step is traced, for one above 0 that masks none of the scores.

    Source: Ismail, Corrada Bravo, Feizi, "Improving Deep Learning Interpretability by
      Saliency Guided Training", NeurIPS 2021: Algorithm 1 as on the authors' poster,
      and the published code; the paper's text was not available to check.
    """
    if not 0 <= mask_fraction <= 1:
        raise ValueError(f"`mask_fraction` (={mask_fraction}) must lie in [0, 1].")
    explaining.check_mode(explain_in)
    rank_with_key = _with_key(rank_fn)

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        del params
        inputs = context.batch["inputs"]
        rank_key, fill_key, dropout_key = _split(context.key)
        shared = frozen_teacher and _is_explained_by_the_task(context, score_fn)
        saliency_of = _by_the_clean_pass if shared else _by_a_pass_of_its_own
        saliency = saliency_of(context, score_fn, explain_in)
        scores = rank_with_key(jax.lax.stop_gradient(saliency), key=rank_key)
        mask = ops.bottom_k_mask(scores, _number_masked(scores, mask_fraction, rank_fn))
        masked = ops.replace(inputs, mask, fill(fill_key, inputs))
        masked_output = context.forward(
            jax.lax.stop_gradient(masked), train=True, key=dropout_key[0]
        )
        logits = context.output.logits
        if frozen_teacher:
            logits = jax.lax.stop_gradient(logits)
        loss = consistency(logits, masked_output.logits)
        return TermOutput(loss, jnp.ones_like(loss), state)

    return GuidanceTerm(base.no_variables, apply)


def _number_masked(scores: Array, mask_fraction: float, rank_fn: RankFn) -> int:
    """k, which is 0 only where that was asked for."""
    num_scores = scores.size // len(scores)
    k = int(mask_fraction * num_scores + 1e-6)
    if k == 0 and mask_fraction > 0:
        rank = getattr(rank_fn, "__name__", rank_fn)
        raise ValueError(
            f"`mask_fraction` (={mask_fraction}) must mask at least one of the n = "
            f"{num_scores} scores an example that `rank_fn` (={rank}) gives (shape "
            f"{scores.shape}); else nothing is ever replaced. Take a larger fraction, "
            "a rank with a score for each feature, or exactly 0 for no mask."
        )
    return k


def _is_explained_by_the_task(context: StepContext, score_fn: ScoreFn) -> bool:
    """Whether the gradient of the task loss is that of the score, up to a factor."""
    # The task loss is taken at the labels, whatever class is explaining.
    known = context.task_score == "log_probability"
    explained = known and score_fn is attributions.target_log_probability
    return explained and "targets" not in context.batch


def _by_the_clean_pass(
    context: StepContext, score_fn: ScoreFn, explain_in: explaining.Mode
) -> Array:
    del score_fn  # minus the task loss; the weight of an example ranks nothing
    return -context.task_input_gradient(train=explain_in == "train")


def _by_a_pass_of_its_own(
    context: StepContext, score_fn: ScoreFn, explain_in: explaining.Mode
) -> Array:
    function, point = explaining.function_and_point(
        context, layer=None, explain_in=explain_in
    )
    targets = reading.targets_of(context.batch)
    return attributions.input_gradient(function, point, targets, score_fn=score_fn)


def _with_key(rank_fn: RankFn) -> RankFn:
    if isinstance(rank_fn, ops.KeyedRank):
        return rank_fn
    key = inspect.signature(rank_fn).parameters.get("key")
    if key is not None and key.default is inspect.Parameter.empty:
        deprecating.warn(
            "`rank_fn` takes `key`, which is no longer read from its signature: give "
            "`ops.keyed(rank_fn)` instead",
            stacklevel=4,
        )
        return rank_fn
    return lambda attributions_, *, key: rank_fn(attributions_)


@functools.partial(jax.vmap, out_axes=0)
def _split_one(key: Array) -> Array:
    return jax.random.split(key, 3)


def _split(keys: Array) -> tuple[Array, Array, Array]:
    """Three independent keys an example, `[B]` each."""
    split = _split_one(keys)
    return split[:, 0], split[:, 1], split[:, 2]
