"""Explanations of images in the json of visual question and activity answering."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from xguide_jax.data.image_text import assembling
from xguide_jax.data.image_text import described as describing

_KEYS = ("image_path", "class_id", "exp")


def read_exp_annotation(
    path: str | pathlib.Path,
    *,
    class_names: Sequence[str],
    shape: tuple[int, int],
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> describing.Described:
    """Images with a class, several explanations and a map where there is one.

    The file `exp_annotation.json` of multimodal explanation sets, an object of
    {id: {'image_path', 'class_id', 'ans', 'exp', 'visual_exp'}}: the image's file, the
    number of its class, the answer (not read: it is the class in words), a list of
    explanations, and the '.npy' file of a human map, empty, null or missing where
    nobody drew one. Paths are below the folder of the json file.

    All entries of one image are one row with all of their explanations; an image with
    two classes is refused. Maps are normalised one by one (`normalise_maps`), and an
    image without a map, or with a constant one, is not valid, its region 0.

    Args:
      path: the json file.
      class_names: of the numbers `class_id`, from 0.
      shape: `(H, W)` to which images and maps are stretched.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [N, H, W, 3] with labels, texts and the annotations 'region', float32 [N,
      H, W] in [0, 1], and 'region_valid', bool [N]; known by the images' paths, by
      which `split_images` splits.

    Raises:
      ImportError: if pillow is not installed.
      FileNotFoundError: if a file is missing, naming it.
      ValueError: naming file, entry and rule, if an entry is malformed, a path is
        absolute or holds '..', or an image or map cannot be read.

    Source: the layout that the development code of "Multimodal Explanation-Guided
      Learning" (Zhang, Jiang, et al., arXiv 2411.13053) reads; its one row for each
      explanation, batched min-max and zero targets for missing maps are not kept.
    """
    file = pathlib.Path(path)
    rows = _rows(_entries(file), file.name, len(class_names))
    return assembling.described_images(
        file.parent, rows, class_names, shape=shape, mean=mean, std=std
    )


def _entries(file: pathlib.Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(
            f"put the file at {file}; `described_digits` needs no file."
        )
    try:
        entries = json.loads(
            file.read_text("utf-8-sig"), object_pairs_hook=_without_doubles
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file.name} must be json in UTF-8 ({error}).") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{file.name} must be an object of entries by their ids.")
    return entries


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two entries with one key json keeps the last without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {double!r} is there twice")
    return found


def _rows(
    entries: dict[str, Any], name: str, num_classes: int
) -> Iterator[assembling.ImageRow]:
    for key, entry in entries.items():
        place = f"{name}, entry {key[:80]!r}"
        if not isinstance(entry, dict) or not set(_KEYS) <= entry.keys():
            raise ValueError(f"{place} must be an object with {_KEYS}.")
        label, written = entry["class_id"], entry["exp"]
        if type(label) is not int or not 0 <= label < num_classes:
            raise ValueError(
                f"{place}: 'class_id' (={str(label)[:40]!r}) must be a whole number in "
                f"0 .. {num_classes - 1}."
            )
        if not isinstance(written, list) or not all(
            isinstance(t, str) for t in written
        ):
            raise ValueError(f"{place}: 'exp' must be a list of texts.")
        yield assembling.ImageRow(
            place,
            _path(entry["image_path"], place, "image_path"),
            label,
            tuple(text.strip() for text in written if text.strip()),
            _map(entry.get("visual_exp"), place),
        )


def _map(value: Any, place: str) -> str:
    if value is None or value == "":
        return ""
    path = _path(value, place, "visual_exp")
    if not path.lower().endswith(".npy"):
        raise ValueError(f"{place}: 'visual_exp' (={path[:80]!r}) must end in '.npy'.")
    return path


def _path(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str):
        raise ValueError(
            f"{place}: {column!r} must be a path, not {str(value)[:40]!r}."
        )
    return assembling.inside(value, place, column=column)
