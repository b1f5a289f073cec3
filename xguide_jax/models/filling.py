"""Leaves of a network filled from the tensors of a file, all of them and no others."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from xguide_jax.types import Array


def fill(
    leaves: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    *,
    name_in_file: Callable[[str], str],
    ignored: str,
    source: object,
) -> list[Array]:
    """The value of each leaf, out of tensors as PyTorch lays them out.

    Kernels are turned around: [out, in] becomes [in, out] and [out, in, h, w] becomes
    [h, w, in, out]. Floats of another width become the leaf's.

    Args:
      leaves: {'module.kernel': array or its shape and dtype}, float.
      tensors: {name: array}.
      name_in_file: the tensor's name, of a leaf's.
      ignored: a regular expression for the names of tensors that are no leaves.
      source: of the tensors, for errors.

    Returns:
      In the order of `leaves`.

    Raises:
      ValueError: if a tensor is missing, is of no leaf, or differs in shape or is no
        float; names, shapes and types are told on both sides.
    """
    values, faults, used = [], [], set()
    for own, leaf in leaves.items():
        name = name_in_file(own)
        used.add(name)
        if name not in tensors:
            faults.append(f"{name} (of {own}) is missing")
            continue
        value = tensors[name]
        if own.endswith("kernel"):
            axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim, range(value.ndim))
            value = value.transpose(axes)
        if value.shape != leaf.shape or not jnp.issubdtype(value.dtype, jnp.floating):
            faults.append(
                f"{name} is {value.dtype}{list(value.shape)} and {own} "
                f"{leaf.dtype}{list(leaf.shape)}"
            )
            continue
        values.append(jnp.asarray(value, leaf.dtype))
    unknown = {name for name in tensors if not re.fullmatch(ignored, name)} - used
    faults += [f"{name} is not of this network" for name in unknown]
    if faults:
        raise ValueError(f"{source} does not fit: {'; '.join(sorted(faults))}.")
    return values
