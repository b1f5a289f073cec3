"""What features are replaced by, by the name of a flag."""

import functools
from collections.abc import Mapping

from xguide_jax import ops
from xguide_jax.types import FillFn

_SPATIAL = (1, 2)
FILLS: Mapping[str, FillFn] = {
    "black": functools.partial(ops.constant_fill, value=0.0),
    "channel_mean": functools.partial(ops.mean_fill, axes=_SPATIAL),
    "uniform": functools.partial(ops.uniform_range_fill, axes=_SPATIAL),
}
