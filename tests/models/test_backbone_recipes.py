"""Backbones of other libraries: what a user writes to guide one, and that it works.

A backbone that exposes nothing is taken apart where its features are: what lies before
is called, the features may be replaced, and what lies behind is called on them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from xguide_jax import attributions, guidance, losses, models, testing, training
from xguide_jax.types import ModelOutput

_IMAGES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)


class Backbone(nnx.Module):
    """Stands for one of a library: layers, a pooled head, and no hooks."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), strides=(2, 2), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.last = nnx.Conv(8, 8, (3, 3), strides=(2, 2), rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def features(self, inputs):
        return nnx.relu(self.last(nnx.relu(self.norm(self.stem(inputs)))))

    def __call__(self, inputs):
        return self.head(jnp.mean(self.features(inputs), axis=(1, 2)))


class Exposing(Backbone):
    """The recipe: a subclass of its parts, and a new head of as many classes."""

    def __init__(self, num_classes, rngs):
        super().__init__(rngs)
        self.head = nnx.Linear(8, num_classes, rngs=rngs)

    def __call__(self, inputs, *, overrides=None):
        features = models.override("features", self.features(inputs), overrides)
        logits = self.head(jnp.mean(features, axis=(1, 2)))
        return ModelOutput(logits, {"features": features})


def nnx_network():
    return models.nnx_apply_fn(Exposing(2, nnx.Rngs(0)))


def equinox_network():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(jax.random.key(0), 3)
    backbone = {
        "stem": eqx.nn.Conv2d(3, 8, 3, stride=2, padding=1, key=keys[0]),
        "last": eqx.nn.Conv2d(8, 8, 3, stride=2, padding=1, key=keys[1]),
        "head": eqx.nn.Linear(8, 2, key=keys[2]),
    }
    params, static = eqx.partition(backbone, eqx.is_inexact_array)

    def apply_fn(params, model_state, inputs, *, train, key=None, overrides=None):
        del train, key  # neither dropout nor batch norm
        if unknown := set(overrides or ()) - {"features"}:
            raise ValueError(f"`overrides` names {sorted(unknown)}.")
        network = eqx.combine(params, static)
        hidden = jnp.moveaxis(inputs, -1, 1)  # Equinox has channels first
        for name in ("stem", "last"):
            hidden = jax.nn.relu(jax.vmap(network[name])(hidden))
        features = jnp.moveaxis(hidden, 1, -1)
        features = models.override("features", features, overrides)
        logits = jax.vmap(network["head"])(jnp.mean(features, axis=(1, 2)))
        return ModelOutput(logits, {"features": features}), model_state

    return apply_fn, params, {}


NETWORKS = pytest.mark.parametrize(
    "make", [nnx_network, equinox_network], ids=["nnx", "equinox"]
)


@NETWORKS
def test_the_recipe_keeps_the_contract(make):
    apply_fn, params, state = make()
    testing.check_apply_fn(apply_fn, params, state, _IMAGES)


@NETWORKS
def test_a_guided_step_moves_it(make):
    apply_fn, params, state = make()
    batch = {
        "inputs": jnp.asarray(_IMAGES),
        "labels": jnp.array([0, 1, 0, 1]),
        "region": jnp.zeros((4, 16, 16)).at[:, :8].set(1),
    }
    cam = functools.partial(
        attributions.signed_grad_cam, score_fn=attributions.centred_logit
    )
    terms = {
        "energy": guidance.localisation(
            loss=losses.leaky_energy, explain=guidance.explain(cam, layer="features")
        )
    }
    optimizer = optax.sgd(0.1)
    start = training.init_train_state(
        jax.random.key(0), params, state, terms, optimizer, batch
    )
    step = jax.jit(training.make_train_step(apply_fn, terms, optimizer))
    end, metrics = step(start, batch)
    assert np.isfinite(metrics["energy"])
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), start.params["model"], end.params["model"]
    )
    assert all(jax.tree.leaves(moved))


@NETWORKS
def test_its_end_trains_on_features_that_are_kept(make):
    apply_fn, params, state = make()
    whole, _ = apply_fn(params, state, _IMAGES, train=False)
    head = models.tail(apply_fn, "features", input_shape=_IMAGES.shape[1:])
    kept = whole.intermediates["features"]
    output, _ = head(params, state, kept, train=True)
    np.testing.assert_allclose(output.logits, whole.logits, rtol=1e-6)
