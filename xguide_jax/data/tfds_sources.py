"""Image sets of tensorflow-datasets, read without TensorFlow.

Only data prepared in the array_record format can be read that way. Preparing one of the
classic sets still runs TensorFlow once, on whatever machine; afterwards, and on every
other machine that its folder is copied to, it is not needed.
"""

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from xguide_jax.data import datasets, sources


def tensorflow_datasets_images(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> datasets.Dataset:
    """A labelled image set of tensorflow-datasets, decoded into memory.

    'mnist', 'fashion_mnist', 'cifar10' and every other set with 'image' and 'label'
    features and images of one shape. Its order is the one it was prepared in.

    Args:
      name: as tensorflow-datasets registers it.
      split: e.g. 'train', 'test' or 'train[:10%]'.
      data_dir: the folder of prepared sets; the package's own default if None.
      download: whether to download and prepare the set where it is not there yet.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [N, H, W, channels] with labels and class names.

    Raises:
      ImportError: if h5py is missing, without which sets vanish from the registry.
      ValueError: if no such set is registered, or it has no images with labels.
      FileNotFoundError: if it is not prepared and cannot be, saying what to put where.
    """
    builder = _builder(name, data_dir)
    features = builder.info.features
    if None in features["image"].shape:
        raise ValueError(f"the images of {name!r} differ in shape; it takes one shape.")
    source = _source(builder, split, download)
    examples = [(row["image"], row["label"]) for row in source]
    pixels = np.stack([image for image, _ in examples])
    labels = np.array([label for _, label in examples], np.int32)
    images = sources.normalise_images(pixels, mean=mean, std=std)
    return datasets.Dataset(images, labels, tuple(features["label"].names))


def _builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    # Without h5py an import fails inside tensorflow-datasets, is swallowed there, and
    # about half of all sets are then reported as not existing.
    if importlib.util.find_spec("h5py") is None:
        raise ImportError("tensorflow-datasets needs h5py to register all of its sets.")
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"tensorflow-datasets registers no {name!r}.") from error
    features = builder.info.features or {}
    if not {"image", "label"} <= set(features):
        raise ValueError(
            f"{name!r} has the features {sorted(features)}, not 'image' and 'label'."
        )
    return builder


def _source(builder: Any, split: str, download: bool) -> Any:
    if download:
        try:
            builder.download_and_prepare()
        except Exception as error:  # no network, no TensorFlow, a moved file ...
            raise _not_prepared(builder, repr(error)[:300]) from error
    elif not builder.info.splits:
        raise _not_prepared(builder, "`download` is False")
    return builder.as_data_source(split=split)


def _not_prepared(builder: Any, reason: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"{builder.name!r} is not prepared and cannot be here: {reason}. Put a copy in "
        f"the array_record format, with its dataset_info.json, at {builder.data_dir}. "
        "Where there is a network, `pip install tensorflow-cpu importlib_resources` "
        f"and `tfds build {builder.name} --file_format=array_record` make one."
    )
