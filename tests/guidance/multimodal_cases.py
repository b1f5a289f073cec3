"""What the tests of images with texts share: a linear text head, a batch, a network.

The worked map R = [[2, -1], [1, 1]] is the Grad-CAM of class 0: one channel, features =
inputs and d logit / d feature = 1 everywhere, as 4 / (2 x 2).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import region_cases

from xguide_jax import attributions, guidance, testing, training
from xguide_jax.types import ModelOutput, StepContext

VOCABULARY, LENGTH = 7, 5
TARGET = {"score_fn": attributions.target_logit}
SECOND_ORDER = guidance.explain(
    functools.partial(attributions.grad_cam, **TARGET), layer="features"
)
FIRST_ORDER = guidance.explain(
    functools.partial(guidance.frozen_grad_cam, **TARGET), layer="features"
)

MAP = np.array([[2.0, -1.0], [1.0, 1.0]])
PARAMS = {"kernel": np.array([[1.0]]), "head": np.array([[4.0, 0.0]])}
# M = R⁺ / 2, and P, which adds up to 2.004 before its division.
SHARES = np.array([[1.0, 0.0], [0.5, 0.5]])
DISTRIBUTION = np.array([[1.001, 0.001], [0.501, 0.501]]) / 2.004


class LinearHead(NamedTuple):
    """Logits linear in the mean of the prefix and in the token before."""

    width: int = 3
    vocabulary: int = VOCABULARY

    def init(self, key):
        keys = jax.random.split(key)
        return {
            "prefix": jax.random.normal(keys[0], (self.width, self.vocabulary)),
            "token": jax.random.normal(keys[1], (self.vocabulary, self.vocabulary)),
        }

    def apply(self, params, prefix, tokens, mask):
        told = jnp.mean(prefix, axis=1) @ params["prefix"].astype(prefix.dtype)
        said = params["token"].astype(prefix.dtype)[tokens]
        return told[:, None] + jnp.where(mask[..., None], said, 0.0)


def stopped(explain):
    """The same maps, held constant."""
    return lambda context: jax.lax.stop_gradient(explain(context))


def texts(size, *, seed=0, valid=None):
    """Texts of two to four tokens; of every third example none."""
    rng = np.random.default_rng(seed)
    lengths = 2 + np.arange(size) % 3
    mask = np.arange(LENGTH) <= lengths[:, None]
    tokens = np.where(mask, rng.integers(3, VOCABULARY, (size, LENGTH)), 0)
    tokens[:, 0] = 1
    valid = np.arange(size) % 3 != 2 if valid is None else valid
    return {
        "text": jnp.asarray(tokens, jnp.int32),
        "text_mask": jnp.asarray(mask),
        "text_valid": jnp.asarray(valid),
    }


def batch_of(size, **changes):
    """Images of `testing.example_batch` with texts."""
    batch = testing.example_batch(jax.random.key(1), batch_size=size)
    return {**batch, **texts(size), **changes}


def worked_batch(**changes):
    """The worked map, as one image with the text "3 5"."""
    return {
        "inputs": MAP[None, :, :, None],
        "labels": np.array([0]),
        "region": np.zeros((1, 2, 2)),
        "text": np.array([[1, 3, 5, 0]]),
        "text_mask": np.array([[True, True, True, False]]),
        **changes,
    }


def evaluate(term, params, batch, *, network=None, state=None, step=0):
    """Loss, gradient in {'model', 'guidance'}, next state and what is logged."""
    apply_fn, model, model_state = network or (region_cases.linear_network, PARAMS, ())
    states = {} if state is None else {"term": state}

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(params, batch, states):
        return training.guidance_loss(
            apply_fn, {"term": term}, params, model_state, states, batch,
            step=step, key=jax.random.key(0),
        )  # fmt: skip

    given = {"model": model, "guidance": {"term": params}}
    (loss, (states, metrics)), gradient = objective(given, batch, states)
    gradient["guidance"] = gradient["guidance"]["term"]
    return loss, gradient, states["term"], metrics


def init(term, batch=None, seed=0):
    """(params, state) of a term."""
    return term.init(jax.random.key(seed), {} if batch is None else batch)


def context_of(features, batch, *, axis_name=None, step=0, logits=None):
    """A step whose clean pass has these features; its map is their sum."""
    size = len(features)
    batch = {"inputs": jnp.zeros((size, *features.shape[1:3], 1)), **batch}
    logits = jnp.zeros((size, 2)) if logits is None else logits
    output = ModelOutput(logits, {"features": jnp.asarray(features)})
    context = region_cases.context_of(batch, output, axis_name=axis_name)
    assert isinstance(context, StepContext)
    return context._replace(step=jnp.asarray(step))


def applied(term, params, features, batch, *, state=(), **options):
    """What the term returns where the clean pass has these features."""

    @jax.jit
    def apply(params, features, batch, state):
        return term.apply(params, state, context_of(features, batch, **options))

    return apply(params, features, batch, state)


def summed(context):
    """The features' sum over the channels, as a map."""
    return jnp.sum(context.output.intermediates["features"], axis=-1)


def largest(tree):
    return max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree))
