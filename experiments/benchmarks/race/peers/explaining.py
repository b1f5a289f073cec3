"""The same explanations in PyTorch and in Captum."""

import functools
import unittest.mock
from collections.abc import Callable
from typing import Any

import torch
from captum import attr
from torch.nn import functional

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.peers import digits, layouts

# (inputs [B, 1, 28, 28], labels [B]) -> maps [B, 1, h, w].
Explain = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

SIGMA, NUM_SAMPLES = 0.15, 25
# Copies at once: of the noise, and of the masks.
_NUM_AT_ONCE, _MASKS_AT_ONCE = 1, 50


class ModularCNN(torch.nn.Module):
    """The network of modules that occur once, which Captum's hooks are put on."""

    def __init__(self, arrays: jobs.Arrays, pool: torch.nn.Module) -> None:
        super().__init__()
        plain = digits.DigitsCNN(arrays)
        relu = torch.nn.ReLU
        self.features = torch.nn.Sequential(
            plain.conv1, relu(), plain.conv2, relu(), pool
        )
        self.head = torch.nn.Sequential(plain.fc1, relu(), plain.fc2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, 1, 28, 28] to logits [B, 10]."""
        return self.head(self.features(inputs).flatten(1))


def frozen(network: torch.nn.Module) -> torch.nn.Module:
    """The network as fast as it predicts and explains.

    In eval mode, no graph kept of its weights, and with channels last, in which oneDNN
    convolves these maps in two thirds of the time.
    """
    network = network.eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


def gradient(
    network: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """The gradient of the label's logit: like the inputs, [B, 1, 28, 28]."""
    inputs = inputs.detach().requires_grad_()
    scores = network(inputs).gather(1, labels[:, None])
    return torch.autograd.grad(scores.sum(), inputs)[0]


def _grad_cam(
    network: digits.DigitsCNN, inputs: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    features = network.features(inputs).requires_grad_()
    scores = network.head(features).gather(1, labels[:, None])
    (slopes,) = torch.autograd.grad(scores.sum(), features)
    with torch.no_grad():
        weights = slopes.mean((2, 3), keepdim=True)
        return functional.relu((weights * features).sum(1, keepdim=True))


def _rise(
    network: torch.nn.Module,
    masks: torch.Tensor,
    inputs: torch.Tensor,
    labels: torch.Tensor,
) -> torch.Tensor:
    """Masks are [N, B, 1, 28, 28], ready made as in the published code."""
    scores = []
    with torch.inference_mode():
        for some in masks.split(_MASKS_AT_ONCE):
            logits = network((some * inputs).flatten(0, 1))
            every = functional.softmax(logits, 1).view(len(some), len(inputs), -1)
            scores.append(every[:, torch.arange(len(labels)), labels])
        weighted = torch.einsum("nb,nbchw->bchw", torch.cat(scores), masks)
        return weighted / masks.sum(0)


def _prepared(explain: Explain, arrays: jobs.Arrays) -> jobs.Prepared:
    inputs = layouts.images(arrays["inputs"])
    labels = torch.from_numpy(arrays["labels"]).long()
    call = functools.partial(explain, inputs, labels)
    return jobs.Prepared(
        call, lambda: {"maps": call()[:, 0].detach().numpy()}, len(labels)
    )


def _plain(explain: Callable[..., torch.Tensor], arrays: jobs.Arrays) -> jobs.Prepared:
    network = frozen(digits.DigitsCNN(arrays))
    return _prepared(functools.partial(explain, network), arrays)


def _captum(
    explainer_of: Callable[[torch.nn.Module], attr.Attribution],
    arrays: jobs.Arrays,
    *,
    pool: Callable[[int], torch.nn.Module] = torch.nn.MaxPool2d,
    **options: Any,
) -> jobs.Prepared:
    explainer = explainer_of(frozen(ModularCNN(arrays, pool(2))))
    return _prepared(
        lambda inputs, labels: explainer.attribute(inputs, target=labels, **options),
        arrays,
    )


def _smooth_grad(arrays: jobs.Arrays) -> jobs.Prepared:
    """Captum draws as it does in every call but that of the outputs."""
    prepared = _captum(
        lambda network: attr.NoiseTunnel(attr.Saliency(network)), arrays,
        nt_type="smoothgrad", nt_samples=NUM_SAMPLES, stdevs=SIGMA, abs=False,
        nt_samples_batch_size=_NUM_AT_ONCE,
    )  # fmt: skip
    # [S, B, 28, 28, 1] to [B, S, 1, 28, 28]: each image with its copies behind it.
    noise = torch.from_numpy(arrays["noise"].transpose(1, 0, 4, 2, 3).copy())
    draws = [some.flatten(0, 1) for some in noise.split(_NUM_AT_ONCE, dim=1)]

    def outputs() -> dict:
        with unittest.mock.patch.object(torch, "normal", side_effect=draws):
            return prepared.outputs()

    return prepared._replace(outputs=outputs)


def _rise_prepared(arrays: jobs.Arrays) -> jobs.Prepared:
    masks = torch.from_numpy(arrays["masks"].transpose(0, 1, 4, 2, 3).copy())
    return _plain(
        lambda network, inputs, labels: _rise(network, masks, inputs, labels), arrays
    )


_PATH: dict[str, Any] = {"baselines": 0, "n_steps": 50, "method": "riemann_middle"}
JOBS = {
    "gradient": functools.partial(_plain, gradient),
    "one_image": functools.partial(_plain, gradient),
    "grad_cam": functools.partial(_plain, _grad_cam),
    "integrated_gradients": functools.partial(
        _captum, attr.IntegratedGradients, **_PATH
    ),
    "integrated_gradients_chunked": functools.partial(
        _captum, attr.IntegratedGradients, internal_batch_size=64, **_PATH
    ),
    "smooth_grad": _smooth_grad,
    # The rule of every layer is by default the epsilon rule, of 1e-9.
    "lrp": functools.partial(_captum, attr.LRP),
    "deep_lift": functools.partial(
        _captum, attr.DeepLift, pool=torch.nn.AvgPool2d, baselines=0
    ),
    "rise": _rise_prepared,
}
