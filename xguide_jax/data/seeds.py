"""One stream of random numbers for each thing that a seed decides.

Without streams, the split and the first epoch drawn with one seed would be the same
permutation: trailing zeros of a NumPy seed sequence do not count. All random numbers on
the host are drawn here, those of experiments too, so that no two things share a stream.
"""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """What a stream decides; the value is part of every number that is drawn."""

    SPLIT = 1
    BATCHES = 2
    AUGMENTATION = 3
    ANNOTATED = 4
    TEXTURES = 5
    SWATCHES = 6
    TARGETS = 7
    RANDOM_BOXES = 8
    ANNOTATOR = 9
    TEMPLATES = 10
    CUES = 11
    PROBES = 12
    SERIES = 13
    PLANTED_CELLS = 14
    DESCRIBED = 15
    TEXTS = 16
    CONTROL = 17
    COMPOSITES = 18
    SOURCES = 19


# Two streams are older than this list. Their mark stands behind the seed, so that runs
# of today have the numbers of runs before; a new stream must not be added here, since
# (5, 5) is the random boxes of seed 5 and the textures of seed 5 at once.
_MARK_BEHIND = {Stream.RANDOM_BOXES: 5, Stream.ANNOTATOR: 7}


def generator(stream: Stream, *numbers: int) -> np.random.Generator:
    """The random numbers of one stream, a function of the numbers alone.

    Args:
      stream: what they decide.
      numbers: whole numbers at least 0, e.g. seed and step.

    Returns:
      A NumPy generator.
    """
    if stream in _MARK_BEHIND:
        return np.random.default_rng((*numbers, _MARK_BEHIND[stream]))
    return np.random.default_rng((int(stream), *numbers))
