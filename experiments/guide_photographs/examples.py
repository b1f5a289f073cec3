"""Folders of photographs to try, with boxes or masks as COCO has them and a table."""

import csv
import io
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import PIL.Image

from experiments.guide_photographs import cut_outs
from experiments.guide_photographs.drawn import Drawn
from xguide_jax import data, files

Name = Literal["digits", "cells", "objects"]

_TEXTURES = ("grass", "gravel")
_COUNTS = {"train": 1500, "validation": 300, "test": 600}
_CORRELATION = 0.95
_LISTED = "photographs.csv"


class Paths(NamedTuple):
    """What the flags name.

    Attributes:
      images: the folder of photographs.
      annotations: COCO json.
      table: csv.
    """

    images: pathlib.Path
    annotations: pathlib.Path
    table: pathlib.Path


def write_example(
    folder: pathlib.Path, name: Name, *, data_dir: pathlib.Path | None
) -> Paths:
    """Writes an example, if it is not there yet: the same photographs each time.

    Args:
      folder: where it comes to lie.
      name: 'digits' on grass and gravel, which agree with the class at 95 % but for the
        test; 'cells', crops of blood cells with a box each; 'objects', people and
        things cut out of photographs and put before pictures from indoors and outdoors,
        which agree with the class likewise.
      data_dir: folder of data sets, for cells and objects.

    Returns:
      Where its parts lie.

    Raises:
      FileNotFoundError: if the data is missing, saying where to put it.
    """
    paths = Paths(folder / "images", folder / "annotations.json", folder / _LISTED)
    if paths.table.exists():  # it is written last
        return paths
    if name == "digits":
        _write(paths, _digits())
    else:
        assert data_dir is not None
        of = {"cells": _cells, "objects": cut_outs.composites}
        _write(paths, of[name](data_dir))
    return paths


def _digits() -> Iterator[Drawn]:
    digits = data.digits()
    rows = data.generator(data.Stream.SPLIT, 0).permutation(len(digits.labels))
    start = 0
    for number, (part, count) in enumerate(_COUNTS.items()):
        chosen = data.take(digits, rows[start : start + count])
        start += count
        textured = data.textured_digits(
            chosen,
            rho=0.5 if part == "test" else _CORRELATION,
            half="test" if part == "test" else "train",
            seed=number,
        )
        grey = textured.inputs * data.TEXTURED_STD + data.TEXTURED_MEAN
        for row in range(count):
            label = ("below five", "five or more")[textured.labels[row]]
            group = _TEXTURES[textured.annotations["groups"][row] % 2]
            box = textured.annotations["boxes"][row, 0]
            yield Drawn(_bytes(grey[row]), label, box, group, part)


def _cells(data_dir: pathlib.Path) -> Iterator[Drawn]:
    names = {"train": "train", "val": "validation", "test": "test"}
    for split, part in names.items():
        cells = data.bccd_crops(data_dir, split=split)
        for row, label in enumerate(cells.labels):
            box = cells.annotations["boxes"][row, 0]
            pixels = _bytes(cells.inputs[row])
            yield Drawn(pixels, cells.class_names[label], box, "", part)


def _write(paths: Paths, every: Iterable[Drawn]) -> None:
    paths.images.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "group", "split"))
    numbers: dict[str, int] = {}
    for number, one in enumerate(every, start=1):
        name = f"{one.part}_{number:04d}.jpg"
        files.write_bytes(paths.images / name, _jpeg(one.pixels))
        height, width, _ = one.pixels.shape
        category = numbers.setdefault(one.label, len(numbers) + 1)
        images.append(
            {"id": number, "file_name": name, "width": width, "height": height}
        )
        objects.append(
            {"id": number, "image_id": number, "category_id": category, "iscrowd": 0}
            | _outline(one.evidence)
        )
        writer.writerow((name, one.group, one.part))
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    files.write_json(
        paths.annotations,
        {"images": images, "annotations": objects, "categories": categories},
    )
    files.write_bytes(paths.table, table.getvalue().encode())


def _outline(evidence: np.ndarray) -> dict[str, Any]:
    """A box [4], or a mask [H, W], as COCO writes them."""
    if evidence.ndim == 1:
        x0, y0, x1, y1 = (float(side) for side in evidence)
        return {"bbox": [x0, y0, x1 - x0, y1 - y0]}
    rows, columns = (np.flatnonzero(evidence.any(axis=axis)) for axis in (1, 0))
    x0, y0 = int(columns[0]), int(rows[0])
    box = [x0, y0, int(columns[-1]) + 1 - x0, int(rows[-1]) + 1 - y0]
    return {"bbox": box, "segmentation": data.rle_from_mask(evidence)}


def _bytes(image: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1], one or three channels, as uint8 [H, W, 3]."""
    whole = np.clip(np.round(image * 255), 0, 255).astype(np.uint8)
    return np.broadcast_to(whole, (*whole.shape[:2], 3))


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
