"""Infidelity: how far a linear map is from what the score does under perturbations."""

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array, FillFn, PredictFn, PRNGKey, ScoreFn


def infidelity(
    predict_fn: PredictFn,
    inputs: Array,
    targets: Array,
    attributions: Array,
    *,
    key: PRNGKey,
    perturb: FillFn,
    num_samples: int,
    score_fn: ScoreFn,
    optimal_scaling: bool = False,
    chunk_size: int | None = None,
) -> Array:
    """Mean square of what a map predicts of a perturbation, less what the score does.

    E_I[(β Σ_i I_i A_i − (f(x) − f(x − I)))²], the mean over `num_samples` draws of I.
    β = 1, or with `optimal_scaling` the least squares E[Δ IA] / E[(IA)²] of the same
    draws, Δ = f(x) − f(x − I): then only the direction of the map counts.

    A is multiplied by the perturbation, so it is of slopes: a gradient, SmoothGrad. A
    map of effects, as gradient x input, integrated gradients or Shapley values are,
    belongs here only after a division by x − b, for with I = x − b its terms are
    I (A / (x − b)) = A.

    Draw s of example i depends on the key, i and s alone; more samples extend the
    sequence. `num_samples` + 1 forwards of the batch, in the memory of `chunk_size` of
    them. I is what is left of the draw after x − I is rounded to the inputs' dtype.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      inputs: float [B, ...].
      targets: integer [B], the classes explained.
      attributions: float, shaped like the inputs.
      key: one typed key, or one for each example, [B].
      perturb: (keys [B], inputs) -> I, like `inputs`: `gaussian_perturbation` with its
        sigma bound; for a noisy baseline b, I = x − b − noise.
      num_samples: how many draws, at least 1; static.
      score_fn: (logits, targets) -> [B]; that of the attributions.
      optimal_scaling: whether β is fitted to each example.
      chunk_size: draws evaluated at once, at least 1; None is 1.

    Returns:
      float [B], float32 or wider, at least 0, lower is better, in squared units of the
      score: compare maps of one score and one `perturb` only. 0 for the gradient of an
      affine score; E[Δ²] for a map of zeros; NaN where the map or a score holds a NaN.

    Raises:
      ValueError: if a number is less than 1 or traced, or the key not as
        `ops.example_keys` takes it.
      AssertionError: if the shapes or dtypes are not those above, or the score is not
        one number an example.

    Source: Yeh, Hsieh, Suggala, Inouye, Ravikumar, "On the (In)fidelity and Sensitivity
      of Explanations", NeurIPS 2019. Captum computes the same, its `normalize` being
      `optimal_scaling`, over any perturbation that its caller writes. Quantus moves
      square patches to a baseline one after another without putting them back, the
      same ones in each of its samples.
    """
    chex.assert_type([inputs, attributions], float)
    chex.assert_rank(targets, 1)
    chex.assert_equal_shape_prefix([inputs, targets], 1)
    chex.assert_equal_shape([inputs, attributions])
    num_samples = checking.checked_count("num_samples", num_samples)
    keys = ops.example_keys(key, len(inputs))
    maps = ops.at_least_float32(attributions)

    def score(copies: Array) -> Array:
        found = score_fn(predict_fn(copies), targets)
        chex.assert_equal_shape([found, targets])
        return ops.at_least_float32(found)

    intact = score(inputs)

    def sides(inputs: Array, number: Array) -> Array:
        draws = perturb(jax.vmap(jax.random.fold_in, (0, None))(keys, number), inputs)
        chex.assert_equal_shape([draws, inputs])
        wide = ops.at_least_float32(inputs)
        moved = (wide - ops.at_least_float32(draws)).astype(inputs.dtype)
        terms = (wide - ops.at_least_float32(moved)) * maps
        predicted = jnp.sum(terms.reshape(len(inputs), -1), axis=-1)
        return jnp.stack([predicted, (intact - score(moved)).astype(predicted.dtype)])

    both = ops.measure_copies(sides, inputs, count=num_samples, chunk_size=chunk_size)
    predicted, actual = both[:, 0], both[:, 1]
    if optimal_scaling:
        # Of the map at about 1: the squares of a faint one would all be 0.
        predicted = ops.rescale_extremes(predicted, axis=0)
        fitted = jnp.sum(predicted * actual, axis=0)
        predicted *= ops.safe_divide(fitted, jnp.sum(jnp.square(predicted), axis=0))
    return jnp.mean(jnp.square(predicted - actual), axis=0)


def gaussian_perturbation(
    key: PRNGKey, inputs: Array, *, sigma: float | Array
) -> Array:
    """Independent Gaussian noise in every entry, for `infidelity`.

    Args:
      key: one typed key, or one for each example, [B].
      inputs: float [B, ...]; their values do not matter.
      sigma: standard deviation, in units of the inputs; broadcastable to one example.

    Returns:
      float, shaped and typed like `inputs`.

    Raises:
      ValueError: if the key is not as `ops.example_keys` takes it.
      AssertionError: if the inputs are not float.
    """
    chex.assert_type(inputs, float)

    def noise(key: PRNGKey, example: Array) -> Array:
        wide = ops.at_least_float32(example)
        draws = jax.random.normal(key, wide.shape, wide.dtype)
        return (jnp.asarray(sigma, wide.dtype) * draws).astype(example.dtype)

    return ops.per_example(noise)(key, inputs)
