"""What the loaders of `ResNet` and `VisionTransformer` share."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from xguide_jax.models import adapters, filling, tensor_files
from xguide_jax.types import Array, PRNGKey, PyTree

# The module that starts from initial weights where the file has other classes.
HEAD = "classifier"


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, or of a folder as Hugging Face lays it out.

    Args:
      path: of a file or of a folder.

    Returns:
      {name: array}, of the types that the file has.

    Raises:
      ImportError: if safetensors is not installed, saying how.
      FileNotFoundError: if there is no such file; it names what there is.
      ValueError: if the file is damaged, or is no safetensors: a .pth or .bin is a
        pickle, which may run any code, and is never opened.
    """
    place = pathlib.Path(path)
    if place.is_dir():
        return tensor_files.read_tensors(place)
    if place.suffix != ".safetensors":
        raise ValueError(
            f"{place} is no .safetensors; a .pth or .bin is a pickle, which may run "
            "any code, and is not read: save the weights as safetensors."
        )
    return tensor_files.read_file(place)


def fill_network(
    module: nn.Module,
    tensors: Mapping[str, np.ndarray],
    *,
    image: Array | jax.ShapeDtypeStruct,
    name_in_file: Callable[[str], str],
    head_in_file: str,
    ignored: str,
    key: PRNGKey,
    source: object,
) -> tuple[PyTree, PyTree]:
    """Parameters and state of a network out of a file; its head if the classes agree.

    Args:
      module: with `num_classes` and a dense layer called 'classifier'.
      tensors: {name: array}, as PyTorch lays them out.
      image: inputs [1, H, W, 3]; only shape and dtype matter.
      name_in_file: the tensor's name, of a leaf's 'module.leaf'.
      head_in_file: what the file calls the classifier.
      ignored: a regular expression for the names of tensors that are no leaves.
      key: of the classifier's initial weights, if it is fresh.
      source: of the tensors, for errors.

    Returns:
      (params, model_state), float32.

    Raises:
      ValueError: if tensors and leaves do not fit, both sides named.
    """
    shapes, state_shapes = jax.eval_shape(
        lambda key: adapters.init_linen(module, key, _zeros(image)), key
    )
    weight = tensors.get(f"{head_in_file}.weight")
    fresh = weight is None or len(weight) != getattr(module, "num_classes")  # noqa: B009
    shapes = {name: leaf for name, leaf in shapes.items() if not fresh or name != HEAD}
    leaves, structure = jax.tree_util.tree_flatten_with_path((shapes, state_shapes))
    named = {}
    for path, leaf in leaves:
        # Behind the tuple's number; behind 'batch_stats' too.
        own = path[1:] if path[0].idx == 0 else path[2:]
        named[jax.tree_util.keystr(own, simple=True, separator=".")] = leaf
    values = filling.fill(
        named,
        tensors,
        name_in_file=name_in_file,
        ignored=rf"{ignored}|{head_in_file}\..+" if fresh else ignored,
        source=source,
    )
    params, model_state = jax.tree_util.tree_unflatten(structure, values)
    if fresh:
        draw = jax.jit(lambda key: _initial_head(module, key, image))
        params = {**params, HEAD: draw(key)}
    return params, model_state


def _initial_head(module: nn.Module, key: PRNGKey, image: Any) -> PyTree:
    """As the whole network would draw it; the compiler leaves out the rest of it."""
    return module.init(key, _zeros(image))["params"][HEAD]


def _zeros(image: Any) -> Array:
    return jax.numpy.zeros(image.shape, image.dtype)
