"""Whether all that a step computed is finite, in one pass over numbers in memory."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from xguide_jax import ops
from xguide_jax.types import Array, PyTree

_Leaves = Sequence[Array]


def all_finite(tree: PyTree) -> Array:
    """Whether each number of a pytree is finite; integers are.

    Args:
      tree: arrays of any dtypes.

    Returns:
      bool [].
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if _is_inexact(leaf)]
    return _at_a_glance(_are_finite, leaves)


def faulty(old: PyTree, new: PyTree) -> Array:
    """Whether a number is not finite that is not the infinity it was before.

    Args:
      old: arrays of any dtypes.
      new: the same, later.

    Returns:
      bool []; True if the new ones hold a NaN.

    Raises:
      ValueError: if the new tree has another structure.
    """
    new = jax.tree.map(lambda _, leaf: leaf, old, new)  # refuses another structure
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    inexact = [pair for pair in pairs if _is_inexact(pair[1])]
    before, after = [old for old, _ in inexact], [new for _, new in inexact]
    return ~_at_a_glance(_are_faultless, after, before)


def _at_a_glance(
    check: Callable[..., Array], leaves: _Leaves, *others: _Leaves
) -> Array:
    """`check(leaves, *others)`, which holds where all leaves are finite.

    On CPU the comparison of each number is written to memory before it is reduced. A
    sum of squares is not, and it is finite only if each number is; where it is not, as
    for numbers beyond 1e19, each of them is looked at. Accelerators fuse the comparison
    into its reduction, and would wait for the host to choose between two programs.
    """

    def on_cpu(leaves: _Leaves, *others: _Leaves) -> Array:
        squares = [jnp.sum(jnp.square(jnp.abs(_wide(leaf)))) for leaf in leaves]
        glance = jnp.all(jnp.isfinite(jnp.stack(squares)))
        return jax.lax.cond(glance, _true, check, leaves, *others)

    if not leaves:
        return jnp.ones((), bool)
    return jax.lax.platform_dependent(leaves, *others, cpu=on_cpu, default=check)


def _true(*leaves: _Leaves) -> Array:
    return jnp.ones((), bool)


def _are_finite(leaves: _Leaves) -> Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def _are_faultless(after: _Leaves, before: _Leaves) -> Array:
    faults = [
        jnp.any(~jnp.isfinite(new) & (new != old))
        for old, new in zip(before, after, strict=True)
    ]
    return ~jnp.any(jnp.stack(faults))


def _wide(leaf: Array) -> Array:
    """Where squares of half precision do not overflow at once."""
    return leaf if jnp.iscomplexobj(leaf) else ops.at_least_float32(leaf)


def _is_inexact(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)
