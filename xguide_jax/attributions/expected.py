"""Expected gradients: a path integral averaged over a background of baselines.

Where no single baseline stands for absence, a set of examples does: the path begins at
a random one of them, `b`, and the gradient is taken at one random place on the way.
Each sample is an unbiased estimate of the mean of integrated gradients over the
background, whose sum is f(x) − E f(b); `num_samples` trades noise for time, and one
sample a training step is enough.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.attributions import baselines as baselines_module
from xguide_jax.attributions import gradients
from xguide_jax.ops import checking, reducing
from xguide_jax.types import Array, PredictFn, PRNGKey, ScoreFn

# (number of the sample) -> its starts [B, ...], positions [B] and ends [B, ...].
_Draw = Callable[[Array, Array], tuple[Array, Array, Array]]


def expected_gradients(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    background: Array,
    num_samples: int,
    score_fn: ScoreFn,
) -> Array:
    """Attributions that add up, on average, to the score above that of a background.

    A_i = 1/S Σ_s (x_i − b_si) g_i(b_s + t_s (x − b_s)), b_s a row of the background and
    t_s ~ U[0, 1), drawn anew for each sample and example. E Σ_i A_i = f(x) − E f(b),
    which `expected_target` computes; a single draw is off by its noise.

    Sample s of example i depends on the key, i and s alone: more samples extend the
    sequence, and a key array [B] makes an example independent of the batch it comes in.
    The loop is `ops.barriered_sum`, one sample at a time in memory. Differentiable
    again, in the inputs, the background and the parameters; the draws are constant.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      background: float [N, ...], examples shaped like those of `inputs`.
      num_samples: S, at least 1; static.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score.

    Raises:
      AssertionError: as `input_gradient`.
      ValueError: if `num_samples` is less than 1 or traced, the background holds no
        example or examples of another shape, or the key is not as `ops.example_keys`
        takes it.

    Source: Erion et al., "Improving performance of deep learning models with axiomatic
      attribution priors and expected gradients", Nature Machine Intelligence 2021.
    """
    return gradient_shap(
        predict_fn, inputs, targets,
        key=key, background=background, sigma=0.0, num_samples=num_samples,
        score_fn=score_fn,
    )  # fmt: skip


def gradient_shap(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    key: PRNGKey,
    background: Array,
    sigma: float | Array,
    num_samples: int,
    score_fn: ScoreFn,
) -> Array:
    """Expected gradients that end at noisy copies of the input.

    A_i = 1/S Σ_s (z_si − b_si) g_i(b_s + t_s (z_s − b_s)), z_s = x + σ ε_s with
    ε_s ~ N(0, I), everything else as `expected_gradients`, which is the case σ = 0, bit
    for bit. The noise is in both factors, so the sum is that of a smoothed function:
    E Σ_i A_i = E f(x + σ ε) − E f(b).

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      key: one typed key, or one for each example, [B].
      background: float [N, ...], examples shaped like those of `inputs`.
      sigma: standard deviation of the noise in units of the inputs, at least 0; may be
        traced.
      num_samples: S, at least 1; static.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score.

    Raises:
      AssertionError: as `input_gradient`.
      ValueError: if `sigma` is negative (one that is traced is not looked at), or as
        `expected_gradients`.

    Source: Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions",
      NeurIPS 2017; the estimator is that of the GradientExplainer of their package and
      of the GradientShap of others.
    """
    if not isinstance(sigma, jax.core.Tracer) and not float(sigma) >= 0:
        raise ValueError(f"`sigma` (={sigma}) must be at least 0.")
    num_samples = checking.checked_count("num_samples", num_samples)
    baselines_module.check_background(background, inputs)
    keys, background = ops.example_keys(key, inputs.shape[0]), jnp.asarray(background)

    def draw_one(
        key: PRNGKey, number: Array, value: Array
    ) -> tuple[Array, Array, Array]:
        row_key, position_key, noise_key = jax.random.split(
            jax.random.fold_in(key, number), 3
        )
        row = jax.random.randint(row_key, (), 0, len(background))
        position = jax.random.uniform(position_key, (), value.dtype)
        noise = jax.random.normal(noise_key, value.shape, value.dtype)
        end = value + jnp.asarray(sigma, value.dtype) * noise
        return background[row], position, end

    def draw(number: Array, values: Array) -> tuple[Array, Array, Array]:
        return jax.vmap(draw_one, (0, None, 0))(keys, number, values)

    return _mean_over_paths(
        predict_fn, inputs, targets, draw=draw, count=num_samples, score_fn=score_fn
    )


def expected_gradients_at(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    starts: Array,
    positions: Array,
    noise: Array | None,
    score_fn: ScoreFn,
) -> Array:
    """Expected gradients, or GradientSHAP, of draws that are given.

    A_i = 1/S Σ_s (z_si − b_si) g_i(b_s + t_s (z_s − b_s)), z_s = x + e_s. For
    comparisons with other libraries on the same draws, for quasi-random positions, and
    for baselines that belong to their examples.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      starts: float [S, B, ...], the baselines b.
      positions: float [S, B], the places t on the path, in [0, 1].
      noise: float [S, B, ...], what is added to the inputs, e; None for nothing.
      score_fn: (logits, targets) -> [B]; see `scores`.

    Returns:
      Shaped like `inputs`, float32 or wider, signed, in units of the score.

    Raises:
      AssertionError: if the shapes are not those above, or as `input_gradient`.
    """
    starts, positions = jnp.asarray(starts), jnp.asarray(positions)
    count = len(starts)
    chex.assert_shape(starts, (count, *inputs.shape))
    chex.assert_shape(positions, (count, inputs.shape[0]))
    if noise is not None:
        noise = jnp.asarray(noise)
        chex.assert_equal_shape([noise, starts])

    def draw(number: Array, values: Array) -> tuple[Array, Array, Array]:
        if noise is not None:
            values = values + noise[number].astype(values.dtype)
        return starts[number], positions[number].astype(values.dtype), values

    return _mean_over_paths(
        predict_fn, inputs, targets, draw=draw, count=count, score_fn=score_fn
    )


def expected_target(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    background: Array,
    score_fn: ScoreFn,
) -> Array:
    """What expected gradients add up to on average, f(x) − 1/N Σ_n f(b_n).

    The score at the background is that of the example's own class. One pass over the
    batch for each row, so that a head made by `split_at` can be explained as well.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      background: float [N, ...], examples shaped like those of `inputs`.
      score_fn: (logits, targets) -> [B]; that of the attributions.

    Returns:
      float [B], float32 or wider, in units of the score.

    Raises:
      ValueError: if the background holds no example or examples of another shape.
    """
    baselines_module.check_background(background, inputs)
    background = jnp.asarray(background, inputs.dtype)
    score = lambda x: ops.at_least_float32(score_fn(predict_fn(x), targets))

    def score_at(rows: Array, numbers: Array) -> Array:
        return score(jnp.broadcast_to(rows[numbers[0]], inputs.shape))

    part = reducing.traced_once(score_at, inputs)
    total = ops.barriered_sum(part, background, count=len(background))
    return score(inputs) - total / len(background)


def _mean_over_paths(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    *,
    draw: _Draw,
    count: int,
    score_fn: ScoreFn,
) -> Array:
    """The mean of (z − b) g(b + t (z − b)) over the draws (b, t, z)."""

    def sample_at(values: Array, numbers: Array) -> Array:
        start, position, end = draw(numbers[0], ops.at_least_float32(values))
        difference = end - start.astype(end.dtype)
        position = position.reshape(-1, *[1] * (end.ndim - 1))
        point = start.astype(end.dtype) + position * difference
        gradient = gradients.input_gradient(
            predict_fn, point.astype(inputs.dtype), targets, score_fn=score_fn
        )
        return difference * ops.at_least_float32(gradient)

    part = reducing.traced_once(sample_at, inputs)
    return ops.barriered_sum(part, inputs, count=count) / count
