"""Saliency-guided training: predict the same when what is not salient is replaced."""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xguide_jax import attributions, deprecating, losses, ops
from xguide_jax.guidance import base, explaining, masking, reading
from xguide_jax.types import (
    Array,
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
    fill: masking.Fill,
    rank_fn: RankFn,
    score_fn: ScoreFn,
    layer: str | None = None,
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

    At a layer x is its activation, and x̃ takes its place. Where a layer norm follows,
    as on the word embeddings of `models.Bert`, the gradient is orthogonal to a shift of
    all channels and its mean over them is 0: `ops.signed_channel_mean` and
    `ops.magnitude_of_mean` then rank rounding errors; `ops.mean_magnitude` does not.

    Of a sequence, of which the inputs hold a 'mask' [B, T], padding and 'special'
    tokens are never replaced nor counted: k_i = floor(mask_fraction · n_i + 1e-6) of
    the n_i scores of example i that are left. An example so short that k_i = 0 has
    weight 0. Gradients flow through what is kept, and through copies of it, into the
    network before the layer; with `ops.previous_salient_token` at the word embeddings
    the loss and its gradient are those of other tokens in the places of the least
    salient ones.

    Args:
      mask_fraction: in [0, 1], the fraction of scores whose features are replaced; 0
        is the arm without a mask.
      fill: (keys [B], inputs) -> replacement values, e.g.
        `functools.partial(ops.uniform_range_fill, axes=(1, 2, 3))`; of a sequence also
        one that is told which places count and are kept, such as
        `ops.previous_salient_token` or `ops.uniform_feature_range_fill`, or one of
        yours by `ops.sequence_fill`.
      rank_fn: attributions -> scores; `ops.signed_channel_mean` (the published code),
        `ops.magnitude_of_mean`, `ops.mean_magnitude`, `ops.random_rank` (the control);
        one of yours that draws is marked by `ops.keyed`. Of token embeddings the mean
        ranks as the sum; `ops.by_feature` gives each cell of a series its own score.
      score_fn: what is explained, at the targets; `attributions.target_log_probability`
        for the published digits, `attributions.target_logit` for its colour images;
        `attributions.sigmoid_log_probability` and the like for a sigmoid head.
      layer: the activation [B, T, D], or of another rank, that is explained and masked,
        e.g. 'embeddings' or 'series'; the input if None.
      explain_in: the mode of the explained pass. 'eval' as published; 'train' shares
        the clean pass where there is dropout or batch norm (and couples the examples
        of a batch under batch norm).
      frozen_teacher: hold f(x) constant. Then the saliency of
        `target_log_probability` at the labels is minus the gradient of the step's own
        cross-entropy (`training.softmax_cross_entropy`), and comes by the clean pass's
        pullback: 2.0 instead of 2.33 times the cost of an unguided step. Beside any
        other task loss, for 'targets' and at a layer, it comes by a pass of its own.
      consistency: (logits, masked logits) -> [B]; `losses.bernoulli_consistency` for
        a sigmoid head, `losses.squared_consistency` for a regression.

    Returns:
      A term with no parameters or state that needs 'inputs' and 'labels', or 'targets'
      [B] where the labels are not what is explaining; at a layer it reads the 'mask' of
      the inputs and 'special', where there are such, and a fill that is told of texts
      their 'segments' [B, T].

    Raises:
      ValueError: for a `mask_fraction` outside [0, 1], or of 1 with a fill that copies
        what is kept, and for an unknown `explain_in`; when the step is traced, for a
        fraction above 0 that masks none of the scores, for inputs that are not one
        array without a layer, and for a layer that the network does not expose or that
        is not of the mask's length.

    Source: Ismail, Corrada Bravo, Feizi, "Improving Deep Learning Interpretability by
      Saliency Guided Training", NeurIPS 2021: Algorithm 1 as on the authors' poster,
      and the published code; the paper's text was not available to check.
    """
    masking.check_fraction(mask_fraction, fill)
    explaining.check_mode(explain_in)
    rank_with_key = _with_key(rank_fn)

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        del params
        inputs = context.batch["inputs"]
        if layer is None:
            explaining.check_array(inputs)
        rank_key, fill_key, dropout_key = _split(context.key)
        if (
            frozen_teacher
            and layer is None
            and _is_explained_by_the_task(context, score_fn)
        ):
            # Minus the task loss; the weight of an example ranks nothing.
            saliency = -context.task_input_gradient(train=explain_in == "train")
        else:
            saliency = _by_a_pass_of_its_own(context, score_fn, layer, explain_in)
        scores = rank_with_key(jax.lax.stop_gradient(saliency), key=rank_key)
        counted, point, overrides = None, inputs, None
        if layer is not None:
            counted = masking.counted_scores(context.batch, scores, layer=layer)
            point = context.output.intermediates[layer]
        mask, asked = masking.lowest(
            scores, mask_fraction, counted=counted, rank_fn=rank_fn
        )
        values = masking.filled(
            fill, fill_key, point, mask=mask, counted=counted, batch=context.batch
        )
        masked = ops.replace(point, mask, values)
        if layer is None:
            inputs = jax.lax.stop_gradient(masked)
        else:
            overrides = {layer: masked}
        masked_output = context.forward(
            inputs, train=True, overrides=overrides, key=dropout_key[0]
        )
        logits = context.output.logits
        if frozen_teacher:
            logits = jax.lax.stop_gradient(logits)
        loss = consistency(logits, masked_output.logits)
        loss = jnp.where(asked, loss, 0.0)
        return TermOutput(loss, asked.astype(loss.dtype), state)

    return GuidanceTerm(base.no_variables, apply)


def _is_explained_by_the_task(context: StepContext, score_fn: ScoreFn) -> bool:
    """Whether the gradient of the task loss is that of the score, up to a factor."""
    # The task loss is taken at the labels, whatever class is explaining.
    known = context.task_score == "log_probability"
    explained = known and score_fn is attributions.target_log_probability
    return explained and "targets" not in context.batch


def _by_a_pass_of_its_own(
    context: StepContext,
    score_fn: ScoreFn,
    layer: str | None,
    explain_in: explaining.Mode,
) -> Array:
    function, point = explaining.function_and_point(
        context, layer=layer, explain_in=explain_in
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
