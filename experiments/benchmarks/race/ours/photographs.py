"""Photographs on disk as the batches of a first epoch."""

import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np

from experiments.benchmarks.race import jobs, jpegs
from xguide_jax import data


def _decoded(given: jobs.Arrays) -> jobs.Prepared:
    paths = jpegs.write(given)

    def batches() -> Iterator[np.ndarray]:
        """float32 [B, h, w, 3] in [0, 1]; nothing is kept for another epoch."""
        with tempfile.TemporaryDirectory() as folder:
            images = data.decode_images(
                paths, pathlib.Path(folder),
                shape=jpegs.SHAPE, num_threads=jpegs.NUM_WORKERS,
            )  # fmt: skip
            for first in range(0, len(paths), jpegs.BATCH_SIZE):
                rows = np.arange(first, min(first + jpegs.BATCH_SIZE, len(paths)))
                yield data.read_images(images, rows)

    def call() -> None:
        for _ in batches():
            pass

    def outputs() -> dict[str, np.ndarray]:
        colours = [batch.mean(axis=(1, 2)) for batch in batches()]
        return {"colours": np.concatenate(colours)}

    return jobs.Prepared(call, outputs, len(paths))


JOBS = {"jpegs": jobs.Ours(jpegs.encoded, _decoded)}
