"""Baselines: what an input is compared with, and how little a network sees in it.

A baseline stands for the absence of evidence and decides what attributions add up to,
f(x) − f(b), so it is always chosen and never assumed: `attributions.baselines.blur(
inputs, sigma=3.0)`. All take `inputs` [B, ...] of any rank and return values like them,
in their units: what is 0 in standardised images is grey, not black. None is neutral for
every network; `baseline_neutrality` measures how far it is from that. Features that
equal their baseline get no attribution, so a black object on black needs another one.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.types import Array, PredictFn, PRNGKey


def zeros(inputs: Array) -> Array:
    """Zeros, b_i = 0, whatever 0 means in the units of the inputs.

    Args:
      inputs: float [B, ...].

    Returns:
      Like `inputs`; without a gradient.
    """
    return jnp.zeros_like(inputs)


def data_mean(inputs: Array, *, background: Array) -> Array:
    """The mean of a background set, the same for every example, b = 1/N Σ_n x_n.

    Args:
      inputs: float [B, ...]; only shape and dtype matter.
      background: float [N, ...], examples shaped like those of `inputs`.

    Returns:
      Like `inputs`; the mean is of float32 or wider. Gradients flow to the background.

    Raises:
      ValueError: if the background holds no example, or examples of another shape.
    """
    check_background(background, inputs)
    mean = jnp.mean(ops.at_least_float32(background), axis=0)
    return jnp.broadcast_to(mean.astype(inputs.dtype), inputs.shape)


def channel_mean(inputs: Array) -> Array:
    """Each example's own mean of each channel: its colours without their places.

    The mean over all axes between the first and the last: of [B, H, W, C] over the
    pixels, of [B, T, D] over the steps.

    Args:
      inputs: float [B, ..., C].

    Returns:
      Like `inputs`; differentiable in them.

    Raises:
      ValueError: for inputs [B, C], which have no places to take a mean over.
    """
    places = _places(inputs)
    mean = jnp.mean(ops.at_least_float32(inputs), axis=places, keepdims=True)
    return jnp.broadcast_to(mean.astype(inputs.dtype), inputs.shape)


def blur(inputs: Array, *, sigma: float | Array) -> Array:
    """Each example without its details: a Gaussian along every axis of places.

    b_i = Σ_j w_ij x_j, w_ij ∝ exp(−(i − j)² / 2σ²) and Σ_j w_ij = 1, one axis after the
    other. At a border the kernel is cut off and its weights still add up to 1, so that
    what is constant stays. Of [B, H, W, C] rows and columns are blurred, of [B, T, D]
    steps. Linear in the inputs; products of H x H and W x W weights, no convolution.

    Args:
      inputs: float [B, ..., C].
      sigma: standard deviation in pixels (or steps), above 0; may be traced.

    Returns:
      Like `inputs`; differentiable in them and in `sigma`.

    Raises:
      ValueError: if `sigma` is not above 0 (one that is traced is not looked at), or
        for inputs [B, C], which have no places.
    """
    if not isinstance(sigma, jax.core.Tracer) and not float(sigma) > 0:
        raise ValueError(f"`sigma` (={sigma}) must be above 0.")
    blurred = ops.at_least_float32(inputs)
    for axis in _places(inputs):
        index = jnp.arange(inputs.shape[axis], dtype=blurred.dtype)
        distance = (index[:, None] - index) / jnp.asarray(sigma, blurred.dtype)
        # A softmax, since for a small sigma every weight but one underflows.
        weights = jax.nn.softmax(-jnp.square(distance) / 2, axis=-1)
        mixed = jnp.tensordot(
            weights, blurred, axes=(1, axis), precision=jax.lax.Precision.HIGHEST
        )
        blurred = jnp.moveaxis(mixed, 0, axis)
    return blurred.astype(inputs.dtype)


def uniform_noise(
    inputs: Array, *, key: PRNGKey, low: float | Array, high: float | Array
) -> Array:
    """Noise without structure, b_i ~ U[low, high), independent for every entry.

    `ops.uniform_range_fill` draws between each example's own extremes instead.

    Args:
      inputs: float [B, ...]; only shape and dtype matter.
      key: one typed key, or one for each example, [B].
      low: broadcast against the inputs, e.g. a number or one a channel, [C].
      high: likewise, at least `low`; the two are differentiable.

    Returns:
      Like `inputs`.

    Raises:
      ValueError: if a `low` is above its `high`, where both are known; or as
        `ops.example_keys`.
    """
    traced = any(isinstance(limit, jax.core.Tracer) for limit in (low, high))
    if not traced and np.any(np.asarray(low) > np.asarray(high)):
        raise ValueError(f"`low` (={low}) must be at most `high` (={high}).")
    wide = ops.at_least_float32(inputs).dtype
    low, high = (jnp.asarray(limit, wide) for limit in (low, high))
    draw = lambda key: jax.random.uniform(key, inputs.shape[1:], wide)
    noise = jax.vmap(draw)(ops.example_keys(key, inputs.shape[0]))
    return (low + noise * (high - low)).astype(inputs.dtype)


def background_crop(inputs: Array, *, key: PRNGKey, backgrounds: Array) -> Array:
    """A random crop of a random background: what is there without the object.

    Where backgrounds are known, as the textures behind decoyed digits are, this is true
    absence, from the distribution that the network was trained on.

    Args:
      inputs: float [B, ...]; only shape and dtype matter.
      key: one typed key, or one for each example, [B]. Row and corner are uniform.
      backgrounds: float [N, ...], of the inputs' rank and at least their size along
        every axis: [N, H', W', C] for images [B, H, W, C].

    Returns:
      Like `inputs`. Gradients flow to the backgrounds.

    Raises:
      ValueError: if there is no background, or they are smaller than the inputs; or as
        `ops.example_keys`.
    """
    size, room = inputs.shape[1:], np.shape(backgrounds)[1:]
    fits = len(room) == len(size) and np.all(np.greater_equal(room, size))
    if not fits or not len(backgrounds):
        raise ValueError(
            f"`backgrounds` (of shape {np.shape(backgrounds)}) must be one or more "
            f"that are at least as large as an input, {size}."
        )
    backgrounds = jnp.asarray(backgrounds)

    def crop(key: PRNGKey) -> Array:
        row_key, corner_key = jax.random.split(key)
        row = jax.random.randint(row_key, (), 0, len(backgrounds))
        limits = jnp.subtract(jnp.array(room), jnp.array(size)) + 1
        corner = jax.random.randint(corner_key, limits.shape, 0, limits)
        return jax.lax.dynamic_slice(backgrounds[row], corner, size)

    crops = jax.vmap(crop)(ops.example_keys(key, inputs.shape[0]))
    return crops.astype(inputs.dtype)


def baseline_neutrality(
    predict_fn: PredictFn, baselines: Array, *, prior: Array
) -> Array:
    """How far the prediction at a baseline is from the class prior, for a softmax head.

    KL(π ‖ p) = Σ_c π_c log(π_c / p_c), p = softmax f(b): how many nats more a label
    drawn from the prior costs under p than under π. This direction, since a baseline
    that all but excludes a class is no absence of evidence, and because a class that
    the data do not have, π_c = 0, then counts nothing. A baseline may be neutral and
    still unlike anything the network has seen. Differentiable, so that a neutral
    baseline can be looked for by descent.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C].
      baselines: float [B, ...].
      prior: float [C] or [B, C], the shares of the classes, each row adding up to 1.

    Returns:
      float [B], in nats, float32 or wider, at least 0 up to rounding; 0 is neutral.

    Raises:
      AssertionError: if the shapes are not those above.
      ValueError: for one logit, which is no softmax head, or a prior that is no
        distribution, where its values are known.
    """
    logits = ops.at_least_float32(predict_fn(baselines))
    chex.assert_shape(logits, (len(baselines), None))
    if logits.shape[-1] == 1:
        raise ValueError(
            f"`predict_fn` (logits of shape {logits.shape}) must have two classes or "
            "more; for a sigmoid take `attributions.sigmoid_baseline_neutrality`."
        )
    prior = _checked_prior(prior, logits, whole=True)
    return jnp.sum(_relative_entropy(prior, jax.nn.log_softmax(logits)), axis=-1)


def sigmoid_baseline_neutrality(
    predict_fn: PredictFn, baselines: Array, *, prior: Array
) -> Array:
    """How far the prediction at a baseline is from the prior, a sigmoid for each class.

    Σ_c π_c log(π_c / p_c) + (1 − π_c) log((1 − π_c) / (1 − p_c)), p_c = σ(f(b)_c): of C
    independent answers, yes or no. With one logit s it is `baseline_neutrality` of the
    two logits (0, s).

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]; C = 1 for a binary head.
      baselines: float [B, ...].
      prior: float [C] or [B, C], how often each class is present, in [0, 1].

    Returns:
      float [B], in nats, float32 or wider, at least 0 up to rounding; 0 is neutral.

    Raises:
      AssertionError: if the shapes are not those above.
      ValueError: if the prior is not in [0, 1], where its values are known.
    """
    logits = ops.at_least_float32(predict_fn(baselines))
    chex.assert_shape(logits, (len(baselines), None))
    prior = _checked_prior(prior, logits, whole=False)
    yes = _relative_entropy(prior, jax.nn.log_sigmoid(logits))
    no = _relative_entropy(1 - prior, jax.nn.log_sigmoid(-logits))
    return jnp.sum(yes + no, axis=-1)


def check_background(background: Array, inputs: Array) -> None:
    """Refuses a background set that is no [N, ...] beside inputs [B, ...].

    Args:
      background: float [N, ...].
      inputs: float [B, ...].

    Raises:
      ValueError: if it holds no example, or examples of another shape.
    """
    shape = np.shape(background)
    if shape[1:] != inputs.shape[1:] or not shape[0]:
        raise ValueError(
            f"`background` (of shape {shape}) must be one or more examples shaped "
            f"like those of `inputs`, {inputs.shape}."
        )


def _places(inputs: Array) -> range:
    """The axes between batch and channels."""
    if inputs.ndim < 3:
        raise ValueError(
            f"`inputs` (of shape {inputs.shape}) must have an axis of places between "
            "the batch and the channels, as [B, H, W, C] and [B, T, D] have."
        )
    return range(1, inputs.ndim - 1)


def _checked_prior(prior: Array, logits: Array, *, whole: bool) -> Array:
    """The prior [B, C] in the dtype of the logits; `whole`: rows that add up to 1."""
    if np.shape(prior) not in (logits.shape, logits.shape[1:]):
        raise AssertionError(
            f"`prior` (of shape {np.shape(prior)}) must be shaped [C] or [B, C] for "
            f"logits of shape {logits.shape}."
        )
    if not isinstance(prior, jax.core.Tracer):
        values = np.asarray(prior, np.float64)
        good = (values >= 0) & (values <= 1)
        if not np.all(good) or (whole and np.any(abs(values.sum(-1) - 1) > 1e-3)):
            rule = "be shares that add up to 1" if whole else "lie in [0, 1]"
            raise ValueError(f"`prior` (={values.tolist()}) must {rule}.")
    return jnp.broadcast_to(jnp.asarray(prior, logits.dtype), logits.shape)


def _relative_entropy(prior: Array, log_probability: Array) -> Array:
    """π log(π / p) term by term, 0 where π is, with the gradient 0 there."""
    present = prior > 0
    # The logarithm of 0 must not be taken at all: its gradient would be NaN.
    log_prior = jnp.log(jnp.where(present, prior, 1.0))
    log_probability = jnp.where(present, log_probability, 0.0)
    return jnp.where(present, prior * (log_prior - log_probability), 0.0)
