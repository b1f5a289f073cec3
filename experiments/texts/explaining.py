"""Where a network on texts looks: one number a token, by several explainers."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.texts import networks
from xguide_jax import attributions, data, evaluation
from xguide_jax.types import Array, Forward, PRNGKey, PyTree, TrainState

# What a table calls them, and no arm is trained on the last two.
NAMES = {
    "attention": "attention",
    "gradient_x_input": "gradient x input",
    "integrated_gradients": "integrated gradients",
}
# (state, data set) -> {explainer: float [N, T]}, of the class that is predicted.
ExplainTexts = Callable[[TrainState, data.Dataset], dict[str, np.ndarray]]


def make_explain(
    network: networks.Network, *, layer: str, num_points: int, batch_size: int = 64
) -> ExplainTexts:
    """The maps of a data set, of the class that the network itself predicts.

    Attention is how much the class token reads of each token in `layer`, averaged over
    the heads, or the weights of the extra layer. The others are about the logit and the
    word embeddings, summed over their features; the baseline of integrated gradients
    are embeddings of 0.

    Args:
      network: its encoder.
      layer: whose attention is looked at.
      num_points: of integrated gradients.
      batch_size: texts at once.

    Returns:
      An `ExplainTexts`; padding has 0.
    """
    explain = evaluation.make_explain(
        network.apply_fn,
        {
            "attention": functools.partial(_attention, layer=layer),
            "gradient_x_input": _of_embeddings(attributions.gradient_x_input),
            "integrated_gradients": _of_embeddings(
                functools.partial(_integrated, num_points=num_points)
            ),
        },
        batch_size=batch_size,
    )

    def explain_texts(state: TrainState, texts: data.Dataset) -> dict[str, np.ndarray]:
        return explain(
            state.params["model"],
            state.model_state,
            texts.inputs,
            jnp.asarray(texts.labels),
            key=jax.random.key(0),  # nothing is drawn
        )

    return explain_texts


def counted(texts: data.Dataset) -> np.ndarray:
    """The tokens that an explanation is judged on.

    Args:
      texts: as `data.tokenise` makes them.

    Returns:
      bool [N, T], False on padding and special tokens.
    """
    inputs: Mapping[str, np.ndarray] = texts.inputs
    return inputs["mask"] & ~texts.annotations["special"]


def _attention(
    forward: Forward, inputs: PyTree, targets: Array, keys: PRNGKey, *, layer: str
) -> Array:
    del targets, keys
    weights = forward(inputs).intermediates[layer]
    return weights if weights.ndim == 2 else jnp.mean(weights[:, :, 0], axis=1)


def _of_embeddings(explainer: Callable[..., Array]) -> evaluation.ExplainFn:
    def explain(
        forward: Forward, inputs: PyTree, targets: Array, keys: PRNGKey
    ) -> Array:
        del targets, keys
        head, point = attributions.split_at(forward, inputs, "embeddings")
        predicted = jnp.argmax(forward(inputs).logits, axis=-1)
        maps = explainer(head, point, predicted, score_fn=attributions.target_logit)
        return jnp.where(inputs["mask"], jnp.sum(maps, axis=-1), 0.0)

    return explain


def _integrated(
    head: Callable[[Array], Array],
    point: Array,
    targets: Array,
    *,
    num_points: int,
    score_fn: Callable[[Array, Array], Array],
) -> Array:
    return attributions.integrated_gradients(
        head, point, targets, baselines=jnp.zeros_like(point), num_points=num_points,
        score_fn=score_fn,
    )  # fmt: skip
