"""Steps on the network of the published digits experiment, in PyTorch."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.peers import layouts, steps

Loss = Callable[["DigitsCNN", dict[str, torch.Tensor]], torch.Tensor]


class DigitsCNN(torch.nn.Module):
    """Conv 32 - ReLU - conv 64 - ReLU - max-pool 2 - dense 128 - ReLU - dense 10."""

    def __init__(self, arrays: jobs.Arrays) -> None:
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 32, 3)
        self.conv2 = torch.nn.Conv2d(32, 64, 3)
        self.fc1 = torch.nn.Linear(9216, 128)
        self.fc2 = torch.nn.Linear(128, 10)
        kernels = {
            "conv1": layouts.conv(arrays["params/Conv_0/kernel"]),
            "conv2": layouts.conv(arrays["params/Conv_1/kernel"]),
            "fc1": layouts.dense_after_map(
                arrays["params/Dense_0/kernel"], (12, 12, 64)
            ),
            "fc2": layouts.dense(arrays["params/Dense_1/kernel"]),
        }
        names = {
            "conv1": "Conv_0",
            "conv2": "Conv_1",
            "fc1": "Dense_0",
            "fc2": "Dense_1",
        }
        for own, kernel in kernels.items():
            layer = getattr(self, own)
            layer.weight.data.copy_(kernel)
            layer.bias.data.copy_(torch.from_numpy(arrays[f"params/{names[own]}/bias"]))

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, 1, 28, 28] to [B, 64, 12, 12]."""
        hidden = functional.relu(self.conv2(functional.relu(self.conv1(inputs))))
        return functional.max_pool2d(hidden, 2)

    def head(self, features: torch.Tensor) -> torch.Tensor:
        """[B, 64, 12, 12] to logits [B, 10]."""
        return self.fc2(functional.relu(self.fc1(features.flatten(1))))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[B, 1, 28, 28] to logits [B, 10]."""
        return self.head(self.features(inputs))


def tensors(arrays: jobs.Arrays) -> dict[str, torch.Tensor]:
    """Inputs [B, 1, 28, 28], labels [B] and regions [B, 1, 28, 28]."""
    return {
        "inputs": layouts.images(arrays["inputs"]),
        "labels": torch.from_numpy(arrays["labels"]).long(),
        "region": torch.from_numpy(arrays["region"])[:, None],
    }


def _unguided(network: DigitsCNN, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return functional.cross_entropy(network(batch["inputs"]), batch["labels"])


def _saliency(network: DigitsCNN, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The signed gradient of the label's log-probability: [B, 1, 28, 28]."""
    inputs = batch["inputs"].clone().requires_grad_()
    scores = functional.log_softmax(network(inputs), 1).gather(
        1, batch["labels"][:, None]
    )
    return torch.autograd.grad(scores.sum(), inputs)[0]


def _masked(inputs: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """The half of the pixels with the lowest saliency replaced by .5, all at once."""
    flat = saliency.flatten(1)
    lowest = flat.topk(flat.shape[1] // 2, dim=1, largest=False).indices
    return inputs.flatten(1).scatter(1, lowest, 0.5).view_as(inputs)


def _masked_by_rows(inputs: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """The same in a loop over the examples, as the published code has it."""
    masked = inputs.clone()
    for row, scores in enumerate(saliency.flatten(1)):
        lowest = scores.topk(len(scores) // 2, largest=False).indices
        masked[row].view(-1)[lowest] = 0.5
    return masked


def _guided(
    network: DigitsCNN,
    batch: dict[str, torch.Tensor],
    *,
    mask: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _masked,
    frozen_teacher: bool = False,
) -> torch.Tensor:
    if frozen_teacher:
        # One pass gives the saliency, the loss and the teacher.
        inputs = batch["inputs"].clone().requires_grad_()
        log_probabilities = functional.log_softmax(network(inputs), 1)
        task = functional.nll_loss(log_probabilities, batch["labels"])
        gradient = torch.autograd.grad(task, inputs, retain_graph=True)[0]
        saliency, teacher = -gradient, log_probabilities.detach()
    else:
        saliency = _saliency(network, batch)
        log_probabilities = teacher = functional.log_softmax(
            network(batch["inputs"]), 1
        )
        task = functional.nll_loss(log_probabilities, batch["labels"])
    student = functional.log_softmax(network(mask(batch["inputs"], saliency)), 1)
    divergence = functional.kl_div(
        student, teacher, reduction="batchmean", log_target=True
    )
    return task + divergence


def _right_reasons(network: DigitsCNN, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    inputs = batch["inputs"].clone().requires_grad_()
    log_probabilities = functional.log_softmax(network(inputs), 1)
    task = functional.nll_loss(log_probabilities, batch["labels"])
    (gradient,) = torch.autograd.grad(
        log_probabilities.sum(), inputs, create_graph=True
    )
    outside = (((1 - batch["region"]) * gradient) ** 2).sum() / len(inputs)
    return task + 1e-2 * outside


def _energy(network: DigitsCNN, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    features = network.features(batch["inputs"])
    logits = network.head(features)
    task = functional.cross_entropy(logits, batch["labels"])
    score = logits.gather(1, batch["labels"][:, None]).sum()
    (gradient,) = torch.autograd.grad(score, features, create_graph=True)
    cam = (gradient.mean((2, 3), keepdim=True) * features).sum(1)
    positive = functional.relu(cam)
    cells = layouts.shares(28, 12) @ batch["region"][:, 0] @ layouts.shares(28, 12).T
    total = positive.sum((1, 2))
    inside = (positive * cells).sum((1, 2))
    share = torch.where(total > 0, inside / total.clamp_min(1e-12), 0.0)
    return task + (1 - share).mean()


def _step(
    loss: Loss,
    optimizer: Callable,
    arrays: jobs.Arrays,
    *,
    layout: str = "channels_last",
) -> jobs.Prepared:
    network, batch = DigitsCNN(arrays), tensors(arrays)
    layouts.laid_out(network, batch, layout=layout)
    return steps.prepared(
        network,
        functools.partial(loss, network, batch),
        optimizer(network.parameters()),
        items=len(batch["labels"]),
    )


SGD = functools.partial(torch.optim.SGD, lr=1e-2)
JOBS = {
    "step_sgd": functools.partial(_step, _unguided, SGD),
    "step_adam": functools.partial(
        _step, _unguided, functools.partial(torch.optim.Adam, lr=1e-3)
    ),
    "saliency_guided": functools.partial(_step, _guided, SGD),
    "saliency_guided_rows": functools.partial(
        _step, functools.partial(_guided, mask=_masked_by_rows), SGD
    ),
    "saliency_guided_frozen": functools.partial(
        _step, functools.partial(_guided, frozen_teacher=True), SGD
    ),
    # The double backward pass is a seventh slower with the channels last.
    "right_reasons": functools.partial(_step, _right_reasons, SGD, layout="contiguous"),
    "energy": functools.partial(_step, _energy, SGD),
}
