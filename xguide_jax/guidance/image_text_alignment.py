"""Image and text alignment: what is salient in an image matched with its own text.

`P` is the map as a distribution, `g` = Σ P F the features where the network looks, and
`t` the text as a vector. Texts of other images are what the own one is told from.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax import losses, ops
from xguide_jax.guidance import base, parameters, reading, saliency, texts
from xguide_jax.guidance.pseudo_maps import check_temperature, pseudo_maps
from xguide_jax.guidance.text_encoder import TextEncoder
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


class _Pairs(NamedTuple):
    """Images and texts as vectors [N, D], tokens [N, L], and which count [N]."""

    images: Array
    texts: Array
    tokens: Array
    counted: Array


def image_text_alignment(
    encoder: TextEncoder,
    *,
    explain: Explain,
    feature_width: int,
    layer: str = "features",
    temperature: float = 0.07,
    temperature_range: tuple[float, float] = (0.01, 1.0),
    pseudo: float | base.Schedule | None = None,
    pseudo_temperature: float = 0.1,
) -> GuidanceTerm:
    """An image's salient features nearer to its own text than to other texts.

    ½ (l(v_i, t) + l(t_i, v)), v = W g and l the cost of finding the partner among those
    of the batch of all devices, `losses.info_nce`. Examples without a text are neither
    asked nor found; texts of the same tokens are not told apart. With one text in the
    batch the loss is 0, and few texts teach little. Gradients flow into the features,
    the map, W, the encoder and the temperature.

    With `pseudo`, examples with a text and without a map add pseudo · KL(S || P), S =
    `pseudo_maps` of W F and t, held constant: the network should look where the text
    points. As S is noise at first, give a schedule that begins with 0.

    Args:
      encoder: makes a vector of a text, e.g. `mean_embedding`.
      explain: as `textual_explanation`.
      feature_width: K of the layer; the parameters are made before there are features.
      layer: as `textual_explanation`.
      temperature: τ of the cosines at the start. Its logarithm is learned.
      temperature_range: where τ is cut off. The gradient goes on beyond, so that τ can
        come back; an optimiser may need as many steps back as it went too far.
      pseudo: a weight of at least 0, or `step -> weight`; no such maps if None. The
        mean is over the examples with a text, of which some have a map.
      pseudo_temperature: τ of S.

    Returns:
      A term with params {'projection' [K, D], 'encoder', 'log_temperature'} and no
      state that needs 'text' and 'text_mask', see `text_of`; with `pseudo`, a batch
      with 'region' or 'boxes' says which examples have a map, and another that none
      has. Its metrics are 'alignment', 'temperature', 'blank' as that of
      `textual_explanation`, and 'pseudo', the divergence without its weight.

    Raises:
      ValueError: unless 0 < low <= temperature <= high for the range, for a
        `pseudo_temperature` that is not positive, a weight that is negative or not
        finite, or a width below 1; and as `textual_explanation`.

    Source: that texts supervise the maps of a network is the idea of Zhang, Jiang et
      al., arXiv 2411.13053; both losses are our design.
    """
    _check(temperature, temperature_range, pseudo, pseudo_temperature)
    parameters.check_width("feature_width", feature_width)

    def init(key: PRNGKey, batch: Batch) -> tuple[PyTree, PyTree]:
        del batch
        of_projection, of_encoder = jax.random.split(key)
        params = {
            "projection": parameters.matrix(
                of_projection, feature_width, encoder.width
            ),
            "encoder": encoder.init(of_encoder),
            "log_temperature": jnp.full((), math.log(temperature)),
        }
        return params, ()

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        names = ("projection", "encoder", "log_temperature")
        parameters.check_given(params, names)
        tokens, mask, valid = texts.text_of(context.batch)
        features, maps = saliency.features_and_maps(
            context, explain=explain, layer=layer
        )
        parameters.check_features(features, feature_width, layer=layer)
        distribution = saliency.saliency_distribution(maps)
        cells = parameters.project(features, params["projection"])
        vectors = encoder.apply(params["encoder"], tokens, mask).astype(cells.dtype)
        pairs = _Pairs(
            saliency.pool(cells, distribution),
            vectors,
            jnp.where(mask, tokens, -1),
            valid & reading.present(context.batch),
        )
        scale = _temperature(params["log_temperature"], temperature_range)
        loss = _matching(pairs, scale, context.axis_name)
        metrics = {
            "alignment": loss,
            "temperature": jnp.broadcast_to(scale, loss.shape).astype(loss.dtype),
            "blank": saliency.blank(maps),
        }
        if pseudo is not None:
            pointed = pseudo_maps(cells, vectors, temperature=pseudo_temperature)
            divergence = losses.kl_to_prior(
                jax.lax.stop_gradient(pointed), distribution
            )
            divergence = jnp.where(reading.without_map(context.batch), divergence, 0.0)
            weight = pseudo(context.step) if callable(pseudo) else pseudo
            loss += jnp.asarray(weight, loss.dtype) * divergence
            metrics["pseudo"] = divergence
        loss = jnp.where(valid, loss, 0.0)
        return TermOutput(loss, valid.astype(loss.dtype), state, metrics)

    return GuidanceTerm(init, apply)


def _matching(pairs: _Pairs, temperature: Array, axis_name: str | None) -> Array:
    """The symmetric loss [B] of this device's pairs among those of all devices."""
    rows = ops.example_indices(len(pairs.counted), axis_name=axis_name)
    everyone = pairs
    if axis_name is not None:
        everyone = jax.lax.all_gather(pairs, axis_name, tiled=True)
    same = jnp.all(pairs.tokens[:, None] == everyone.tokens, axis=-1)
    cost = functools.partial(
        losses.info_nce,
        positives=rows,
        temperature=temperature,
        negatives=everyone.counted & ~same,
    )
    return (cost(pairs.images, everyone.texts) + cost(pairs.texts, everyone.images)) / 2


def _temperature(log_temperature: Array, limits: tuple[float, float]) -> Array:
    """τ within its limits; a clipped value's gradient would be 0 beyond for ever."""
    low, high = map(math.log, limits)
    beyond = jnp.clip(log_temperature, low, high) - log_temperature
    return jnp.exp(log_temperature + jax.lax.stop_gradient(beyond))


def _check(
    temperature: float,
    limits: tuple[float, float],
    pseudo: float | base.Schedule | None,
    pseudo_temperature: float,
) -> None:
    low, high = limits
    if not 0 < low <= temperature <= high < math.inf:
        raise ValueError(
            f"`temperature` (={temperature}) and `temperature_range` (={limits}) must "
            "have 0 < low <= temperature <= high."
        )
    check_temperature(pseudo_temperature)
    if pseudo is not None and not callable(pseudo) and not 0 <= pseudo < math.inf:
        raise ValueError(f"`pseudo` (={pseudo}) must be finite and at least 0.")
