"""A backbone cut in two: what is held is computed once, what is behind is trained."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.guide_photographs import backbones
from experiments.running import flags, optimizers
from xguide_jax import data, evaluation, models, ops
from xguide_jax.types import ApplyFn, PyTree

_BATCH = 16  # of the trunk
_ADAM_RATE = 1e-3


class Network(NamedTuple):
    """What is trained, and how photographs become its inputs.

    Attributes:
      apply_fn: the network, or what lies behind the cut.
      layer: the activation that is explained.
      replaced: the layer whose cells a background is swapped in; None for the pixels.
      start: seed -> (params, model_state), of the whole network.
      trained: params -> bool for each leaf; None where all are.
      read: rows of the photographs -> inputs [B, ...].
      embed: pixels, uint8 [N, S, S, 3] -> inputs [N, ...].
      regions: bool [N, S, S] -> regions as the batch has them.
    """

    apply_fn: ApplyFn
    layer: str
    replaced: str | None
    start: Callable[[int], tuple[PyTree, PyTree]]
    trained: Callable[[PyTree], PyTree] | None
    read: Callable[[np.ndarray], np.ndarray]
    embed: Callable[[np.ndarray], np.ndarray]
    regions: Callable[[np.ndarray], np.ndarray]


def make_network(
    backbone: backbones.Backbone,
    images: data.CachedRows,
    *,
    freeze: int | None,
    size: int,
    cache: pathlib.Path,
) -> Network:
    """The network that is trained on some photographs.

    Args:
      backbone: it comes from.
      images: all photographs.
      freeze: how many blocks are trained beside the classifier; None for all.
      size: S.
      cache: folder of what the trunk makes of the photographs.

    Returns:
      The network.

    Raises:
      RefusedError: if there are no such weights, or `cache` may not be written.
    """
    if freeze is not None:
        return _behind(backbone, images, blocks=freeze, size=size, cache=cache)
    normalise = functools.partial(
        data.normalise_images, mean=backbone.mean, std=backbone.std
    )
    read = functools.partial(
        data.read_images, images, mean=backbone.mean, std=backbone.std
    )
    return Network(
        apply_fn=models.linen_apply_fn(backbone.module),
        layer=backbone.layer,
        replaced=None,
        start=functools.partial(_start, backbone, size=size),
        trained=None,
        read=read,
        embed=normalise,
        regions=lambda regions: regions,
    )


def read_freeze(text: str, backbone: backbones.Backbone) -> int | None:
    """The flag: how many blocks are trained beside the classifier.

    Args:
      text: 'auto', 'trunk', 'none' or a number.
      backbone: whose blocks they are.

    Returns:
      A number; None for the whole network.

    Raises:
      ValueError: for another text, or more blocks than there are.
    """
    if text == "auto":
        text = "none" if backbone.load is None else "trunk"
    if text == "none":
        return None
    blocks = 0 if text == "trunk" else int(text) if text.isdecimal() else -1
    if backbone.load is None or not 0 <= blocks < len(backbone.cuts):
        most = len(backbone.cuts) - 1
        raise ValueError(
            f"`freeze` (={text!r}) must be none"
            + (
                " for a network without weights."
                if backbone.load is None
                else f", trunk, or a number of blocks up to {most}."
            )
        )
    return blocks


def make_optimizer(
    network: Network, *, learning_rate: float | None, num_steps: int
) -> optax.GradientTransformation:
    """Muon for a network from initial weights, Adam for the end of a published one.

    Args:
      network: what is trained.
      learning_rate: of either; None for .05 and .001.
      num_steps: over which it falls.

    Returns:
      The optimiser; weights that are held get no update and no moments.
    """
    if network.trained is None:
        return optimizers.muon(learning_rate or 0.05, num_steps=num_steps)
    trained = network.trained
    rate = optax.cosine_decay_schedule(learning_rate or _ADAM_RATE, num_steps)

    def labels(params: PyTree) -> PyTree:
        guidance = jax.tree.map(lambda leaf: True, params["guidance"])
        return {"model": trained(params["model"]), "guidance": guidance}

    return optax.partition({True: optax.adam(rate), False: optax.set_to_zero()}, labels)


def _behind(
    backbone: backbones.Backbone,
    images: data.CachedRows,
    *,
    blocks: int,
    size: int,
    cache: pathlib.Path,
) -> Network:
    """What lies behind a cut, fed with what the trunk makes of the photographs."""
    whole, cut = models.linen_apply_fn(backbone.module), backbone.cuts[blocks]
    params, state = _start(backbone, 0, size=size)
    trunk = jax.jit(
        lambda x: whole(params, state, x, train=False)[0].intermediates[cut]
    )
    held = {n: p for n, p in params.items() if backbone.depth(n) > blocks}
    scale = {"mean": backbone.mean, "std": backbone.std}
    try:
        features = data.cache_features(
            trunk, images, cache, batch_size=_BATCH, **scale,
            key=f"{data.arrays_digest({'params': held, 'state': state})} {cut}",
        )  # fmt: skip
    except OSError as error:
        raise flags.refusal(error) from error
    embed = lambda pixels: evaluation.map_rows(
        trunk, data.normalise_images(pixels, **scale), batch_size=_BATCH
    )
    shape = data.read_rows(features, np.arange(1)).shape
    exposed = () if cut == backbone.layer else (backbone.layer,)
    return Network(
        apply_fn=models.tail(whole, cut, input_shape=(size, size, 3), exposed=exposed),
        layer=backbone.layer,
        replaced=cut if len(shape) == 4 else backbone.layer,
        start=functools.partial(_start, backbone, size=size),
        trained=functools.partial(_trained, backbone, blocks),
        read=functools.partial(data.read_rows, features),
        embed=embed,
        regions=functools.partial(_on_cells, shape),
    )


def _start(
    backbone: backbones.Backbone, seed: int, *, size: int
) -> tuple[PyTree, PyTree]:
    key = jax.random.key(seed)
    if backbone.load is not None:
        try:
            return backbone.load(key)
        except (ImportError, OSError, ValueError) as error:
            raise flags.refusal(error) from error
    return models.init_linen(backbone.module, key, jnp.zeros((1, size, size, 3)))


def _trained(backbone: backbones.Backbone, blocks: int, params: Any) -> PyTree:
    return {
        name: jax.tree.map(lambda leaf, n=name: backbone.depth(n) <= blocks, tree)
        for name, tree in params.items()
    }


def _on_cells(shape: tuple[int, ...], regions: np.ndarray) -> np.ndarray:
    """The share of each cell, where the inputs are a map; else the pixels."""
    if len(shape) != 4:
        return regions
    _, height, width, _ = shape
    shares = ops.area_resize(jnp.asarray(regions, jnp.float32), shape=(height, width))
    return np.asarray(shares)
