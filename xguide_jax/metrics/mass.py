"""How much of a map's mass, taken from its highest cells down, lies on the evidence."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from xguide_jax import ops
from xguide_jax.metrics import masking, removing
from xguide_jax.ops import pairing
from xguide_jax.types import Array


class MassCurves(NamedTuple):
    """Of each share of the mass.

    Attributes:
      precision: float [B, P].
      recall: float [B, P].
    """

    precision: Array
    recall: Array


def mass_precision_recall(
    maps: Array,
    region: Array,
    *,
    fractions: Sequence[float],
    where: Array | None = None,
) -> MassCurves:
    """Precision and recall of the highest cells that hold a share of a map's mass.

    S_p is the set of cells with |A| at least t_p, the highest threshold at which they
    hold the share p of Σ |A|; precision Σ_{S_p} M |A| / Σ_{S_p} |A|, recall
    Σ_{S_p} M |A| / Σ M |A|. Cells count by their mass, not one by one: few cells of a
    peaked map are p of it, many of a flat one. Equal cells come together, so no order
    breaks ties.

    `area_under_curve` of either is AUP and AUR with a ceiling of 1. The published areas
    are those times the width of the fractions: over 0.1, 0.2, …, 0.9 their ceiling is
    0.8. Precision of a map that does not know the region is about its share of the
    cells, so it is compared with a random map's, in the same layout.

    Of series [B, T, F] the cells are steps and features; of time alone they are the
    sums of |A| over the features, [B, T], with the largest M, and of features alone
    likewise.

    Args:
      maps: float [B, ...], raw attributions.
      region: float or bool [B, ...], 1 on the evidence; a share counts as such.
      fractions: p, static, strictly increasing in [0, 1]; P of them.
      where: bool [B, ...], False where a cell does not count, such as padding.

    Returns:
      float [B, P] in [0, 1], each; recall is 0 throughout where nothing lies inside.
      NaN for a map of zeros or with an empty region.

    Raises:
      ValueError: if `region` is not in [0, 1], where its values are known, or the
        fractions are not increasing in [0, 1].
      AssertionError: if the shapes differ or have no axis but B.

    Source: Ismail, Gunady, Corrada Bravo, Feizi, "Benchmarking Deep Learning
      Interpretability in Time Series Predictions", NeurIPS 2020, as the released code
      has it: shares of mass, 0.1 to 0.9. The code first scales the magnitudes of each
      map to [0, 1] (give `ops.min_max_normalise` of them for its numbers), and leaves
      out maps of which nothing lies inside.
    """
    fractions = removing.checked_fractions(fractions)
    maps, region, _ = pairing.with_region(maps, region)
    valid = masking.valid_cells(maps, where)
    flat = lambda values: values.reshape(len(values), -1)
    mass = flat(jnp.where(valid, jnp.abs(maps), 0.0))
    inside = flat(jnp.where(valid, region, 0.0))
    ordered = -jnp.sort(-mass, axis=-1)
    held = jnp.cumsum(ordered, axis=-1)
    total = held[:, -1:]
    # Rounding of the sums must not ask for one cell more.
    wanted = total * jnp.asarray(np.asarray(fractions) * (1 - 1e-6), mass.dtype)
    last = jnp.sum(held[:, None] < wanted[..., None], axis=-1, dtype=jnp.int32)
    thresholds = jnp.take_along_axis(ordered, last, axis=-1)
    selected = mass[:, None] >= thresholds[..., None]
    of_selected = jnp.sum(jnp.where(selected, mass[:, None], 0.0), axis=-1)
    hits = jnp.sum(jnp.where(selected, (mass * inside)[:, None], 0.0), axis=-1)
    evidence = jnp.sum(mass * inside, axis=-1, keepdims=True)
    # A comparison with a NaN is False.
    defined = (total > 0) & (total < jnp.inf) & (jnp.sum(inside, -1, keepdims=True) > 0)
    of = lambda whole: jnp.where(defined, ops.safe_divide(hits, whole), jnp.nan)
    return MassCurves(of(of_selected), of(jnp.broadcast_to(evidence, hits.shape)))
