"""The network of the default run: digits on textures, trained in a minute."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np

from experiments.digits import textured
from experiments.running import feeding, optimizers
from xguide_jax import attributions, data, models, ops, training
from xguide_jax.types import Array, Explainer, PredictFn

NUM_STEPS = 450
SIZE = 32
# Explainers whose maps add up to what changes from an input of 0, or should.
AGAINST_ZERO = ("gradient x input", "integrated gradients")


class Problem(NamedTuple):
    """A trained network, images it has not seen, and ways to explain it."""

    predict: PredictFn
    batch: Mapping[str, np.ndarray]
    explainers: Mapping[str, Explainer]


def train(*, num_evaluated: int, seed: int) -> Problem:
    """Trains on digits whose texture gives the class away, unguided.

    Args:
      num_evaluated: how many test images to explain.
      seed: of the split, the weights and the batches.

    Returns:
      The problem; texture and class are independent in its examples.
    """
    parts = textured.make_parts(
        data.digits(), rho=textured.CORRELATION, seed=seed, size=SIZE
    )
    network = models.SmallCNN(num_classes=2, strides=(2, 2, 1))
    key = jax.random.key(seed)
    params, model_state = models.init_linen(network, key, parts.train.inputs[:1])
    apply_fn = models.linen_apply_fn(network)
    optimizer = optimizers.muon(0.05, num_steps=NUM_STEPS)
    plain = parts.train._replace(annotations={})
    batch_at = feeding.batches_of(plain, batch_size=32, seed=seed)
    step = jax.jit(training.make_train_step(apply_fn, {}, optimizer))
    state = training.init_train_state(
        key, params, model_state, {}, optimizer, batch_at(0)
    )
    state = training.fit(step, state, batch_at, num_steps=NUM_STEPS, log_every=50)
    forward = functools.partial(
        apply_fn, state.params["model"], state.model_state, train=False
    )
    predict = jax.jit(lambda images: forward(images)[0].logits)
    shown = data.take(parts.balanced, np.arange(num_evaluated))
    kept = {name: shown.annotations[name] for name in ("region", "groups")}
    batch = {"inputs": shown.inputs, "labels": shown.labels, **kept}
    return Problem(predict, batch, explainers_of(forward, seed=seed))


def explainers_of(forward: Callable, *, seed: int) -> dict[str, Explainer]:
    """Six ways to explain the logit of a class.

    Args:
      forward: the network.
      seed: of the noise.

    Returns:
      {name: explainer}.
    """
    logit = attributions.target_logit
    gradient = functools.partial(attributions.input_gradient, score_fn=logit)

    def grad_cam(predict_fn: PredictFn, inputs: Array, targets: Array) -> Array:
        head, features = attributions.split_at(forward, inputs, "features")
        cam = attributions.grad_cam(head, features, targets, score_fn=logit)
        _, height, width, _ = inputs.shape
        return ops.bilinear_resize(cam, shape=(height, width))

    return {
        "gradient": gradient,
        "gradient x input": functools.partial(
            attributions.gradient_x_input, score_fn=logit
        ),
        "integrated gradients": functools.partial(
            attributions.integrated_gradients,
            baselines=0.0,
            num_points=16,
            score_fn=logit,
        ),
        "SmoothGrad": functools.partial(
            attributions.smooth_grad,
            gradient,
            key=jax.random.key(seed),
            sigma=0.5,
            num_samples=8,
        ),
        "occlusion": functools.partial(
            attributions.occlusion,
            window=(4, 4),
            strides=(2, 2),
            baselines=0.0,
            score_fn=logit,
        ),
        "Grad-CAM": grad_cam,
    }
