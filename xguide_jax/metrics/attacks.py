"""Inputs that are noisy, or changed to mislead the network.

An attack raises `loss_fn`, inputs [B, ...] -> [B], within a distance of each input and
within the bounds of valid inputs; it closes over the network and the labels. Minus the
loss of a wrong class is an attack towards that class. Weak attacks flatter a network:
raise the number of steps until the accuracy stays.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array, PredictFn, PRNGKey

# inputs [B, ...] -> [B], what the attack raises
LossFn = Callable[[Array], Array]
# The lowest and the highest valid inputs, each broadcastable to them; infinite is none.
Bounds = tuple[float | Array, float | Array]


def correct_under(
    predict_fn: PredictFn,
    changed_inputs: Array,
    labels: Array,
    *,
    correct: Callable[[Array, Array], Array],
) -> Array:
    """Whether the prediction on changed inputs is right.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      changed_inputs: float [B, ...], such as `pgd_linf` returns. Of several attacks on
        an input, or draws of noise, the minimum is the worst and the mean the expected.
      labels: [B, ...], whatever `correct` takes.
      correct: (logits, labels) -> [B], 1 where right and 0 where not, NaN where that is
        undefined: `training.softmax_correct` or `training.sigmoid_correct`.

    Returns:
      float32 [B], what `correct` says; NaN where the logits or the inputs hold a NaN.
    """
    logits = predict_fn(changed_inputs)
    hits = jnp.asarray(correct(logits, labels)).astype(jnp.float32)
    chex.assert_shape(hits, (len(changed_inputs),))
    return jnp.where(_holds_nan(logits) | _holds_nan(changed_inputs), jnp.nan, hits)


def gaussian_noise(
    inputs: Array, *, key: PRNGKey, sigma: float, bounds: Bounds
) -> Array:
    """Inputs with Gaussian noise, clipped to the bounds.

    Args:
      inputs: float [B, ...].
      key: one typed key, or one for each example, [B].
      sigma: standard deviation of the noise before clipping, at least 0.
      bounds: (lowest, highest) valid inputs, each broadcastable to the inputs.

    Returns:
      Shaped and typed like `inputs`.

    Raises:
      ValueError: if `sigma` is negative, an input lies outside of the bounds where that
        can be seen, or the key is not as `ops.example_keys` takes it.
    """
    if not float(sigma) >= 0:
        raise ValueError(f"`sigma` (={sigma}) must not be negative.")
    wide, low, high = _checked(inputs, bounds)
    draw = lambda key: jax.random.normal(key, wide.shape[1:], wide.dtype)
    noise = jax.vmap(draw)(ops.example_keys(key, len(wide)))
    return jnp.clip(wide + sigma * noise, low, high).astype(inputs.dtype)


def fgsm(loss_fn: LossFn, inputs: Array, *, radius: float, bounds: Bounds) -> Array:
    """The fast gradient sign attack: one step of the radius in every coordinate.

    clip(x + radius · sign(∇ loss)). An entry with gradient 0 stays.

    Args:
      loss_fn: inputs [B, ...] -> [B], what is raised; no example may see another.
      inputs: float [B, ...], within the bounds.
      radius: above 0, the largest change of an entry, in units of the inputs.
      bounds: (lowest, highest) valid inputs, each broadcastable to the inputs.

    Returns:
      Shaped and typed like `inputs`; a row whose gradient holds a NaN is NaN there.

    Raises:
      ValueError: if `radius` is not above 0, or an input lies outside of the bounds,
        where that can be seen.

    Source: Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial
      Examples", ICLR 2015.
    """
    _check_above_zero("radius", radius)
    wide, low, high = _checked(inputs, bounds)
    step = radius * jnp.sign(_gradient(loss_fn, wide, inputs))
    return jnp.clip(wide + step, low, high).astype(inputs.dtype)


def pgd_linf(
    loss_fn: LossFn,
    inputs: Array,
    *,
    key: PRNGKey,
    radius: float,
    step_size: float,
    num_steps: int,
    bounds: Bounds,
) -> Array:
    """Projected gradient ascent within a distance of `radius` in every coordinate.

    From a uniform start in |δ_i| <= radius, num_steps times
    δ ← clip(δ + step_size · sign(∇ loss(x + δ))), clipped to the radius and the bounds.
    Returns the last point, not the best. The loop is unrolled.

    Args:
      loss_fn: inputs [B, ...] -> [B], what is raised; no example may see another.
      inputs: float [B, ...], within the bounds.
      key: of the start; one typed key, or one for each example, [B].
      radius: above 0, in units of the inputs.
      step_size: above 0, in units of the inputs.
      num_steps: at least 1; static.
      bounds: (lowest, highest) valid inputs, each broadcastable to the inputs.

    Returns:
      Shaped and typed like `inputs`; NaN in a row whose gradient is.

    Raises:
      ValueError: if a size is not above 0, `num_steps` less than 1 or traced, an input
        lies outside of the bounds, where that can be seen, or the key is not as
        `ops.example_keys` takes it.

    Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial
      Attacks", ICLR 2018.
    """

    def start(key: PRNGKey, shape: tuple[int, ...]) -> Array:
        return jax.random.uniform(key, shape, minval=-radius, maxval=radius)

    return _ascend(
        loss_fn, inputs, key=key, radius=radius, step_size=step_size,
        num_steps=num_steps, bounds=bounds, start=start, direction=jnp.sign,
        project=lambda change: jnp.clip(change, -radius, radius),
    )  # fmt: skip


def pgd_l2(
    loss_fn: LossFn,
    inputs: Array,
    *,
    key: PRNGKey,
    radius: float,
    step_size: float,
    num_steps: int,
    bounds: Bounds,
) -> Array:
    """Projected gradient ascent within a Euclidean distance of `radius`.

    From a uniform start in ‖δ‖₂ <= radius, num_steps times δ + step_size · g / ‖g‖₂,
    g = ∇ loss(x + δ), scaled back into the ball and clipped to the bounds. An example
    without a gradient stays where it is. Returns the last point. The loop is unrolled.

    Args:
      loss_fn: inputs [B, ...] -> [B], what is raised; no example may see another.
      inputs: float [B, ...], within the bounds.
      key: of the start; one typed key, or one for each example, [B].
      radius: above 0, a distance of whole inputs.
      step_size: above 0, a distance of whole inputs.
      num_steps: at least 1; static.
      bounds: (lowest, highest) valid inputs, each broadcastable to the inputs.

    Returns:
      Shaped and typed like `inputs`; NaN in a row whose gradient is.

    Raises:
      ValueError: as `pgd_linf`.

    Source: Madry et al., ICLR 2018, with the steps of their public L2 experiments.
    """

    def start(key: PRNGKey, shape: tuple[int, ...]) -> Array:
        towards, how_far = jax.random.split(key)
        normal = jax.random.normal(towards, shape)
        # The share of a ball within r of its centre is r to the number of dimensions.
        share = jax.random.uniform(how_far) ** (1 / normal.size)
        return radius * share * _unit(normal[None])[0]

    def project(change: Array) -> Array:
        norm = ops.safe_norm(change.reshape(len(change), -1), axis=-1)
        norm = norm.reshape(-1, *[1] * (change.ndim - 1))
        return change * (radius / jnp.maximum(norm, radius))

    return _ascend(
        loss_fn, inputs, key=key, radius=radius, step_size=step_size,
        num_steps=num_steps, bounds=bounds, start=start, direction=_unit,
        project=project,
    )  # fmt: skip


def _ascend(
    loss_fn: LossFn,
    inputs: Array,
    *,
    key: PRNGKey,
    radius: float,
    step_size: float,
    num_steps: int,
    bounds: Bounds,
    start: Callable[[PRNGKey, tuple[int, ...]], Array],
    direction: Callable[[Array], Array],
    project: Callable[[Array], Array],
) -> Array:
    _check_above_zero("radius", radius)
    _check_above_zero("step_size", step_size)
    num_steps = checking.checked_count("num_steps", num_steps)
    wide, low, high = _checked(inputs, bounds)
    draws = jax.vmap(lambda key: start(key, wide.shape[1:]))
    moved = wide + draws(ops.example_keys(key, len(wide))).astype(wide.dtype)
    moved = jnp.clip(moved, low, high)
    # A plain loop: a convolution's gradient in a compiled one is slow on CPU. Each step
    # needs the one before, so the memory is that of one step.
    for _ in range(num_steps):
        step = step_size * direction(_gradient(loss_fn, moved, inputs))
        # The bounds hold the input itself, so that clipping leads towards it and not
        # out of the ball.
        moved = jnp.clip(wide + project(moved + step - wide), low, high)
    return moved.astype(inputs.dtype)


def _gradient(loss_fn: LossFn, points: Array, inputs: Array) -> Array:
    """∇ loss at points of the inputs' dtype, in float32 or wider."""

    def total(values: Array) -> Array:
        losses = loss_fn(values)
        chex.assert_shape(losses, (len(values),))
        return jnp.sum(losses)

    return ops.at_least_float32(jax.grad(total)(points.astype(inputs.dtype)))


