"""EfficientNet-Lite0 on ImageNet, and how photographs are fed to it.

4.65 million parameters, 224x224 pixels, 1,000 classes; `load_efficientnet_lite0` has
its published weights.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.models import overriding
from xguide_jax.types import Array, ModelOutput

# Of the shorter side; the published evaluation cuts 224 out of 256 pixels.
_CENTRE = 0.875


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """Inverted residual blocks with ReLU6, no squeeze-and-excitation.

    Inputs [B, H, W, 3] of `efficientnet_lite_inputs` to logits [B, C]. It exposes
    'block_0' to 'block_15' and 'features' [B, h, w, 1280], the last map before global
    average pooling: 7x7 of 224 pixels; 'block_2' is 56x56x24, 'block_4' 28x28x40,
    'block_10' 14x14x112. Smaller inputs do, sides a multiple of 32.

    Attributes:
      num_classes: C.
      dropout: fraction of the pooled features dropped in train mode, which then needs
        a key; the published stochastic depth is left out.
      axis_name: mapped axis over which batch norm shares its statistics, or None.
      conv_general_dilated: the convolution.

    Source: Liu, "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow
      blog, 2020; Tan, Le, "EfficientNet", ICML 2019.
    """

    num_classes: int = 1000
    dropout: float = 0.2
    axis_name: str | None = None
    conv_general_dilated: Callable[..., Array] = ops.conv_general_dilated

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Classifies inputs [B, H, W, 3]."""
        chex.assert_axis_dimension(inputs, -1, 3)

        def convolved(
            hidden: Array, name: str, channels: int, kernel: int = 1, **options: Any
        ) -> Array:
            hidden = nn.Conv(
                channels,
                (kernel, kernel),
                use_bias=False,
                name=f"{name}_conv",
                conv_general_dilated=self.conv_general_dilated,
                **options,
            )(hidden)
            return nn.BatchNorm(
                use_running_average=not train,
                epsilon=1e-3,
                axis_name=self.axis_name,
                name=f"{name}_norm",
            )(hidden)

        exposed = {}
        hidden = nn.relu6(convolved(inputs, "stem", 32, 3, strides=2))
        for number, (stage, stride) in enumerate(_blocks()):
            before, own = hidden, f"block_{number}"
            channels = hidden.shape[-1] * stage.expansion
            if stage.expansion > 1:
                hidden = nn.relu6(convolved(hidden, f"{own}_expand", channels))
            hidden = convolved(
                hidden, f"{own}_depthwise", channels, stage.kernel,
                strides=stride, feature_group_count=channels,
            )  # fmt: skip
            hidden = convolved(nn.relu6(hidden), f"{own}_project", stage.channels)
            if before.shape == hidden.shape:
                hidden = hidden + before
            hidden = exposed[own] = overriding.override(own, hidden, overrides)
        hidden = nn.relu6(convolved(hidden, "head", 1280))
        exposed["features"] = overriding.override("features", hidden, overrides)
        pooled = jnp.mean(exposed["features"], axis=(1, 2))
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        logits = nn.Dense(self.num_classes, name="classifier")(pooled)
        return ModelOutput(logits, exposed)


def efficientnet_lite_inputs(image: np.ndarray, *, size: int = 224) -> np.ndarray:
    """A photograph as the published evaluation feeds it.

    The square in the middle, 0.875 of the shorter side, resized by a bicubic filter,
    and (x − 127) / 128.

    Args:
      image: uint8 [H, W, 3].
      size: pixels a side, a multiple of 32.

    Returns:
      float32 [size, size, 3], within [-1, 1].

    Raises:
      ValueError: if the image is of another form, or `size` no multiple of 32.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"`image` ({image.dtype}{image.shape}) must be uint8 [H, W, 3]."
        )
    if size < 32 or size % 32:
        raise ValueError(f"`size` (={size}) must be a positive multiple of 32.")
    square = jnp.asarray(central_square(image), jnp.float32)
    resized = jax.image.resize(square, (size, size, 3), "cubic")
    return np.asarray((jnp.clip(resized, 0, 255) - 127) / 128)


def central_square(image: np.ndarray) -> np.ndarray:
    """The part of an image, or of its mask, that `efficientnet_lite_inputs` shows.

    Args:
      image: [H, W, ...].

    Returns:
      [s, s, ...], s 0.875 of the shorter side.
    """
    height, width = image.shape[:2]
    side = int(_CENTRE * min(height, width))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return image[top : top + side, left : left + side]


def _blocks() -> list[tuple[_Stage, int]]:
    """A stage and a stride for each block; only the first of a stage has a stride."""
    return [
        (stage, stage.stride if repeat == 0 else 1)
        for stage in _STAGES
        for repeat in range(stage.repeats)
    ]
