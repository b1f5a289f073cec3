"""How far maps move when their input hardly does.

Here Φ(x) is the map of an input x, made by `explain`, and x + δ a copy with uniform
noise, |δ_i| <= radius. A maximum over few copies is a lower bound of the true one, and
grows with their number: compare at the same radius and number only. A map that never
changes is perfectly robust and says nothing.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.ops import checking
from xguide_jax.types import Array, PRNGKey

# inputs [B, ...] -> maps [B, ...], the class that is explained already closed over
ExplainInputs = Callable[[Array], Array]


def max_sensitivity(
    explain: ExplainInputs,
    inputs: Array,
    *,
    key: PRNGKey,
    radius: float,
    num_samples: int,
) -> Array:
    """Largest change of a map under small noise, relative to the map.

    max_s ‖Φ(x + δ_s) − Φ(x)‖₂ / ‖Φ(x)‖₂, δ_s uniform in [−radius, radius]. Unchanged by
    a positive factor on the maps. Copies are not clipped to a range of valid inputs.
    The loop is unrolled, one copy at a time in memory.

    Args:
      explain: inputs [B, ...] -> maps [B, ...]. Close over the class that is explained:
        a map of whatever is predicted would jump where the prediction does.
      inputs: float [B, ...].
      key: one typed key, or one for each example, [B].
      radius: above 0, in units of the inputs.
      num_samples: how many copies, at least 1; static.

    Returns:
      float [B], at least 0, lower is more robust; NaN if the map of the input is 0
      everywhere, or any map holds a NaN.

    Raises:
      ValueError: if `radius` is not above 0, `num_samples` less than 1 or traced, or
        the key not as `ops.example_keys` takes it.
      AssertionError: if the inputs are not float, or there are not B maps.

    Source: Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS
      2019, whose SENS_MAX is the numerator. Captum divides by ‖Φ(x)‖, as here, but by 1
      where that is 0; Quantus, too, without a rule for 0.
    """
    clean = ops.at_least_float32(explain(inputs))
    norm = norm_of(clean)

    def change(noisy: Array) -> Array:
        difference = ops.at_least_float32(explain(noisy)) - clean
        return ops.safe_divide(norm_of(difference), norm)

    worst = _largest(
        change, inputs, key=key, radius=radius, num_samples=num_samples, maps=clean
    )
    return jnp.where(norm > 0, worst, jnp.nan)


def local_lipschitz(
    explain: ExplainInputs,
    inputs: Array,
    *,
    key: PRNGKey,
    radius: float,
    num_samples: int,
) -> Array:
    """Largest change of a map for the change of its input.

    max_s ‖Φ(x + δ_s) − Φ(x)‖₂ / ‖δ_s‖₂, δ_s uniform in [−radius, radius], as far as the
    inputs' dtype holds it. In units of map per input: twice the map, twice the value.

    Args:
      explain: inputs [B, ...] -> maps [B, ...], the class that is explained closed
        over.
      inputs: float [B, ...].
      key: one typed key, or one for each example, [B].
      radius: above 0, in units of the inputs.
      num_samples: how many copies, at least 1; static.

    Returns:
      float [B], at least 0, lower is more robust; NaN if any map holds a NaN, or a copy
      is the input itself: then the radius is below the inputs' precision.

    Raises:
      ValueError: if `radius` is not above 0, `num_samples` less than 1 or traced, or
        the key not as `ops.example_keys` takes it.
      AssertionError: if the inputs are not float, or there are not B maps.

    Source: Alvarez-Melis, Jaakkola, "On the Robustness of Interpretability Methods",
      2018, who search the ball by Bayesian optimisation; here it is sampled, as in
      Quantus.
    """
    clean = ops.at_least_float32(explain(inputs))
    wide = ops.at_least_float32(inputs)

    def slope(noisy: Array) -> Array:
        difference = norm_of(ops.at_least_float32(explain(noisy)) - clean)
        distance = norm_of(ops.at_least_float32(noisy) - wide)
        ratio = ops.safe_divide(difference, distance)
        return jnp.where(distance > 0, ratio, jnp.nan)

    return _largest(
        slope, inputs, key=key, radius=radius, num_samples=num_samples, maps=clean
    )


def _largest(
    measure: Callable[[Array], Array],
    inputs: Array,
    *,
    key: PRNGKey,
    radius: float,
    num_samples: int,
    maps: Array,
) -> Array:
    """The largest value [B] over noisy copies; NaN where one is."""
    chex.assert_type(inputs, float)
    chex.assert_equal_shape_prefix([inputs, maps], 1)
    if not float(radius) > 0:
        raise ValueError(f"`radius` (={radius}) must be above 0.")
    num_samples = checking.checked_count("num_samples", num_samples)
    keys = ops.example_keys(key, len(inputs))
    worst = jnp.zeros(len(inputs), maps.dtype)
    for sample in range(num_samples):
        wide = ops.at_least_float32(inputs)
        noisy = wide + radius * _uniform(keys, sample, wide)
        worst = jnp.maximum(worst, measure(noisy.astype(inputs.dtype)))
        # Without the barrier XLA runs all copies at once, in the memory of all.
        worst, inputs = jax.lax.optimization_barrier((worst, inputs))
    return worst


def _uniform(keys: PRNGKey, sample: int, inputs: Array) -> Array:
    """Uniform in [−1, 1), shaped and typed like the inputs, of one copy."""

    def draw(key: PRNGKey) -> Array:
        key = jax.random.fold_in(key, sample)
        return jax.random.uniform(key, inputs.shape[1:], inputs.dtype, -1, 1)

    return jax.vmap(draw)(keys)


def norm_of(maps: Array) -> Array:
    """‖·‖₂ of each map, of faint ones too; NaN of one that holds a NaN.

    Args:
      maps: float [B, ...].

    Returns:
      float [B].
    """
    flat = maps.reshape(len(maps), -1)
    largest = jnp.max(jnp.abs(flat), axis=-1)
    # Squares of values below 1e-19 would be 0, and a faint map would count as none.
    scaled = ops.safe_divide(flat, largest[:, None])
    norm = largest * ops.safe_norm(scaled, axis=-1)
    # Of 4096 numbers or more XLA's maximum on a CPU overlooks a NaN: a map that is 0
    # elsewhere would have the norm 0, and count as one that does not move.
    return jnp.where(jnp.any(jnp.isnan(flat), axis=-1), jnp.nan, norm)
