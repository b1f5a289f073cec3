"""The end of a network as a network, for a beginning that is held as it is.

Activations of a trunk that does not change are computed once; what is behind them then
trains on a CPU in seconds where the whole network takes hours.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from xguide_jax.types import ApplyFn, Array, ModelOutput, PRNGKey, PyTree


def tail(
    apply_fn: ApplyFn,
    layer: str,
    *,
    input_shape: Sequence[int],
    exposed: Sequence[str] = (),
) -> ApplyFn:
    """The network behind one of its layers, whose inputs are that layer's activations.

    f(inputs) = network(x) with `overrides[layer]` = inputs, whatever x: what comes
    before is dead code, and its weights get a gradient of 0. It always runs in eval
    mode, since batch norm in train mode would move the statistics before the layer by
    an image that there is not. Dropout is off for the same reason.

    Args:
      apply_fn: the network, whose layer can be replaced.
      layer: an activation that it exposes, [B, ...].
      input_shape: of one input of the whole network, e.g. (H, W, 3).
      exposed: activations behind the layer that are passed on; others, of which some
        lie before it, are not.

    Returns:
      An `ApplyFn` of the same parameters and state, of inputs [B, ...] like the
      activations, that exposes `layer` and `exposed`.

    Raises:
      ValueError: in the first call, if the network does not expose one of them, or if
        `overrides` names what is not exposed here.

    Example:
      Features of a frozen trunk, computed once, and a classifier on top::

        features = apply_fn(params, state, images, train=False)[0].intermediates
        head = models.tail(apply_fn, "features", input_shape=(224, 224, 3))
        output, _ = head(params, state, features["features"], train=True)
    """
    kept = (layer, *exposed)

    def tail_apply_fn(
        params: PyTree,
        model_state: PyTree,
        inputs: PyTree,
        *,
        train: bool,
        key: PRNGKey | None = None,
        overrides: Mapping[str, Array] | None = None,
    ) -> tuple[ModelOutput, PyTree]:
        del train
        if hidden := sorted(set(overrides or ()) - set(kept)):
            raise ValueError(
                f"`overrides` names {hidden}; the network starts from {layer!r} and "
                f"exposes {sorted(kept)}."
            )
        nothing = jnp.zeros((len(inputs), *input_shape), inputs.dtype)
        output, _ = apply_fn(
            params, model_state, nothing,
            train=False, key=key, overrides={layer: inputs, **(overrides or {})},
        )  # fmt: skip
        if missing := sorted(set(kept) - output.intermediates.keys()):
            raise ValueError(
                f"the network exposes {sorted(output.intermediates)}, not {missing}."
            )
        passed = {name: output.intermediates[name] for name in kept}
        return ModelOutput(output.logits, passed), model_state

    return tail_apply_fn
