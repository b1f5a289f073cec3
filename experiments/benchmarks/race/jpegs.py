"""Photographs as files, which both sides read."""

import io
import pathlib
import tempfile

import numpy as np
import PIL.Image

from experiments.benchmarks.race import jobs

NUM_IMAGES = 256
SHAPE = (224, 224)  # rows and columns, of the network's input
BATCH_SIZE = 64
NUM_WORKERS = 2  # threads or processes that decode
_QUALITY = 90


def encoded() -> dict[str, np.ndarray]:
    """Bytes of all files, and where each ends: soft colours, and grain on them."""
    rng = np.random.default_rng(0)
    files = []
    for number in range(NUM_IMAGES):
        height, width = (480, 640) if number % 3 else (640, 480)
        soft = rng.uniform(50, 205, size=3) + rng.uniform(-50, 50, size=(15, 15, 3))
        image = PIL.Image.fromarray(soft.astype(np.uint8))
        pixels = np.asarray(image.resize((width, height), PIL.Image.Resampling.BICUBIC))
        grain = rng.integers(-12, 13, size=pixels.shape, dtype=np.int16)
        noisy = np.clip(pixels + grain, 0, 255).astype(np.uint8)
        file = io.BytesIO()
        PIL.Image.fromarray(noisy).save(file, "JPEG", quality=_QUALITY)
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    return {"bytes": np.concatenate(files), "ends": np.cumsum(list(map(len, files)))}


def write(arrays: jobs.Arrays) -> list[pathlib.Path]:
    """The files in a new folder, in their order.

    Args:
      arrays: of `encoded`.

    Returns:
      NUM_IMAGES paths.
    """
    folder = pathlib.Path(tempfile.mkdtemp())
    paths = []
    for number, content in enumerate(np.split(arrays["bytes"], arrays["ends"][:-1])):
        paths.append(folder / f"{number:04}.jpg")
        paths[-1].write_bytes(content.tobytes())
    return paths
