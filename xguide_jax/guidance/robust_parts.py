"""What the robust terms and their published forms are put together from.

`M` [B, h, w] in [0, 1] is a map, `P` the pixels marked as evidence and `Y` in
{-1, 0, 1} the sign of each cell.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xguide_jax import losses, ops
from xguide_jax.guidance import base, explaining, reading
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

Init = Callable[[PRNGKey, Batch], tuple[PyTree, PyTree]]

# (batch, *, shape of the map) -> Marked
Annotate = Callable[..., "Marked"]

# (the term's params, P, *, shape of the map) -> soft targets [B, h, w]
Impute = Callable[..., Array]


class Marked(NamedTuple):
    """What was marked, on the pixels of the image and on the cells of a map.

    Attributes:
      evidence: float [B, H, W], P: 1 where the pixel was marked as evidence, else 0;
        NaN in rows that were refused, see `reading`.
      signs: float [B, h, w], Y.
      valid: bool [B], True where the example takes part at all.
      with_evidence: bool [B], True where it does, and has evidence.
    """

    evidence: Array
    signs: Array
    valid: Array
    with_evidence: Array


def blank(maps: Array) -> Array:
    """1 for a normalised map that is 0 everywhere, for it was constant; else 0.

    Args:
      maps: float [B, h, w] in [0, 1].

    Returns:
      float [B].
    """
    return (~jnp.any(maps > 0, axis=(1, 2))).astype(maps.dtype)


def by_area(
    batch: Batch, *, shape: tuple[int, int], inside_share: float = 0.0
) -> Marked:
    """What was marked; a cell is evidence where enough of its area is.

    A cell that is not is non-evidence where enough of its area is that.

    Args:
      batch: see `reading.annotations_of`.
      shape: (h, w) of the map.
      inside_share: in [0, 1); a cell counts where more than this share of it is marked.
        With 0 one pixel is enough, so that none gets lost.

    Returns:
      `Marked`.
    """
    annotations, valid = reading.annotations_of(batch)
    evidence = jax.nn.relu(annotations)
    covers = lambda marks: reading.on_cells(marks, shape=shape) > inside_share
    positive, negative = covers(evidence), covers(jax.nn.relu(-annotations))
    signs = jnp.where(positive, 1.0, jnp.where(negative, -1.0, 0.0))
    some = jnp.any(evidence > 0, axis=(1, 2)) | reading.refused(evidence)
    return Marked(evidence, signs, valid, valid & some)


def softened(params: PyTree, evidence: Array, *, shape: tuple[int, int]) -> Array:
    """Evidence averaged onto the cells, blurred and divided by its maximum.

    Args:
      params: unused.
      evidence: float [B, H, W].
      shape: (h, w) of the map.

    Returns:
      float [B, h, w] in [0, 1]; zeros where there is no evidence.
    """
    del params
    return ops.normalise_by_max(ops.blur(reading.on_cells(evidence, shape=shape)))


def learned_imputation(*, kernel_size: int, stride: int) -> tuple[Init, Impute]:
    """A convolution from pixels to cells, scaled to [0, 1], as two functions.

    Args:
      kernel_size: side of the kernel, at least `stride`.
      stride: pixels to a cell; zeros, (kernel_size − stride) / 2 wide, surround the
        image, so that there are H // stride cells.

    Returns:
      the `init` of a term, with params {'kernel': [kernel_size, kernel_size]} uniform
      in ±1 / kernel_size; and (params, evidence, *, shape) -> float [B, h, w].

    Raises:
      ValueError: unless 1 <= stride <= kernel_size, and by the second function without
        the params, or if the strides do not lead from the image to the map.
    """
    if not 1 <= stride <= kernel_size:
        raise ValueError(
            f"`stride` (={stride}) must lie in [1, kernel_size (={kernel_size})]."
        )
    low = (kernel_size - stride) // 2
    padding = (low, kernel_size - stride - low)

    def init(key: PRNGKey, batch: Batch) -> tuple[PyTree, PyTree]:
        del batch
        bound, shape = 1 / kernel_size, (kernel_size, kernel_size)
        kernel = jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        return {"kernel": kernel}, ()

    def impute(params: PyTree, evidence: Array, *, shape: tuple[int, int]) -> Array:
        if not isinstance(params, Mapping) or "kernel" not in params:
            raise ValueError(
                f"`params` (={params!r}) must be {{'kernel': [{kernel_size}, "
                f"{kernel_size}]}}: the term learns. Make them by its `init`, or by "
                "`training.init_guidance` for all terms, and give them as "
                "params['guidance'][<name of the term>]."
            )
        height, width = evidence.shape[1:]
        reached = (height // stride, width // stride)
        if reached != shape:
            raise ValueError(
                f"`stride` (={stride}) leads from images of {(height, width)} to "
                f"{reached} cells; it must lead to those of the map, {shape}."
            )
        targets = jax.lax.conv_general_dilated(
            evidence[:, None],
            params["kernel"][None, None].astype(evidence.dtype),
            window_strides=(stride, stride),
            padding=(padding, padding),
        )
        return ops.min_max_normalise(targets[:, 0], epsilon=1e-6)

    return init, impute


def robust_term(
    *,
    slack: float,
    explain: Explain,
    annotate: Annotate,
    impute: Impute,
    init: Init = base.no_variables,
) -> GuidanceTerm:
    """relu(R − slack) of the whole batch + mean |M − h(P)| of each example.

    Args:
      slack: at least 0.
      explain: context -> M.
      annotate: (batch, *, shape) -> `Marked`.
      impute: (params, evidence, *, shape) -> h(P).
      init: makes the params that `impute` takes.

    Returns:
      A term whose metrics 'robust' and 'imputation' are the two summands; 'blank' is
      that of constant maps.

    Raises:
      ValueError: for a negative `slack`.
    """
    if not slack >= 0:
        raise ValueError(f"`slack` (={slack}) must not be negative.")

    def apply(params: PyTree, state: PyTree, context: StepContext) -> TermOutput:
        maps = explaining.without_channels(explain(context))
        shape = maps.shape[1:]
        marked = annotate(context.batch, shape=shape)
        robust = jnp.broadcast_to(
            jax.nn.relu(_batch_error(maps, marked, context) - slack), maps.shape[:1]
        )
        targets = impute(params, marked.evidence, shape=shape)
        distance = losses.region_l1(maps, targets)
        distance = jnp.where(marked.with_evidence, distance, 0.0)
        distance = reading.spoil(distance, marked.evidence)
        return TermOutput(
            robust + distance,
            marked.valid.astype(maps.dtype),
            state,
            {"robust": robust, "imputation": distance, "blank": blank(maps)},
        )

    return GuidanceTerm(init, apply)


def _batch_error(maps: Array, marked: Marked, context: StepContext) -> Array:
    """R [], over the marked cells of all examples of all devices."""
    counted = marked.valid & reading.present(context.batch)
    signs = jnp.where(counted[:, None, None], marked.signs, 0.0)
    threshold = ops.balanced_threshold(
        jax.lax.stop_gradient(maps), signs, axis_name=context.axis_name
    )
    errors, counts = losses.robust_error(maps, signs, threshold=threshold)
    error, count = ops.axis_sum((jnp.sum(errors), jnp.sum(counts)), context.axis_name)
    return ops.safe_divide(error, count)
