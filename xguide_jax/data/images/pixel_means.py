"""Photographs made smaller: the mean of the pixels under each cell, in whole numbers.

A photograph of a phone has 36 million numbers, of which each lies under one or two
cells; a product with a matrix of all cells and pixels would take half a minute.
"""

import functools

import numpy as np
import scipy.sparse


def pixel_means(image: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """The mean of the pixels under each cell, weighted by how much of each lies there.

    Σ_ij r_i c_j x_ij / (H W), r and c the `overlaps` of rows and columns. The sum is
    exact and its quotient is rounded once, halves to even numbers.

    Args:
      image: uint8 [H, W, channels], of less than 65,000 pixels a side.
      shape: `(h, w)`.

    Returns:
      uint8 [h, w, channels].
    """
    height, width, channels = image.shape
    # Up to 255 H, which float32 holds exactly; then up to 255 H W, which float64 does.
    rows = _sparse(height, shape[0]).astype(np.float32)
    columns = _sparse(width, shape[1]).astype(np.float64)
    sums = rows @ image.reshape(height, width * channels).astype(np.float32)
    # Turned over as one matrix: cell by cell, three numbers at a time, takes longer.
    turned = np.ascontiguousarray(sums.T).astype(np.float64)
    total = columns @ turned.reshape(width, channels * shape[0])
    means = np.rint(total / (height * width)).astype(np.uint8)
    means = np.ascontiguousarray(means.reshape(shape[1] * channels, shape[0]).T)
    return means.reshape(*shape, channels)


def overlaps(size: int, cells: int) -> np.ndarray:
    """How much of each pixel lies under each cell.

    In units of 1 / `cells` of a pixel, in which all borders are whole numbers.

    Args:
      size: how many pixels stand in a row.
      cells: how many cells stand there instead.

    Returns:
      int [cells, size], from 0 to `cells`; each row adds up to `size`.
    """
    cell = np.arange(cells)[:, None] * size
    pixel = np.arange(size) * cells
    common = np.minimum(cell + size, pixel + cells) - np.maximum(cell, pixel)
    return np.maximum(common, 0)


@functools.lru_cache(maxsize=64)
def _sparse(size: int, cells: int) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array(overlaps(size, cells))
