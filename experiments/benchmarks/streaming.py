"""Steps a second with photographs read from disk against the same ones in memory.

Question: does a network wait for its photographs? 2,000 JPEG files of 64x64 to 160x160
pixels, cut out of five packaged photographs, are decoded into a folder once; the
unguided step of the region guidance, the quickest there is, is then run by
`training.fit` on batches read from that folder, and on batches of one array in memory.
Both are normalised to the same bits, which is asserted.

Expected: at least 95 % of the steps a second of arrays in memory; rounds take turns,
and only their ratio means something on a shared machine. Before them stand the images
decoded a second, and the seconds to open the folder when all is in it.

Cost: 2 minutes on a CPU.
Command: python -m experiments.benchmarks.streaming
"""

import functools
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import PIL.Image

from experiments import benchmarks
from experiments.digits import textured
from experiments.region_guidance import experiment
from experiments.running import feeding, loop, optimizers
from xguide_jax import data, training
from xguide_jax.types import TrainState

NUM_IMAGES = 2000
SIDES = (64, 160)
NUM_ROUNDS = 9
NUM_STEPS = 200
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "grass", "gravel")


def write_photographs(folder: pathlib.Path) -> list[pathlib.Path]:
    """Random crops as JPEG files, the photographs taking turns."""
    from skimage import data as photographs

    rng = np.random.default_rng(0)
    whole = [np.asarray(getattr(photographs, name)()) for name in PHOTOGRAPHS]
    paths = []
    for number in range(NUM_IMAGES):
        image = whole[number % len(whole)]
        height, width = rng.integers(SIDES[0], SIDES[1] + 1, size=2)
        top = rng.integers(0, image.shape[0] - height + 1)
        left = rng.integers(0, image.shape[1] - width + 1)
        crop = image[top : top + height, left : left + width]
        paths.append(folder / f"{number:04d}.jpg")
        PIL.Image.fromarray(crop).save(paths[-1], quality=90)
    return paths


def decoded(paths: list[pathlib.Path], folder: pathlib.Path, size: int) -> Any:
    """The folder filled and opened again, with the seconds that either takes."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        images = data.decode_images(paths, folder, shape=(size, size))
        seconds.append(time.perf_counter() - start)
    rate = len(paths) / seconds[0]
    print(f"decoded {rate:.0f} images/s, opened again in {seconds[1]:.2f} s")
    return images


def seconds(
    step: Callable[..., Any], state: TrainState, batch_at: Callable[[int], Any]
) -> float:
    """Wall time of the loop over `NUM_STEPS` steps, everything being compiled."""
    start = time.perf_counter()
    state = training.fit(step, state, batch_at, num_steps=NUM_STEPS)
    jax.block_until_ready(state.params)
    return time.perf_counter() - start


def compare(images: data.CachedRows, config: experiment.Config) -> None:
    """Prints steps a second of both, round by round, and their ratio."""
    labels = (np.arange(NUM_IMAGES) % 2).astype(np.int32)
    rows = data.Dataset(np.arange(NUM_IMAGES), labels, ("even", "odd"))
    read = functools.partial(data.read_images, images)
    resident = rows._replace(inputs=read(rows.inputs))
    batch_size = config.batch_size
    sources: dict[str, Callable[[int], Any]] = {
        "streamed": data.streamed_batches(rows, read, batch_size=batch_size, seed=0),
        "resident": feeding.batches_of(resident, batch_size=batch_size, seed=0),
    }
    found, expected = (batch_at(3)["inputs"] for batch_at in sources.values())
    np.testing.assert_array_equal(found, expected)
    problem = loop.linen_problem(
        textured.network(),
        resident.inputs,
        seed=0,
        batch_at=sources["resident"],
        optimizer=optimizers.muon(config.learning_rate, num_steps=NUM_STEPS),
    )
    state = training.init_train_state(
        jax.random.key(0),
        problem.params,
        problem.model_state,
        {},
        problem.optimizer,
        problem.batch_at(0),
    )
    step = jax.jit(training.make_train_step(problem.apply_fn, {}, problem.optimizer))
    benchmarks.compare_rates(
        functools.partial(seconds, step, state),
        sources,
        num_rounds=NUM_ROUNDS,
        num_steps=NUM_STEPS,
    )


def main() -> None:
    """Writes, decodes and compares."""
    benchmarks.begin(__doc__)
    config = experiment.Config()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "photographs").mkdir()
        paths = write_photographs(folder / "photographs")
        images = decoded(paths, folder / "decoded", config.image_size)
        compare(images, config)


if __name__ == "__main__":
    main()
