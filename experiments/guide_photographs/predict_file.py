"""A program of a few lines that explains a new photograph by a network of the run."""

import pathlib

from experiments.guide_photographs.backbones import Backbone
from experiments.running import directory

_TEXT = '''\
"""Explains a photograph by a network of this run: its class, and where it looks.

    python predict.py photo.jpg models/unguided-0/model.safetensors [explained.png]

It needs xguide_jax[experiments], and no file of the experiment.
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np

from xguide_jax import attributions, data, models, reporting

CLASSES = {classes!r}
SIZE, MEAN, STD = {size}, {mean!r}, {std!r}
NETWORK = {code}

if len(sys.argv) < 3:
    sys.exit(__doc__)
photograph, weights, *rest = sys.argv[1:]
picture = rest[0] if rest else "explained.png"

params, model_state = models.load_weights(weights)
apply_fn = models.linen_apply_fn(NETWORK)
forward = lambda x, **options: apply_fn(
    params, model_state, x, train=False, **options
)[0]

image = data.read_image(photograph)
small, _ = data.resize(image, {{}}, shape=(SIZE, SIZE))
inputs = jnp.asarray(data.normalise_images(small[None], mean=MEAN, std=STD))

shares = jax.nn.softmax(forward(inputs).logits)[0]
target = jnp.argmax(shares)[None]
head_fn, features = attributions.split_at(forward, inputs, {layer!r})
maps = attributions.signed_grad_cam(
    head_fn, features, target, score_fn=attributions.centred_logit
)
maps = jax.image.resize(maps, (1, SIZE, SIZE), "linear")

for share, name in sorted(zip(shares.tolist(), CLASSES), reverse=True)[:3]:
    print(f"{{share:.3f}} {{name}}")
title = f"{{CLASSES[int(target[0])]}}, {{float(shares.max()):.2f}}"
figure = reporting.overlay(small / 255.0, np.asarray(maps[0]), title=title)
with open(picture, "wb") as file:
    file.write(reporting.to_png(figure))
print(f"where it looks: {{picture}}")
'''


def write(
    run_dir: pathlib.Path,
    class_names: tuple[str, ...],
    backbone: Backbone,
    *,
    size: int,
) -> None:
    """Writes predict.py beside the networks.

    Args:
      run_dir: of the run.
      class_names: of the labels.
      backbone: of the networks.
      size: pixels a side.
    """
    text = _TEXT.format(
        classes=class_names, size=size, mean=backbone.mean, std=backbone.std,
        code=backbone.code, layer=backbone.layer,
    )  # fmt: skip
    directory.write_bytes(run_dir / "predict.py", text.encode())
