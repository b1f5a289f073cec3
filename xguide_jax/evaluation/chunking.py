"""Any number of examples through a function of one batch size."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.types import PyTree


def map_rows(
    batch_fn: Callable[[PyTree], PyTree], rows: PyTree, *, batch_size: int
) -> PyTree:
    """What a function gives for each example, a batch of them at a time.

    The function sees B examples in every call, so that what is compiled in it is
    compiled once for any N. The last batch is filled up with its own first example,
    since a row of zeros could be one that a network has no number for; what comes of
    the filling is cut off.

    Args:
      batch_fn: a pytree whose leaves begin with B -> another such; each row of the
        result must depend on the same row of the argument alone.
      rows: a pytree whose leaves begin with N, typed keys among them.
      batch_size: B, at least 1.

    Returns:
      A pytree of NumPy arrays that begin with N, structured as the function's.

    Raises:
      ValueError: if `batch_size` is below 1, there is no example, or leaves of the
        rows or of the result disagree in how many they hold.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` (={batch_size}) must be at least 1.")
    num_rows = _num_rows("rows", rows)
    parts = []
    for start in range(0, num_rows, batch_size):
        places = np.arange(start, start + batch_size)
        places = np.where(places < num_rows, places, start)
        made = batch_fn(jax.tree.map(lambda leaf, at=places: leaf[at], rows))
        if _num_rows("the result", made) != batch_size:
            raise ValueError(
                f"of {batch_size} examples the function must return {batch_size} "
                f"rows; it returned {_num_rows('the result', made)}."
            )
        count = min(batch_size, num_rows - start)
        parts.append(jax.tree.map(lambda leaf, n=count: np.asarray(leaf)[:n], made))
    return jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)


def _num_rows(name: str, tree: PyTree) -> int:
    """How many examples every leaf holds, at least one."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    shapes = {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
    sizes = {shape[:1] for shape in shapes.values()}
    if len(sizes) != 1 or sizes <= {(), (0,)}:
        raise ValueError(
            f"every leaf of {name} must begin with as many examples, at least one; "
            f"got {shapes}."
        )
    ((size,),) = sizes
    return size
