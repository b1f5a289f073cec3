"""Weights in Flax's layout as PyTorch has them."""

import numpy as np
import torch


def conv(kernel: np.ndarray) -> torch.Tensor:
    """[h, w, C, O] to [O, C, h, w]."""
    return torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())


def dense(kernel: np.ndarray) -> torch.Tensor:
    """[in, out] to [out, in]."""
    return torch.from_numpy(kernel.T.copy())


def dense_after_map(kernel: np.ndarray, shape: tuple[int, int, int]) -> torch.Tensor:
    """The same behind a map [h, w, K] laid flat, which PyTorch has as [K, h, w]."""
    height, width, channels = shape
    cells = kernel.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
    return torch.from_numpy(cells.reshape(len(cells), -1).copy())


def images(inputs: np.ndarray) -> torch.Tensor:
    """[B, H, W, C] to [B, C, H, W]."""
    return torch.from_numpy(inputs.transpose(0, 3, 1, 2).copy())


def laid_out(
    network: torch.nn.Module, batch: dict[str, torch.Tensor], *, layout: str
) -> None:
    """Puts weights and images into the memory layout in which a job is faster.

    Args:
      network: of convolutions.
      batch: with 'inputs' [B, C, h, w].
      layout: 'channels_last', or 'contiguous', PyTorch's own.
    """
    if layout == "channels_last":
        network.to(memory_format=torch.channels_last)
        batch["inputs"] = batch["inputs"].to(memory_format=torch.channels_last)


def shares(pixels: int, cells: int) -> torch.Tensor:
    """What of each cell's length lies in each pixel: [cells, pixels], rows sum to 1.

    PyTorch's own 'area' takes whole pixels, more than one cell's where they overlap.
    """
    # In units of a pixel's 1 / cells, whole numbers: a pixel beside a cell has exactly
    # nothing of it.
    begin = pixels * np.arange(cells)[:, None]
    pixel = cells * np.arange(pixels)[None]
    overlap = np.minimum(begin + pixels, pixel + cells) - np.maximum(begin, pixel)
    return torch.from_numpy((np.clip(overlap, 0, None) / pixels).astype(np.float32))
