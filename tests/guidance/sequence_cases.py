"""What the tests of terms on sequences share: networks, batches, one step."""

import jax
import jax.numpy as jnp
import optax

from xguide_jax import ops, testing, training
from xguide_jax.types import ModelOutput

NUM_TOKENS, NUM_STEPS, NUM_FEATURES = 6, 5, 2


def attention_network():
    return testing.attention_network(jax.random.key(0), num_tokens=NUM_TOKENS)


def token_batch(size=8, **changes):
    batch = testing.token_batch(
        jax.random.key(1), batch_size=size, num_tokens=NUM_TOKENS
    )
    return {**batch, **changes}


def series_network():
    """Mean over the mask of softplus(x_t W + t v), and a linear head."""
    keys = jax.random.split(jax.random.key(3), 3)
    params = {
        "kernel": jax.random.normal(keys[0], (NUM_FEATURES, 4)),
        "time": jax.random.normal(keys[1], (NUM_STEPS, 4)),
        "head": jax.random.normal(keys[2], (4, 3)),
    }

    def apply_fn(params, model_state, inputs, *, train, key=None, overrides=None):
        del train, key  # deterministic
        series = (overrides or {}).get("series", inputs["series"])
        hidden = jax.nn.softplus(series @ params["kernel"] + params["time"])
        counted = inputs["mask"][..., None].astype(hidden.dtype)
        total = jnp.sum(counted * hidden, axis=1)
        mean = ops.safe_divide(total, jnp.sum(counted, axis=1))
        return ModelOutput(mean @ params["head"], {"series": series}), model_state

    return apply_fn, params, ()


def series_batch(size=8, **changes):
    index = jnp.arange(size)
    step = jnp.arange(NUM_STEPS)
    mask = step < (NUM_STEPS - index % 3)[:, None]
    series = jax.random.normal(jax.random.key(4), (size, NUM_STEPS, NUM_FEATURES))
    annotated = index % 4 != 3
    region = (step[:, None] + jnp.arange(NUM_FEATURES)) % 2
    region = jnp.broadcast_to(region, series.shape).astype(series.dtype)
    return {
        # Padding of 0, far below everything else.
        "inputs": {"series": jnp.where(mask[..., None], 9 + series, 0.0), "mask": mask},
        "labels": index % 3,
        "region": jnp.where(annotated[:, None, None], region, 0.0),
        "region_valid": annotated,
        **changes,
    }


def step_of(terms, network, batch, *, how=None, count=1):
    """State and metrics after one step of SGD, whose trace is the gradient."""
    apply_fn, params, model_state = network
    optimizer = optax.sgd(0.1, momentum=0.0)
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )
    axis_name = "devices" if how else None
    step = training.make_train_step(apply_fn, terms, optimizer, axis_name=axis_name)
    if how is None:
        return jax.jit(step)(state, batch)
    devices = jax.devices()[:count]
    return training.data_parallel(step, how=how, devices=devices)(state, batch)


def value_and_gradient(term, network, batch, *, seed=0):
    apply_fn, params, model_state = network

    def objective(params):
        return training.guidance_loss(
            apply_fn, {"term": term}, {"model": params}, model_state, {}, batch,
            step=0, key=jax.random.key(seed),
        )[0]  # fmt: skip

    return jax.jit(jax.value_and_grad(objective))(params)
