"""Small array tools, without a model and without a loss.

Arrays are batch-first, [B, ...], and every op treats each example by itself unless its
name speaks of a sum over an axis. Everything is pure, and gradients flow wherever the
formula has one: who composes decides what is constant.
"""

from xguide_jax.ops.convolution import conv_general_dilated, max_pool
from xguide_jax.ops.copies import measure_copies
from xguide_jax.ops.filling import (
    constant_fill,
    example_keys,
    mean_fill,
    per_example,
    replace,
    uniform_data_range_fill,
    uniform_range_fill,
)
from xguide_jax.ops.imputing import noisy_linear_imputation
from xguide_jax.ops.normalising import (
    min_max_normalise,
    normalise_by_max,
    normalise_by_max_magnitude,
    rescale_extremes,
)
from xguide_jax.ops.permuting import permute_within
from xguide_jax.ops.precision import at_least_float32
from xguide_jax.ops.ranking import (
    KeyedRank,
    by_feature,
    keyed,
    magnitude_of_mean,
    mean_magnitude,
    random_rank,
    signed_channel_mean,
)
from xguide_jax.ops.reducing import (
    axis_sum,
    barriered_sum,
    batch_size,
    clamped_log,
    example_indices,
    safe_divide,
    safe_norm,
    weighted_mean,
)
from xguide_jax.ops.regions import (
    area_resize,
    bilinear_resize,
    blur,
    clip_boxes,
    masked_pool,
    rasterise_boxes,
)
from xguide_jax.ops.removal import Removal, delete_positions, fill_leaf, hide_positions
from xguide_jax.ops.selecting import bottom_k_mask, top_k_mask
from xguide_jax.ops.sequence_fills import (
    SequenceFill,
    previous_salient_token,
    sequence_fill,
    uniform_example_range_fill,
    uniform_feature_range_fill,
)
from xguide_jax.ops.thresholding import balanced_threshold

__all__ = (
    "KeyedRank",
    "Removal",
    "SequenceFill",
    "area_resize",
    "at_least_float32",
    "axis_sum",
    "balanced_threshold",
    "barriered_sum",
    "batch_size",
    "bilinear_resize",
    "blur",
    "bottom_k_mask",
    "by_feature",
    "clamped_log",
    "clip_boxes",
    "constant_fill",
    "conv_general_dilated",
    "delete_positions",
    "example_indices",
    "example_keys",
    "fill_leaf",
    "hide_positions",
    "keyed",
    "magnitude_of_mean",
    "masked_pool",
    "max_pool",
    "mean_fill",
    "mean_magnitude",
    "measure_copies",
    "min_max_normalise",
    "noisy_linear_imputation",
    "normalise_by_max",
    "normalise_by_max_magnitude",
    "per_example",
    "permute_within",
    "previous_salient_token",
    "random_rank",
    "rasterise_boxes",
    "replace",
    "rescale_extremes",
    "safe_divide",
    "safe_norm",
    "sequence_fill",
    "signed_channel_mean",
    "top_k_mask",
    "uniform_data_range_fill",
    "uniform_example_range_fill",
    "uniform_feature_range_fill",
    "uniform_range_fill",
    "weighted_mean",
)
