"""Guidance by inexact annotations, on the network of the digits."""

import numpy as np

from experiments.benchmarks.race import jobs
from experiments.benchmarks.race.ours import arrays, digits, steps
from xguide_jax import guidance, models
from xguide_jax.types import Terms

BATCH_SIZE = 32


def robust_arrays() -> dict[str, np.ndarray]:
    """Those of the digits, with a box of evidence and one of none for each image."""
    rng = np.random.default_rng(1)
    annotations = np.zeros((BATCH_SIZE, 28, 28), np.float32)
    for image in annotations:
        for sign in (-1, 1):
            top, left = rng.integers(0, 17, size=2)
            height, width = rng.integers(6, 12, size=2)
            image[top : top + height, left : left + width] = sign
    given = digits.digits_arrays(BATCH_SIZE)
    del given["region"]
    return {**given, "annotations": annotations}


def _res_gaussian() -> Terms:
    # Without dropout both modes are one function, and this one shares the clean pass.
    cam = guidance.normalised_cam(explain_in="train")
    return {"res": guidance.res_gaussian(slack=0.1, explain=cam)}


def _step(given: jobs.Arrays) -> jobs.Prepared:
    return steps.prepared(
        models.linen_apply_fn(digits.network()),
        arrays.nested(given, "params"),
        {},
        _res_gaussian(),
        digits.SGD,
        {name: given[name] for name in ("inputs", "labels", "annotations")},
    )


JOBS = dict.fromkeys(
    ("res_gaussian", "res_gaussian_rows"), jobs.Ours(robust_arrays, _step)
)
