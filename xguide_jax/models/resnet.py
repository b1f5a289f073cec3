"""ResNets of photographs, as torchvision and timm have them.

`load_resnet` reads their published weights, `imagenet_inputs` makes their inputs of a
photograph, and `top_stages` says which parameters stand above a stage, for `freeze`.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.models import overriding
from xguide_jax.types import Array, ModelOutput, PyTree


class Layout(NamedTuple):
    """Blocks in each stage, and whether a block narrows its middle convolution."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool


LAYOUTS = {
    10: Layout((1, 1, 1, 1), False),
    14: Layout((1, 1, 1, 1), True),
    18: Layout((2, 2, 2, 2), False),
    26: Layout((2, 2, 2, 2), True),
    34: Layout((3, 4, 6, 3), False),
    50: Layout((3, 4, 6, 3), True),
    101: Layout((3, 4, 23, 3), True),
    152: Layout((3, 8, 36, 3), True),
}
# A bottleneck puts out so many times the channels of its middle convolution.
_EXPANSION = 4


class ResNet(nn.Module):
    """Four stages of residual blocks with batch norm; a mean; logits.

    y = ReLU(x' + F(x)), where F is two 3x3 convolutions, or 1x1, 3x3 and 1x1 of a
    bottleneck, and x' is x or, where the shape changes, its 1x1 convolution. The first
    block of a stage but the first halves the map, by the 3x3 convolution. Padding is
    that of PyTorch, as much on both sides, which 'SAME' is not at a stride of 2.

    Inputs [B, H, W, 3] of `imagenet_inputs` to logits [B, C]. It exposes 'stem', what
    the max-pool puts out, 'stage_1' to 'stage_3', and 'features' [B, h, w, K], what the
    fourth stage puts out: 7x7 of 224 pixels, with K = 512, or 2048 of bottlenecks;
    'stage_3' is 14x14, 'stage_2' 28x28, 'stage_1' and 'stem' 56x56. Any size does; the
    sides are divided by 32 and rounded up. The logits are linear in the mean of the
    features, so that class activation maps are exact.

    Attributes:
      depth: 18, 34, 50, 101 or 152 as published; 10, 14 and 26 are smaller.
      num_classes: C.
      width: channels of the stem and of the first stage's 3x3 convolutions.
      stem: '7x7' as published, at a stride of 2 with a max-pool of another; '3x3' of
        images of some 32 pixels, at a stride of 1 without, which 'stage_1' is as large
        as. Published weights are of the first.
      norm: 'batch' normalises by the batch in train mode, with running statistics of
        momentum 0.9 (of the plain variance, where PyTorch has the unbiased one);
        'running' by the running statistics in both modes, which then stay, as one
        trains on few examples or above a frozen stage.
      axis_name: mapped axis over which batch norm shares its statistics, or None. In
        train mode the network must then run inside that axis.
      conv_general_dilated: the convolution.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR
      2016; the stride of a bottleneck is in its 3x3 convolution, as torchvision and
      timm have it, where the paper has it in the first 1x1.
    """

    depth: int = 18
    num_classes: int = 1000
    width: int = 64
    stem: Literal["7x7", "3x3"] = "7x7"
    norm: Literal["batch", "running"] = "batch"
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
        chex.assert_rank(inputs, 4)
        layout = self._checked()
        exposed: dict[str, Array] = {}

        def expose(name: str, activation: Array) -> Array:
            exposed[name] = overriding.override(name, activation, overrides)
            return exposed[name]

        published = self.stem == "7x7"
        kernel, stride = (7, 2) if published else (3, 1)
        hidden = self._convolved(
            inputs, "stem", self.width, kernel=kernel, stride=stride, train=train
        )
        hidden = nn.relu(hidden)
        hidden = expose("stem", max_pool_of_relu(hidden) if published else hidden)
        for stage, repeats in enumerate(layout.blocks):
            for number in range(repeats):
                stride = 2 if stage > 0 and number == 0 else 1
                own = f"stage_{stage + 1}_block_{number}"
                hidden = self._block(
                    hidden, own, self.width * 2**stage, stride=stride, train=train
                )
            name = "features" if stage == 3 else f"stage_{stage + 1}"
            hidden = expose(name, hidden)
        pooled = jnp.mean(hidden, axis=(1, 2))
        logits = nn.Dense(self.num_classes, name="classifier")(pooled)
        return ModelOutput(logits, exposed)

    def _block(
        self, hidden: Array, own: str, channels: int, *, stride: int, train: bool
    ) -> Array:
        """ReLU(x' + F(x)), whose modules are named after it, `own`."""
        bottleneck = LAYOUTS[self.depth].bottleneck
        convolved = functools.partial(self._convolved, train=train)
        sizes: tuple[int, ...] = (1, 3, 1) if bottleneck else (3, 3)
        out = channels * (_EXPANSION if bottleneck else 1)
        strided = sizes.index(3)
        inner = hidden
        for number, size in enumerate(sizes):
            last = number == len(sizes) - 1
            inner = convolved(
                inner, f"{own}_{number + 1}", out if last else channels,
                kernel=size, stride=stride if number == strided else 1,
            )  # fmt: skip
            inner = inner if last else nn.relu(inner)
        if stride > 1 or hidden.shape[-1] != out:
            hidden = convolved(hidden, f"{own}_skip", out, kernel=1, stride=stride)
        return nn.relu(inner + hidden)

    def _convolved(
        self,
        hidden: Array,
        name: str,
        channels: int,
        *,
        kernel: int,
        stride: int,
        train: bool,
    ) -> Array:
        """A convolution without bias, and batch norm."""
        hidden = nn.Conv(
            channels,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2,
            use_bias=False,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            conv_general_dilated=self.conv_general_dilated,
            name=f"{name}_conv",
        )(hidden)
        return nn.BatchNorm(
            use_running_average=self.norm == "running" or not train,
            momentum=0.9,
            epsilon=1e-5,
            axis_name=self.axis_name,
            name=f"{name}_norm",
        )(hidden)

    def _checked(self) -> Layout:
        if self.depth not in LAYOUTS:
            raise ValueError(
                f"`depth` (={self.depth}) must be one of {tuple(LAYOUTS)}."
            )
        if self.stem not in ("7x7", "3x3"):
            raise ValueError(f"`stem` (={self.stem!r}) must be one of ('7x7', '3x3').")
        if self.norm not in ("batch", "running"):
            raise ValueError(
                f"`norm` (={self.norm!r}) must be one of ('batch', 'running')."
            )
        return LAYOUTS[self.depth]


