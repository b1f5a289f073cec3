"""The control of a rationale: as much mass, on other tokens of the same text."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def permute_rationale(
    rng: np.random.Generator,
    inputs: Mapping[str, np.ndarray],
    annotations: Mapping[str, np.ndarray],
) -> tuple[Any, dict[str, np.ndarray]]:
    """An example whose marks stand on random tokens, text by text.

    The marks of each text of a pair are permuted among its own tokens, so that a text
    keeps them all, and with them its mass; special tokens and padding stay at 0. It is
    an `Augment`: as `make_batch(..., augment=permute_rationale)` each step draws anew,
    as published.

    Args:
      rng: decides the permutations.
      inputs: 'mask' and 'segments' [T] of one example.
      annotations: 'rationale' and 'special' [T], and any others.

    Returns:
      (the inputs, the annotations with another 'rationale').

    Raises:
      ValueError: naming what is missing.

    Source: Stacey, Belinkov, Rei, "Supervising Model Attention with Human Explanations
      for Robust Natural Language Inference", AAAI 2022, the randomised control, by
      their public code.
    """
    there = inputs.keys() | annotations.keys()
    if missing := sorted({"mask", "segments", "rationale", "special"} - there):
        raise ValueError(f"a permuted rationale needs {missing}; there are {there}.")
    rationale = annotations["rationale"].copy()
    counts = inputs["mask"] & ~annotations["special"]
    for segment in (0, 1):
        places = np.flatnonzero(counts & (inputs["segments"] == segment))
        rationale[places] = rng.permutation(rationale[places])
    return inputs, {**annotations, "rationale": rationale}
