"""What the checks of this package assert with: values are judged on the host."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.types import PyTree


def check(condition: Any, message: str) -> None:
    """Raises an AssertionError that says which promise is broken.

    Args:
      condition: whether it is kept.
      message: what is wrong otherwise.

    Raises:
      AssertionError: with the message.
    """
    if not condition:
        raise AssertionError(message)


def check_finite(tree: PyTree, what: str) -> None:
    """Asserts that no leaf holds NaN or infinity.

    Args:
      tree: of arrays.
      what: it is.

    Raises:
      AssertionError: naming it.
    """
    finite = all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))
    check(finite, f"{what}: not finite")


def check_close(
    actual: PyTree, expected: PyTree, message: str, *, tolerance: float = 1e-4
) -> None:
    """Asserts that two trees hold the same numbers.

    Args:
      actual: arrays.
      expected: arrays, of the same structure.
      message: what is wrong otherwise.
      tolerance: the largest difference of a leaf, as a share of its largest magnitude.

    Raises:
      AssertionError: with the message and the relative error or the shapes.
    """
    leaves = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    for a, b in leaves:
        check(
            jnp.shape(a) == jnp.shape(b), f"{message} ({jnp.shape(a)}, {jnp.shape(b)})"
        )
        error = relative_error(a, b)
        check(error <= tolerance, f"{message} (relative error {error:.1e})")


def close(actual: PyTree, expected: PyTree, *, tolerance: float = 1e-4) -> bool:
    """Whether `check_close` would pass.

    Args:
      actual: arrays.
      expected: arrays, of the same structure.
      tolerance: of `check_close`.

    Returns:
      True if it would.
    """
    try:
        check_close(actual, expected, "", tolerance=tolerance)
    except AssertionError:
        return False
    return True


def relative_error(actual: PyTree, expected: PyTree) -> float:
    """The largest difference, as a share of the largest expected magnitude.

    Args:
      actual: float, int or bool [...].
      expected: of the same shape.

    Returns:
      at least 0; NaN, which is below no tolerance, where a number is.
    """
    a, b = (np.asarray(x, np.float64) for x in (actual, expected))
    if np.array_equal(a, b):
        return 0.0
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(a - b)) / max(1e-6, np.max(np.abs(b))))
