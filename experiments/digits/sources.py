"""Data sets by the name of a flag."""

import dataclasses
import os
import pathlib
from typing import ClassVar, Literal

from experiments.digits import textured
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


@dataclasses.dataclass(frozen=True)
class TexturedConfig(DigitsConfig):
    """Flags of training a small network on textured digits."""

    # Learning rates and warm-ups end with `num_steps`: a longer run is another one.
    may_grow: ClassVar[tuple[str, ...]] = ("arms", "seeds")

    num_steps: int = 450
    batch_size: int = 32
    log_every: int = 50
    save_every: int = 150
    rho: float = textured.CORRELATION
    """How often texture and class agree in training and validation."""
    image_size: int = 32
    """Pixels a side; images are made with 48."""
    learning_rate: float = 0.05
    """Of Muon, for the convolutions; Adam has 0.003 for the rest."""


def check_textured(config: TexturedConfig) -> None:
    """Refuses flags that cannot be met.

    Args:
      config: the flags.

    Raises:
      ValueError: for an `image_size` that the network does not divide, a number out of
        range, or a data set whose folder is not known.
    """
    check_folder(config.dataset, config.data_dir)
    flags.check_fractions(config, "rho")
    # Half as many validation images are explained as test images.
    flags.check_explaining(config, least_evaluated=2)
    if config.image_size < 4 or config.image_size % 4:
        raise ValueError(
            f"`image_size` (={config.image_size}) must be a positive multiple of 4, by "
            "which the strides of the network divide it."
        )


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
