"""The packaged ImageNet network on photographs, some of them with masks."""

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.attribution_baselines import judging, methods
from experiments.attribution_baselines.methods import INPUT
from xguide_jax import attributions, data, models
from xguide_jax.types import ApplyFn, Array

LAYERS = (INPUT, "block_10", "features")
COMMON = "blur"
# Classes of ImageNet that name a category of COCO, as far as our photographs hold them.
CATEGORY_OF = {
    294: "bear", 651: "microwave", 665: "motorcycle", 779: "bus", 795: "skis",
    827: "oven", 861: "toilet", 920: "traffic light", 937: "broccoli", 948: "apple",
    954: "banana", 963: "pizza",
}  # fmt: skip
_FOLDER = "coco_panoptic_ccby"


class Photographs(NamedTuple):
    """What is measured of the packaged network.

    Attributes:
      missing: what was not there and what to install for it; '' if nothing.
      names: of the photographs.
      classes: the network's first class of each, which is explained.
      probabilities: its probability.
      targets: {baseline: [N]}.
      neutrality: {baseline: nats from equal shares}.
      judged: every method and layer; energy is NaN where there is no mask.
      area: share of the image that the mask covers, [N]; NaN where there is none.
      inputs: [N, H, W, 3], small.
      region: bool [N, H, W].
      maps: {method at a layer: [N, h, w]}.
    """

    missing: str
    names: list[str]
    classes: list[int]
    probabilities: list[float]
    targets: dict[str, np.ndarray]
    neutrality: dict[str, float]
    judged: list[judging.Judged]
    area: np.ndarray
    inputs: np.ndarray
    region: np.ndarray
    maps: dict[str, np.ndarray]


class _Photograph(NamedTuple):
    name: str
    image: np.ndarray  # uint8 [H, W, 3]
    masks: dict[str, np.ndarray]  # {category: bool [H, W]}


class _Chosen(NamedTuple):
    name: str
    inputs: np.ndarray  # [size, size, 3]
    shares: np.ndarray  # [1000]
    region: np.ndarray  # bool [size, size]


def measure(
    *, number: int, size: int, num_points: int, folder: pathlib.Path | None
) -> Photographs:
    """Explains the network's first class on two packaged photographs and COCO's.

    Of COCO's those are taken whose first class, by `CATEGORY_OF`, is an object that
    people have outlined in them; its mask is the region.

    Args:
      number: of photographs, two of them packaged.
      size: pixels a side.
      num_points: of integrated gradients.
      folder: of data sets; $XGUIDE_DATA if None.

    Returns:
      What was measured; with `missing` alone, if the network is not installed.
    """
    try:
        params, model_state = models.load_efficientnet_lite0()
    except ImportError as error:
        return _nothing(f"No photographs: {error}")
    apply_fn = models.linen_apply_fn(models.EfficientNetLite0())
    run = jax.jit(lambda x: apply_fn(params, model_state, x, train=False)[0].logits)
    predict = lambda x: np.asarray(jax.nn.softmax(run(x[None])))[0]
    found, missing = _outlined(folder)
    kept = _chosen((*_packaged(), *found), predict, number=number, size=size)
    x = jnp.asarray(np.stack([one.inputs for one in kept]))
    region = np.stack([one.region for one in kept])
    classes = [int(one.shares.argmax()) for one in kept]
    named, key = attributions.baselines, jax.random.key(1)
    explained = judging.Explained(
        params, model_state, x, jnp.asarray(classes),
        {
            COMMON: named.blur(x, sigma=size / 12),
            "zeros": named.zeros(x),
            "channel mean": named.channel_mean(x),
            "noise": named.uniform_noise(x, key=key, low=-1.0, high=1.0),
        },
        x[:1], region,
    )  # fmt: skip
    judged, maps = _judge(apply_fn, explained, num_points)
    targets, neutrality = judging.make_targets(apply_fn)(
        explained, jnp.full(kept[0].shares.shape, 1 / len(kept[0].shares))
    )
    step = max(size // 112, 1)
    return Photographs(
        missing,
        [one.name for one in kept],
        classes,
        [float(one.shares.max()) for one in kept],
        targets,
        neutrality,
        judged,
        np.where(region.any((1, 2)), region.mean((1, 2)), np.nan),
        np.asarray(x[:, ::step, ::step]),
        region[:, ::step, ::step],
        maps,
    )


def _chosen(
    found: Sequence[_Photograph],
    predict: Callable[[Array], np.ndarray],
    *,
    number: int,
    size: int,
) -> list[_Chosen]:
    """The first photographs without masks, or with one of the network's first class."""
    kept: list[_Chosen] = []
    for one in found:
        if len(kept) == number:
            break
        inputs = models.efficientnet_lite_inputs(one.image, size=size)
        shares = predict(jnp.asarray(inputs))
        region = np.zeros((size, size), bool)
        if one.masks:
            mask = one.masks.get(CATEGORY_OF.get(int(shares.argmax()), ""))
            # Or it lies outside of the square that the network sees.
            if mask is None or not models.central_square(mask).any():
                continue
            square = models.central_square(mask)
            region = data.resize_mask(square, shape=(size, size)).astype(bool)
        kept.append(_Chosen(one.name, inputs, shares, region))
    return kept


def _judge(
    apply_fn: ApplyFn, explained: judging.Explained, num_points: int
) -> tuple[list[judging.Judged], dict[str, np.ndarray]]:
    """All methods that are cheap enough, at every layer, and maps of some."""
    judged: list[judging.Judged] = []
    maps: dict[str, np.ndarray] = {}
    # Four points at once: each chunk of a path is compiled by itself.
    every = methods.cheap_methods(methods.Budget(num_points, 1, 1, 4))
    for layer in LAYERS:
        names = [COMMON] if layer == INPUT else list(explained.baselines)
        found, own = judging.make_judge(apply_fn, layer, every)(explained, names)
        judged += found
        maps |= {f"{name}, {layer}": m for name, m in own.items()}
    return judged, maps


def _packaged() -> list[_Photograph]:
    from skimage import data as photographs

    names = ("chelsea", "coffee")
    return [_Photograph(n, getattr(photographs, n)(), {}) for n in names]


def _outlined(folder: pathlib.Path | None) -> tuple[list[_Photograph], str]:
    """COCO's photographs with a mask of each category; and what is missing."""
    root = folder or os.environ.get("XGUIDE_DATA")
    home = pathlib.Path(root or "") / _FOLDER
    if not root or not (home / "annotations.json").is_file():
        return [], (
            f"No photographs with masks: put {_FOLDER} into the folder that --data-dir "
            "or $XGUIDE_DATA names."
        )
    listed = json.loads((home / "annotations.json").read_text("utf-8"))
    number_of = {name: int(n) for n, name in listed["categories"].items()}
    found = []
    for row in listed["images"]:
        labels = data.read_mask(home / row["mask"])
        masks = {c: labels == number_of[c] for c in CATEGORY_OF.values()}
        masks = {c: mask for c, mask in masks.items() if mask.any()}
        if masks:
            image = data.read_image(home / row["file"])
            found.append(_Photograph(pathlib.Path(row["file"]).stem, image, masks))
    return found, ""


def _nothing(missing: str) -> Photographs:
    none = np.zeros((0, 1, 1))
    return Photographs(missing, [], [], [], {}, {}, [], none[:, 0, 0], none, none, {})
