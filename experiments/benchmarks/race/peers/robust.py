"""Guidance by inexact annotations, on the network of the digits, in PyTorch."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.peers import digits, layouts, steps

Batch = dict[str, torch.Tensor]
# (network, batch) -> logits [B, C], maps [B, h, w] in [0, 1], soft targets [B, h, w]
Explained = Callable[
    [digits.DigitsCNN, Batch], tuple[torch.Tensor, torch.Tensor, torch.Tensor]
]
# (maps, signs) -> []
Threshold = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_SLACK = 0.1
_MARGIN = 1e-4  # above the values of negative cells
_TINY = 1e-12  # in place of the range of a constant map


def _cams(
    features: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Signed Grad-CAM between its extremes, channel weights constant: [B, h, w]."""
    score = logits.gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, features, retain_graph=True)
    cam = torch.einsum("bk,bkhw->bhw", gradient.mean((2, 3)), features)
    low, high = cam.amin((1, 2), keepdim=True), cam.amax((1, 2), keepdim=True)
    return (cam - low) / (high - low).clamp_min(_TINY)


def _on_cells(maps: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """The mean of the pixels under each cell: [B, H, W] to [B, h, w]."""
    return shares @ maps @ shares.T


def _softened(evidence: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Evidence on cells, blurred and divided by its maximum: [B, h, w]."""
    cells = functional.pad(_on_cells(evidence, shares), (1, 1, 1, 1), mode="reflect")
    weights = torch.tensor([0.25, 0.5, 0.25])
    blurred = functional.conv2d(
        cells[:, None], torch.outer(weights, weights)[None, None]
    )
    blurred = blurred[:, 0]
    return blurred / blurred.amax((1, 2), keepdim=True).clamp_min(_TINY)


def _signs(annotations: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """1 on cells where a pixel is evidence, -1 where one is none, else 0."""
    positive = _on_cells(annotations.relu(), shares) > 0
    negative = _on_cells((-annotations).relu(), shares) > 0
    return positive.float() - (negative & ~positive).float()


def _by_batch(
    network: digits.DigitsCNN, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = network.features(batch["inputs"])
    logits = network.head(features)
    maps = _cams(features, logits, batch["labels"])
    return logits, maps, _softened(batch["annotations"].relu(), batch["shares"])


def _by_rows(
    network: digits.DigitsCNN, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same image by image, as the published code has it.

    Its loop over channels is left out, and its backward passes below the features.
    """
    logits = network(batch["inputs"])
    maps, targets = [], []
    rows = zip(batch["inputs"], batch["labels"], batch["annotations"], strict=True)
    for image, label, annotation in rows:
        features = network.features(image[None])
        maps.append(_cams(features, network.head(features), label[None]))
        targets.append(_softened(annotation[None].relu(), batch["shares"]))
    return logits, torch.cat(maps), torch.cat(targets)


def _candidates(
    maps: torch.Tensor, signs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Thresholds in their order, and the values of the cells of either sign."""
    values = maps.detach()
    negative, positive = values[signs < 0], values[signs > 0]
    return torch.cat([negative + _MARGIN, positive]), negative, positive


def _threshold(maps: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """The first of those that separate the signs best, classes balanced, by sorting."""
    candidates, negative, positive = _candidates(maps, signs)
    below = torch.searchsorted(negative.sort().values, candidates)
    above = len(positive) - torch.searchsorted(positive.sort().values, candidates)
    # Whole numbers, so that ties are ties.
    return candidates[(below * len(positive) + above * len(negative)).argmax()]


def _threshold_by_loop(maps: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """The same in a loop over the thresholds, as the published code has it.

    Its inner loop, over the cells one by one, is left out: it takes minutes.
    """
    candidates, negative, positive = _candidates(maps, signs)
    best, largest = torch.zeros(()), 0
    for candidate in candidates:
        below = int((candidate > negative).sum())
        above = int((candidate <= positive).sum())
        score = below * len(positive) + above * len(negative)
        if score > largest:
            best, largest = candidate, score
    return best


def _res_gaussian(
    explained: Explained,
    threshold: Threshold,
    network: digits.DigitsCNN,
    batch: Batch,
) -> torch.Tensor:
    logits, maps, targets = explained(network, batch)
    signs = _signs(batch["annotations"], batch["shares"])
    errors = (torch.tanh(5 * (maps - threshold(maps, signs))) - signs).abs()
    annotated = signs != 0
    robust = (errors * annotated).sum() / annotated.sum()
    task = functional.cross_entropy(logits, batch["labels"])
    return task + (robust - _SLACK).relu() + (maps - targets).abs().mean()


def _step(
    explained: Explained, threshold: Threshold, arrays: jobs.Arrays
) -> jobs.Prepared:
    network = digits.DigitsCNN(arrays)
    batch = {
        "inputs": layouts.images(arrays["inputs"]),
        "labels": torch.from_numpy(arrays["labels"]).long(),
        "annotations": torch.from_numpy(arrays["annotations"]),
        "shares": layouts.shares(28, 12),
    }
    return steps.prepared(
        network,
        functools.partial(_res_gaussian, explained, threshold, network, batch),
        digits.SGD(network.parameters()),
        items=len(batch["labels"]),
    )


JOBS = {
    "res_gaussian": functools.partial(_step, _by_batch, _threshold),
    "res_gaussian_rows": functools.partial(_step, _by_rows, _threshold_by_loop),
}
