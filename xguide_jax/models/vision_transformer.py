"""Vision transformers of photographs, as timm has them.

`load_vision_transformer` reads their published weights and `imagenet_inputs` makes
their inputs of a photograph. The parameters of their top layers are told by
`top_layers`, as those of a `Bert`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.models import overriding, transformer_layer
from xguide_jax.types import Array, ModelOutput

Expose = Callable[[str, Array], Array]
Pooling = Literal["class_token", "mean"]


class VisionTransformer(nn.Module):
    """Patches and a class token, pre-norm layers of self-attention, logits.

    x = (class token, W patches) + position; in each layer y = x + attention(norm(x))
    and x = y + W₂ activation(W₁ norm(y)); then a norm, and logits of the class token.
    Inputs [B, H, W, 3] to logits [B, C]; places are T = 1 + h w, with h = H / patch
    size and w alike. It exposes

    * 'attention_<l>' [B, heads, T, T], softmax over the last axis, before dropout; the
      class token is place 0;
    * 'tokens_<l>' [B, T, D], what layer l puts out, l from 0;
    * 'patches' [B, h, w, D], the patches that go *into* the last layer, before its
      norm, as a map. Behind that layer the class token alone is looked at, and the
      gradient in every patch would be 0.

    A replaced attention or map of patches leaves the logits a function of the inputs,
    by the residual connection or by the class token; replaced 'tokens_<l>' do not.

    For images of another size the position embeddings are interpolated by a bicubic
    filter (a = −1/2) that averages where it shrinks, as timm does with
    `dynamic_img_size`; the class token keeps its own.

    The defaults are ViT-S/16 of 224 pixels; ViT-B/16 has `width=768, num_heads=12`.

    Attributes:
      image_size: H = W that there are position embeddings of.
      patch_size: pixels a side, a divisor of every image's sides.
      num_layers: L.
      num_heads: a divisor of `width`.
      width: D.
      hidden_width: of W₁; None is 4 D.
      num_classes: C.
      pooling: what the logits are linear in: 'class_token', or 'mean', of the patches,
        both after the last norm.
      epsilon: of every layer norm.
      dropout: fraction in [0, 1) of embeddings, and of what each half of a layer adds,
        that is dropped in train mode, which then needs a key.
      attention_dropout: the same of attention, after it is exposed.
      activation: pointwise; GELU by the error function.
      conv_general_dilated: the convolution that embeds the patches.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image
      Recognition at Scale", ICLR 2021.
    """

    image_size: int = 224
    patch_size: int = 16
    num_layers: int = 12
    num_heads: int = 6
    width: int = 384
    hidden_width: int | None = None
    num_classes: int = 1000
    pooling: Pooling = "class_token"
    epsilon: float = 1e-6
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation: Callable[[Array], Array] = transformer_layer.exact_gelu
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
        self._check(inputs)
        exposed: dict[str, Array] = {}

        def expose(name: str, activation: Array) -> Array:
            exposed[name] = overriding.override(name, activation, overrides)
            return exposed[name]

        hidden, grid = self._embedded(inputs)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
        for number in range(self.num_layers):
            if number == self.num_layers - 1:
                patches = expose("patches", hidden[:, 1:].reshape(grid))
                patches = patches.reshape(hidden[:, 1:].shape)
                hidden = jnp.concatenate([hidden[:, :1], patches], axis=1)
            hidden = PreNormLayer(
                num_heads=self.num_heads,
                hidden_width=self.hidden_width or 4 * self.width,
                epsilon=self.epsilon,
                dropout=self.dropout,
                attention_dropout=self.attention_dropout,
                activation=self.activation,
                name=f"layer_{number}",
            )(hidden, expose, f"attention_{number}", train=train)
            hidden = expose(f"tokens_{number}", hidden)
        hidden = transformer_layer.norm(self.epsilon, "final_norm")(hidden)
        mean = self.pooling == "mean"
        pooled = jnp.mean(hidden[:, 1:], axis=1) if mean else hidden[:, 0]
        logits = nn.Dense(self.num_classes, name="classifier")(pooled)
        return ModelOutput(logits, exposed)

    def _embedded(self, inputs: Array) -> tuple[Array, tuple[int, ...]]:
        """Tokens [B, T, D], and the shape [B, h, w, D] of the patches."""
        patches = nn.Conv(
            self.width,
            (self.patch_size, self.patch_size),
            strides=self.patch_size,
            padding="VALID",
            conv_general_dilated=self.conv_general_dilated,
            name="patch_embeddings",
        )(inputs)
        small = nn.initializers.normal(0.02)
        side = self.image_size // self.patch_size
        drawn = lambda name, count: self.param(
            name, small, (1, count, self.width), jnp.float32
        )
        positions = drawn("position_embeddings", 1 + side**2)
        first = drawn("class_embeddings", 1)
        first, positions, patches = nn.dtypes.promote_dtype(first, positions, patches)
        batch, grid, width = patches.shape[0], patches.shape[1:3], patches.shape[3]
        resized = positions[:, 1:]
        if grid != (side, side):
            resized = resized.reshape(1, side, side, width)
            resized = jax.image.resize(resized, (1, *grid, width), "cubic")
        tokens = jnp.concatenate(
            [
                jnp.broadcast_to(first + positions[:, :1], (batch, 1, width)),
                patches.reshape(batch, -1, width) + resized.reshape(1, -1, width),
            ],
            axis=1,
        )
        return tokens, patches.shape

    def _check(self, inputs: Array) -> None:
        chex.assert_rank(inputs, 4)
        if self.width % self.num_heads:
            raise ValueError(
                f"`width` (={self.width}) must be a multiple of `num_heads` "
                f"(={self.num_heads})."
            )
        if self.pooling not in ("class_token", "mean"):
            raise ValueError(
                f"`pooling` (={self.pooling!r}) must be one of ('class_token', 'mean')."
            )
        for name, sides in (
            ("image_size", [self.image_size]),
            ("inputs", inputs.shape[1:3]),
        ):
            if any(side < 1 or side % self.patch_size for side in sides):
                raise ValueError(
                    f"the sides of `{name}` (={sides}) must be positive multiples of "
                    f"`patch_size` (={self.patch_size})."
                )


class PreNormLayer(nn.Module):
    """Self-attention and two dense layers, each of a norm and added to its input.

    y = x + attention(norm(x)), then y + W₂ activation(W₁ norm(y) + b₁) + b₂. Use it
    inside the `__call__` of a network.

    Attributes:
      num_heads: a divisor of the width of the states.
      hidden_width: of W₁.
      epsilon: of both norms.
      dropout: fraction in [0, 1) of what each half adds that is dropped in train mode.
      attention_dropout: the same of attention, after it is exposed.
      activation: pointwise.
    """

    num_heads: int
    hidden_width: int
    epsilon: float
    dropout: float
    attention_dropout: float
    activation: Callable[[Array], Array]

    @nn.compact
    def __call__(
        self, hidden: Array, expose: Expose, name: str, *, train: bool
    ) -> Array:
        """The next states [B, T, D]; the attention is exposed as `name`."""
        drop = lambda rate: nn.Dropout(rate, deterministic=not train)
        width = hidden.shape[-1]
        heads = (*hidden.shape[:2], self.num_heads, width // self.num_heads)
        normed = transformer_layer.norm(self.epsilon, "attention_norm")(hidden)
        query, key, value = (
            nn.Dense(width, name=part)(normed).reshape(heads)
            for part in ("query", "key", "value")
        )
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(heads[-1])
        attention = jax.nn.softmax(ops.at_least_float32(scores), axis=-1)
        attention = expose(name, attention).astype(value.dtype)
        attention = drop(self.attention_dropout)(attention)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", attention, value)
        mixed = nn.Dense(width, name="output")(mixed.reshape(hidden.shape))
        hidden = hidden + drop(self.dropout)(mixed)
        inner = transformer_layer.norm(self.epsilon, "output_norm")(hidden)
        inner = self.activation(nn.Dense(self.hidden_width, name="expand")(inner))
        inner = nn.Dense(width, name="contract")(inner)
        return hidden + drop(self.dropout)(inner)
