"""Faithfulness, robustness and complexity of maps of the digits' network."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.ours import arrays, digits
from xguide_jax import attributions, evaluation, metrics, models, ops
from xguide_jax.types import Array, PRNGKey, PyTree

BATCH_SIZE, NUM_STEPS = 64, 28
# 0, which Quantus does not predict, and what both do.
FRACTIONS = tuple(step / NUM_STEPS for step in range(NUM_STEPS + 1))
RADIUS, NUM_SAMPLES = 0.02, 10
SUBSET, NUM_SUBSETS = 56, 32
_SEED = 1


@jax.jit
def _logits(params: PyTree, inputs: Array) -> Array:
    apply_fn = models.linen_apply_fn(digits.network())
    return apply_fn(params, {}, inputs, train=False)[0].logits


@jax.jit
def _gradient(params: PyTree, inputs: Array, targets: Array) -> Array:
    return attributions.input_gradient(
        functools.partial(_logits, params), inputs, targets,
        score_fn=attributions.target_logit,
    )  # fmt: skip


def _with_maps() -> dict[str, np.ndarray]:
    """Maps of random numbers, [B, 28, 28, 1], of which no two are tied."""
    given = digits.digits_arrays(BATCH_SIZE)
    maps = np.random.default_rng(1).normal(size=given["inputs"].shape)
    return {**given, "maps": maps.astype(np.float32)}


def _with_noise() -> dict[str, np.ndarray]:
    """The uniform noise of maximal sensitivity too: [S, B, 28, 28, 1]."""
    given = digits.digits_arrays(BATCH_SIZE)
    copies: list[Array] = []

    def keep(noisy: Array) -> Array:
        copies.append(noisy)
        return noisy

    metrics.max_sensitivity(
        keep, jnp.zeros_like(given["inputs"]), key=jax.random.key(_SEED),
        radius=RADIUS, num_samples=NUM_SAMPLES,
    )  # fmt: skip
    return {**given, "noise": np.stack(copies[1:])}  # the first is the input itself


def _with_subsets() -> dict[str, np.ndarray]:
    """The subsets of sensitivity-n too: places, [S, B, k]."""
    given = _with_maps()
    copies: list[Array] = []

    def keep(inputs: Array) -> Array:
        copies.append(inputs)
        return jnp.zeros((len(inputs), 10))

    _sensitivity_n(
        keep, jnp.ones_like(given["inputs"]), jnp.asarray(given["labels"]),
        jnp.asarray(given["maps"]), jax.random.key(_SEED),
    )  # fmt: skip
    removed = np.stack(copies[:NUM_SUBSETS]) == 0  # the last is the input itself
    places = np.nonzero(removed.reshape(-1, removed[0, 0].size))[1]
    return {**given, "subsets": places.reshape(NUM_SUBSETS, BATCH_SIZE, SUBSET)}


def _sensitivity_n(
    predict: Callable[[Array], Array],
    inputs: Array,
    labels: Array,
    maps: Array,
    key: PRNGKey,
) -> Array:
    return metrics.sensitivity_n(
        predict, inputs, labels, maps, key=key, num_features=SUBSET,
        num_subsets=NUM_SUBSETS, baselines=0.0, score_fn=attributions.target_logit,
    )  # fmt: skip


def _prepared(
    measure: Callable[..., dict[str, Any]], given: jobs.Arrays
) -> jobs.Prepared:
    resident = jax.device_put(dict(given)) | {
        "params": arrays.nested(given, "params"),
        "key": jax.random.key(_SEED),
    }

    def call() -> dict[str, Any]:
        return jax.block_until_ready(measure(resident))

    def outputs() -> dict[str, np.ndarray]:
        return {name: np.asarray(value) for name, value in call().items()}

    return jobs.Prepared(call, outputs, len(given["labels"]))


def _deletion(given: dict[str, Any]) -> dict[str, Any]:
    """The probability of the label: [B, 28]."""
    curve = metrics.removal_curve(
        functools.partial(_logits, given["params"]),
        given["inputs"], given["labels"], given["maps"],
        fractions=FRACTIONS[1:], fill=functools.partial(ops.constant_fill, value=0.0),
        key=given["key"], value=attributions.target_probability,
    )  # fmt: skip
    return {"curve": curve}


def _evaluate(given: dict[str, Any]) -> dict[str, Any]:
    """Explained, then evaluated; of what `evaluate` gives, what Quantus gives too.

    The curves are of the label's logit, of pixels made black. One curve of a random
    order is measured as well, but not compared: the two sides draw their own.
    """
    maps = _gradient(given["params"], given["inputs"], given["labels"])
    found = evaluation.evaluate(
        functools.partial(_logits, given["params"]),
        {"gradient": maps},
        {name: given[name] for name in ("inputs", "labels")},
        key=given["key"], fractions=FRACTIONS, value=attributions.target_logit,
        fills={"black": functools.partial(ops.constant_fill, value=0.0)},
        num_random_orders=1, batch_size=BATCH_SIZE, progress=False,
    )  # fmt: skip
    curves = found.curves.maps["gradient"]["black"]
    rows = found.maps["gradient"].rows
    return {
        "removal": curves.removal[:, 1:],
        "insertion": curves.insertion[:, :-1],
        "sparseness": rows["Gini index"],
        "complexity": np.log(rows["effective features"]),
    }


@jax.jit
def _max_sensitivity(given: dict[str, Any]) -> dict[str, Any]:
    explain = lambda inputs: _gradient(given["params"], inputs, given["labels"])
    found = metrics.max_sensitivity(
        explain, given["inputs"], key=given["key"],
        radius=RADIUS, num_samples=NUM_SAMPLES,
    )  # fmt: skip
    return {"max_sensitivity": found}


@jax.jit
def _faithfulness_correlation(given: dict[str, Any]) -> dict[str, Any]:
    names = ("inputs", "labels", "maps", "key")
    found = _sensitivity_n(
        functools.partial(_logits, given["params"]), *(given[name] for name in names)
    )
    return {"correlation": found}


JOBS = {
    "deletion": jobs.Ours(_with_maps, functools.partial(_prepared, _deletion)),
    "evaluate": jobs.Ours(
        functools.partial(digits.digits_arrays, BATCH_SIZE),
        functools.partial(_prepared, _evaluate),
    ),
    "max_sensitivity": jobs.Ours(
        _with_noise, functools.partial(_prepared, _max_sensitivity)
    ),
    "faithfulness_correlation": jobs.Ours(
        _with_subsets, functools.partial(_prepared, _faithfulness_correlation)
    ),
}
