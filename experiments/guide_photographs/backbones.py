"""The networks that photographs are put through, and where they may be cut in two.

A backbone is cut at one of its activations: what lies before is the trunk, whose
weights are held, and what lies behind is trained.
"""

import pathlib
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import models
from xguide_jax.types import PRNGKey, PyTree

Name = Literal[
    "small-cnn", "efficientnet-lite0", "resnet18", "resnet50", "vit-s16", "vit-b16"
]
_LAST = 99  # behind no cut


class Backbone(NamedTuple):
    """A network, before anything is trained.

    Attributes:
      module: with as many classes as the photographs have.
      layer: the activation that is explained, [B, h, w, K].
      cuts: where it may be cut, the last first: behind `cuts[n]` there are n blocks
        more than behind `cuts[0]`.
      depth: name of a module -> behind how many cuts it lies; 0 for all of them.
      load: key -> (params, model_state) with a new classifier; None starts from initial
        weights.
      mean: of pixels in [0, 1], subtracted.
      std: divides what is left.
      stride: the sides of photographs are multiples of it.
      code: makes the module, in Python, for whoever reads the weights.
    """

    module: nn.Module
    layer: str
    cuts: tuple[str, ...]
    depth: Callable[[str], int]
    load: Callable[[PRNGKey], tuple[PyTree, PyTree]] | None
    mean: tuple[float, ...] | float
    std: tuple[float, ...] | float
    stride: int
    code: str


def sizes(name: Name) -> int:
    """Pixels a side where no flag says them.

    Args:
      name: of the backbone.

    Returns:
      64 for the small network; what fits two processors or, for a vision transformer,
      its position embeddings.
    """
    return {"small-cnn": 64, "vit-s16": 224, "vit-b16": 224}.get(name, 160)


def make_backbone(
    name: Name, *, num_classes: int, weights: pathlib.Path | None
) -> Backbone:
    """A backbone by the name of a flag.

    Args:
      name: of the flag.
      num_classes: C.
      weights: a .safetensors file with the names of torchvision or timm, or a folder
        with one; those of EfficientNet-Lite0 come with a package.

    Returns:
      The backbone.

    Raises:
      ValueError: if it has no weights and `weights` names some, or needs some and it
        names none.
    """
    has_own = name in ("small-cnn", "efficientnet-lite0")
    if has_own is (weights is not None):
        raise ValueError(
            f"`weights` (={weights}) must be "
            + ("left out" if has_own else "a .safetensors file")
            + f" for the backbone {name}."
        )
    if name == "small-cnn":
        return _small_cnn(num_classes)
    if name == "efficientnet-lite0":
        return _efficientnet(num_classes)
    assert weights is not None
    if name.startswith("resnet"):
        return _resnet(weights, int(name.removeprefix("resnet")), num_classes)
    return _vision_transformer(weights, num_classes)


def _small_cnn(num_classes: int) -> Backbone:
    return Backbone(
        module=models.SmallCNN(num_classes=num_classes, strides=(2, 2, 1)),
        layer="features",
        cuts=(),
        depth=lambda name: 0,
        load=None,
        mean=0.5,
        std=0.25,
        stride=4,
        code=f"models.SmallCNN(num_classes={num_classes}, strides=(2, 2, 1))",
    )


def _efficientnet(num_classes: int) -> Backbone:
    blocks = 16
    module = models.EfficientNetLite0(num_classes=num_classes)

    def load(key: PRNGKey) -> tuple[PyTree, PyTree]:
        params, state = models.load_efficientnet_lite0()
        fresh, _ = models.init_linen(module, key, jnp.zeros((1, 32, 32, 3)))
        return {**params, "classifier": fresh["classifier"]}, state

    def depth(name: str) -> int:
        if name == "classifier":
            return 0
        block = re.match(r"block_(\d+)_", name)
        if block:
            return blocks - int(block[1])
        return 1 if name.startswith("head") else _LAST

    cuts = ("features", *(f"block_{n}" for n in reversed(range(blocks - 1))))
    return Backbone(
        module=module,
        layer="features",
        cuts=cuts,
        depth=depth,
        load=load,
        mean=127 / 255,
        std=128 / 255,
        stride=32,
        code=f"models.EfficientNetLite0(num_classes={num_classes})",
    )


def _resnet(weights: pathlib.Path, layers: int, num_classes: int) -> Backbone:
    def load(key: PRNGKey) -> tuple[PyTree, PyTree]:
        module, params, state = models.load_resnet(
            weights, num_classes=num_classes, key=key
        )
        if module.depth != layers:
            raise ValueError(f"{weights} holds a ResNet of {module.depth} layers.")
        return params, state

    def depth(name: str) -> int:
        stage = re.match(r"stage_(\d)_", name)
        if stage:
            return 5 - int(stage[1])
        return 0 if name == "classifier" else _LAST

    return Backbone(
        module=models.ResNet(depth=layers, num_classes=num_classes),
        layer="features",
        cuts=("features", "stage_3", "stage_2", "stage_1", "stem"),
        depth=depth,
        load=load,
        mean=models.IMAGENET_MEAN,
        std=models.IMAGENET_STD,
        stride=32,
        code=f"models.ResNet(depth={layers}, num_classes={num_classes})",
    )


def _vision_transformer(weights: pathlib.Path, num_classes: int) -> Backbone:
    module, _ = models.load_vision_transformer(
        weights, num_classes=num_classes, key=jax.random.key(0)
    )
    last = module.num_layers - 1

    def load(key: PRNGKey) -> tuple[PyTree, PyTree]:
        _, params = models.load_vision_transformer(
            weights, num_classes=num_classes, key=key
        )
        return params, {}

    def depth(name: str) -> int:
        layer = re.fullmatch(r"layer_(\d+)", name)
        if layer:
            return last - int(layer[1])
        return 0 if name in ("final_norm", "classifier") else _LAST

    return Backbone(
        module=module,
        # The patches that go into the last layer, which is always trained: behind it
        # the class token alone is looked at.
        layer="patches",
        cuts=tuple(f"tokens_{n}" for n in reversed(range(last))),
        depth=depth,
        load=load,
        mean=models.IMAGENET_MEAN,
        std=models.IMAGENET_STD,
        stride=module.patch_size,
        code=(
            f"models.VisionTransformer(image_size={module.image_size}, "
            f"patch_size={module.patch_size}, num_layers={module.num_layers}, "
            f"num_heads={module.num_heads}, width={module.width}, "
            f"num_classes={num_classes})"
        ),
    )
