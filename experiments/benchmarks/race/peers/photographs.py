"""Photographs on disk as the batches of an epoch, by a `DataLoader`."""

import pathlib

import numpy as np
import PIL.Image
import torch

from experiments.benchmarks.race import jobs, jpegs


class Photographs(torch.utils.data.Dataset):
    """Files decoded, resized and scaled to [0, 1] when they are asked for."""

    def __init__(self, paths: list[pathlib.Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        """float32 [3, h, w], as `Resize` and `ToTensor` of torchvision make it."""
        with PIL.Image.open(self.paths[index]) as file:
            image = file.convert("RGB").resize(
                jpegs.SHAPE[::-1], PIL.Image.Resampling.BILINEAR
            )
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.contiguous().float().div_(255)


def _loaded(arrays: jobs.Arrays) -> jobs.Prepared:
    paths = jpegs.write(arrays)
    loader = torch.utils.data.DataLoader(
        Photographs(paths),
        batch_size=jpegs.BATCH_SIZE,
        num_workers=jpegs.NUM_WORKERS,
        # Processes are started in the first epoch alone.
        persistent_workers=True,
    )

    def call() -> None:
        for _ in loader:
            pass

    def outputs() -> dict[str, np.ndarray]:
        colours = [batch.mean((2, 3)) for batch in loader]
        return {"colours": torch.cat(colours).numpy()}

    return jobs.Prepared(call, outputs, len(paths))


JOBS = {"jpegs": _loaded}
