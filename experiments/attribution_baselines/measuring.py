"""What is measured of one network on textured digits."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attribution_baselines import convergence, judging, methods, photographs
from experiments.attribution_baselines.methods import INPUT
from experiments.digits import textured
from experiments.running import predicting
from xguide_jax import attributions, data, evaluation
from xguide_jax.types import ApplyFn, Array, TrainState

LAYERS = (INPUT, "layer_0", "layer_1", "features")
COMMON = "no digit"
BASELINES = (
    COMMON, "crop", "zeros", "data mean", "channel mean", "blur", "noise",
)  # fmt: skip
NUM_SHOWN = 4


class Shown(NamedTuple):
    """What the figures show, of the first images.

    Attributes:
      inputs: [S, H, W, C].
      region: bool [S, H, W], what is outlined.
      layers: {layer: [S, h, w]}, of integrated gradients.
      methods: {method at a layer: [S, h, w]}.
    """

    inputs: np.ndarray
    region: np.ndarray
    layers: dict[str, np.ndarray]
    methods: dict[str, np.ndarray]


class Measured(NamedTuple):
    """What is measured of one network.

    Attributes:
      accuracy: on the balanced test.
      targets: {baseline: [N], f(x) - f(b)}.
      neutrality: {baseline: nats from the prior}.
      judged: every method, layer and baseline.
      convergence: {layer: {rule: [P]}}, against the common baseline.
      area: share of the image that the region covers, [N].
      shown: what the figures show.
      photographs: of the packaged network; None but for the first arm and seed.
    """

    accuracy: float
    targets: dict[str, np.ndarray]
    neutrality: dict[str, float]
    judged: list[judging.Judged]
    convergence: dict[str, dict[str, np.ndarray]]
    area: np.ndarray
    shown: Shown
    photographs: photographs.Photographs | None


class Images(NamedTuple):
    """The images of one seed.

    Attributes:
      parts: with their digits.
      canvases: the balanced test without its digits, [N, H, W, 1].
      backgrounds: canvases of the training half.
    """

    parts: textured.Parts
    canvases: np.ndarray
    backgrounds: np.ndarray


def make_images(source: data.Dataset, *, rho: float, seed: int, size: int) -> Images:
    """Textured digits, and the same canvases before a digit was pasted on them.

    Args:
      source: digits.
      rho: the correlation in training and validation.
      seed: of split, textures and places.
      size: pixels a side.

    Returns:
      The images; what is drawn does not depend on what is pasted.
    """
    make = functools.partial(textured.make_parts, rho=rho, seed=seed, size=size)
    black = np.full_like(source.inputs, source.inputs.min())
    empty = make(source._replace(inputs=black))
    return Images(make(source), empty.balanced.inputs, empty.train.inputs)


def baselines_of(
    inputs: Array, canvases: Array, backgrounds: Array, train: Array
) -> dict[str, Array]:
    """What the images are compared with, by name.

    Args:
      inputs: [N, H, W, 1].
      canvases: the same without their digits.
      backgrounds: [K, H, W, 1], other canvases.
      train: [M, H, W, 1], of which the mean is one.

    Returns:
      {name: like `inputs`}.
    """
    named = attributions.baselines
    key = jax.random.key(1)
    return {
        COMMON: canvases,
        "crop": named.background_crop(inputs, key=key, backgrounds=backgrounds),
        "zeros": named.zeros(inputs),
        "data mean": named.data_mean(inputs, background=train),
        "channel mean": named.channel_mean(inputs),
        "blur": named.blur(inputs, sigma=4.0),
        "noise": named.uniform_noise(
            inputs, key=key, low=jnp.min(train), high=jnp.max(train)
        ),
    }


def make_measurement(
    apply_fn: ApplyFn,
    *,
    num_evaluated: int,
    num_background: int,
    budget: methods.Budget,
    counts: tuple[int, ...],
) -> Callable[[TrainState, Images, photographs.Photographs | None], Measured]:
    """The measurement of one network.

    Args:
      apply_fn: the network.
      num_evaluated: balanced test images that are explained.
      num_background: canvases of expected gradients.
      budget: of the methods that sample.
      counts: numbers of points whose error is measured.

    Returns:
      `(state, images, photographs) -> Measured`.
    """
    logits = predicting.make_predict(apply_fn)
    every = methods.every_method(budget)
    num_calls = max(budget.num_samples // methods.SAMPLES_A_CALL, 1)
    judges = {
        name: judging.make_judge(apply_fn, name, every, num_calls=num_calls)
        for name in LAYERS
    }
    targets_of = judging.make_targets(apply_fn)
    converging = {
        name: convergence.make_convergence(apply_fn, name, counts=counts)
        for name in LAYERS
    }

    def measure(
        state: TrainState, images: Images, seen: photographs.Photographs | None
    ) -> Measured:
        few = data.take(images.parts.balanced, np.arange(num_evaluated))
        inputs, backgrounds = jnp.asarray(few.inputs), jnp.asarray(images.backgrounds)
        canvases = jnp.asarray(images.canvases[:num_evaluated])
        train = jnp.asarray(images.parts.train.inputs)
        explained = judging.Explained(
            state.params["model"],
            state.model_state,
            inputs,
            jnp.asarray(few.labels),
            baselines_of(inputs, canvases, backgrounds, train),
            backgrounds[:num_background],
            few.annotations["region"],
        )
        targets, neutrality = targets_of(explained, jnp.full(2, 0.5))
        judged, maps = [], {}
        for name in LAYERS:
            found, maps[name] = judges[name](explained, BASELINES)
            judged += found
        names = {method.name for method in every if method.own == "background"}
        background = targets[judging.BACKGROUND]
        judged = [
            j._replace(own=background) if j.method in names else j for j in judged
        ]
        first = explained._replace(
            inputs=inputs[: num_evaluated // 2],
            labels=explained.labels[: num_evaluated // 2],
            baselines={COMMON: canvases[: num_evaluated // 2]},
        )
        balanced = images.parts.balanced
        right = evaluation.top_class(logits(state, balanced.inputs)) == balanced.labels
        return Measured(
            accuracy=float(np.mean(right)),
            targets=targets,
            neutrality=neutrality,
            judged=judged,
            convergence={n: c(first, COMMON) for n, c in converging.items()},
            area=few.annotations["region"].mean(axis=(1, 2)),
            shown=_shown(few, maps, every),
            photographs=seen,
        )

    return measure


def _shown(
    few: data.Dataset,
    maps: dict[str, dict[str, np.ndarray]],
    every: tuple[methods.Method, ...],
) -> Shown:
    first = slice(NUM_SHOWN)
    path = [m.name for m in every if m.name.startswith("integrated")][-1]
    at_input = {name: m[first] for name, m in maps[INPUT].items()}
    inside = "layer_1"
    at_layer = {
        f"{name}, {inside}": m[first]
        for name, m in maps[inside].items()
        if name not in at_input
    }
    return Shown(
        few.inputs[first],
        few.annotations["region"][first],
        {name: found[path][first] for name, found in maps.items()},
        at_input | at_layer,
    )
