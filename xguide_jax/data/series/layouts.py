"""Where the cells lie that tell the class of a series."""

from typing import NamedTuple

import numpy as np

_SIZE = 50


class Layout(NamedTuple):
    """A block of cells in series of 50 steps and 50 features.

    Attributes:
      size: (steps, features) of the block.
      start: (step, feature) of its first cell for class 0 and for class 1; None where
        it may lie anywhere.
      sign_tells: whether the values in the block tell the class; else its place does.
    """

    size: tuple[int, int]
    start: tuple[tuple[int | None, int | None], tuple[int | None, int | None]]
    sign_tells: bool = True


_ANYWHERE = ((None, None), (None, None))


def _fixed(step: int, feature: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (step, feature), (step, feature)


LAYOUTS = {
    "middle": Layout((30, 30), _fixed(10, 10)),
    "small_middle": Layout((14, 14), _fixed(18, 18)),
    "moving_middle": Layout((30, 30), _ANYWHERE),
    "moving_small_middle": Layout((15, 15), _ANYWHERE),
    "rare_time": Layout((6, 40), _fixed(22, 5)),
    "moving_rare_time": Layout((6, 40), _ANYWHERE),
    "rare_feature": Layout((40, 6), _fixed(5, 22)),
    "moving_rare_feature": Layout((40, 6), _ANYWHERE),
    "positional_time": Layout((20, 20), ((29, None), (1, None)), False),
    "positional_feature": Layout((20, 20), ((None, 29), (None, 1)), False),
}


def planted_cells(
    rng: np.random.Generator, layout: Layout, label: int, shape: tuple[int, int]
) -> np.ndarray:
    """The informative cells of one series.

    Of series of another size, sizes and places are those of 50 times 50, scaled and
    rounded.

    Args:
      rng: draws the place where it is free, each one as likely.
      layout: of `LAYOUTS`.
      label: 0 or 1.
      shape: (T, F), steps and features.

    Returns:
      bool [T, F], one block.

    Raises:
      ValueError: if the block has no cell in series so small.
    """
    scale = lambda number, length: round(number * length / _SIZE)
    size = [*map(scale, layout.size, shape)]
    if not all(size):
        raise ValueError(
            f"`shape` (={shape}) is too small for a block of {layout.size} in 50 x 50."
        )
    block = []
    for axis, start in enumerate(layout.start[label]):
        # Drawn in any case: then the other axis is the same in a fixed layout.
        free = int(rng.integers(shape[axis] - size[axis] + 1))
        first = free if start is None else scale(start, shape[axis])
        block.append(slice(first, first + size[axis]))
    cells = np.zeros(shape, bool)
    cells[tuple(block)] = True
    return cells
