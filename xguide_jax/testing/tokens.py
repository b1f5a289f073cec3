"""A small token network and batch, whose inputs are a dict and not one array."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import ApplyFn, Array, ModelOutput, PRNGKey, PyTree


def token_network(
    key: PRNGKey,
    *,
    vocabulary_size: int = 7,
    num_features: int = 4,
    num_classes: int = 3,
) -> tuple[ApplyFn, PyTree, PyTree]:
    """Embedded tokens, a softplus layer, their mean over the mask and a linear head.

    logits = mean_t softplus(e_t W + b) V + c over the tokens t that the mask counts.

    Args:
      key: a typed key, for the parameters.
      vocabulary_size: token ids are 0 to this minus 1.
      num_features: D.
      num_classes: C of the logits.

    Returns:
      (apply_fn, params, model_state); the network takes what `token_batch` has for
      'inputs' and exposes 'embeddings' [B, T, D].
    """
    keys = jax.random.split(key, 4)
    size = num_features
    params = {
        "embeddings": jax.random.normal(keys[0], (vocabulary_size, size)),
        "kernel": jax.random.normal(keys[1], (size, size)) / jnp.sqrt(size),
        "bias": 0.1 * jax.random.normal(keys[2], (size,)),
        "head": jax.random.normal(keys[3], (size, num_classes)) / jnp.sqrt(size),
        "head_bias": jnp.linspace(-0.1, 0.1, num_classes),
    }

    def apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        del train, key  # deterministic
        unknown = sorted(set(overrides or ()) - {"embeddings"})
        if unknown:
            raise ValueError(
                f"`overrides` names {unknown}; the network exposes ['embeddings']."
            )
        embeddings = params["embeddings"][inputs["tokens"]]
        if overrides:
            embeddings = overrides["embeddings"]
        hidden = jax.nn.softplus(embeddings @ params["kernel"] + params["bias"])
        counted = inputs["mask"].astype(hidden.dtype)[..., None]
        count = jnp.sum(counted, axis=1)
        mean = ops.safe_divide(jnp.sum(counted * hidden, axis=1), count)
        logits = mean @ params["head"] + params["head_bias"]
        return ModelOutput(logits, {"embeddings": embeddings}), model_state

    return apply_fn, params, ()


def token_batch(
    key: PRNGKey,
    *,
    batch_size: int = 8,
    num_tokens: int = 5,
    vocabulary_size: int = 7,
    num_classes: int = 3,
) -> dict[str, PyTree]:
    """A batch for `token_network`, of sentences of unequal lengths.

    Args:
      key: a typed key.
      batch_size: B.
      num_tokens: T; example i has T − i mod (T − 1) tokens, so at least 2.
      vocabulary_size: of the token ids.
      num_classes: labels are 0, 1, ..., C-1, 0, ...

    Returns:
      'inputs', a dict of 'tokens' int32 [B, T] and 'mask' bool [B, T], False on the
      padding; 'labels' [B].
    """
    index = jnp.arange(batch_size)
    lengths = num_tokens - index % (num_tokens - 1)
    shape = (batch_size, num_tokens)
    return {
        "inputs": {
            "tokens": jax.random.randint(key, shape, 0, vocabulary_size, jnp.int32),
            "mask": jnp.arange(num_tokens) < lengths[:, None],
        },
        "labels": index % num_classes,
    }
