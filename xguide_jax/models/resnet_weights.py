"""Published weights of ResNets, by the names of torchvision and timm."""

import os
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.models import resnet, vision_weights
from xguide_jax.types import PRNGKey, PyTree

# How many batches the running statistics saw.
IGNORED = r".+\.num_batches_tracked"


def load_resnet(
    path: str | os.PathLike[str], *, num_classes: int, key: PRNGKey
) -> tuple[resnet.ResNet, PyTree, PyTree]:
    """A published ResNet; with a new classifier where the classes are others.

    Depth and width are read from the shapes of the file. Every tensor of it is used or
    matches `resnet_weights.IGNORED`; every leaf comes from the file. With another
    number of classes than the file has, or where that has no classifier, the classifier
    alone is left out and starts from initial weights. Nothing is unpickled.

    Args:
      path: of a .safetensors file with the names of torchvision, which timm shares
        (resnet18, 34, 50, 101, 152 there; not the variants 'd', 'SE', 'GN'), or of a
        folder with model.safetensors. Floats of any width are read.
      num_classes: C.
      key: of the initial weights of a new classifier.

    Returns:
      (module, params, model_state), float32. Change a field by `clone`, e.g.
      `module.clone(axis_name='batch', norm='running')`.

    Raises:
      ImportError: if safetensors is not installed, saying how.
      FileNotFoundError: if a file is missing, naming it.
      ValueError: if the file is no safetensors, or holds no ResNet of
        `resnet.LAYOUTS`: blocks, or what is missing, unknown, or of another shape or
        type, are named.
    """
    tensors = vision_weights.read(path)
    depth, width = _sizes(tensors, path)
    module = resnet.ResNet(depth=depth, width=width, num_classes=num_classes)
    params, model_state = vision_weights.fill_network(
        module, tensors,
        image=jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32),
        name_in_file=_name_in_file, head_in_file="fc", ignored=IGNORED,
        key=key, source=path,
    )  # fmt: skip
    return module, params, model_state


def _sizes(tensors: Mapping[str, np.ndarray], path: object) -> tuple[int, int]:
    """(depth, width) of a file's network."""
    found = [re.match(r"layer(\d+)\.(\d+)\.", name) for name in tensors]
    places = {(int(match[1]), int(match[2])) for match in found if match}
    blocks = tuple(len([s for s, _ in places if s == stage]) for stage in range(1, 5))
    bottleneck = "layer1.0.conv3.weight" in tensors
    for depth, layout in resnet.LAYOUTS.items():
        if layout == (blocks, bottleneck) and "conv1.weight" in tensors:
            return depth, len(tensors["conv1.weight"])
    raise ValueError(
        f"{path} holds no ResNet of a depth of {tuple(resnet.LAYOUTS)}: it has "
        f"{blocks} blocks in 'layer1' to 'layer4', "
        f"{'with' if bottleneck else 'without'} bottlenecks, and "
        f"{'a' if 'conv1.weight' in tensors else 'no'} 'conv1.weight'."
    )


def _name_in_file(own: str) -> str:
    """'stage_3_block_0_1_conv.kernel' -> 'layer3.0.conv1.weight', and so on."""
    module, leaf = own.split(".")
    leaf = {
        "kernel": "weight", "scale": "weight", "bias": "bias",
        "mean": "running_mean", "var": "running_var",
    }[leaf]  # fmt: skip
    if module == vision_weights.HEAD:
        return f"fc.{leaf}"
    *block, part, kind = module.split("_")
    short = {"conv": "conv", "norm": "bn"}[kind]
    if part == "stem":
        return f"{short}1.{leaf}"
    place = f"layer{block[1]}.{block[3]}"
    if part == "skip":
        return f"{place}.downsample.{('conv', 'norm').index(kind)}.{leaf}"
    return f"{place}.{short}{part}.{leaf}"
