"""What a network writes of images, and how much of it hangs on the saliency."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.multimodal_guidance import sources, terms
from experiments.running.scored import Scored, scored
from xguide_jax import attributions, data, guidance, losses, metrics, models
from xguide_jax.types import ApplyFn, Array, PyTree, TrainState


class Told(NamedTuple):
    """What the texts of one network are worth.

    Attributes:
      bleu: BLEU-4 of all texts, in [0, 1].
      rouge: ROUGE-L.
      cider: CIDEr-D.
      meteor: of exactly equal words.
      distinct: the share of different word pairs.
      names_prediction: whether a text names the class that the network predicts.
      cost: nats a token of the first text given, under the map of its image.
      cost_shuffled: under the map of another image.
      cost_uniform: under a map that says nothing.
      texts: the texts.
    """

    bleu: float
    rouge: Scored
    cider: Scored
    meteor: Scored
    distinct: float
    names_prediction: Scored
    cost: Scored
    cost_shuffled: Scored
    cost_uniform: Scored
    texts: list[str]


class Seen(NamedTuple):
    """What a network has of images before it says anything.

    Attributes:
      features: float [N, h, w, K].
      maps: float [N, h, w], of the class that the network predicts: with that of the
        label, a text could tell the label that the network does not know.
      predicted: int [N].
    """

    features: Array
    maps: Array
    predicted: Array


# (state, images) -> what the network has of them
Look = Callable[[TrainState, np.ndarray], Seen]


def gap(told: Told) -> Scored:
    """The grounding gap: what the own map saves over that of another image.

    Args:
      told: of a network.

    Returns:
      cost_shuffled - cost, in nats a token; above 0 if texts hang on the map.
    """
    return scored(told.cost_shuffled.rows - told.cost.rows)


def make_look(apply_fn: ApplyFn) -> Look:
    """The features and the map of a trained network, in eval mode, compiled.

    Args:
      apply_fn: the network.

    Returns:
      A `Look`.
    """

    @jax.jit
    def look(params: PyTree, model_state: PyTree, inputs: Array) -> Seen:
        forward: Any = lambda x, **rest: apply_fn(
            params, model_state, x, train=False, **rest
        )[0]
        head, features = attributions.split_at(forward, inputs, "features")
        predicted = jnp.argmax(head(features), axis=-1)
        return Seen(features, terms.grad_cam(head, features, predicted), predicted)

    return lambda state, inputs: look(
        state.params["model"], state.model_state, jnp.asarray(inputs)
    )


def tell(
    head: models.TextHead,
    params: PyTree,
    seen: Seen,
    images: data.Dataset,
    *,
    uniform: bool,
    tokenizer: Any,
    references: Sequence[Sequence[str]],
) -> Told:
    """The texts of a trained network, and what the map is worth to them.

    Args:
      head: says the texts.
      params: of the term that it was trained in.
      seen: of the images.
      images: with the texts as tokens.
      uniform: whether the term was trained without a map, as it then is told here.
      tokenizer: of the seed.
      references: of each image its texts.

    Returns:
      `Told`.
    """
    own = jnp.ones_like(seen.maps) if uniform else seen.maps
    prefix_of = lambda maps: guidance.textual_prefix(params, seen.features, maps)
    prefix = prefix_of(own)
    written = models.greedy_decode(
        head, params["head"], prefix, length=sources.LENGTH
    ).tokens
    texts = [data.decode_tokens(line, tokenizer) for line in np.asarray(written)]
    names = [images.class_names[number] for number in np.asarray(seen.predicted)]
    cost_of = _cost_of(head, params["head"], images.annotations)
    return Told(
        bleu=float(metrics.corpus_bleu(texts, references).scores[3]),
        rouge=scored(metrics.rouge_l(texts, references)),
        cider=scored(metrics.cider_d(texts, references)),
        meteor=scored(metrics.meteor_exact(texts, references)),
        distinct=metrics.distinct_n(texts, n=2),
        names_prediction=scored(metrics.label_mention(texts, names)),
        cost=cost_of(prefix),
        cost_shuffled=cost_of(prefix_of(jnp.roll(own, 1, axis=0))),
        cost_uniform=cost_of(prefix_of(jnp.ones_like(own))),
        texts=texts,
    )


def _cost_of(
    head: models.TextHead, params: PyTree, known: Mapping[str, np.ndarray]
) -> Callable[[Array], Scored]:
    """Prefix -> what the first text of each image costs after it."""
    tokens, mask = (jnp.asarray(known[name][:, 0]) for name in ("texts", "texts_mask"))

    @jax.jit
    def costs(params: PyTree, prefix: Array) -> Array:
        logits = head.apply(params, prefix, tokens, mask)
        return losses.token_negative_log_likelihood(logits, tokens, mask)

    return lambda prefix: scored(costs(params, prefix))
