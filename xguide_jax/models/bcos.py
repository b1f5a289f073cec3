"""Networks whose logits are a sum of contributions of the inputs, by construction.

A B-cos layer is linear but for a scale of each output, the alignment of input and
weight. Held as they are, the scales leave a linear function of the inputs, whose terms
`bcos_contributions` returns.
"""

from collections.abc import Callable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.models import overriding
from xguide_jax.types import Array, ModelOutput

_SCALES = "alignment_"


class BcosCNN(nn.Module):
    """A few 3x3 B-cos convolutions, one 1x1 to the classes, and a mean.

    Each layer is y = |cos(x, w)|^{B − 1} ŵᵀx over its patches x, with ŵ = w / ‖w‖ and
    cos(x, w) = ŵᵀx / ‖x‖; there are no biases, norms or other activations. A patch of
    zeros gives 0. Logits are the mean over places of the last layer, by `temperature`.

    Inputs are [B, H, W, 6] of `bcos_inputs`. It exposes 'layer_0', 'layer_1' and so on,
    the last map before the classes as 'features' [B, h, w, K], and the scale of every
    layer, |cos(x, w)|^{B − 1}, as 'alignment_0', 'alignment_1' and so on, the last one
    [B, h, w, C].

    Attributes:
      num_classes: C.
      channels: output channels of each convolution; the last is K.
      strides: stride of each convolution.
      exponent: B ≥ 1; 1 is a linear network, 2 the published one.
      temperature: what the means are divided by. They shrink with every layer, since
        |cos| ≤ 1, and with many pixels: a small one lets a softmax be sure.
      conv_general_dilated: the convolution.

    Source: Böhle, Fritz, Schiele, "B-cos Networks: Alignment is All We Need for
      Interpretability", CVPR 2022: the B-cos transform and its linear summary. The
      paper's MaxOut units, its scale of each layer and its bias of the logits are left
      out; without that bias the contributions sum to the whole logit.
    """

    num_classes: int
    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (1, 2, 2)
    exponent: float = 2.0
    temperature: float = 0.1
    conv_general_dilated: Callable[..., Array] = ops.conv_general_dilated

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies inputs [B, H, W, 6]."""
        del train  # deterministic
        chex.assert_rank(inputs, 4)
        self._check()
        hidden, exposed = inputs, dict[str, Array]()
        last = len(self.channels)
        names = [*(f"layer_{number}" for number in range(last - 1)), "features"]

        def layer(
            hidden: Array, number: int, channels: int, kernel: int, stride: int
        ) -> Array:
            linear, norms = self._linear(hidden, number, channels, kernel, stride)
            own = f"{_SCALES}{number}"
            exposed[own] = overriding.override(
                own, _alignment(linear, norms, self.exponent), overrides
            )
            return exposed[own] * linear

        for number, (name, channels, stride) in enumerate(
            zip(names, self.channels, self.strides, strict=True)
        ):
            hidden = layer(hidden, number, channels, 3, stride)
            hidden = exposed[name] = overriding.override(name, hidden, overrides)
        logits = jnp.mean(layer(hidden, last, self.num_classes, 1, 1), axis=(1, 2))
        return ModelOutput(logits / self.temperature, exposed)

    def _linear(
        self, hidden: Array, number: int, channels: int, kernel: int, stride: int
    ) -> tuple[Array, Array]:
        """ŵᵀx [B, h, w, channels], and ‖x‖² [B, h, w, 1], of every patch x."""
        shape = (kernel, kernel, hidden.shape[-1], channels)
        weight = self.param(
            f"kernel_{number}", nn.initializers.normal(1.0), shape, jnp.float32
        ).astype(hidden.dtype)
        # Of initial weights never 0; a column of zeros has no direction.
        unit = weight / jnp.sqrt(jnp.sum(weight**2, axis=(0, 1, 2)))
        convolve = lambda inputs, kernel: self.conv_general_dilated(
            inputs, kernel, (stride, stride), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        squares = jnp.sum(hidden**2, axis=-1, keepdims=True)
        ones = jnp.ones((kernel, kernel, 1, 1), hidden.dtype)
        return convolve(hidden, unit), convolve(squares, ones)

    def _check(self) -> None:
        if len(self.channels) != len(self.strides):
            raise ValueError(
                f"`strides` (={self.strides}) must have one entry for each of "
                f"`channels` (={self.channels})."
            )
        if self.exponent < 1:
            raise ValueError(f"`exponent` (={self.exponent}) must be at least 1.")
        if self.temperature <= 0:
            raise ValueError(f"`temperature` (={self.temperature}) must be positive.")


def bcos_inputs(images: Array) -> Array:
    """Images as a `BcosCNN` takes them: [x, 1 − x].

    A dark place then contributes as a bright one does; zeros would never.

    Args:
      images: float [..., K], in [0, 1].

    Returns:
      float [..., 2 K], in [0, 1].
    """
    return jnp.concatenate([images, 1 - images], axis=-1)


def bcos_contributions(
    forward: Callable[..., Any], inputs: Array, targets: Array
) -> Array:
    """What each input adds to the logit of a class of a `BcosCNN`.

    x ∂z/∂x, the scales |cos(x, w)|^{B − 1} of all layers held at their values at x:
    the network is then linear, z = Σ W(x) x, and the contributions sum to the logit.
    Their own gradient in inputs and parameters goes through the scales as well.

    Args:
      forward: `(inputs, *, overrides=None)` -> a `ModelOutput` or a tuple that begins
        with one, of a `BcosCNN`: as for `attributions.split_at`.
      inputs: float [B, H, W, 6].
      targets: int [B], classes.

    Returns:
      float [B, H, W, 6], in the unit of the logits; sum the channels for a map.

    Raises:
      ValueError: if `forward` exposes no scales: it is no `BcosCNN`.
    """
    chex.assert_rank([inputs, targets], [4, 1])
    exposed = _run(forward, inputs).intermediates
    scales = {name: x for name, x in exposed.items() if name.startswith(_SCALES)}
    if not scales:
        raise ValueError(
            f"`forward` exposes {sorted(exposed)}; a `BcosCNN` exposes "
            f"'{_SCALES}0' and so on."
        )

    def total(inputs: Array) -> Array:
        logits = _run(forward, inputs, overrides=scales).logits
        return jnp.sum(jnp.take_along_axis(logits, targets[:, None], axis=1))

    return inputs * jax.grad(total)(inputs)


def _alignment(linear: Array, squared_norms: Array, exponent: float) -> Array:
    """|ŵᵀx / ‖x‖|^{B − 1}, 0 where that is no direction, with finite gradients."""
    if exponent == 1:
        return jnp.ones_like(linear)
    # A double `where`: a root and a power have no finite gradient at 0.
    somewhere = squared_norms > 0
    norms = jnp.sqrt(jnp.where(somewhere, squared_norms, 1.0))
    aligned = somewhere & (linear != 0)
    cosines = jnp.abs(jnp.where(aligned, linear, 1.0)) / norms
    scales = cosines if exponent == 2 else cosines ** (exponent - 1)
    return jnp.where(aligned, scales, 0.0)


def _run(forward: Callable[..., Any], inputs: Array, **options: Any) -> ModelOutput:
    output = forward(inputs, **options)
    return output if isinstance(output, ModelOutput) else output[0]
