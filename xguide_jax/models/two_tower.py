"""Two networks joined by the cosine of their vectors: an image and its text."""

import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn

from xguide_jax import ops
from xguide_jax.models import overriding
from xguide_jax.types import Array, ModelOutput, PyTree


class TwoTower(nn.Module):
    """An image tower, a text tower, and how near the vectors of a pair are.

    v = a / |a| and t = b / |b|, a and b the logits [B, D] of the two towers, whose last
    layer so is the projection; logits = v · t / τ [B, 1], one number for each pair
    alone, which an explainer asks for by `attributions.regression_output`. Who compares
    the pairs of a batch takes the vectors. It takes a dict of 'image' [B, H, W, C] and
    whatever the text tower takes, such as 'tokens' and 'mask' [B, T]; it exposes

    * what the towers do, e.g. 'features' [B, h, w, K] and 'embeddings' [B, T, E];
    * 'image_vectors' and 'text_vectors' [B, D], float32 or wider, of length 1, or 0
      where a tower says 0, with gradient 0;
    * 'temperature' [B], τ, the same in all rows.

    ln τ is learned from `temperature` on, and cut off at `temperature_range`. The
    gradient goes on beyond, so that τ can come back. Gradients flow into both towers,
    of any order that the towers have.

    Attributes:
      image: a network of images whose logits are [B, D], e.g. `SmallCNN(num_classes=
        D)`.
      text: a network of texts whose logits are [B, D], e.g. `BagOfTokens` or `Bert`.
      temperature: τ at the start.
      temperature_range: (low, high), 0 < low <= temperature <= high.

    Source: Radford et al., "Learning Transferable Visual Models From Natural Language
      Supervision", ICML 2021 (unverified), for two towers with a learned temperature.
    """

    image: nn.Module
    text: nn.Module
    temperature: float = 0.07
    temperature_range: tuple[float, float] = (0.01, 1.0)

    @nn.compact
    def __call__(
        self,
        inputs: PyTree,
        *,
        train: bool = False,
        overrides: Mapping[str, Array] | None = None,
    ) -> ModelOutput:
        """Compares {'image', ...}, each [B, ...], pair by pair."""
        self._check(inputs)
        words = {name: leaf for name, leaf in inputs.items() if name != "image"}
        seen = self.image(inputs["image"], train=train, overrides=overrides)
        said = self.text(words, train=train, overrides=overrides)
        if seen.logits.shape != said.logits.shape:
            raise ValueError(
                f"`image` and `text` give {seen.logits.shape} and {said.logits.shape}; "
                "both must be [B, D]."
            )
        exposed = {**seen.intermediates, **said.intermediates}
        if len(exposed) < len(seen.intermediates) + len(said.intermediates):
            both = sorted(seen.intermediates.keys() & said.intermediates.keys())
            raise ValueError(f"`image` and `text` must not both expose {both}.")
        start = nn.initializers.constant(math.log(self.temperature))
        learned = self.param("log_temperature", start, ())
        limits = (math.log(limit) for limit in self.temperature_range)
        temperature = jnp.exp(_cut_off(ops.at_least_float32(learned), *limits))
        own = {
            "image_vectors": _direction(seen.logits),
            "text_vectors": _direction(said.logits),
            "temperature": jnp.broadcast_to(temperature, seen.logits.shape[:1]),
        }
        for name, value in own.items():
            exposed[name] = overriding.override(name, value, overrides)
        cosines = jnp.sum(exposed["image_vectors"] * exposed["text_vectors"], axis=-1)
        similarity = cosines / exposed["temperature"].astype(cosines.dtype)
        return ModelOutput(similarity[:, None], exposed)

    def _check(self, inputs: PyTree) -> None:
        if not isinstance(inputs, Mapping) or not {"image"} < set(inputs):
            present = sorted(inputs) if isinstance(inputs, Mapping) else type(inputs)
            raise ValueError(
                f"`inputs` ({present}) must be a dict of 'image' and what `text` takes."
            )
        low, high = self.temperature_range
        if not 0 < low <= self.temperature <= high < math.inf:
            raise ValueError(
                f"`temperature` (={self.temperature}) and `temperature_range` (="
                f"{self.temperature_range}) must have 0 < low <= temperature <= high."
            )


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _cut_off(value: Array, low: float, high: float) -> Array:
    """The value within its limits, with the gradient of the value everywhere."""
    return jnp.clip(value, low, high)


@_cut_off.defjvp
def _cut_off_jvp(
    low: float, high: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    # A clipped value's gradient would be 0 beyond for ever.
    return _cut_off(*primals, low, high), tangents[0]


def _direction(vectors: Array) -> Array:
    """Each vector over its norm, [B, D]; zero vectors stay zero and get no gradient."""
    # A square of 1e20 is infinite in float32, and one of 1e-20 is 0.
    vectors = ops.rescale_extremes(ops.at_least_float32(vectors), axis=-1)
    return ops.safe_divide(vectors, ops.safe_norm(vectors, axis=-1)[:, None])
