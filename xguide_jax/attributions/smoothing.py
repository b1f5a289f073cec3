"""Attributions averaged over noisy copies of the input.

Here `E(x)` is the map that any explainer gives at `x`; the average estimates
`E_ε[E(x + ε)]` for Gaussian noise ε, the map of a smoothed function.
"""

import jax
import numpy as np

from xguide_jax import ops
from xguide_jax.ops import checking
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
    example independent of the batch it comes in. The loop is unrolled, one sample at a
    time in memory, with the exceptions named at `ops.barriered_sum`. Differentiable
    again wherever the explainer is; the noise is constant.

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
    if not isinstance(sigma, jax.core.Tracer) and not float(sigma) >= 0:
        raise ValueError(f"`sigma` (={sigma}) must be at least 0.")
    num_samples = checking.checked_count("num_samples", num_samples)
    keys = ops.example_keys(key, inputs.shape[0])

    def sample_at(values: Array, numbers: np.ndarray) -> Array:
        noisy = ops.at_least_float32(values)
        noisy = noisy + sigma * _noise(keys, int(numbers[0]), noisy)
        attributions = explainer(predict_fn, noisy.astype(inputs.dtype), targets)
        return ops.at_least_float32(attributions)

    total = ops.barriered_sum(sample_at, inputs, count=num_samples)
    return total / num_samples


def _noise(keys: PRNGKey, sample: int, inputs: Array) -> Array:
    """Standard normal noise of one sample, shaped and typed like the inputs."""

    def draw(key: PRNGKey) -> Array:
        key = jax.random.fold_in(key, sample)
        return jax.random.normal(key, inputs.shape[1:], inputs.dtype)

    return jax.vmap(draw)(keys)
