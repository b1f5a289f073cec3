"""Steps on ResNet-18 for images of 32 pixels, batch norm included."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.ours import arrays, reasons, steps
from xguide_jax import attributions, guidance, models, ops
from xguide_jax.types import Terms

BATCH_SIZE = 32


def network() -> models.ResNet:
    """Its batch statistics are shared by the one device there is."""
    return models.ResNet(18, 10, stem="3x3", axis_name="batch")


def resnet_arrays() -> dict[str, np.ndarray]:
    """Weights, statistics, images [B, 32, 32, 3], labels and a region each."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(BATCH_SIZE, 32, 32, 3)).astype(np.float32)
    region = np.zeros((BATCH_SIZE, 32, 32), np.float32)
    region[:, 8:24, 8:24] = 1.0
    key = jax.random.key(0)
    params, model_state = models.init_linen(network(), key, jnp.asarray(inputs))
    return {
        **arrays.flattened(params, "params"),
        **arrays.flattened(model_state, "state"),
        "inputs": inputs,
        "labels": rng.integers(10, size=BATCH_SIZE).astype(np.int32),
        "region": region,
    }


def _step(terms: Callable[[], Terms], given: jobs.Arrays) -> jobs.Prepared:
    names = ("inputs", "labels", "region") if terms() else ("inputs", "labels")
    return steps.prepared(
        models.linen_apply_fn(network()),
        arrays.nested(given, "params"),
        arrays.nested(given, "state"),
        terms(),
        optax.sgd(1e-2),
        {name: given[name] for name in names},
    )


def _saliency_guided() -> Terms:
    return {
        "sgt": guidance.saliency_guided(
            mask_fraction=0.5,
            fill=lambda keys, inputs: jnp.zeros_like(inputs),
            rank_fn=ops.signed_channel_mean,
            score_fn=attributions.target_log_probability,
            explain_in="train",
        )
    }


JOBS = {
    name: jobs.Ours(resnet_arrays, functools.partial(_step, terms))
    for name, terms in {
        "resnet": dict,
        "resnet_saliency_guided": _saliency_guided,
        "resnet_right_reasons": reasons.right_reasons,
    }.items()
}
