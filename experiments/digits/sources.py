"""Data sets by the name of a flag."""

import dataclasses
import os
import pathlib
from typing import Literal

from experiments.running import flags
from xguide_jax import data


@dataclasses.dataclass(frozen=True)
class SourceConfig(flags.ExplainingConfig):
    """Flags of the experiments on a data set that has a name."""

    dataset: str = "digits"
    """Which data set."""
    data_dir: pathlib.Path | None = None
    """Folder of data sets; $XGUIDE_DATA if left out."""


@dataclasses.dataclass(frozen=True)
class DigitsConfig(SourceConfig):
    """Flags of the experiments on textured digits."""

    dataset: Literal["digits", "mnist10k"] = "digits"
    """digits: 5,000 inside a package; mnist10k: a file in --data-dir."""


def load(name: str, folder: pathlib.Path | None) -> data.Dataset:
    """The whole labelled data set.

    Args:
      name: 'digits', inside a package; 'mnist10k', a file; or an image data set of
        tensorflow-datasets, which downloads it.
      folder: of the file, $XGUIDE_DATA if None; or where the download lies.

    Returns:
      The data set.

    Raises:
      ValueError: if the file's folder is not known.
    """
    if name == "digits":
        return data.digits()
    if name == "mnist10k":
        check_folder(name, folder)
        return data.mnist10k(folder or os.environ["XGUIDE_DATA"])
    return data.tensorflow_datasets_images(name, "train+test", data_dir=folder)


def check_folder(name: str, folder: pathlib.Path | None) -> None:
    """Refuses a data set that is a file whose folder is not known.

    Args:
      name: of the data set.
      folder: the flag; $XGUIDE_DATA if None.

    Raises:
      ValueError: if neither says where it lies.
    """
    if name == "mnist10k" and not (folder or os.environ.get("XGUIDE_DATA")):
        raise ValueError("--dataset mnist10k needs --data-dir or $XGUIDE_DATA.")
