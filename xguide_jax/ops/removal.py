"""Positions taken out of inputs that are a dict: tokens with a mask, series with one.

A fill replaces features of one array. A token can be lost in more ways, and a network
answers each of them differently: another id stands in its place, nobody may read it any
more, or the others close up. Each way is a `Removal`, which every metric that takes
features away takes in the place of a fill.
"""

from collections.abc import Callable, Mapping, Sequence

import chex
import jax
import jax.numpy as jnp

from xguide_jax.ops import filling
from xguide_jax.types import Array, FillFn, PRNGKey, PyTree

# (which are taken out, bool [B, ...]) -> the inputs without them.
WithoutFn = Callable[[Array], PyTree]


class Removal:
    """A way to take positions out: called with a key and inputs, once for all steps."""

    def __init__(self, prepare: Callable[[PRNGKey, PyTree], WithoutFn]) -> None:
        """Names it.

        Args:
          prepare: (key or keys [B], inputs) -> (removed [B, ...] -> inputs of the same
            structure). What is drawn is drawn in the first call, so that each step
            takes out more of the same inputs.
        """
        self._prepare = prepare

    def __call__(self, key: PRNGKey, inputs: PyTree) -> WithoutFn:
        """Calls it."""
        return self._prepare(key, inputs)


def fill_leaf(name: str, fill: FillFn) -> Removal:
    """Other values in the place of what is taken out of one array of the inputs.

    The mask and all other arrays stay as they are, and positions do not move. Of tokens
    it is the id that stands for nothing, e.g.
    `ops.fill_leaf('tokens', functools.partial(ops.constant_fill, value=mask_id))`; of a
    series any fill of 'series', of steps or of single cells.

    Args:
      name: of the array.
      fill: (key, array) -> values like it, drawn once.

    Returns:
      `Removal`; what is removed is bool of the array's rank and broadcast to it.

    Raises:
      ValueError: (when called) if the inputs have no array of this name.
      AssertionError: (when called) as `ops.replace`.
    """

    def prepare(key: PRNGKey, inputs: PyTree) -> WithoutFn:
        _check_names(inputs, [name])
        filled = fill(key, inputs[name])
        return lambda removed: {
            **inputs,
            name: _replace(inputs[name], removed, filled),
        }

    return Removal(prepare)


def hide_positions(mask: str) -> Removal:
    """What is taken out is hidden like padding: its mask is False.

    All others keep their positions, so that a position embedding still says where a
    token stood and a recurrent network steps over the gap. Neither occurs in training.

    Args:
      mask: name of the bool [B, T] that is False where nothing may be read.

    Returns:
      `Removal`; what is removed is bool [B, T].

    Raises:
      ValueError: (when called) if the inputs have no array of this name.
      AssertionError: (when called) if the shapes differ.
    """

    def prepare(key: PRNGKey, inputs: PyTree) -> WithoutFn:
        del key  # deterministic
        _check_names(inputs, [mask])
        return lambda removed: {**inputs, mask: _kept(inputs[mask], removed)}

    return Removal(prepare)


def delete_positions(names: Sequence[str], *, mask: str) -> Removal:
    """What is taken out is deleted, and the others close up: a shorter text.

    They keep their order and count their positions anew, as in a text that never had
    the deleted tokens; what is left free at the end is padding. Where nothing is left
    the mask is False throughout.

    Args:
      names: of the arrays [B, T, ...] that go along, e.g. ('tokens', 'segments').
      mask: name of the bool [B, T] that is False where nothing may be read.

    Returns:
      `Removal`; what is removed is bool [B, T].

    Raises:
      ValueError: (when called) if the inputs lack an array of these names.
      AssertionError: (when called) if the shapes differ.

    Source: DeYoung et al., "ERASER: A Benchmark to Evaluate Rationalized NLP Models",
      ACL 2020, whose baselines delete tokens.
    """

    def prepare(key: PRNGKey, inputs: PyTree) -> WithoutFn:
        del key  # deterministic
        _check_names(inputs, [*names, mask])
        arrays = {name: inputs[name] for name in names}

        def without(removed: Array) -> PyTree:
            moved, kept = _closed_up(arrays, inputs[mask], removed)
            return {**inputs, **moved, mask: kept}

        return without

    return Removal(prepare)


# One program a step: many small ones would cost as much as a small network.
_replace = jax.jit(filling.replace)


@jax.jit
def _kept(mask: Array, removed: Array) -> Array:
    chex.assert_type([mask, removed], bool)
    chex.assert_equal_shape([mask, removed])
    return mask & ~removed


@jax.jit
def _closed_up(
    arrays: Mapping[str, Array], mask: Array, removed: Array
) -> tuple[dict[str, Array], Array]:
    """The arrays with what is left first, in order, and the mask of that."""
    kept = _kept(mask, removed)
    order = jnp.argsort(~kept, axis=1, stable=True)

    def moved(array: Array) -> Array:
        chex.assert_equal_shape_prefix([array, kept], 2)
        at = order.reshape(*order.shape, *[1] * (array.ndim - 2))
        return jnp.take_along_axis(array, at, axis=1)

    number = jnp.sum(kept, axis=1, keepdims=True)
    closed = jnp.arange(kept.shape[1]) < number
    return {name: moved(array) for name, array in arrays.items()}, closed


def _check_names(inputs: PyTree, names: Sequence[str]) -> None:
    present = sorted(inputs) if isinstance(inputs, Mapping) else []
    missing = sorted(set(names) - set(present))
    if missing:
        raise ValueError(
            f"a removal needs inputs[{missing[0]!r}]; the inputs have {present}."
        )
