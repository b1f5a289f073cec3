"""Whether a map depends on what the network has learned, and on the class explained.

Parameters are drawn anew, or another class is explained, and the map is compared with
the original one: low similarity is what an explanation should show. A map that stays
the same explains the input and the architecture. Similarities are of the caller's
choice, `patterns` has some, and they differ in what they forgive.
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array, PRNGKey, PyTree

# (maps [B, ...], maps [B, ...]) -> [B]
SimilarityFn = Callable[[Array, Array], Array]
# Key -> parameters structured like the network's, e.g.
# lambda key: module.init(key, inputs)["params"]
InitFn = Callable[[PRNGKey], PyTree]
# The keys from the root of the parameters to the layer: ("encoder", "Dense_0")
Layer = Sequence[Any]


def cascading_randomisation(
    explain: Callable[[PyTree], Array],
    params: PyTree,
    *,
    key: PRNGKey,
    layers: Sequence[Layer],
    init_fn: InitFn,
    similarity: SimilarityFn,
) -> Array:
    """Similarity to the original map as layers are randomised, one more at a time.

    Entry l compares Φ(θ) with Φ of the parameters whose layers 0 to l are drawn anew;
    the draw of a layer is the same in all entries.

    Args:
      explain: params -> maps [B, ...], inputs and classes closed over; called L + 1
        times, so compile it and not this function.
      params: the trained parameters, nested dicts of arrays.
      key: for `init_fn`.
      layers: L paths, as published from the output to the input; a path names all
        parameters below it.
      init_fn: key -> parameters like `params`: the network's own initialiser, or
        `functools.partial(shuffle_parameters, params)`.
      similarity: (maps, maps) -> [B].

    Returns:
      float [B, L], in the range of the similarity, lower is better; NaN where it is.

    Raises:
      ValueError: if a layer names no parameter, or there is none.
      AssertionError: if the new parameters differ in structure, shapes or dtypes.

    Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, cascading
      randomisation.
    """
    chosen = [layers[: last + 1] for last in range(len(layers))]
    return _similarities(explain, params, key, chosen, init_fn, similarity)


def independent_randomisation(
    explain: Callable[[PyTree], Array],
    params: PyTree,
    *,
    key: PRNGKey,
    layers: Sequence[Layer],
    init_fn: InitFn,
    similarity: SimilarityFn,
) -> Array:
    """Similarity to the original map with one layer randomised at a time.

    Entry l compares Φ(θ) with Φ of the parameters of which layer l alone is drawn anew.

    Args:
      explain: params -> maps [B, ...]; see `cascading_randomisation`.
      params: the trained parameters, nested dicts of arrays.
      key: for `init_fn`.
      layers: L paths, in any order.
      init_fn: key -> parameters like `params`.
      similarity: (maps, maps) -> [B].

    Returns:
      float [B, L], in the range of the similarity, lower is better; NaN where it is.

    Raises:
      ValueError: if a layer names no parameter, or there is none.
      AssertionError: if the new parameters differ in structure, shapes or dtypes.

    Source: Adebayo et al., NeurIPS 2018, independent randomisation.
    """
    chosen = [[layer] for layer in layers]
    return _similarities(explain, params, key, chosen, init_fn, similarity)


def randomise_parameters(
    params: PyTree, *, key: PRNGKey, layers: Sequence[Layer], init_fn: InitFn
) -> PyTree:
    """The parameters with some layers drawn anew, the others as they were.

    Args:
      params: nested dicts of arrays, such as a Linen module's or an NNX model's.
      key: for `init_fn`; with one key, a layer's draw does not depend on which others
        are randomised.
      layers: paths; a path names all parameters below it, and () all there are.
      init_fn: key -> parameters like `params`.

    Returns:
      structured like `params`.

    Raises:
      ValueError: if a layer names no parameter.
      AssertionError: if the new parameters differ in structure, shapes or dtypes.
    """
    return _replaced(params, init_fn(key), layers)


def shuffle_parameters(params: PyTree, key: PRNGKey) -> PyTree:
    """The entries of each array in random order: its distribution stays.

    An initialiser for networks that come without theirs. Arrays of equal entries, such
    as zero biases, stay as they are.

    Args:
      params: a pytree of arrays.
      key: one typed key.

    Returns:
      structured like `params`.
    """
    leaves, structure = jax.tree.flatten(params)
    shuffled = [
        jax.random.permutation(jax.random.fold_in(key, place), jnp.ravel(leaf)).reshape(
            jnp.shape(leaf)
        )
        for place, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, shuffled)


def random_logit(
    explain: Callable[[Array], Array],
    targets: Array,
    *,
    key: PRNGKey,
    num_classes: int,
    similarity: SimilarityFn,
) -> Array:
    """Similarity of the map of a class to that of another, random class.

    Args:
      explain: targets [B] -> maps [B, ...], the inputs closed over; called twice.
      targets: integer [B], in [0, num_classes).
      key: one typed key, or one for each example, [B].
      num_classes: C, at least 2.
      similarity: (maps, maps) -> [B].

    Returns:
      float [B], in the range of the similarity, lower is better; NaN where it is, and
      for a target that is out of range.

    Raises:
      ValueError: if `num_classes` is below 2, or the key is not as `ops.example_keys`
        takes it.
      AssertionError: if the targets are not integer [B].

    Source: Sixt, Granz, Landgraf, "When Explanations Lie: Why Many Modified BP
      Attributions Fail", ICML 2020, who draw the other class too.
    """
    if num_classes < 2:
        raise ValueError(f"`num_classes` (={num_classes}) must be at least 2.")
    chex.assert_rank(targets, 1)
    chex.assert_type(targets, int)
    keys = ops.example_keys(key, len(targets))
    # 1 to C - 1 places further on, so that it is another class, and each as likely.
    draw = lambda key: jax.random.randint(key, (), 1, num_classes, targets.dtype)
    others = (targets + jax.vmap(draw)(keys)) % num_classes
    values = similarity(explain(targets), explain(others))
    chex.assert_shape(values, (len(targets),))
    return jnp.where((targets >= 0) & (targets < num_classes), values, jnp.nan)


def _similarities(
    explain: Callable[[PyTree], Array],
    params: PyTree,
    key: PRNGKey,
    choices: Sequence[Sequence[Layer]],
    init_fn: InitFn,
    similarity: SimilarityFn,
) -> Array:
    if not choices:
        raise ValueError("`layers` must name at least one layer.")
    original, fresh = explain(params), init_fn(key)
    columns = []
    for layers in choices:
        values = similarity(original, explain(_replaced(params, fresh, layers)))
        chex.assert_shape(values, (len(original),))
        columns.append(values)
    return jnp.stack(columns, axis=-1)


def _replaced(params: PyTree, fresh: PyTree, layers: Sequence[Layer]) -> PyTree:
    chex.assert_trees_all_equal_shapes_and_dtypes(params, fresh)
    chosen = [_checked_layer(layer) for layer in layers]
    paths = [_names(path) for path, _ in jax.tree.leaves_with_path(params)]
    for layer in chosen:
        if not any(path[: len(layer)] == layer for path in paths):
            raise ValueError(f"`layers` names {layer}; the parameters are {paths}.")

    def choose(path: tuple[Any, ...], old: Array, new: Array) -> Array:
        name = _names(path)
        return new if any(name[: len(layer)] == layer for layer in chosen) else old

    return jax.tree.map_with_path(choose, params, fresh)


def _checked_layer(layer: Layer) -> tuple[Any, ...]:
    if isinstance(layer, str):
        raise ValueError(
            f"`layers` must be paths, as the tuple ({layer!r},) and not {layer!r}."
        )
    return tuple(layer)


def _names(path: tuple[Any, ...]) -> tuple[Any, ...]:
    """The keys of a path: of dicts, of sequences, of attributes."""
    kinds = ("key", "idx", "name")
    return tuple(
        next(getattr(entry, kind) for kind in kinds if hasattr(entry, kind))
        for entry in path
    )
