"""Textual explanation: the text that a person gave, told from the network's saliency.

A decoder says the text after a prefix that is made of the features and of the map. The
loss of the text is a loss of the map too: a map that shows what the text speaks of
makes the text likelier, also on images whose map nobody drew. What is drawn itself is
compared by `localisation`.

`F` [B, h, w, K] are the features of a layer, `M` in [0, 1] the map over its maximum and
`P` its `saliency_distribution`.
"""

from collections.abc import Callable
from typing import Literal, Protocol, get_args

import chex
import jax
import jax.numpy as jnp

from xguide_jax import losses, ops
from xguide_jax.guidance import parameters, saliency, texts
from xguide_jax.types import (
    Array,
    Batch,
    Explain,
    GuidanceTerm,
    PRNGKey,
    PyTree,
    StepContext,
    TermOutput,
)

Route = Literal["all", "saliency_only"]


class PrefixedText(Protocol):
    """What says a text after a prefix: `models.TextHead`, or anything like it."""

    @property
    def init(self) -> Callable[[PRNGKey], PyTree]:
        """Key -> params."""

    @property
    def apply(self) -> Callable[[PyTree, Array, Array, Array], Array]:
        """(params, prefix [B, P, D], tokens [B, L], mask [B, L]) -> [B, L, V]."""

    @property
    def width(self) -> int:
        """D."""


def textual_explanation(
    head: PrefixedText,
    *,
    explain: Explain,
    feature_width: int,
    layer: str = "features",
    num_classes: int | None = None,
    route: Route = "all",
) -> GuidanceTerm:
    """Likelihood of a text that is told from the network's features and saliency.

    −(1 / |T|) Σ_t log p(T_t | T_<t, prefix), the prefix that of `textual_prefix`; the
    head predicts each token from those before it. An example without a text has weight
    0, loss 0 and gradient 0.

    Gradients flow into the head and the projections, which are the term's parameters,
    into the map, through everything that the explainer does not hold constant, and with
    `route='all'` into features and logits as well. With 'saliency_only' these are
    constants: what the network can do for the text is to move its saliency, and a map
    that is held constant gives it no gradient at all.

    A text may be guessed without a look at the map, from what texts are like. Compare
    its likelihood under maps of other images, with `textual_prefix`, before you read
    anything into it.

    Args:
      head: says a text after a prefix, such as `models.linen_text_head(module)`; any
        vision-language model can be one.
      explain: (context) -> R [B, h, w], from `guidance.explain`; or [B, h, w, K], of
        which the channels are summed. Negative evidence is dropped. A map finer than
        the features is averaged onto their cells.
      feature_width: K of the layer; the parameters are made before there are features.
      layer: an activation of the clean pass, [B, h, w, K], or [B, T, K] with the h w
        patches last.
      num_classes: C, for one more token in the prefix that says the prediction; none if
        None.
      route: where the gradient of the text goes, see above.

    Returns:
      A term with params {'head', 'projector'} and no state that needs 'text' and
      'text_mask', see `text_of`, and what `explain` reads. Its metric 'blank' is the
      share of maps without a positive entry, which no text can move.

    Raises:
      ValueError: for an unknown `route` or a width below 1; in the first step, for
        features of one cell or of another width, or if the params are missing.

    Source: that a text model is told the saliency and the whole image, and that the
      text supervises the saliency, are the idea of Zhang, Jiang et al., "Multimodal
      Explanation-Guided Learning", arXiv 2411.13053, whose formulas were not available.
      Prefix and routes are our design.
    """
    if route not in get_args(Route):
        raise ValueError(f"`route` (={route!r}) must be one of {get_args(Route)}.")
    parameters.check_width("feature_width", feature_width)
    if num_classes is not None:
        parameters.check_width("num_classes", num_classes)

    def init(key: PRNGKey, batch: Batch) -> tuple[PyTree, PyTree]:
        del batch
        of_projector, of_head = jax.random.split(key)
        projector = _init_projector(
            of_projector, feature_width, head.width, num_classes
        )
        return {"projector": projector, "head": head.init(of_head)}, ()

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        parameters.check_given(params, ("projector", "head"))
        tokens, mask, valid = texts.text_of(context.batch)
        features, maps = saliency.features_and_maps(
            context, explain=explain, layer=layer
        )
        parameters.check_features(features, feature_width, layer=layer)
        logits = None if num_classes is None else context.output.logits
        if route == "saliency_only":
            features, logits = jax.lax.stop_gradient((features, logits))
        prefix = textual_prefix(params, features, maps, logits)
        # A model may have no answer to a text without a single token.
        begun = mask.at[:, 0].set(True)
        predictions = head.apply(params["head"], prefix, tokens, begun)
        loss = losses.token_negative_log_likelihood(predictions, tokens, mask)
        loss = jnp.where(valid, loss, 0.0)
        return TermOutput(
            loss, valid.astype(loss.dtype), state, {"blank": saliency.blank(maps)}
        )

    return GuidanceTerm(init, apply)


def textual_prefix(
    params: PyTree, features: Array, maps: Array, logits: Array | None = None
) -> Array:
    """What a text is told from: what is salient, the whole, and every cell with both.

    [W_g g, W_c c, W_p F_11 + M_11 e, …, W_p F_hw + M_hw e, (W_z softmax(z))] with g =
    Σ P F, c = mean F and e a vector that marks saliency. Gradients flow into all
    arguments. Maps of other images, or of ones, in place of the network's show how much
    of a text hangs on them.

    Args:
      params: of the term, of which 'projector' is read.
      features: float [B, h, w, K].
      maps: float [B, h, w], of any scale; what is negative counts as 0.
      logits: float [B, C], z; given exactly where the term has `num_classes`.

    Returns:
      float [B, 2 + h w, D], and one more with logits; float32 or wider.

    Raises:
      ValueError: if there are logits and the params have no 'decision', or the reverse.
      AssertionError: if the shapes do not fit.

    Source: as `textual_explanation`; our design.
    """
    projector = params["projector"]
    if (logits is not None) != ("decision" in projector):
        raise ValueError(
            f"`logits` must be given exactly where the params have 'decision': given "
            f"is {logits is not None}, the params have {sorted(projector)}."
        )
    chex.assert_rank([features, maps], [4, 3])
    chex.assert_shape(maps, features.shape[:3])
    features = ops.at_least_float32(features)
    shares = ops.normalise_by_max(maps).astype(features.dtype)
    salient = saliency.pool(features, saliency.saliency_distribution(maps))
    project = lambda values, name: parameters.project(values, projector[name])
    grid = project(features, "grid") + project(shares[..., None], "saliency")
    parts = [
        project(salient, "salient")[:, None],
        project(jnp.mean(features, axis=(1, 2)), "context")[:, None],
        grid.reshape(len(grid), -1, grid.shape[-1]),
    ]
    if logits is not None:
        decision = jax.nn.softmax(ops.at_least_float32(logits))
        parts.append(project(decision.astype(features.dtype), "decision")[:, None])
    return jnp.concatenate(parts, axis=1)


def _init_projector(
    key: PRNGKey, feature_width: int, width: int, num_classes: int | None
) -> dict[str, Array]:
    inputs = {"salient": feature_width, "context": feature_width}
    inputs |= {"grid": feature_width, "saliency": 1}
    if num_classes is not None:
        inputs["decision"] = num_classes
    keys = jax.random.split(key, len(inputs))
    return {
        name: parameters.matrix(k, size, width)
        for (name, size), k in zip(inputs.items(), keys, strict=True)
    }
