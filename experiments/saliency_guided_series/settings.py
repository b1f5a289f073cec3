"""What an arm is trained in: a network and a set, planted or read from files."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from flax import linen as nn

from experiments.running import flags
from xguide_jax import data, models

NETWORKS = ("tcn", "lstm", "attentive", "transformer")


class Setting(NamedTuple):
    """A network and the set it is trained on.

    Attributes:
      network: of `NETWORKS`.
      layout: of `data.planted_series`; None of a set that is read.
      process: likewise.
      train_file: '..._TRAIN.ts' or '.tsv'; None of a set that is planted.
    """

    network: str
    layout: str | None = None
    process: str | None = None
    train_file: str | None = None

    @property
    def series(self) -> str:
        """The name of the set."""
        if self.train_file is not None:
            return pathlib.Path(self.train_file).stem.removesuffix("_TRAIN")
        return f"{self.layout}/{self.process}"

    @property
    def name(self) -> str:
        """As tables and files have it."""
        return f"{self.network}/{self.series}"


class Parts(NamedTuple):
    """The parts of a set; a set that is read has no part to validate on."""

    train: data.Dataset
    validation: data.Dataset | None
    test: data.Dataset


def make_network(name: str, num_classes: int) -> nn.Module:
    """A small network of series.

    Args:
      name: of `NETWORKS`.
      num_classes: C.

    Returns:
      The module.
    """
    if name == "tcn":
        return models.TemporalConvolutionNetwork(
            widths=(16, 16, 16), kernel_size=4, num_classes=num_classes, pooling="last"
        )
    if name == "lstm":
        return models.LSTM(width=16, num_classes=num_classes, pooling="last")
    if name == "attentive":
        return models.InputCellAttentionLSTM(
            width=16, num_classes=num_classes, attention_width=16, num_mixtures=4,
            pooling="last",
        )  # fmt: skip
    return models.SeriesTransformer(
        num_layers=2, num_heads=4, width=32, hidden_width=64, num_classes=num_classes,
        pooling="mean",
    )  # fmt: skip


def planted_parts(
    setting: Setting, counts: Sequence[int], *, seed: int, size: int, irregular: bool
) -> Parts:
    """Three parts of series of which the true cells are known.

    Args:
      setting: of a set that is planted.
      counts: series of each part.
      seed: of this repetition.
      size: steps and features.
      irregular: as for `data.planted_series`.

    Returns:
      The parts, which share no series with those of another seed.
    """
    assert setting.layout is not None
    assert setting.process is not None
    return Parts(
        *(
            data.planted_series(
                count, layout=setting.layout, process=setting.process,
                seed=3 * seed + number, irregular=irregular,
                num_steps=size, num_features=size,
            )
            for number, count in enumerate(counts)
        )
    )  # fmt: skip


def train_files(
    texts: Sequence[str], folder: pathlib.Path | None
) -> tuple[pathlib.Path, ...]:
    """The training files that a flag names.

    Args:
      texts: each a file '..._TRAIN.ts' or '.tsv', or a folder that holds such files at
        any depth.
      folder: where else they may lie; $XGUIDE_DATA if None.

    Returns:
      Their paths, the test file beside each.

    Raises:
      RefusedError: if there is none, one has no test file, or two have one name.
    """
    folder = folder or pathlib.Path(os.environ.get("XGUIDE_DATA", "."))
    found: list[pathlib.Path] = []
    for text in texts:
        # An absolute path stays what it is.
        places = [p for p in (pathlib.Path(text), folder / text) if p.exists()]
        inside = [q for p in places[:1] for q in ([p] if p.is_file() else p.rglob("*"))]
        files = [p for p in inside if p.name.endswith(("_TRAIN.ts", "_TRAIN.tsv"))]
        if not files:
            raise flags.RefusedError(
                f"`archive` holds {text!r}; it must be a file '..._TRAIN.ts' or '.tsv' "
                "or a folder with one, here or in --data-dir."
            )
        found += sorted(files)
    names = [Setting("", train_file=str(path)).series for path in found]
    for name, path in zip(names, found, strict=True):
        if names.count(name) > 1:
            raise flags.RefusedError(
                f"`archive` holds {name} {names.count(name)} times."
            )
        if not _test_file(path).is_file():
            raise flags.RefusedError(f"there is no {_test_file(path)}.")
    return tuple(found)


def read_parts(train_file: pathlib.Path) -> Parts:
    """The two parts of a set of the UCR or UEA archive, split as given.

    Args:
      train_file: '..._TRAIN.ts' or '.tsv'.

    Returns:
      The parts, of the same number of steps.

    Raises:
      ValueError: as the readers, or if the parts have other features or classes.
    """
    files = (train_file, _test_file(train_file))
    both = [_read(path, files, None) for path in files]
    longest = max(part.inputs["series"].shape[1] for part in both)
    train, test = (_read(path, files, longest) for path in files)
    of_both = [(p.inputs["series"].shape[2], p.class_names) for p in (train, test)]
    if of_both[0] != of_both[1]:
        raise ValueError(
            f"{train_file.name} and {files[1].name} must agree in features and classes "
            f"({of_both[0]}, {of_both[1]})."
        )
    return Parts(train, None, test)


def _test_file(train_file: pathlib.Path) -> pathlib.Path:
    return train_file.with_name(train_file.name.replace("_TRAIN.", "_TEST."))


def _read(
    path: pathlib.Path, files: Sequence[pathlib.Path], num_steps: int | None
) -> data.Dataset:
    if path.suffix == ".ts":
        return data.read_ts(path, num_steps=num_steps)[0]
    lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
    classes = sorted({line.split("\t")[0] for line in lines if line}, key=float)
    return data.read_ucr_tsv(path, class_names=classes, num_steps=num_steps)[0]
