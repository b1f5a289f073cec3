"""What is measured: ranks of partners, by question, and where the pairs' maps point."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.image_text_matching import sources
from experiments.running.scored import Scored, scored
from xguide_jax import attributions, evaluation, metrics
from xguide_jax.types import ApplyFn, Array, Explainer, PyTree, TrainState

NUM_SHOWN, NUM_FOUND = 6, 3
EXPLAINERS: dict[str, Explainer] = {
    "grad_cam": functools.partial(
        attributions.signed_grad_cam, score_fn=attributions.regression_output
    ),
    # Exact for the flat head, whose weights differ from place to place.
    "hi_res_cam": functools.partial(
        attributions.hi_res_cam, score_fn=attributions.regression_output
    ),
}


class Ranked(NamedTuple):
    """At which rank partners were found in answer to one question.

    Attributes:
      texts: float [N], of the text of each image.
      images: float [N], of the image of each text.
      chance: the mean share of right candidates, recall at 1 of a blind guess.
    """

    texts: np.ndarray
    images: np.ndarray
    chance: float


class Shown(NamedTuple):
    """The first texts and the images that were found for them.

    Attributes:
      texts: as people read them.
      own: float [S, H, W, C], the images that they were written of.
      found: float [S, 3, H, W, C], those found, the nearest first.
      right: bool [S, 3], whether they have the same text.
    """

    texts: list[str]
    own: np.ndarray
    found: np.ndarray
    right: np.ndarray


class Measured(NamedTuple):
    """What is measured of one trained network.

    Attributes:
      ranked: {question: ranks}.
      energy: {explainer: energy of the pair's map in the region}, of the captions as
        written.
      shown: what the figure shows.
    """

    ranked: dict[str, Ranked]
    energy: dict[str, Scored]
    shown: Shown


def make_measurement(
    apply_fn: ApplyFn, *, batch_size: int = 64
) -> Callable[[TrainState, sources.Parts], Measured]:
    """The measurement of one trained network.

    Args:
      apply_fn: a `models.TwoTower`.
      batch_size: pairs a call of the compiled network.

    Returns:
      `(state, parts) -> Measured`.
    """
    vectors = jax.jit(functools.partial(_vectors, apply_fn))
    explain = evaluation.make_explain(
        apply_fn,
        {n: evaluation.of_layer(e, "features") for n, e in EXPLAINERS.items()},
        batch_size=batch_size,
    )

    def measure(state: TrainState, parts: sources.Parts) -> Measured:
        params, model_state = state.params["model"], state.model_state
        embed = functools.partial(vectors, params, model_state)
        compared = {
            name: compare(
                *evaluation.map_rows(embed, asked.pairs.inputs, batch_size=batch_size)
            )
            for name, asked in parts.questions.items()
        }
        written = parts.questions[sources.AS_WRITTEN].pairs
        targets = jnp.zeros(len(written.labels), jnp.int32)  # there is one output
        maps = explain(
            params, model_state, written.inputs, targets,
            key=jax.random.key(0),  # nothing is drawn
        )  # fmt: skip
        region = written.annotations["region"]
        return Measured(
            {n: rank(compared[n], asked) for n, asked in parts.questions.items()},
            {
                name: scored(evaluation.energy_in_region(jnp.asarray(m), region))
                for name, m in maps.items()
            },
            _shown(compared[sources.AS_WRITTEN], parts),
        )

    return measure


def compare(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """The cosines of all images with all texts.

    Args:
      images: float [N, D], of length 1.
      texts: float [N, D], of length 1.

    Returns:
      float [N, N], row by image. Equal vectors have equal cosines, to the last bit.
    """
    # A blocked product rounds the same row otherwise at another place of the matrix.
    return np.einsum("id,jd->ij", images, texts, optimize=False)


def rank(similarities: np.ndarray, asked: sources.Question) -> Ranked:
    """The ranks of partners, both ways.

    Args:
      similarities: float [N, N], of image and text.
      asked: who is right.

    Returns:
      `Ranked`.
    """
    of = lambda values, right, where: np.asarray(
        metrics.retrieval_rank(values, right, where=where)
    )
    admitted = asked.right & asked.where
    chance = np.mean(np.sum(admitted, axis=1) / np.sum(asked.where, axis=1))
    return Ranked(
        of(similarities, asked.right, asked.where),
        of(similarities.T, asked.right.T, asked.where.T),
        float(chance),
    )


def _vectors(
    apply_fn: ApplyFn, params: PyTree, model_state: PyTree, inputs: Any
) -> tuple[Array, Array]:
    output, _ = apply_fn(params, model_state, inputs, train=False)
    found = output.intermediates
    return found["image_vectors"], found["text_vectors"]


def _shown(similarities: np.ndarray, parts: sources.Parts) -> Shown:
    asked = parts.questions[sources.AS_WRITTEN]
    images = asked.pairs.inputs["image"]
    count = min(NUM_SHOWN, len(images))
    order = np.argsort(-similarities.T[:count], axis=1, kind="stable")[:, :NUM_FOUND]
    return Shown(
        list(parts.shown[:count]),
        images[:count],
        images[order],
        np.take_along_axis(asked.right.T[:count], order, axis=1),
    )
