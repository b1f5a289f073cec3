"""What the tests of the region terms share: a context by hand and a plain network."""

import jax
import jax.numpy as jnp

from xguide_jax.types import ModelOutput, StepContext


def context_of(batch, output, *, forward=None, axis_name=None, seed=0):
    """What a term sees; of one device, if there are several."""
    size = len(batch["inputs"])
    return StepContext(
        forward=forward,
        task_input_gradient=None,
        batch=batch,
        output=output,
        step=jnp.zeros((), jnp.int32),
        key=jax.random.split(jax.random.key(seed), size),
        axis_name=axis_name,
    )


def linear_network(params, model_state, inputs, *, train, key=None, overrides=None):
    """features = x W [B, H, W, K], logits = mean(features) V: zero at zero."""
    features = jnp.einsum("bhwc,ck->bhwk", inputs, params["kernel"])
    features = (overrides or {}).get("features", features)
    logits = jnp.mean(features, axis=(1, 2)) @ params["head"]
    return ModelOutput(logits, {"features": features}), model_state
