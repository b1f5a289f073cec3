"""Convolutional image classifiers in Flax Linen.

Each maps inputs [B, H, W, channels] to a `ModelOutput` with logits [B, C] and the last
feature map 'features' [B, h, w, K], which `overrides` can replace. Their convolutions
and pooling are those of `ops`, whose second derivatives are fast on a CPU but which
know no forward mode; pass `conv_general_dilated=jax.lax.conv_general_dilated` for it.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import chex
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.models import overriding
from xguide_jax.types import Array, ModelOutput


class SaliencyGuidedCNN(nn.Module):
    """The network of the published MNIST experiment on saliency-guided training.

    conv 32 - ReLU - conv 64 - ReLU - max-pool 2 - dropout - dense 128 - ReLU - dropout
    - dense C, with 3x3 convolutions without padding; 1,199,882 parameters for
    28x28x1 inputs and 10 classes. 'features' [B, h, w, 64] are the pooled
    activations, before dropout. The published network ends in a log-softmax, which
    changes no cross-entropy, and starts from PyTorch's initial weights; this one
    returns logits and starts from Flax's.

    Attributes:
      num_classes: C.
      dropout: fractions in [0, 1) dropped before the first and second dense layer;
        (0, 0) needs no key.
      conv_general_dilated: the convolution.
      max_pool: `(inputs, *, window) -> outputs`.

    Source: the authors' released MNIST code for Ismail, Corrada Bravo, Feizi,
      "Improving Deep Learning Interpretability by Saliency Guided Training",
      NeurIPS 2021; the paper's own description was not available to check.
    """

    num_classes: int = 10
    dropout: tuple[float, float] = (0.25, 0.5)
    conv_general_dilated: Callable[..., Array] = ops.conv_general_dilated
    max_pool: Callable[..., Array] = ops.max_pool

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies inputs [B, H, W, channels]."""
        chex.assert_rank(inputs, 4)
        hidden = inputs
        for channels in (32, 64):
            hidden = nn.Conv(
                channels,
                (3, 3),
                padding="VALID",
                conv_general_dilated=self.conv_general_dilated,
            )(hidden)
            hidden = nn.relu(hidden)
        pooled = self.max_pool(hidden, window=(2, 2))
        features = overriding.override("features", pooled, overrides)
        hidden = nn.Dropout(self.dropout[0], deterministic=not train)(features)
        hidden = nn.relu(nn.Dense(128)(hidden.reshape(hidden.shape[0], -1)))
        hidden = nn.Dropout(self.dropout[1], deterministic=not train)(hidden)
        logits = nn.Dense(self.num_classes)(hidden)
        return ModelOutput(logits, {"features": features})


class SmallCNN(nn.Module):
    """A few 3x3 convolutions and a linear head, for small images.

    Each layer is a convolution with 'SAME' padding, batch norm where asked, and the
    activation; strides shrink the map, so 48x48 inputs give 12x12 'features' by
    default; the layers before are exposed as 'layer_0', 'layer_1' and so on. With
    `head='average'` the logits are linear in the mean feature map, and class activation
    maps are exact; with 'flatten' they see where a feature is.

    Attributes:
      num_classes: C.
      channels: output channels of each convolution; the last is K.
      strides: stride of each convolution.
      activation: pointwise; a smooth one, e.g. `nn.softplus`, has second derivatives.
      head: 'average' (global average pooling) or 'flatten'.
      normalise: 'none' or 'batch' (batch norm, running statistics with momentum 0.9).
      axis_name: mapped axis over which batch norm shares its statistics, or None. In
        train mode the network must then run inside that axis.
      dropout: fraction in [0, 1) of features dropped before the head; 0 needs no key.
      conv_general_dilated: the convolution.
    """

    num_classes: int
    channels: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (1, 2, 2)
    activation: Callable[[Array], Array] = nn.relu
    head: Literal["average", "flatten"] = "average"
    normalise: Literal["none", "batch"] = "none"
    axis_name: str | None = None
    dropout: float = 0.0
    conv_general_dilated: Callable[..., Array] = ops.conv_general_dilated

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies inputs [B, H, W, channels]."""
        chex.assert_rank(inputs, 4)
        self._check_choices()
        hidden, exposed = inputs, {}
        names = [f"layer_{number}" for number in range(len(self.channels) - 1)]
        for name, channels, stride in zip(
            [*names, "features"], self.channels, self.strides, strict=True
        ):
            hidden = nn.Conv(
                channels,
                (3, 3),
                strides=stride,
                use_bias=self.normalise == "none",
                conv_general_dilated=self.conv_general_dilated,
            )(hidden)
            if self.normalise == "batch":
                hidden = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=0.9,
                    axis_name=self.axis_name,
                )(hidden)
            hidden = self.activation(hidden)
            hidden = exposed[name] = overriding.override(name, hidden, overrides)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        if self.head == "average":
            hidden = jnp.mean(hidden, axis=(1, 2))
        logits = nn.Dense(self.num_classes)(hidden.reshape(hidden.shape[0], -1))
        return ModelOutput(logits, exposed)

    def _check_choices(self) -> None:
        if len(self.channels) != len(self.strides):
            raise ValueError(
                f"`strides` (={self.strides}) must have one entry for each of "
                f"`channels` (={self.channels})."
            )
        for name, choices in (
            ("head", ("average", "flatten")),
            ("normalise", ("none", "batch")),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"`{name}` (={value!r}) must be one of {choices}.")
