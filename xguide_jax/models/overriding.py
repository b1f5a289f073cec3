"""How a network lets its activations be replaced.

A network calls `override` once for every activation that it exposes and returns the
result in `ModelOutput.intermediates` under the same name. Everything before a replaced
activation is then dead code, and the gradient at the clean value is the gradient with
respect to that activation.
"""

from collections.abc import Mapping

from xguide_jax.types import Array


def override(
    name: str, activation: Array, overrides: Mapping[str, Array] | None
) -> Array:
    """The activation, or what replaces it.

    overrides[name] if there is one, else `activation`. A replacement takes the
    gradient, and `activation` then gets none.

    Args:
      name: what the network calls the activation.
      activation: float [B, ...], its clean value.
      overrides: {name: float [B, ...]}, or None for none.

    Returns:
      float [B, ...], shaped like `activation`.

    Raises:
      ValueError: if the replacement has another shape, which might broadcast.
    """
    if overrides is None or name not in overrides:
        return activation
    replacement = overrides[name]
    if replacement.shape != activation.shape:
        raise ValueError(
            f"`overrides[{name!r}]` has shape {replacement.shape}; the activation it "
            f"replaces has shape {activation.shape}."
        )
    return replacement
