"""Parameters that a term learns beside the network: matrices, and whether they came."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax.types import Array, PRNGKey, PyTree


def matrix(key: PRNGKey, num_inputs: int, num_outputs: int) -> Array:
    """Random weights that keep the size of their inputs.

    Args:
      key: a typed key.
      num_inputs: I, at least 1.
      num_outputs: O.

    Returns:
      float [I, O], normal with variance 1 / I.
    """
    return jax.random.normal(key, (num_inputs, num_outputs)) / np.sqrt(num_inputs)


def project(values: Array, weights: Array) -> Array:
    """Vectors times weights, in the dtype of the vectors.

    Args:
      values: float [..., I].
      weights: float [I, O].

    Returns:
      float [..., O].
    """
    return jnp.einsum("...i,io->...o", values, weights.astype(values.dtype))


def check_width(name: str, width: int) -> None:
    """Refuses a width that no array has, when a term is built.

    Args:
      name: of the argument.
      width: at least 1.

    Raises:
      ValueError: if it is less.
    """
    if width < 1:
        raise ValueError(f"`{name}` (={width}) must be at least 1.")


def check_features(features: Array, width: int, *, layer: str) -> None:
    """Refuses features of another width than the term was built for.

    Args:
      features: [B, h, w, K].
      width: what K must be.
      layer: they come from.

    Raises:
      ValueError: if K is another.
    """
    if features.shape[-1] != width:
        raise ValueError(
            f"`feature_width` (={width}) must be that of `layer` (={layer!r}), "
            f"{features.shape[-1]}."
        )


def check_given(params: PyTree, names: Sequence[str]) -> None:
    """Refuses to go on without the parameters that a term learns.

    Args:
      params: of the term.
      names: of the entries it has.

    Raises:
      ValueError: if one is missing.
    """
    if isinstance(params, Mapping) and set(names) <= set(params):
        return
    found = sorted(params) if isinstance(params, Mapping) else params
    raise ValueError(
        f"`params` (={found!r}) must hold {sorted(names)}: the term learns. Make them "
        "by its `init`, or by `training.init_guidance` for all terms, and give them as "
        "params['guidance'][<name of the term>]."
    )
