"""Attributions over noisy copies of the input: their mean, mean square and variance.

Here `E(x)` is the map that any explainer gives at `x`; the mean estimates
`E_ε[E(x + ε)]` for Gaussian noise ε, the map of a smoothed function. The same key gives
all three the same copies.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import checking, reducing
from xguide_jax.types import Array, Explainer, PredictFn, PRNGKey


def smooth_grad(
    explainer: Explainer,
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    sigma: float | Array,
    num_samples: int,
) -> Array:
    """Mean attribution over copies of the input with Gaussian noise.

    1/S Σ_s E(x + σ ε_s), ε_s ~ N(0, I). Sample s of example i depends on the key, i and
    s alone: more samples extend the sequence, and a key array [B] makes the noise of an
    example independent of the batch it comes in. One sample is in memory at a time, but
    for the exceptions named at `ops.barriered_sum`. Differentiable again wherever the
    explainer is; the noise is constant.

    Args:
      explainer: (predict_fn, inputs, targets) -> attributions [B, ...], such as
        `functools.partial(input_gradient, score_fn=target_logit)`.
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      sigma: standard deviation of the noise in units of the inputs, at least 0; may be
        traced, so that one program serves many.
      num_samples: S, at least 1; static.

    Returns:
      Shaped like the explainer's result, float32 or wider.

    Raises:
      ValueError: if `sigma` is negative (one that is traced is not looked at),
        `num_samples` less than 1 or traced, or the key not as `ops.example_keys` takes
        it.

    Source: Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017. The mean
      of the maps, not of their squares.
    """
    total = _sum_over_samples(
        explainer, predict_fn, inputs, targets,
        key=key, sigma=sigma, num_samples=num_samples, transform=lambda maps: maps,
    )  # fmt: skip
    return total / num_samples


def smooth_grad_squared(
    explainer: Explainer,
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    sigma: float | Array,
    num_samples: int,
) -> Array:
    """Mean squared attribution over copies of the input with Gaussian noise.

    1/S Σ_s E(x + σ ε_s)², entry by entry: how strong an attribution is, whichever its
    sign, so that evidence which changes sign from copy to copy does not cancel. Copies,
    loop and gradients are those of `smooth_grad`.

    Args:
      explainer: (predict_fn, inputs, targets) -> attributions [B, ...].
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      sigma: standard deviation of the noise, as for `smooth_grad`.
      num_samples: S, at least 1; static.

    Returns:
      Shaped like the explainer's result, float32 or wider, at least 0, in squared units
      of it: it adds up to nothing.

    Raises:
      ValueError: as `smooth_grad`.

    Source: Hooker, Erhan, Kindermans, Kim, "A Benchmark for Interpretability Methods in
      Deep Neural Networks", NeurIPS 2019.
    """
    total = _sum_over_samples(
        explainer, predict_fn, inputs, targets,
        key=key, sigma=sigma, num_samples=num_samples, transform=jnp.square,
    )  # fmt: skip
    return total / num_samples


def var_grad(
    explainer: Explainer,
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    sigma: float | Array,
    num_samples: int,
) -> Array:
    """Variance of the attribution over copies of the input with Gaussian noise.

    1/S Σ_s (E_s − Ē)², E_s = E(x + σ ε_s), Ē their mean: where the explanation is
    unstable, not where it is strong. Divided by S, so the variance of the copies drawn;
    as an estimate of Var E(x + σ ε) it is biased, too small by the factor (S − 1) / S.
    It is 0 for every affine function. Copies, loop and gradients are those of
    `smooth_grad`; the first copy is explained twice.

    Args:
      explainer: (predict_fn, inputs, targets) -> attributions [B, ...].
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      sigma: standard deviation of the noise, as for `smooth_grad`.
      num_samples: S, at least 2, since the variance of one is 0; static.

    Returns:
      Shaped like the explainer's result, float32 or wider, at least 0, in squared units
      of it: it adds up to nothing.

    Raises:
      ValueError: if `num_samples` is less than 2, or as `smooth_grad`.

    Source: Adebayo, Gilmer, Goodfellow, Kim, "Local Explanation Methods for Deep Neural
      Networks Lack Sensitivity to Parameter Values", ICLR 2018 workshop.
    """
    if checking.checked_count("num_samples", num_samples) < 2:
        raise ValueError(
            f"`num_samples` (={num_samples}) must be at least 2: the variance of one "
            "map is 0 everywhere."
        )
    sums = functools.partial(
        _sum_over_samples, explainer, predict_fn, inputs, targets, key=key, sigma=sigma
    )
    # Squares of distances from the first map, not of the maps: the difference of two
    # large sums would lose the variance in their rounding, or make it negative.
    first = sums(num_samples=1, transform=lambda maps: maps)
    moments = sums(
        num_samples=num_samples,
        transform=lambda maps: jnp.stack([maps - first, jnp.square(maps - first)]),
    )
    mean, mean_square = moments / num_samples
    return mean_square - jnp.square(mean)


def _sum_over_samples(
    explainer: Explainer,
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    sigma: float | Array,
    num_samples: int,
    transform: Callable[[Array], Array],
) -> Array:
    """Σ_s transform(E(x + σ ε_s)), one sample at a time."""
    if not isinstance(sigma, jax.core.Tracer) and not float(sigma) >= 0:
        raise ValueError(f"`sigma` (={sigma}) must be at least 0.")
    num_samples = checking.checked_count("num_samples", num_samples)
    keys = ops.example_keys(key, inputs.shape[0])

    def sample_at(values: Array, numbers: Array) -> Array:
        noisy = ops.at_least_float32(values)
        noisy = noisy + sigma * _noise(keys, numbers[0], noisy)
        attributions = explainer(predict_fn, noisy.astype(inputs.dtype), targets)
        return transform(ops.at_least_float32(attributions))

    return ops.barriered_sum(
        reducing.traced_once(sample_at, inputs), inputs, count=num_samples
    )


def _noise(keys: PRNGKey, sample: Array, inputs: Array) -> Array:
    """Standard normal noise of one sample, shaped and typed like the inputs."""

    def draw(key: PRNGKey) -> Array:
        key = jax.random.fold_in(key, sample)
        return jax.random.normal(key, inputs.shape[1:], inputs.dtype)

    return jax.vmap(draw)(keys)
