"""The upper layers of a transformer trained alone.

    apply_fn, trained, state = models.freeze(
        models.linen_apply_fn(module), params, {},
        trained=models.top_layers(params, num_layers=2),
    )

leaves two layers and the head to be trained; `{**params, **trained}` are the weights of
the whole network afterwards. Where no term looks below these layers, the states that
they start from are the same in every epoch: computed once, in eval mode, and fed to a
`Bert` beside the tokens, they leave what is below them dead code.

    hidden = apply_fn(trained, state, inputs, train=False)[0].intermediates["hidden_3"]
    inputs = {**inputs, "hidden_3": hidden}
    apply_fn = models.above_layer(apply_fn, 3)
"""

import re
from collections.abc import Mapping

import jax

from xguide_jax import ops
from xguide_jax.types import ApplyFn, Array, ModelOutput, PRNGKey, PyTree


def top_layers(params: PyTree, *, num_layers: int) -> PyTree:
    """Which parameters of a transformer belong to its top layers and its head.

    By the names of its modules: 'layer_<l>' is a layer; what has 'embeddings' in its
    name, a table, a norm or the patches' convolution, lies below them and never counts;
    all else is the head, such as the norm at the end of a `VisionTransformer`. A
    `TextDecoder` has none: its logits are by the word embeddings. Not for a
    `SeriesTransformer`, whose 'embedding' would pass for a part of the head.

    Args:
      params: of a `Bert`, `VisionTransformer` or `TextDecoder`, of L layers.
      num_layers: how many layers count, 0 to L: 0 is the head alone.

    Returns:
      bool for each leaf: for `freeze`, and as labels of `optax.partition`.

    Raises:
      ValueError: if there are fewer layers.
    """
    numbers = {_layer(name) for name in params} - {None}
    if not 0 <= num_layers <= len(numbers):
        raise ValueError(
            f"`num_layers` (={num_layers}) must be 0 to {len(numbers)}, the layers of "
            "`params`."
        )
    first = len(numbers) - num_layers

    def counts(name: str) -> bool:
        number = _layer(name)
        if number is None:
            return "embeddings" not in name
        return number >= first

    return {
        name: jax.tree.map(lambda leaf, name=name: counts(name), tree)
        for name, tree in params.items()
    }


def above_layer(apply_fn: ApplyFn, layer: int) -> ApplyFn:
    """A `Bert` that starts from the states of a layer, which its inputs hold.

    Its inputs are those of `Bert` with 'hidden_<layer>' [B, T, D] beside them, float16
    or wider, as the network put it out in eval mode. Dropout up to there is therefore
    none. What lies before is neither exposed nor replaced, since the logits would not
    depend on it.

    Args:
      apply_fn: of a `Bert`, frozen or not.
      layer: l, from 0; it and all below are dead code.

    Returns:
      An `ApplyFn`. It raises a ValueError where `overrides` names what is not exposed,
      or the inputs lack the states.

    Raises:
      ValueError: if `layer` is negative.
    """
    if layer < 0:
        raise ValueError(f"`layer` (={layer}) must not be negative.")
    start = f"hidden_{layer}"
    below = {"embeddings", *(f"hidden_{number}" for number in range(layer))}
    below |= {f"attention_{number}" for number in range(layer + 1)}

    def upper_apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        if start not in inputs:
            raise ValueError(f"`inputs` ({sorted(inputs)}) must hold {start!r}.")
        hidden = sorted(below.intersection(overrides or ()))
        if hidden:
            raise ValueError(
                f"`overrides` names {hidden}; the network starts from {start!r} and "
                "exposes that and what is behind it."
            )
        stored = ops.at_least_float32(inputs[start])
        output, state = apply_fn(
            params, model_state,
            {name: value for name, value in inputs.items() if name != start},
            train=train, key=key, overrides={start: stored, **(overrides or {})},
        )  # fmt: skip
        exposed = output.intermediates.items()
        return (
            ModelOutput(output.logits, {n: a for n, a in exposed if n not in below}),
            state,
        )

    return upper_apply_fn


def _layer(name: str) -> int | None:
    """The number of a layer, by its name 'layer_<l>'; None for what is no layer."""
    found = re.fullmatch(r"layer_(\d+)", name)
    return None if found is None else int(found[1])
