"""ROAD, remove and debias: a removal curve whose holes are hard to see."""

from collections.abc import Sequence

import chex
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.metrics import faithfulness, removing
from xguide_jax.types import Array, PredictFn, PRNGKey


def road_curve(
    predict_fn: PredictFn,
    inputs: Array,
    labels: Array,
    attributions: Array,
    *,
    fractions: Sequence[float],
    sigma: float | Array,
    key: PRNGKey,
    value: removing.ValueFn = faithfulness._top_class_is_label,
) -> Array:
    """The prediction as the most salient pixels are imputed from those around them.

    As `removal_curve`, with `ops.noisy_linear_imputation` in the place of a fill: each
    fraction is imputed anew from the pixels that are left at it, with the same noise. A
    constant fill leaves the shape of the mask, from which a network can read the class;
    an imputation hardly does, and inputs stay closer to those it was trained on.

    Most salient first, as published under "MoRF": a faithful map gives a curve that
    falls fast: lower is better. For the least salient first ("LeRF"), where it should
    stay high, negate the attributions. Compare with random orders, as of any removal.

    Args:
      predict_fn: inputs [B, H, W, C] -> logits; called once a fraction, so compile it
        and not the curve, which would hold it F times.
      inputs: float [B, H, W, C].
      labels: integer [B], in [0, C); whatever `value` takes, [B, ...].
      attributions: float, of rank 4 and broadcastable to the inputs; [B, H, W, 1] for
        all channels of a pixel to go together.
      fractions: static, strictly increasing in [0, 1): of nothing nothing is imputed.
      sigma: standard deviation of the noise, in units of the inputs.
      key: for the noise; one key or [B].
      value: as for `removal_curve`.

    Returns:
      float32 [B, F], what `value` says, and NaN where `removal_curve` has it.

    Raises:
      AssertionError: if the shapes or dtypes are not those above.
      ValueError: if the fractions are not increasing in [0, 1), `value` returns other
        than one value an example, or is left out for a head of one logit, or the key is
        not as `ops.example_keys` takes it.

    Source: Rong, Leemann, Borisov, Kasneci, Kasneci, "A Consistent and Efficient
      Evaluation Strategy for Attribution Methods", ICML 2022. Quantus' `ROAD` draws
      from the global generator, anew at every fraction, and returns means over the
      batch alone.
    """
    removing.check(inputs, labels, attributions)
    chex.assert_rank(inputs, 4)
    chex.assert_type(inputs, float)
    fractions = removing.checked_fractions(fractions)
    if fractions[-1] == 1:
        raise ValueError(
            f"`fractions` (={fractions}) must be below 1: at 1 no pixel is left to "
            "impute the others from."
        )
    order = removing.Order(attributions)
    columns = []
    # A plain loop, since a network in a compiled one is slow on CPU.
    for fraction in fractions:
        imputed = ops.noisy_linear_imputation(
            inputs, order.highest(fraction), key=key, sigma=sigma
        )
        columns.append(removing.read(value, predict_fn(imputed), labels))
    return jnp.where(order.defined[:, None], jnp.stack(columns, axis=-1), jnp.nan)
