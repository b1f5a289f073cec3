"""A photograph of an example, before it is written."""

from typing import NamedTuple

import numpy as np


class Drawn(NamedTuple):
    """One photograph and what is known of it.

    Attributes:
      pixels: uint8 [H, W, 3].
      label: its class.
      evidence: a box `(x0, y0, x1, y1)`, or a mask, bool [H, W].
      group: its background; '' where there is none to tell.
      part: train, validation or test.
    """

    pixels: np.ndarray
    label: str
    evidence: np.ndarray
    group: str
    part: str
