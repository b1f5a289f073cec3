"""Data sets with their annotations, batches of them, and what changes both together.

Everything here is NumPy on the host: a `Dataset` holds inputs, labels and annotations
side by side, a batch is a plain dict of arrays `[B, ...]`, and which examples a batch
holds is a function of the seed and the step alone, so that nothing needs to be saved
to resume a run. Nothing is read from the environment; directories are arguments.
"""

from xguide_jax.data.annotations import (
    SimulatedAnnotations,
    corrupt_masks,
    dilate_boxes,
    keep_fraction,
    resize_mask,
)
from xguide_jax.data.batching import batch_indices, eval_batches, make_batch, prefetch
from xguide_jax.data.datasets import Dataset, split, take, validate, validate_batch
from xguide_jax.data.sources import (
    MNIST_MEAN,
    MNIST_STD,
    digits,
    mnist10k,
    normalise_images,
)
from xguide_jax.data.tfds_sources import tensorflow_datasets_images
from xguide_jax.data.transforms import flip_horizontally, shift, transform_together

__all__ = (
    "MNIST_MEAN",
    "MNIST_STD",
    "Dataset",
    "SimulatedAnnotations",
    "batch_indices",
    "corrupt_masks",
    "digits",
    "dilate_boxes",
    "eval_batches",
    "flip_horizontally",
    "keep_fraction",
    "make_batch",
    "mnist10k",
    "normalise_images",
    "prefetch",
    "resize_mask",
    "shift",
    "split",
    "take",
    "tensorflow_datasets_images",
    "transform_together",
    "validate",
    "validate_batch",
)
