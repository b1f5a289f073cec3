"""Published weights of vision transformers, by the names of timm."""

import math
import os
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.models import vision_transformer, vision_weights
from xguide_jax.types import PRNGKey, PyTree

# Nothing of a file is left out, but the classifier of other classes.
IGNORED = r"(?!)"

_NAMES = {
    "patch_embeddings": "patch_embed.proj",
    "final_norm": "norm",
    "classifier": "head",
}
_NAMES_IN_LAYER = {
    "attention_norm": "norm1",
    "query": "attn.query",
    "key": "attn.key",
    "value": "attn.value",
    "output": "attn.proj",
    "output_norm": "norm2",
    "expand": "mlp.fc1",
    "contract": "mlp.fc2",
}
# Of every published size from Ti to L, which no tensor of a file tells.
_HEAD_WIDTH = 64


def load_vision_transformer(
    path: str | os.PathLike[str],
    *,
    num_classes: int,
    key: PRNGKey,
    num_heads: int | None = None,
) -> tuple[vision_transformer.VisionTransformer, PyTree]:
    """A published vision transformer; a new classifier where the classes are others.

    Sizes are read from the shapes of the file. Every tensor of it is used, 'attn.qkv'
    for query, key and value, and every leaf comes from the file. With another number of
    classes than the file has, or where that has no classifier, the classifier alone is
    left out and starts from initial weights. Nothing is unpickled.

    Args:
      path: of a .safetensors file with the names of timm (vit_small_patch16_224,
        vit_base_patch16_224 and their kind: a class token, a norm at the end, no
        layer scale, no registers), or of a folder with model.safetensors. Floats of any
        width are read.
      num_classes: C.
      key: of the initial weights of a new classifier.
      num_heads: of a layer; None is D / 64, that of every published size from Ti to L.

    Returns:
      (module, params), float32; `VisionTransformer` has no other state. Change a field
      by `clone`, e.g. `module.clone(dropout=0.1)`.

    Raises:
      ImportError: if safetensors is not installed, saying how.
      FileNotFoundError: if a file is missing, naming it.
      ValueError: if the file is no safetensors, or holds another network: what is
        missing, unknown, or of another shape or type is named on both sides.
    """
    tensors = vision_weights.read(path)
    module = _module(tensors, path, num_heads=num_heads, num_classes=num_classes)
    sides = (1, module.image_size, module.image_size, 3)
    params, _ = vision_weights.fill_network(
        module, _split(tensors),
        image=jax.ShapeDtypeStruct(sides, jnp.float32),
        name_in_file=_name_in_file, head_in_file="head", ignored=IGNORED,
        key=key, source=path,
    )  # fmt: skip
    return module, params


def _module(
    tensors: Mapping[str, np.ndarray],
    path: object,
    *,
    num_heads: int | None,
    num_classes: int,
) -> vision_transformer.VisionTransformer:
    """The network of a file's shapes."""
    lacking = {
        "patch_embed.proj.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2,
    }  # fmt: skip
    lacking = {n: r for n, r in lacking.items() if np.ndim(tensors.get(n, 0)) != r}
    if lacking:
        raise ValueError(
            f"{path} holds no vision transformer of timm: it lacks {sorted(lacking)}, "
            f"of the ranks {[lacking[name] for name in sorted(lacking)]}."
        )
    width, _, patch_size, _ = tensors["patch_embed.proj.weight"].shape
    side = math.isqrt(tensors["pos_embed"].shape[1] - 1)
    found = [re.match(r"blocks\.(\d+)\.", name) for name in tensors]
    if num_heads is None:
        if width % _HEAD_WIDTH:
            raise ValueError(
                f"`num_heads` (=None) must be given: {path} is {width} wide, no "
                f"multiple of {_HEAD_WIDTH}."
            )
        num_heads = width // _HEAD_WIDTH
    return vision_transformer.VisionTransformer(
        image_size=side * patch_size,
        patch_size=patch_size,
        num_layers=len({match[1] for match in found if match}),
        num_heads=num_heads,
        width=width,
        hidden_width=len(tensors["blocks.0.mlp.fc1.weight"]),
        num_classes=num_classes,
    )


def _split(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With 'attn.query', 'attn.key' and 'attn.value' for every 'attn.qkv'."""
    split = {}
    for name, value in tensors.items():
        if ".attn.qkv." not in name or len(value) % 3:
            split[name] = value
            continue
        for part, third in zip(
            ("query", "key", "value"), np.split(value, 3), strict=True
        ):
            split[name.replace("qkv", part)] = third
    return split


def _name_in_file(own: str) -> str:
    """'layer_3.expand.kernel' -> 'blocks.3.mlp.fc1.weight', and so on."""
    whole = {"class_embeddings": "cls_token", "position_embeddings": "pos_embed"}
    if own in whole:
        return whole[own]
    *layer, module, leaf = own.split(".")
    name = _NAMES_IN_LAYER[module] if layer else _NAMES[module]
    prefix = [layer[0].replace("layer_", "blocks.")] if layer else []
    return ".".join([*prefix, name, "bias" if leaf == "bias" else "weight"])
