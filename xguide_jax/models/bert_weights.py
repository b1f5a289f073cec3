"""Weights of published BERTs, out of a folder as Hugging Face lays it out."""

import functools
import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.models import bert, bert_config, filling, tensor_files
from xguide_jax.models.pooling import Pooling
from xguide_jax.types import PRNGKey, PyTree

# Modules of `Bert`, and what the file calls them; so are those of a layer.
_NAMES = {
    "word_embeddings": "embeddings.word_embeddings",
    "position_embeddings": "embeddings.position_embeddings",
    "segment_embeddings": "embeddings.token_type_embeddings",
    "embeddings_norm": "embeddings.LayerNorm",
    "pooler": "pooler.dense",
}
_NAMES_IN_LAYER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "output_norm": "output.LayerNorm",
}
# Modules that start from initial weights: a published encoder has none for them.
FRESH = ("attention_top", "classifier")
# Tensors that are left out: 0, 1, 2, ... kept as a tensor, the heads of pretraining and
# of another task, and a pooler where nothing is pooled by it.
IGNORED = r"embeddings\.position_ids|cls\..+|classifier\..+|pooler\..+"


def load_bert(
    folder: str | os.PathLike[str],
    *,
    num_classes: int,
    pooling: Pooling,
    key: PRNGKey,
) -> tuple[bert.Bert, PyTree]:
    """A published encoder with a new classifier.

    Sizes, rates of dropout and the activation are those of config.json; change a field
    by `clone`, e.g. `module.clone(dropout=0.0)`. Every tensor of the file is used or is
    one of `bert_weights.IGNORED`, among them the classifier of another task; every leaf
    comes from the file but those of `bert_weights.FRESH`, the classifier and the extra
    attention layer. Nothing is unpickled.

    Args:
      folder: with config.json, and with model.safetensors or the files that
        model.safetensors.index.json names. Floats of any width are read; a prefix
        'bert.' and the old names gamma and beta are understood.
      num_classes: C.
      pooling: as `Bert`. Sentence encoders such as MiniLM were trained with 'mean',
        and their 'pooler' was not trained with them.
      key: of the initial weights of what is fresh.

    Returns:
      (module, params), float32; `Bert` has no other state.

    Raises:
      ImportError: if safetensors is not installed, saying how.
      FileNotFoundError: if a file is missing, naming it.
      ValueError: if config.json describes another network or lacks an entry, or if
        tensors and leaves do not fit: what is missing, unknown, or of another shape or
        type is named on both sides.
    """
    folder = pathlib.Path(folder)
    module = bert_config.read_module(
        folder / "config.json", num_classes=num_classes, pooling=pooling
    )
    found = _by_present_names(tensor_files.read_tensors(folder), folder)
    shapes = jax.eval_shape(functools.partial(_initial, module), key)
    fresh = [name for name in FRESH if shapes.pop(name, None) is not None]
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    values = filling.fill(
        {
            jax.tree_util.keystr(place, simple=True, separator="."): leaf
            for place, leaf in leaves
        },
        found, name_in_file=_name_in_file, ignored=IGNORED, source=folder,
    )  # fmt: skip
    params = dict(jax.tree_util.tree_unflatten(structure, values))
    return module, {**params, **_drawn(module, fresh, key)}


def _drawn(module: bert.Bert, names: list[str], key: PRNGKey) -> dict[str, PyTree]:
    """Initial values, which depend on the key and a leaf's place: no layer is drawn."""
    small = module.clone(num_layers=0)

    @jax.jit
    def draw(key: PRNGKey) -> dict[str, PyTree]:
        initial = _initial(small, key)
        return {name: initial[name] for name in names}

    return draw(key)


def _initial(module: bert.Bert, key: PRNGKey) -> dict[str, PyTree]:
    inputs = {
        "tokens": jnp.zeros((1, 1), jnp.int32),
        "mask": jnp.ones((1, 1), bool),
        "segments": jnp.zeros((1, 1), jnp.int32),
    }
    return dict(module.init(key, inputs)["params"])


def _by_present_names(
    tensors: dict[str, np.ndarray], folder: pathlib.Path
) -> dict[str, np.ndarray]:
    """Without the prefix 'bert.', and weight and bias for gamma and beta."""
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        present = re.sub(r"\.gamma$", ".weight", name.removeprefix("bert."))
        present = re.sub(r"\.beta$", ".bias", present)
        if present in found:
            raise ValueError(f"{folder} holds {present} twice, once as {name}.")
        found[present] = value
    return found


def _name_in_file(own: str) -> str:
    """'layer_3.expand.kernel' -> 'encoder.layer.3.intermediate.dense.weight'."""
    *layer, module, leaf = own.split(".")
    name = _NAMES_IN_LAYER[module] if layer else _NAMES[module]
    prefix = [f"encoder.{layer[0].replace('_', '.')}"] if layer else []
    return ".".join([*prefix, name, "bias" if leaf == "bias" else "weight"])
