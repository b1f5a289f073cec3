"""Steps on ResNet-18 for images of 32 pixels, in PyTorch."""

import functools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.peers import layouts, steps


class _Normed(nn.Module):
    """A convolution without bias, and batch norm."""

    def __init__(self, arrays: jobs.Arrays, name: str, *, stride: int = 1) -> None:
        super().__init__()
        kernel = layouts.conv(arrays[f"params/{name}_conv/kernel"])
        channels, before, size, _ = kernel.shape
        self.conv = nn.Conv2d(before, channels, size, stride, size // 2, bias=False)
        self.conv.weight.data.copy_(kernel)
        # New weights of the norm are 1 and 0 in both libraries, and so its statistics.
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(inputs))


class _Block(nn.Module):
    """ReLU(x' + F(x)) with two 3x3 convolutions."""

    def __init__(self, arrays: jobs.Arrays, name: str, *, stride: int) -> None:
        super().__init__()
        self.first = _Normed(arrays, f"{name}_1", stride=stride)
        self.second = _Normed(arrays, f"{name}_2")
        skips = f"params/{name}_skip_conv/kernel" in arrays
        self.skip = (
            _Normed(arrays, f"{name}_skip", stride=stride) if skips else nn.Identity()
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inner = self.second(functional.relu(self.first(inputs), inplace=True))
        return functional.relu(inner + self.skip(inputs), inplace=True)


class ResNet18(nn.Module):
    """A 3x3 stem, four stages of two blocks, a mean, logits."""

    def __init__(self, arrays: jobs.Arrays) -> None:
        super().__init__()
        self.stem = _Normed(arrays, "stem")
        strides = {
            f"stage_{stage}_block_{number}": 2 if stage > 1 and number == 0 else 1
            for stage in range(1, 5)
            for number in range(2)
        }
        self.blocks = nn.Sequential(
            *(_Block(arrays, name, stride=stride) for name, stride in strides.items())
        )
        self.classifier = nn.Linear(512, 10)
        kernel = layouts.dense(arrays["params/classifier/kernel"])
        self.classifier.weight.data.copy_(kernel)
        self.classifier.bias.data.copy_(
            torch.from_numpy(arrays["params/classifier/bias"])
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, 3, 32, 32] to logits [B, 10]."""
        features = self.blocks(functional.relu(self.stem(inputs), inplace=True))
        return self.classifier(features.mean((2, 3)))


Batch = dict[str, torch.Tensor]


def _unguided(network: ResNet18, batch: Batch) -> torch.Tensor:
    return functional.cross_entropy(network(batch["inputs"]), batch["labels"])


def _guided(network: ResNet18, batch: Batch) -> torch.Tensor:
    # One pass in train mode gives the saliency, the loss and the teacher.
    inputs = batch["inputs"].clone().requires_grad_()
    teacher = functional.log_softmax(network(inputs), 1)
    scores = teacher.gather(1, batch["labels"][:, None])
    saliency = torch.autograd.grad(scores.sum(), inputs, retain_graph=True)[0].mean(1)
    flat = saliency.flatten(1)
    lowest = flat.topk(flat.shape[1] // 2, dim=1, largest=False).indices
    kept = torch.ones_like(flat).scatter(1, lowest, 0.0).view_as(saliency)[:, None]
    student = functional.log_softmax(network(batch["inputs"] * kept), 1)
    divergence = functional.kl_div(
        student, teacher, reduction="batchmean", log_target=True
    )
    return functional.nll_loss(teacher, batch["labels"]) + divergence


def _right_reasons(network: ResNet18, batch: Batch) -> torch.Tensor:
    inputs = batch["inputs"].clone().requires_grad_()
    log_probabilities = functional.log_softmax(network(inputs), 1)
    (gradient,) = torch.autograd.grad(
        log_probabilities.sum(), inputs, create_graph=True
    )
    outside = (((1 - batch["region"]) * gradient) ** 2).sum() / len(inputs)
    task = functional.nll_loss(log_probabilities, batch["labels"])
    return task + 1e-2 * outside


def _step(
    loss: Callable[[ResNet18, Batch], torch.Tensor],
    arrays: jobs.Arrays,
    *,
    layout: str = "channels_last",
) -> jobs.Prepared:
    network = ResNet18(arrays).train()
    batch = {
        "inputs": layouts.images(arrays["inputs"]),
        "labels": torch.from_numpy(arrays["labels"]).long(),
        "region": torch.from_numpy(arrays["region"])[:, None],
    }
    layouts.laid_out(network, batch, layout=layout)
    return steps.prepared(
        network,
        functools.partial(loss, network, batch),
        torch.optim.SGD(network.parameters(), lr=1e-2),
        items=len(batch["labels"]),
    )


JOBS = {
    "resnet": functools.partial(_step, _unguided),
    "resnet_saliency_guided": functools.partial(_step, _guided),
    # As of the digits.
    "resnet_right_reasons": functools.partial(
        _step, _right_reasons, layout="contiguous"
    ),
}
