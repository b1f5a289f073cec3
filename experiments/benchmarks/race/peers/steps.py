"""Training steps, as users of PyTorch write them."""

from collections.abc import Callable

import numpy as np
import torch

from experiments.benchmarks.race import jobs


def prepared(
    network: torch.nn.Module,
    loss_fn: Callable[[], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    items: int,
) -> jobs.Prepared:
    """Steps one after another on one batch.

    Args:
      network: whose parameters move.
      loss_fn: () -> the loss of the batch.
      optimizer: of them.
      items: examples in the batch.

    Returns:
      The side, with the outputs of the library's: two losses, and how far the
      parameters moved.
    """
    start = [each.detach().clone() for each in network.parameters()]
    losses: list[float] = []

    def call() -> None:
        optimizer.zero_grad()
        loss = loss_fn()
        loss.backward()
        optimizer.step()
        if len(losses) < 2:
            losses.append(loss.item())

    def outputs() -> dict[str, np.ndarray]:
        call()
        squares = [
            torch.sum((new.detach() - old) ** 2)
            for new, old in zip(network.parameters(), start, strict=True)
        ]
        moved = torch.sqrt(torch.stack(squares).sum())
        return {"losses": np.array(losses), "moved": moved.numpy()}

    return jobs.Prepared(call, outputs, items)
