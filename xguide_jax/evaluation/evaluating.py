"""One call from a network and its maps to every number that can be had of them."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from xguide_jax import ops
from xguide_jax.evaluation import chunking, evaluated, measuring
from xguide_jax.metrics import faithfulness, removing
from xguide_jax.types import Batch, FillFn, PredictFn, PRNGKey, PyTree, ScoreFn

TENTHS = tuple(step / 10 for step in range(11))


def evaluate(
    predict_fn: Callable[[Any], Any],
    maps: Mapping[str, Any],
    batch: Batch | Iterable[Batch],
    *,
    key: PRNGKey,
    fills: Mapping[str, FillFn],
    baselines: Any = None,
    score_fn: ScoreFn | None = None,
    groups: Any = None,
    fractions: Sequence[float] = TENTHS,
    value: removing.ValueFn = faithfulness._top_class_is_label,
    num_random_orders: int = 5,
    batch_size: int = 64,
    progress: bool = True,
) -> evaluated.Evaluation:
    """Measures maps of a network, wherever the two come from.

    Faithfulness by removal and insertion with every fill, as each map's gap to random
    orders of the *same* network on the *same* examples; localisation, where the batch
    is annotated; the attribution error and removal to the baseline, where there is one;
    complexity; accuracy and all of these by group, where there are groups. Every mean
    says how many undefined values it leaves out.

    Example i has the key `fold_in(key, i)`: its numbers depend neither on the batch
    size nor on what else is measured. B examples at a time are on the device; of a
    stream of batches one is held.

    Args:
      predict_fn: inputs [B, ...] -> logits [B, C]. What `jax.jit` made, or a
        `functools.partial` of that with the weights, is given JAX arrays. Anything else
        gets NumPy arrays, so that it may as well be PyTorch or ONNX:
        `lambda x: model(torch.from_numpy(x)).numpy(force=True)`.
      maps: {name: maps}: arrays of NumPy, JAX, or anything that speaks DLPack, shaped
        like the inputs or, with one value a position, without their last axis; or an
        explainer, (predict_fn, inputs, targets) -> maps, for which JAX must be able to
        trace `predict_fn`.
      batch: 'inputs' float [N, ...] and 'labels', integer [N], the right classes;
        'targets' [N] where other classes are explained; 'region' [N, ...] or 'boxes'
        [N, K, 4] with 'boxes_valid' [N, K], and 'region_valid' [N], where evidence is
        annotated; 'groups', integer [N]. Or an iterable of such batches, for which
        every map is an explainer.
      key: for fills and random orders; the same key gives the same numbers.
      fills: {name: (key, inputs) -> replacement values}, at least one.
      baselines: float, broadcastable to the inputs, those of all maps, or {map:
        baselines} of some; in the units of the inputs.
      score_fn: (logits, targets) -> [B], what is explained; needed with `baselines`.
      groups: integer [N], at least 0, in place of those in the batch.
      fractions: of the positions, strictly increasing in [0, 1], at least two.
      value: (logits, labels) -> [B], what is right or how likely, see
        `metrics.removal_curve`; labels are then whatever it takes.
      num_random_orders: how many random orders chance is the mean of, at least 1.
      batch_size: B, at least 1.
      progress: whether to show a bar, in a terminal.

    Returns:
      An `Evaluation`.

    Raises:
      ValueError: if there is no map, fill or example; if maps, annotations, groups or
        baselines do not fit the inputs, naming both shapes; for maps of a stream that
        are arrays; for baselines without `score_fn` or of a map that is not there; for
        a batch with a 'mask', whose padding would be ranked like the rest.
      AssertionError: as `metrics.removal_curve`.
    """
    explainers = {name: each for name, each in maps.items() if callable(each)}
    arrays = {
        name: _on_host(name, each)
        for name, each in maps.items()
        if name not in explainers
    }
    batches: Iterable[Batch] = [batch] if isinstance(batch, Mapping) else batch
    is_stream = batches is batch
    by_map = _by_map(baselines, maps)
    _check(maps, fills, by_map, score_fn)
    if num_random_orders < 1 or batch_size < 1:
        raise ValueError(
            f"`num_random_orders` (={num_random_orders}) and `batch_size` "
            f"(={batch_size}) must be at least 1."
        )
    if is_stream and (arrays or groups is not None):
        raise ValueError(
            f"of a stream of batches every map must be an explainer ({sorted(arrays)} "
            "are arrays) and every batch must bring its 'groups'."
        )
    settings = measuring.Settings(
        predict=_predict(predict_fn),
        explainers={
            name: functools.partial(jax.jit(explainer), _as_argument(predict_fn))
            for name, explainer in explainers.items()
        },
        fills=dict(fills),
        fractions=tuple(fractions),
        value=value,
        score_fn=score_fn,
        num_random_orders=num_random_orders,
    )
    # A stream does not say how long it is; then the bar shows a count alone.
    total = (
        -(-ops.batch_size(batch) // batch_size) if isinstance(batch, Mapping) else None
    )
    found: list[measuring.Rows] = []
    found_groups: list[np.ndarray] = []
    start = 0
    with tqdm.tqdm(
        total=total, unit="batch", disable=None if progress else True
    ) as bar:

        def measure(rows: PyTree) -> measuring.Rows:
            bar.update()
            return measuring.measure(settings, *rows)

        for given in batches:
            piece = _checked_piece(given)
            size = ops.batch_size(piece)
            their_groups = piece.pop("groups", None) if groups is None else groups
            if their_groups is not None:
                found_groups.append(_fitting_groups(their_groups, size))
            keys = jax.vmap(jax.random.fold_in, (None, 0))(
                key, jnp.arange(start, start + size)
            )
            rows = (piece, arrays, _broadcast(by_map, piece["inputs"]), keys)
            found.append(chunking.map_rows(measure, rows, batch_size=batch_size))
            start += size
    if not found:
        raise ValueError("`batch` must hold at least one example.")
    every = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
    return evaluated.summed_up(
        every,
        names=tuple(maps),
        fills=tuple(fills),
        groups=np.concatenate(found_groups) if found_groups else None,
        fractions=tuple(fractions),
    )


def _checked_piece(batch: Batch) -> dict[str, np.ndarray]:
    if missing := sorted({"inputs", "labels"} - batch.keys()):
        raise ValueError(f"`batch` must hold {missing}; it has {sorted(batch)}.")
    if "mask" in batch:
        raise ValueError(
            "`batch` must not hold a 'mask': padded places would be ranked, replaced "
            "and counted. Evaluate sequences of one length at a time, without it."
        )
    return {name: np.asarray(leaf) for name, leaf in batch.items()}


def _predict(predict_fn: Callable[[Any], Any]) -> PredictFn:
    """JAX arrays in and out, whatever the function wants."""
    inner: Any = predict_fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    if isinstance(inner, jax.stages.Wrapped):
        return predict_fn
    return lambda inputs: jnp.asarray(predict_fn(np.asarray(inputs)))


def _as_argument(predict_fn: Callable[[Any], Any]) -> jax.tree_util.Partial:
    """The function as what a compiled explainer is given.

    Bound weights are then arguments of its program. As constants they would be folded
    into it, and it compiled anew for the next weights.
    """
    if isinstance(predict_fn, functools.partial):
        bound = (predict_fn.args, predict_fn.keywords)
        if all(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(bound)):
            return jax.tree_util.Partial(
                predict_fn.func, *predict_fn.args, **predict_fn.keywords
            )
    return jax.tree_util.Partial(predict_fn)


def _on_host(name: str, maps: Any) -> np.ndarray:
    """An array of any library in NumPy; a file that is mapped into memory stays one."""
    try:
        speaks_dlpack = hasattr(maps, "__dlpack__") and not hasattr(maps, "__array__")
        values = np.from_dlpack(maps) if speaks_dlpack else np.asanyarray(maps)
    except (
        TypeError,
        RuntimeError,
        BufferError,
    ) as error:  # of a GPU, or with a gradient
        raise ValueError(
            f"`maps`[{name!r}] cannot be read as an array ({error}): copy it to the "
            "host first; of PyTorch, `maps.numpy(force=True)`."
        ) from error
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"`maps`[{name!r}] must be float; it is {values.dtype}.")
    return values


def _by_map(baselines: Any, maps: Mapping[str, Any]) -> dict[str, Any]:
    """{map: its baselines}, of those that have some."""
    if baselines is None:
        return {}
    if isinstance(baselines, Mapping):
        return dict(baselines)
    return dict.fromkeys(maps, baselines)


def _broadcast(by_map: Mapping[str, Any], inputs: np.ndarray) -> dict[str, np.ndarray]:
    """{map: baselines shaped like the inputs}, as views."""
    shaped = {}
    for name, baselines in by_map.items():
        values = np.asarray(baselines, inputs.dtype)
        try:
            shaped[name] = np.broadcast_to(values, inputs.shape)
        except ValueError:
            raise ValueError(
                f"`baselines` of {name!r} (of shape {values.shape}) must broadcast to "
                f"the shape of the inputs, {inputs.shape}."
            ) from None
    return shaped


def _check(
    maps: Mapping[str, Any],
    fills: Mapping[str, FillFn],
    by_map: Mapping[str, Any],
    score_fn: ScoreFn | None,
) -> None:
    if not maps or not fills:
        raise ValueError(
            f"`maps` ({sorted(maps)}) and `fills` ({sorted(fills)}) must hold at least "
            "one each."
        )
    if measuring.OWN_BASELINE in fills:
        raise ValueError(
            f"`fills` must not hold {measuring.OWN_BASELINE!r}, the name of removal to "
            "the `baselines`."
        )
    if by_map and score_fn is None:
        raise ValueError(
            "`score_fn` must be given with `baselines`: what the maps explain."
        )
    if strange := sorted(by_map.keys() - maps.keys()):
        raise ValueError(f"`baselines` are of {strange}; the maps are {sorted(maps)}.")


def _fitting_groups(groups: Any, num_examples: int) -> np.ndarray:
    values = np.asarray(groups)
    if values.shape != (num_examples,) or not np.issubdtype(values.dtype, np.integer):
        raise ValueError(
            f"`groups` ({values.dtype} of shape {values.shape}) must be integer "
            f"[{num_examples}], one an example."
        )
    if values.size and values.min() < 0:
        raise ValueError(f"`groups` must be at least 0; row {values.argmin()} is not.")
    return values
