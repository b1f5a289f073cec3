"""Explanations of the network of the published digits experiment."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.ours import arrays, digits
from xguide_jax import attributions, models
from xguide_jax.types import Array, ModelOutput, PRNGKey

# (the network with its weights bound, inputs, targets, key) -> maps [B, h, w(, 1)].
Explain = Callable[[Callable[..., Any], Array, Array, PRNGKey], Array]

SIGMA, NUM_SAMPLES = 0.15, 25
NUM_MASKS, GRID = 500, (7, 7)
_SEED = 1


def average_pooling() -> models.SaliencyGuidedCNN:
    """The network with average pooling, on which Captum's DeepLift is complete."""
    pool = lambda inputs, *, window: nn.avg_pool(inputs, window, strides=window)
    return models.SaliencyGuidedCNN(dropout=(0.0, 0.0), max_pool=pool)


def _smooth_grad_arrays() -> dict[str, np.ndarray]:
    """Noise [S, B, 28, 28, 1] too, by an explainer that keeps what it is given."""
    given = digits.digits_arrays(64)
    inputs, labels = (jnp.asarray(given[name]) for name in ("inputs", "labels"))
    copies: list[Array] = []

    def keep(_: Any, noisy: Array, targets: Array) -> Array:
        copies.append(noisy)
        return noisy

    with jax.disable_jit():  # in a compiled loop there are no values to keep
        attributions.smooth_grad(
            keep, lambda x: x, jnp.zeros_like(inputs), labels,
            key=jax.random.key(_SEED), sigma=SIGMA, num_samples=NUM_SAMPLES,
        )  # fmt: skip
    return {**given, "noise": np.stack(copies)}


def _rise_arrays() -> dict[str, np.ndarray]:
    """Masks [N, B, 28, 28, 1] too: what RISE makes of white images on black."""
    given = digits.digits_arrays(4)
    masks: list[Array] = []

    def keep(masked: Array) -> Array:
        masks.append(masked)
        return jnp.zeros((len(masked), 10))

    _rise(
        lambda x: (ModelOutput(keep(x), {}),),
        jnp.ones_like(given["inputs"]), jnp.asarray(given["labels"]),
        jax.random.key(_SEED), chunk_size=1,
    )  # fmt: skip
    return {**given, "masks": np.stack(masks)}


def _prepared(
    explain: Explain,
    given: jobs.Arrays,
    *,
    network: Callable[[], nn.Module] = digits.network,
) -> jobs.Prepared:
    apply_fn = models.linen_apply_fn(network())

    # Weights and inputs are arguments: XLA would work out constants beforehand.
    @jax.jit
    def maps_of(params: Any, inputs: Array, targets: Array, key: PRNGKey) -> Array:
        forward = functools.partial(apply_fn, params, {}, train=False)
        return explain(forward, inputs, targets, key)

    arguments = jax.device_put(
        (
            arrays.nested(given, "params"), given["inputs"], given["labels"],
            jax.random.key(_SEED),
        )
    )  # fmt: skip

    def call() -> Array:
        return jax.block_until_ready(maps_of(*arguments))

    def outputs() -> dict[str, np.ndarray]:
        maps = np.asarray(call())
        return {"maps": maps.reshape(maps.shape[:3])}

    return jobs.Prepared(call, outputs, len(given["labels"]))


def at_input(explainer: Callable[..., Array], **options: Any) -> Explain:
    """An explainer of the label's logit that draws nothing, at the input.

    Args:
      explainer: of `attributions`.
      **options: of it.

    Returns:
      It, as the jobs take it.
    """

    def explain(
        forward: Callable[..., Any], inputs: Array, targets: Array, key: PRNGKey
    ) -> Array:
        del key  # deterministic
        predict = lambda x: forward(x)[0].logits
        options_of = {"score_fn": attributions.target_logit, **options}
        return explainer(predict, inputs, targets, **options_of)

    return explain


def _grad_cam(
    forward: Callable[..., Any], inputs: Array, targets: Array, key: PRNGKey
) -> Array:
    del key  # deterministic
    head, features = attributions.split_at(forward, inputs, "features")
    return attributions.grad_cam(
        head, features, targets, score_fn=attributions.target_logit
    )


def _smooth_grad(
    forward: Callable[..., Any], inputs: Array, targets: Array, key: PRNGKey
) -> Array:
    gradient = functools.partial(
        attributions.input_gradient, score_fn=attributions.target_logit
    )
    return attributions.smooth_grad(
        gradient, lambda x: forward(x)[0].logits, inputs, targets,
        key=key, sigma=SIGMA, num_samples=NUM_SAMPLES,
    )  # fmt: skip


def _rise(
    forward: Callable[..., Any],
    inputs: Array,
    targets: Array,
    key: PRNGKey,
    *,
    chunk_size: int = 50,
) -> Array:
    return attributions.rise(
        lambda x: forward(x)[0].logits, inputs, targets, key=key,
        num_masks=NUM_MASKS, grid=GRID, keep_probability=0.5, baselines=0.0,
        score_fn=attributions.target_probability, chunk_size=chunk_size,
    )  # fmt: skip


def _job(
    explain: Explain,
    *,
    batch_size: int = digits.BATCH_SIZE,
    network: Callable[[], nn.Module] = digits.network,
) -> jobs.Ours:
    return jobs.Ours(
        functools.partial(digits.digits_arrays, batch_size),
        functools.partial(_prepared, explain, network=network),
    )


_GRADIENT = at_input(attributions.input_gradient)
_PATH = at_input(attributions.integrated_gradients, baselines=0.0, num_points=50)
JOBS = {
    "gradient": _job(_GRADIENT),
    "one_image": _job(_GRADIENT, batch_size=1),
    "grad_cam": _job(_grad_cam),
    "integrated_gradients": _job(_PATH, batch_size=64),
    "integrated_gradients_chunked": _job(_PATH, batch_size=64),
    "smooth_grad": jobs.Ours(
        _smooth_grad_arrays, functools.partial(_prepared, _smooth_grad)
    ),
    "lrp": _job(
        at_input(attributions.lrp, rules=attributions.epsilon_rule(1e-9)),
        batch_size=64,
    ),
    "deep_lift": _job(
        at_input(attributions.deep_lift, baselines=0.0),
        batch_size=64,
        network=average_pooling,
    ),
    "rise": jobs.Ours(_rise_arrays, functools.partial(_prepared, _rise)),
}
