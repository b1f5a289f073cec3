"""Masks of the lower half of the scores of each example."""

import functools

import jax
import numpy as np

from experiments.benchmarks.race import jobs
from xguide_jax import ops


def _scores(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Float [B, n], none of them tied at the border in any row."""
    return {"scores": np.random.default_rng(0).normal(size=shape).astype(np.float32)}


def _prepared(given: jobs.Arrays) -> jobs.Prepared:
    scores = jax.device_put(given["scores"])
    mask = jax.jit(functools.partial(ops.bottom_k_mask, k=scores.shape[1] // 2))
    return jobs.Prepared(
        call=lambda: jax.block_until_ready(mask(scores)),
        outputs=lambda: {"mask": np.asarray(mask(scores), np.float32)},
        items=len(scores),
    )


DIGITS = jobs.Ours(functools.partial(_scores, (512, 28 * 28)), _prepared)
PHOTOGRAPHS = jobs.Ours(functools.partial(_scores, (48, 224 * 224)), _prepared)
JOBS = {
    "bottom_k": DIGITS,
    "bottom_k_kthvalue": DIGITS,
    "bottom_k_large": PHOTOGRAPHS,
    "bottom_k_large_kthvalue": PHOTOGRAPHS,
}
