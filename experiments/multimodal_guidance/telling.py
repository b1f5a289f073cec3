"""What a network writes of images, and how much of it hangs on the saliency."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.multimodal_guidance import terms
from experiments.running.scored import Scored, scored
from xguide_jax import data, evaluation, guidance, losses, metrics, models
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
      cost: nats a token of the first human text, under the map of its image.
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


def gap(told: Told) -> Scored:
    """The grounding gap: what the own map saves over that of another image.

    Args:
      told: of a network.

    Returns:
      cost_shuffled - cost, in nats a token; above 0 if texts hang on the map.
    """
    return scored(told.cost_shuffled.rows - told.cost.rows)


def make_tell(
    apply_fn: ApplyFn, tokenizer: Any, *, layer: terms.Layer
) -> Callable[[TrainState, str, data.Dataset, Array, Sequence[Sequence[str]]], Told]:
    """The measurement of texts.

    Args:
      apply_fn: the network.
      tokenizer: of the seed.
      layer: that is explained.

    Returns:
      (state, which term tells, images, maps [N, h, w], references) -> `Told`.
    """
    head = terms.text_head(tokenizer.get_vocab_size(), layer)
    length = terms.sources.LENGTH

    @jax.jit
    def prefixes(params: PyTree, features: Array, maps: Array) -> Array:
        return guidance.textual_prefix(params, features, maps)

    @jax.jit
    def costs(params: PyTree, prefix: Array, tokens: Array, mask: Array) -> Array:
        logits = head.apply(params["head"], prefix, tokens, mask)
        return losses.token_negative_log_likelihood(logits, tokens, mask)

    @jax.jit
    def look(params: PyTree, model_state: PyTree, inputs: Array) -> tuple[Array, Array]:
        output, _ = apply_fn(params, model_state, inputs, train=False)
        return output.intermediates["features"], output.logits

    def tell(
        state: TrainState,
        name: str,
        images: data.Dataset,
        maps: Array,
        references: Sequence[Sequence[str]],
    ) -> Told:
        params = state.params["guidance"][name]
        features, logits = look(
            state.params["model"], state.model_state, jnp.asarray(images.inputs)
        )
        # A text is told from what its term saw in training.
        own = jnp.ones_like(maps) if name == "text" else maps
        under = {
            "cost": own,
            "cost_shuffled": jnp.roll(own, 1, axis=0),
            "cost_uniform": jnp.ones_like(own),
        }
        prefix = {k: prefixes(params, features, m) for k, m in under.items()}
        known = images.annotations
        tokens, mask = (jnp.asarray(known[k][:, 0]) for k in ("texts", "texts_mask"))
        written = models.greedy_decode(
            head, params["head"], prefix["cost"], length=length
        )
        texts = [
            data.decode_tokens(line, tokenizer) for line in np.asarray(written.tokens)
        ]
        predicted = evaluation.top_class(np.asarray(logits))
        names = [images.class_names[number] for number in predicted]
        cost = {k: scored(costs(params, p, tokens, mask)) for k, p in prefix.items()}
        return Told(
            bleu=float(metrics.corpus_bleu(texts, references).scores[3]),
            rouge=scored(metrics.rouge_l(texts, references)),
            cider=scored(metrics.cider_d(texts, references)),
            meteor=scored(metrics.meteor_exact(texts, references)),
            distinct=metrics.distinct_n(texts, n=2),
            names_prediction=scored(metrics.label_mention(texts, names)),
            cost=cost["cost"],
            cost_shuffled=cost["cost_shuffled"],
            cost_uniform=cost["cost_uniform"],
            texts=texts,
        )

    return tell
