"""The encoders of the experiments on texts, and the problem that a seed poses."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.running import feeding, fitting
from experiments.texts import options, sources
from xguide_jax import data, evaluation, models
from xguide_jax.models.pooling import Pooling
from xguide_jax.types import ApplyFn, Array, PyTree

SMALL = functools.partial(
    models.Bert,
    num_layers=2,
    num_heads=4,
    width=64,
    hidden_width=128,
    num_positions=512,
)
# Of MiniLM's six layers; the others and the embeddings are held.
NUM_TRAINED = 2


class Network(NamedTuple):
    """An encoder with the weights that a seed starts from.

    Attributes:
      apply_fn: the network.
      params: what is trained.
      model_state: what is held.
      num_layers: of attention.
      num_heads: of a layer.
    """

    apply_fn: ApplyFn
    params: PyTree
    model_state: PyTree
    num_layers: int
    num_heads: int

    @property
    def last_attention(self) -> str:
        """The name of the last layer's attention."""
        return f"attention_{self.num_layers - 1}"


def make_network(
    config: options.TextConfig,
    parts: sources.Parts,
    *,
    pooling: Pooling,
    seed: int,
) -> Network:
    """The encoder that the flags name.

    Args:
      config: the flags.
      parts: of the seed.
      pooling: as `models.Bert`.
      seed: of the initial weights.

    Returns:
      A `Network`.
    """
    num_classes = len(parts.train.class_names)
    key = jax.random.key(seed)
    if config.model == "minilm":
        module, params = models.load_bert(
            models.packaged_minilm(), num_classes=num_classes, pooling=pooling, key=key
        )
        apply_fn, params, state = models.freeze(
            models.linen_apply_fn(module),
            params,
            {},
            trained=models.top_layers(params, num_layers=NUM_TRAINED),
        )
    else:
        module = SMALL(
            vocabulary_size=parts.tokenizer.get_vocab_size(),
            num_classes=num_classes,
            pooling=pooling,
        )
        first = jax.tree.map(lambda leaf: leaf[:1], parts.train.inputs)
        params, state = models.init_linen(module, key, first)
        apply_fn = models.linen_apply_fn(module)
    return Network(apply_fn, params, state, module.num_layers, module.num_heads)


def make_problem(
    config: options.TextConfig,
    train: data.Dataset,
    network: Network,
    *,
    seed: int,
) -> fitting.Problem:
    """What an arm is trained on.

    Args:
      config: the flags.
      train: the training part; where it holds the states of a layer, as `with_states`
        adds them, training starts from there.
      network: the encoder.
      seed: of the batches.

    Returns:
      A `fitting.Problem`.
    """
    apply_fn = network.apply_fn
    layer = network.num_layers - NUM_TRAINED - 1
    if f"hidden_{layer}" in train.inputs:
        apply_fn = models.above_layer(apply_fn, layer)
    batches = feeding.batches_of(train, batch_size=config.batch_size, seed=seed)
    # A transformer that starts at the full rate may stay where it began.
    rate = optax.warmup_constant_schedule(
        0.0, options.learning_rate(config), max(config.num_steps // 20, 1)
    )
    return fitting.Problem(
        apply_fn,
        network.params,
        network.model_state,
        batch_at=batches,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate)),
    )


def with_states(
    config: options.TextConfig, train: data.Dataset, network: Network
) -> data.Dataset:
    """Texts with the states below the trained layers, where those below are held.

    They are the same in every epoch and for every arm, and a step costs a third with
    them; a term must then not look below.

    Args:
      config: the flags.
      train: the training part.
      network: the encoder.

    Returns:
      The texts with 'hidden_<l>' float16 [N, T, D] for minilm; as they are for a small
      network, of which every layer is trained.
    """
    if config.model == "small":
        return train
    name = f"hidden_{network.num_layers - NUM_TRAINED - 1}"

    @jax.jit
    def states(inputs: PyTree) -> Array:
        output, _ = network.apply_fn(
            network.params, network.model_state, inputs, train=False
        )
        return output.intermediates[name].astype(jnp.float16)

    found = evaluation.map_rows(states, train.inputs, batch_size=64)
    return train._replace(inputs={**train.inputs, name: found})
