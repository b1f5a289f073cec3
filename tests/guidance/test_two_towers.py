"""Region contrast on the image tower of an image-text model.

Images are the inputs and tokens another entry of the batch. An `ApplyFn` takes one
array, so the step of a batch is made inside of a function of that batch, where the
network closes over its tokens; the text then travels, and is shared among devices, as
any other entry of the batch.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from xguide_jax import guidance, losses, models, training
from xguide_jax.types import ModelOutput

NUM_PAIRS, NUM_WORDS, NUM_FEATURES = 8, 12, 6


class TwoTowers(nn.Module):
    """logits[i, j]: cosine of image i and text j, over a temperature of 0.1."""

    @nn.compact
    def __call__(self, images, tokens, *, overrides=None):
        hidden = nn.relu(nn.Conv(NUM_FEATURES, (3, 3), strides=2)(images))
        features = models.override("features", hidden, overrides)
        image = nn.Dense(4, name="image")(jnp.mean(features, axis=(1, 2)))
        words = nn.Embed(NUM_WORDS, 8, name="words")(tokens)
        text = nn.Dense(4, name="text")(jnp.mean(words, axis=1))
        unit = lambda v: v / (jnp.linalg.norm(v, axis=-1, keepdims=True) + 1e-3)
        logits = unit(image) @ unit(text).T / 0.1
        return ModelOutput(logits, {"features": features})


def matching(output, batch):
    """Which text belongs to the image and which image to the text, [B]."""
    del batch  # pair i is image i and text i
    by_image = jax.nn.log_softmax(output.logits, axis=1)
    by_text = jax.nn.log_softmax(output.logits, axis=0)
    return -(jnp.diagonal(by_image) + jnp.diagonal(by_text)) / 2


def pairs():
    """A bright square of one of eight colours in noise, and words that say which.

    The words of pair i are the bits of i, and one that all share.
    """
    rng = np.random.default_rng(0)
    images = rng.normal(scale=0.5, size=(NUM_PAIRS, 8, 8, 3))
    region = np.zeros((NUM_PAIRS, 8, 8), np.float32)
    for i in range(NUM_PAIRS):
        top, left = rng.integers(0, 5, 2)
        region[i, top : top + 4, left : left + 4] = 1
        images[i] += 2 * region[i][..., None] * [i & 1, i >> 1 & 1, i >> 2]
    index = np.arange(NUM_PAIRS)
    bits = [index & 1, 2 + (index >> 1 & 1), 4 + (index >> 2)]
    tokens = np.stack([*bits, np.full_like(index, 6)])
    return {
        "inputs": np.float32(images),
        "tokens": tokens.T.astype(np.int32),
        "region": region,
        "region_valid": index != 3,
    }


def train_step(state, batch, *, module, terms, optimizer):
    """One step: the network is the two towers with the texts of this batch."""

    def apply_fn(params, model_state, images, *, train, key=None, overrides=None):
        del train, key  # deterministic
        variables = {"params": params}
        output = module.apply(variables, images, batch["tokens"], overrides=overrides)
        return output, model_state

    step = training.make_train_step(apply_fn, terms, optimizer, task_loss=matching)
    return step(state, batch)


def train(terms, *, num_steps=25):
    module, batch, optimizer = TwoTowers(), pairs(), optax.sgd(0.05)
    params = module.init(jax.random.key(0), batch["inputs"], batch["tokens"])["params"]
    state = training.init_train_state(
        jax.random.key(1), params, (), terms, optimizer, batch
    )
    step = jax.jit(
        functools.partial(train_step, module=module, terms=terms, optimizer=optimizer)
    )
    history = []
    for _ in range(num_steps):
        state, metrics = step(state, batch)
        history.append(jax.tree.map(float, metrics))
    return state, history


def test_both_losses_of_an_image_text_model_fall():
    contrast = guidance.region_contrastive(
        loss=functools.partial(losses.region_contrastive, temperature=0.5),
        anchor="balanced",
    )
    state, history = train({"contrast": contrast})
    assert history[-1]["task"] < 0.7 * history[0]["task"]
    assert history[-1]["contrast"] < history[0]["contrast"] - 0.02
    assert state.nonfinite == 0
    assert all(metrics["nonfinite/contrast"] == 0 for metrics in history)


def test_the_image_tower_alone_is_guided():
    """At equal parameters, the term adds a gradient to the image tower and no other."""
    contrast = guidance.region_contrastive(
        loss=functools.partial(losses.region_contrastive, temperature=0.5)
    )
    guided, _ = train({"contrast": contrast}, num_steps=1)
    unguided, _ = train({}, num_steps=1)
    difference = jax.tree.map(
        lambda a, b: float(jnp.max(jnp.abs(a - b))),
        guided.params["model"],
        unguided.params["model"],
    )
    assert difference["Conv_0"]["kernel"] > 1e-5
    for name in ("image", "text", "words"):
        assert max(jax.tree.leaves(difference[name])) < 1e-7
