"""Small token networks and a batch, whose inputs are a dict and not one array."""

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
        _check_names(overrides or {}, ["embeddings"])
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


def attention_network(
    key: PRNGKey,
    *,
    vocabulary_size: int = 7,
    num_tokens: int = 5,
    num_features: int = 4,
    num_heads: int = 2,
    num_classes: int = 3,
) -> tuple[ApplyFn, PyTree, PyTree]:
    """One layer of self-attention, and a second attention that pools its tokens.

    x = e + position + segment; A_h = softmax(x Q_h (x K_h)ᵀ) over the tokens that the
    mask counts; y = softplus(x + Σ_h A_h x V_h); a_t ∝ sigmoid(<y_t, u>);
    logits = (y_0 + Σ_t a_t y_t) W + c.

    Args:
      key: a typed key, for the parameters.
      vocabulary_size: token ids are 0 to this minus 1.
      num_tokens: T, at most so many.
      num_features: D.
      num_heads: H.
      num_classes: C of the logits.

    Returns:
      (apply_fn, params, model_state); the network takes what `token_batch` has for
      'inputs' and exposes 'embeddings' [B, T, D], e; 'attention_0' [B, H, T, T], A; and
      'attention_top' [B, T], a.
    """
    keys = iter(jax.random.split(key, 8))
    normal = lambda *shape: jax.random.normal(next(keys), shape)
    size, scale = num_features, num_features**-0.5
    params = {
        "embeddings": normal(vocabulary_size, size),
        "positions": 0.3 * normal(num_tokens, size),
        "segments": 0.3 * normal(2, size),
        "query": scale * normal(num_heads, size, size),
        "key": scale * normal(num_heads, size, size),
        "value": scale * normal(num_heads, size, size),
        "pool": normal(size),
        "head": scale * normal(size, num_classes),
        "head_bias": jnp.linspace(-0.1, 0.1, num_classes),
    }
    exposed = ["attention_0", "attention_top", "embeddings"]

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
        overrides = overrides or {}
        _check_names(overrides, exposed)
        mask = inputs["mask"]
        embeddings = params["embeddings"][inputs["tokens"]]
        embeddings = overrides.get("embeddings", embeddings)
        x = embeddings + params["positions"][: mask.shape[1]]
        x += params["segments"][inputs["segments"]]
        query, keys, values = (
            jnp.einsum("btd,hde->bhte", x, params[name])
            for name in ("query", "key", "value")
        )
        scores = jnp.einsum("bhte,bhse->bhts", query, keys)
        # A finite number, so that a row of padding alone is uniform and not NaN.
        scores = jnp.where(mask[:, None, None], scores, -1e9)
        attention = overrides.get("attention_0", jax.nn.softmax(scores))
        y = jax.nn.softplus(x + jnp.einsum("bhts,bhse->bte", attention, values))
        pooling = jax.nn.sigmoid(y @ params["pool"]) * mask.astype(y.dtype)
        total = jnp.sum(pooling, axis=1, keepdims=True)
        pooling = overrides.get("attention_top", ops.safe_divide(pooling, total))
        pooled = y[:, 0] + jnp.einsum("bt,btd->bd", pooling, y)
        logits = pooled @ params["head"] + params["head_bias"]
        activations = (attention, pooling, embeddings)
        return ModelOutput(
            logits, dict(zip(exposed, activations, strict=True))
        ), model_state

    return apply_fn, params, ()


def token_batch(
    key: PRNGKey,
    *,
    batch_size: int = 8,
    num_tokens: int = 5,
    vocabulary_size: int = 7,
    num_classes: int = 3,
) -> dict[str, PyTree]:
    """A batch for the networks of tokens: pairs of texts of unequal lengths, marked.

    Token 0 stands for [CLS]; what follows is the first text and, from the middle of the
    tokens on, the second.

    Args:
      key: a typed key.
      batch_size: B.
      num_tokens: T; example i has T − i mod (T − 1) tokens, so at least 2.
      vocabulary_size: of the token ids.
      num_classes: labels are 0, 1, ..., C-1, 0, ...

    Returns:
      'inputs', a dict of 'tokens' int32 [B, T], 'mask' bool [B, T], False on the
      padding, and 'segments' int32 [B, T], 0 and 1; 'labels' [B]; 'special' bool
      [B, T], True on token 0; 'rationale' [B, T], 0 or 1, and 'rationale_valid' [B]:
      every fourth example carries none.
    """
    index = jnp.arange(batch_size)
    lengths = num_tokens - index % (num_tokens - 1)
    shape = (batch_size, num_tokens)
    place = jnp.broadcast_to(jnp.arange(num_tokens), shape)
    mask = place < lengths[:, None]
    annotated = index % 4 != 3
    # Never all that an example has to mark, and in any example that has more than one.
    marked = mask & (place > 0) & ((place + index[:, None]) % 3 != 0)
    return {
        "inputs": {
            "tokens": jax.random.randint(key, shape, 0, vocabulary_size, jnp.int32),
            "mask": mask,
            "segments": (place > num_tokens // 2).astype(jnp.int32),
        },
        "labels": index % num_classes,
        "special": place == 0,
        "rationale": jnp.where(annotated[:, None], marked, False).astype(jnp.float32),
        "rationale_valid": annotated,
    }


def _check_names(overrides: Mapping[str, Array], exposed: list[str]) -> None:
    unknown = sorted(set(overrides) - set(exposed))
    if unknown:
        raise ValueError(f"`overrides` names {unknown}; the network exposes {exposed}.")
