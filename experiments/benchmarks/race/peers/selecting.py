"""The same masks by PyTorch's two selections."""

import functools
from collections.abc import Callable

import torch

from experiments.benchmarks.race import jobs


def _by_indices(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Exactly k in each row; the order among them is not asked for."""
    lowest = scores.topk(k, dim=1, largest=False, sorted=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, lowest, True)


def _by_threshold(scores: torch.Tensor, k: int) -> torch.Tensor:
    """More than k where scores are tied at the border."""
    return scores <= scores.kthvalue(k, dim=1, keepdim=True).values


def _prepared(
    mask: Callable[[torch.Tensor, int], torch.Tensor], arrays: jobs.Arrays
) -> jobs.Prepared:
    scores = torch.from_numpy(arrays["scores"])
    call = functools.partial(mask, scores, scores.shape[1] // 2)
    return jobs.Prepared(call, lambda: {"mask": call().float().numpy()}, len(scores))


INDICES = functools.partial(_prepared, _by_indices)
THRESHOLD = functools.partial(_prepared, _by_threshold)
JOBS = {
    "bottom_k": INDICES,
    "bottom_k_kthvalue": THRESHOLD,
    "bottom_k_large": INDICES,
    "bottom_k_large_kthvalue": THRESHOLD,
}
