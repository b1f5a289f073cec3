"""Distribution consistency: maps that nobody drew, in the pattern of human maps.

Only the batch as a whole is compared: its mean map, the moments of a few statistics, or
its maps as a set. A map that were pulled to the mean map by itself would lose what it
shows. Human maps come from the training split only, before training begins.

`P` is a `saliency_distribution`, and the rows of a batch are those without a map, of
all devices.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import losses, ops
from xguide_jax.guidance import base, explaining, reading, saliency
from xguide_jax.guidance.map_prior import MapPrior, map_statistics
from xguide_jax.types import (
    Array,
    Batch,
    Explain,
    GuidanceTerm,
    PRNGKey,
    PyTree,
    StepContext,
    TermOutput,
)

# (x [B, K], y [N, K], *, where [B], and key= if the term has one) -> []
SetDistance = Callable[..., Array]


def distribution_consistency(
    prior: MapPrior,
    *,
    explain: Explain,
    moments: float = 0.1,
    momentum: float | None = None,
) -> GuidanceTerm:
    """Mean and moments of the maps of a batch near those of human maps.

    KL(P̄ || π) + moments · D, P̄ the mean of P over the rows, π the prior's, and D the
    `losses.moment_distance` of the rows' `map_statistics`. One number, which every row
    returns. A batch without rows contributes 0. Gradients flow into the maps of the
    rows, none into the prior.

    With a `momentum` m, P̄ is a running mean, m P̄ + (1 − m) (mean of the batch), divided
    by what its weights add up to, so that the first batch counts in full; D stays that
    of the batch. The past is constant. The gradient is that of the batch's mean put in
    the place of the running one: 1 / (1 − m) of the literal one once the mean runs, so
    that a momentum does not change the weight of the term.

    The mean map of data that is moved about at random is flat, and the divergence then
    asks for no more than variety.

    Args:
      prior: of the training split, from `map_prior`, on the cells of the maps.
      explain: (context) -> R [B, h, w], or [B, h, w, K], of which the channels are
        summed. Negative evidence is dropped.
      moments: at least 0, the weight of D.
      momentum: m, in (0, 1), 0.99 for batches of few rows; None compares each batch by
        itself.

    Returns:
      A term without params, whose state is () or the running mean; it is equal on all
      devices, and a batch without rows keeps it. Which examples have a map say 'region'
      or 'boxes'; in a batch with neither, none has. Its metrics are 'divergence',
      'moments' and 'blank'.

    Raises:
      ValueError: for negative `moments` or a `momentum` outside (0, 1); in the first
        step, for a map of other cells than the prior.

    Source: that generated maps follow the pattern of the data set's is the idea of
      Zhang, Jiang et al., arXiv 2411.13053, whose formula was not available. Both parts
      are our design.
    """
    if not 0 <= moments < float("inf"):
        raise ValueError(f"`moments` (={moments}) must be finite and at least 0.")
    if momentum is not None and not 0 < momentum < 1:
        raise ValueError(f"`momentum` (={momentum}) must lie strictly in (0, 1).")

    def init(key: PRNGKey, batch: Batch) -> tuple[PyTree, PyTree]:
        del key, batch
        if momentum is None:
            return (), ()
        total = jnp.zeros_like(prior.distribution)
        return (), {"total": total, "weight": jnp.zeros((), total.dtype)}

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        del params
        maps, counted = _rows(context, explain)
        if maps.shape[1:] != prior.distribution.shape:
            raise ValueError(
                f"`prior` is of {prior.distribution.shape} cells, the map of "
                f"{maps.shape[1:]}: give `map_prior` the shape of the map."
            )
        mean, count = _mean_map(maps, counted, context.axis_name)
        if momentum is not None:
            mean, state = _running(mean, count, state, momentum)
        divergence = losses.kl_to_prior(mean, prior.distribution)
        statistics, where = _gathered((map_statistics(maps), counted), context)
        distance = losses.moment_distance(
            statistics, prior.means, prior.deviations, where=where
        )
        out = _of_rows(divergence + moments * distance, maps, counted, state)
        spread = lambda value: jnp.broadcast_to(value, counted.shape)
        parts = {"divergence": spread(divergence), "moments": spread(distance)}
        return out._replace(metrics={**parts, **out.metrics})

    return GuidanceTerm(init, apply)


def map_set_consistency(
    human_maps: Array,
    *,
    explain: Explain,
    distance: SetDistance,
    key: PRNGKey | None = None,
) -> GuidanceTerm:
    """The maps of a batch as a set near a set of human maps.

    distance({P of the rows}, {P of the human maps}), each P a vector of h w numbers.
    Unlike means and moments it knows of maps on the left and maps on the right in turn.
    One number, which every row returns; a batch without rows contributes 0. Gradients
    flow into the maps of the rows.

    Args:
      human_maps: float [N, H, W] in [0, 1], some of the training split, none empty;
        averaged onto the cells of the maps.
      explain: as `distribution_consistency`.
      distance: (x [B, h w], y [N, h w], *, where bool [B]) -> [], such as
        `functools.partial(losses.maximum_mean_discrepancy, bandwidth=0.1)` or one of
        `losses.sliced_wasserstein`.
      key: for a distance that draws: it is then also given `key`, another at each step
        and the same on all devices.

    Returns:
      A term without params or state that reads batches as `distribution_consistency`;
      its metric is 'blank'.

    Raises:
      ValueError: for an empty human map; in the first step, for maps of another aspect.
      AssertionError: if the human maps are not [N, H, W].

    Source: as `distribution_consistency`; our design.
    """
    chex.assert_rank(human_maps, 3)
    empty = ~np.any(np.asarray(human_maps) != 0, axis=(1, 2))
    if len(empty) == 0 or np.any(empty):
        raise ValueError(
            f"`human_maps` (of shape {human_maps.shape}) must hold maps that are not "
            f"empty; empty are {np.flatnonzero(empty)[:5].tolist()}."
        )

    def loss_fn(context: StepContext) -> tuple[Array, Array, dict[str, Array]]:
        maps, counted = _rows(context, explain)
        _, h, w = maps.shape
        cells = reading.on_cells(ops.at_least_float32(human_maps), shape=(h, w))
        vectors, others = (
            saliency.saliency_distribution(m).reshape(len(m), -1) for m in (maps, cells)
        )
        vectors, where = _gathered((vectors, counted), context)
        drawn = {} if key is None else {"key": jax.random.fold_in(key, context.step)}
        value = distance(vectors, others, where=where, **drawn)
        out = _of_rows(value, maps, counted, ())
        return out.loss, out.weight, dict(out.metrics)

    return base.stateless(loss_fn)


def _rows(context: StepContext, explain: Explain) -> tuple[Array, Array]:
    """Maps [B, h, w], and which of them count, bool [B]."""
    maps = explaining.without_channels(explain(context))
    chex.assert_rank(maps, 3)
    without = reading.without_map(context.batch)
    return maps, without & reading.present(context.batch)


def _mean_map(
    maps: Array, counted: Array, axis_name: str | None
) -> tuple[Array, Array]:
    """Mean of P [h, w] over the rows of all devices, and their number."""
    distribution = saliency.saliency_distribution(maps)
    kept = jnp.where(counted[:, None, None], distribution, 0.0)
    total, count = ops.axis_sum(
        (jnp.sum(kept, axis=0), jnp.sum(counted, dtype=kept.dtype)), axis_name
    )
    return ops.safe_divide(total, count), count


def _running(
    mean: Array, count: Array, state: PyTree, momentum: float
) -> tuple[Array, PyTree]:
    """The running mean, with the gradient of the batch's, and the next state."""
    add = lambda old, new: momentum * old + (1 - momentum) * new.astype(old.dtype)
    held = jax.lax.stop_gradient(mean)
    moved = {
        "total": add(state["total"], held),
        "weight": add(state["weight"], jnp.ones_like(count)),
    }
    state = jax.tree.map(lambda new, old: jnp.where(count > 0, new, old), moved, state)
    running = ops.safe_divide(state["total"], state["weight"]).astype(mean.dtype)
    return mean + jax.lax.stop_gradient(running - mean), state


def _gathered(tree: PyTree, context: StepContext) -> PyTree:
    """Rows of all devices."""
    if context.axis_name is None:
        return tree
    return jax.lax.all_gather(tree, context.axis_name, tiled=True)


def _of_rows(value: Array, maps: Array, counted: Array, state: PyTree) -> TermOutput:
    """The one number of a batch, for each of its rows."""
    loss = jnp.where(counted, value, 0.0)
    weight = counted.astype(loss.dtype)
    return TermOutput(loss, weight, state, {"blank": saliency.blank(maps)})
