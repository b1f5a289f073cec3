"""What config.json of a published BERT says of its network."""

import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from xguide_jax.models import bert, transformer_layer
from xguide_jax.models.pooling import Pooling
from xguide_jax.types import Array

# Field of `Bert`: its name in the file.
_FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "width": "hidden_size",
    "hidden_width": "intermediate_size",
    "num_positions": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "epsilon": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
_tanh_gelu = functools.partial(jax.nn.gelu, approximate=True)
_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": transformer_layer.exact_gelu,
    "gelu_new": _tanh_gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "relu": jax.nn.relu,
}
# Entries with another value mean another network; where one is absent, it is this one.
_REQUIRED = {
    "model_type": "bert",
    "position_embedding_type": "absolute",
    "is_decoder": False,
}


def read_module(path: pathlib.Path, *, num_classes: int, pooling: Pooling) -> bert.Bert:
    """The module that a config.json describes.

    Args:
      path: of the file.
      num_classes: as `Bert`.
      pooling: as `Bert`.

    Returns:
      The module, every size, rate and the activation from the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it lacks an entry, or describes another network.
    """
    config: dict[str, Any] = json.loads(path.read_bytes())
    lacking = sorted({*_FIELDS.values(), "hidden_act"} - config.keys())
    if lacking:
        raise ValueError(f"{path} lacks {lacking}; it has {sorted(config)}.")
    for name, value in _REQUIRED.items():
        if config.get(name, value) != value:
            raise ValueError(f"{path}: {name} (={config[name]!r}) must be {value!r}.")
    if config["hidden_act"] not in _ACTIVATIONS:
        raise ValueError(
            f"{path}: hidden_act (={config['hidden_act']!r}) must be one of "
            f"{sorted(_ACTIVATIONS)}."
        )
    return bert.Bert(
        num_classes=num_classes,
        pooling=pooling,
        activation=_ACTIVATIONS[config["hidden_act"]],
        **{field: config[name] for field, name in _FIELDS.items()},
    )