def _unit(vectors: Array) -> Array:
    """Each example over its Euclidean norm, 0 where it is 0."""
    axes = tuple(range(1, vectors.ndim))
    vectors = ops.rescale_extremes(vectors, axis=axes)
    norm = ops.safe_norm(vectors.reshape(len(vectors), -1), axis=-1)
    return ops.safe_divide(vectors, norm.reshape(-1, *[1] * (vectors.ndim - 1)))


def _checked(inputs: Array, bounds: Bounds) -> tuple[Array, Array, Array]:
    """Inputs and bounds, in float32 or wider."""
    chex.assert_type(inputs, float)
    wide = ops.at_least_float32(inputs)
    low, high = (jnp.asarray(bound, wide.dtype) for bound in bounds)
    chex.assert_is_broadcastable(low.shape, wide.shape)
    chex.assert_is_broadcastable(high.shape, wide.shape)
    if not any(isinstance(x, jax.core.Tracer) for x in (wide, low, high)):
        outside = np.asarray((wide < low) | (wide > high))
        if outside.any():
            place = np.argwhere(outside)[0].tolist()
            raise ValueError(
                f"`inputs`{place} (={np.asarray(wide)[tuple(place)]}) must lie within "
                "`bounds`: what is clipped there would be moved without an attack."
            )
    return wide, low, high


def _check_above_zero(name: str, size: float) -> None:
    if not float(size) > 0:
        raise ValueError(f"`{name}` (={size}) must be above 0.")


def _holds_nan(values: Array) -> Array:
    return jnp.any(jnp.isnan(values.reshape(len(values), -1)), axis=-1)
