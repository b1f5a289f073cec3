"""Sets of tensorflow-datasets, prepared in the format that needs no TensorFlow."""

import importlib.util
import os
from typing import Any


def builder_of(
    name: str, data_dir: str | os.PathLike[str] | None, needed: tuple[str, ...]
) -> Any:
    """A registered set that has the features needed."""
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
    if not set(needed) <= set(features):
        wanted = " and ".join(map(repr, needed))
        raise ValueError(f"{name!r} has the features {sorted(features)}, not {wanted}.")
    return builder


def source_of(builder: Any, split: str, *, download: bool) -> Any:
    """The rows of a split, prepared if need be and allowed.

    Raises:
      FileNotFoundError: if it is not prepared and cannot be, saying what to put where.
    """
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
