"""The function and the point that a term explains, at the input or at a layer."""

import functools
from typing import Literal

from xguide_jax import attributions
from xguide_jax.types import Array, PredictFn, StepContext

Mode = Literal["eval", "train"]


def check_mode(explain_in: Mode) -> None:
    """Refuses an unknown mode when a term is built.

    Args:
      explain_in: the mode of the explained pass.

    Raises:
      ValueError: if it is neither 'eval' nor 'train'.
    """
    if explain_in not in ("eval", "train"):
        raise ValueError(f"`explain_in` (={explain_in!r}) must be 'eval' or 'train'.")


def function_and_point(
    context: StepContext, *, layer: str | None, explain_in: Mode
) -> tuple[PredictFn, Array]:
    """What explainers take: a function and where to explain it.

    In train mode a layer's features are those of the clean pass, so that explaining it
    costs no pass of its own, forwards or backwards, up to the layer.

    Args:
      context: of the step.
      layer: an activation that the network exposes; the input if None.
      explain_in: the mode of the explained pass.

    Returns:
      (head_fn, features), or (predict_fn, inputs).

    Raises:
      ValueError: for a layer that the network does not expose.
    """
    inputs, train = context.batch["inputs"], explain_in == "train"
    forward = functools.partial(context.forward, train=train)
    if layer is None:
        return lambda values: forward(values).logits, inputs
    output = context.output if train else None
    return attributions.split_at(forward, inputs, layer, output=output)


def check_cells(shape: tuple[int, ...], *, layer: str | None) -> None:
    """Refuses maps of one cell: a loss of where in them has no gradient.

    Args:
      shape: (B, h, w) of the maps.
      layer: the activation that is explained; the input if None.

    Raises:
      ValueError: if h w = 1.
    """
    if shape[1] * shape[2] == 1:
        raise ValueError(
            f"`layer` (={layer!r}) gives maps of shape {tuple(shape)}: one cell for "
            "the whole image cannot be guided; explain an earlier layer."
        )
