"""A user's images, maps and predictions, or an error that names the file."""

import importlib.util
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.running import flags
from xguide_jax import data

# What an archive of examples may hold beside 'inputs' and 'labels'.
ANNOTATIONS = ("region", "boxes", "boxes_valid", "region_valid", "groups", "targets")


class Examples(NamedTuple):
    """What is explained.

    Attributes:
      batch: as `evaluation.evaluate` takes it.
      names: of the examples: their files below the folder of images without their
        ending, or nothing where the examples came out of one archive.
    """

    batch: Mapping[str, np.ndarray]
    names: tuple[str, ...]


def read_examples(path: pathlib.Path) -> Examples:
    """The examples of an archive or a folder.

    Args:
      path: `.npz` with 'inputs' [N, ...], 'labels' [N] and any of `ANNOTATIONS`; or a
        folder with `images/<class>/<name>.<ending>`, all of one size, and, where the
        evidence is annotated, masks of 0 and 255 as `masks/<class>/<name>.png`.

    Returns:
      The examples; images as float32 in [0, 1] [N, H, W, 3], classes numbered in
      alphabetical order.

    Raises:
      RefusedError: naming the file that is missing, damaged or of another size.
    """
    if path.is_dir():
        return _read_folder(path)
    arrays = _read_archive(path)
    if missing := sorted({"inputs", "labels"} - arrays.keys()):
        raise flags.RefusedError(
            f"{path} must hold {missing}; it has {sorted(arrays)}."
        )
    if strange := sorted(arrays.keys() - {"inputs", "labels", *ANNOTATIONS}):
        raise flags.RefusedError(
            f"{path} holds {strange}, which nothing reads; there are 'inputs', "
            f"'labels' and {ANNOTATIONS}."
        )
    num_examples = len(arrays["inputs"])
    for name, values in arrays.items():
        if len(values) != num_examples:
            raise flags.RefusedError(
                f"{path}: {name!r} is of {len(values)} examples, 'inputs' of "
                f"{num_examples}."
            )
    return Examples(arrays | {"inputs": _as_float(path, arrays["inputs"])}, ())


def read_maps(path: pathlib.Path, examples: Examples) -> dict[str, np.ndarray]:
    """The maps of an archive or a folder.

    Args:
      path: `.npz`, an array [N, H, W] or [N, H, W, C] for each explainer; or a folder
        with `<explainer>/<class>/<name>.npy`, an array [H, W] or [H, W, C] for each
        image.
      examples: that they are of.

    Returns:
      {explainer: maps}.

    Raises:
      RefusedError: naming the file that is missing, damaged or does not fit its image.
    """
    inputs = examples.batch["inputs"]
    if not path.is_dir():
        maps = {name: _as_float(path, m) for name, m in _read_archive(path).items()}
        for name, values in maps.items():
            _check_fits(f"{path}[{name!r}]", values.shape, inputs.shape)
        return maps
    if not examples.names:
        raise flags.RefusedError(
            f"--maps {path} is a folder of maps by file name; then --data must be a "
            "folder of images."
        )
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if not folders:
        raise flags.RefusedError(f"{path} holds no folder, one an explainer.")
    return {folder.name: _read_map_folder(folder, examples) for folder in folders}


def read_predictions(place: str) -> Callable[[Any], Any]:
    """The function that predicts, out of a Python file.

    Args:
      place: `<file>.py:<function>`; the file's folder can be imported from.

    Returns:
      The function, inputs [B, ...] -> logits [B, C].

    Raises:
      RefusedError: if there is no such file or function in it.
    """
    file, _, name = place.rpartition(":")
    path = pathlib.Path(file)
    if not path.is_file() or not name:
        raise flags.RefusedError(
            f"--predictions (={place}) must be <file>.py:<function>, of a file that is "
            "there."
        )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise flags.RefusedError(f"--predictions: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    if not callable(predict := getattr(module, name, None)):
        raise flags.RefusedError(f"--predictions: {path} has no function {name!r}.")
    return predict


def _read_archive(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise flags.RefusedError(f"there is no file {path}.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, NumPy and zlib each raise their own
        raise flags.RefusedError(f"{path} cannot be read as .npz: {error}.") from error


def _read_folder(path: pathlib.Path) -> Examples:
    images = path / "images"
    files = sorted(file for file in images.glob("*/*") if file.is_file())
    if not files:
        raise flags.RefusedError(f"{images} holds no <class>/<image>.")
    classes = sorted({file.parent.name for file in files})
    pixels = [_read(data.read_image, file) for file in files]
    for file, image in zip(files, pixels, strict=True):
        if image.shape != pixels[0].shape:
            raise flags.RefusedError(
                f"{file} is {image.shape[:2]}, {files[0]} {pixels[0].shape[:2]}: all "
                "images must have the size that their maps have."
            )
    batch = {
        "inputs": np.stack(pixels).astype(np.float32) / 255,
        "labels": np.array([classes.index(file.parent.name) for file in files]),
    }
    if (path / "masks").is_dir():
        masks = [
            _read_region(path / "masks" / file.parent.name / f"{file.stem}.png", image)
            for file, image in zip(files, pixels, strict=True)
        ]
        nothing = np.zeros(pixels[0].shape[:2], bool)
        batch["region"] = np.stack([nothing if m is None else m for m in masks])
        batch["region_valid"] = np.array([mask is not None for mask in masks])
    names = tuple(str(f.relative_to(images).with_suffix("")) for f in files)
    return Examples(batch, names)


def _read_region(path: pathlib.Path, image: np.ndarray) -> np.ndarray | None:
    """The mask of an image, or None where there is no file."""
    if not path.exists():
        return None
    mask = _read(data.read_mask, path)
    if mask.shape != image.shape[:2]:
        raise flags.RefusedError(
            f"{path} is {mask.shape}, its image {image.shape[:2]}."
        )
    try:
        return data.region_from_labels(mask, inside=255, outside=0).region
    except ValueError as error:
        raise flags.RefusedError(f"{path}: {error}") from error


def _read_map_folder(folder: pathlib.Path, examples: Examples) -> np.ndarray:
    inputs = examples.batch["inputs"]
    maps: list[np.ndarray] = []
    for name in examples.names:
        path = folder / f"{name}.npy"
        if not path.is_file():
            raise flags.RefusedError(f"there is no map {path} of the image {name}.")
        values = _as_float(path, _read(_load_array, path))
        _check_fits(str(path), (1, *values.shape), (1, *inputs.shape[1:]))
        if maps and values.shape != maps[0].shape:
            raise flags.RefusedError(
                f"{path} is {values.shape}, the maps before it {maps[0].shape}."
            )
        maps.append(values)
    return np.stack(maps)


def _load_array(path: pathlib.Path) -> np.ndarray:
    return np.load(path, allow_pickle=False)


def _read(read: Callable[[pathlib.Path], np.ndarray], path: pathlib.Path) -> np.ndarray:
    try:
        return read(path)
    except Exception as error:  # each library has its own for a damaged file
        raise flags.RefusedError(f"{path} cannot be read: {error}") from error


def _as_float(path: pathlib.Path, values: np.ndarray) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.floating):
        raise flags.RefusedError(
            f"{path} holds {values.dtype}; images and maps must be float."
        )
    return values.astype(np.float32, copy=False)


def _check_fits(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape not in (wanted, wanted[:-1], (*wanted[:-1], 1)):
        raise flags.RefusedError(
            f"{name}, of shape {shape}, does not fit images of shape {wanted}."
        )
