"""Steps on the network of the published digits experiment."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.ours import arrays, reasons, steps
from xguide_jax import attributions, guidance, losses, models, ops
from xguide_jax.types import Terms

BATCH_SIZE = 128


def digits_arrays(batch_size: int = BATCH_SIZE) -> dict[str, np.ndarray]:
    """Weights of the network, images [B, 28, 28, 1], labels and a region each."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(size=(batch_size, 28, 28, 1)).astype(np.float32)
    region = np.zeros((batch_size, 28, 28), np.float32)
    region[:, 6:20, 8:22] = 1.0
    params, _ = models.init_linen(network(), jax.random.key(0), jnp.asarray(inputs))
    return {
        **arrays.flattened(params, "params"),
        "inputs": inputs,
        "labels": rng.integers(10, size=batch_size).astype(np.int32),
        "region": region,
    }


def network() -> models.SaliencyGuidedCNN:
    """Without dropout, of which no two packages draw the same."""
    return models.SaliencyGuidedCNN(dropout=(0.0, 0.0))


def _step(
    terms: Callable[[], Terms],
    optimizer: optax.GradientTransformation,
    given: jobs.Arrays,
) -> jobs.Prepared:
    params = arrays.nested(given, "params")
    names = ("inputs", "labels", "region") if terms() else ("inputs", "labels")
    return steps.prepared(
        models.linen_apply_fn(network()), params, {}, terms(), optimizer,
        {name: given[name] for name in names},
    )  # fmt: skip


def saliency_guided(*, frozen_teacher: bool = False) -> Terms:
    """Half of the pixels give way to a constant, which both sides have alike."""
    return {
        "sgt": guidance.saliency_guided(
            mask_fraction=0.5,
            fill=lambda keys, inputs: jnp.full_like(inputs, 0.5),
            rank_fn=ops.signed_channel_mean,
            score_fn=attributions.target_log_probability,
            frozen_teacher=frozen_teacher,
        )
    }


def _energy() -> Terms:
    cam = guidance.explain(
        functools.partial(
            attributions.signed_grad_cam, score_fn=attributions.target_logit
        ),
        layer="features",
        explain_in="train",
    )
    return {"energy": guidance.localisation(loss=losses.energy, explain=cam)}


def _job(
    terms: Callable[[], Terms], optimizer: optax.GradientTransformation
) -> jobs.Ours:
    return jobs.Ours(digits_arrays, functools.partial(_step, terms, optimizer))


SGD = optax.sgd(1e-2)
JOBS = {
    "step_sgd": _job(dict, SGD),
    "step_adam": _job(dict, optax.adam(1e-3)),
    "saliency_guided": _job(saliency_guided, SGD),
    "saliency_guided_rows": _job(saliency_guided, SGD),
    "saliency_guided_frozen": _job(
        functools.partial(saliency_guided, frozen_teacher=True), SGD
    ),
    "right_reasons": _job(reasons.right_reasons, SGD),
    "energy": _job(_energy, SGD),
}