def max_pool_of_relu(inputs: Array) -> Array:
    """Largest value of 3x3 windows at a stride of 2, one place of padding around.

    out[b, i, j, k] = max over u, v in {−1, 0, 1} of inputs[b, 2i + u, 2j + v, k], and
    nothing outside. Equals Flax's `max_pool(inputs, (3, 3), (2, 2), ((1, 1), (1, 1)))`
    where nothing is negative; its backward pass took 3.4 times as long on a CPU. Among
    equals the gradient is split, where Flax and PyTorch give it all to one.

    Args:
      inputs: float [B, H, W, K], not negative, as a ReLU puts it out.

    Returns:
      float [B, ⌈H / 2⌉, ⌈W / 2⌉, K].
    """
    pooled = inputs
    for axis in (1, 2):
        size = (pooled.shape[axis] + 1) // 2
        # Zeros, and not −inf, which LRP would multiply by 0: none is negative.
        pad = [(1, 1) if each == axis else (0, 0) for each in range(4)]
        padded = jnp.pad(pooled, pad)
        first, middle, last = (
            jax.lax.slice_in_dim(padded, start, start + 2 * size - 1, 2, axis)
            for start in range(3)
        )
        pooled = jnp.maximum(jnp.maximum(first, middle), last)
    return pooled


def top_stages(params: PyTree, *, num_stages: int) -> PyTree:
    """Which parameters of a `ResNet` belong to its top stages and its classifier.

    Batch statistics are no parameters: those of the lower stages still move in train
    mode, unless the network has `norm='running'`.

    Args:
      params: of a `ResNet`.
      num_stages: how many stages count, 0 to 4: 0 is the classifier alone. The stem
        never does.

    Returns:
      bool for each leaf: for `freeze`, and as labels of `optax.partition`.

    Raises:
      ValueError: if there are fewer stages.
    """
    if not 0 <= num_stages <= 4:
        raise ValueError(
            f"`num_stages` (={num_stages}) must be 0 to 4, the stages of `params`."
        )

    def counts(name: str) -> bool:
        stage = re.match(r"stage_(\d)_", name)
        return name == "classifier" if stage is None else int(stage[1]) > 4 - num_stages

    return {
        name: jax.tree.map(lambda leaf, name=name: counts(name), tree)
        for name, tree in params.items()
    }
