"""Photographs with captions of people, and masks of who is in them."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.image_text import assembling
from xguide_jax.data.image_text import described as describing
from xguide_jax.data.images import image_files, label_masks, spatial
from xguide_jax.data.sources import grey_digits

_KEYS = {"file": str, "person_mask": str, "captions": list, "person": int}


def coco_captions(
    directory: str | pathlib.Path,
    *,
    shape: tuple[int, int],
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> describing.Described:
    """Everyday photographs with five captions each and masks of the people.

    The class is whether a person is in the picture, 23 times out of 51; all people
    together are the region. A photograph without people has no region. A caption tells
    what is seen, not why it is of its class, and names other things as well. Too few to
    train on: for tests, figures and smoke tests.

    Licence: annotations CC BY 4.0 (COCO consortium), photographs CC BY 2.0 and CC BY-SA
    2.0; `license` and `flickr_url` in the file are the attribution that a copy of a
    picture has to carry.

    Args:
      directory: the folder that holds `coco_captions_ccby/annotations.json`, a list of
        objects with 'file', 'person_mask' (0 and 255), 'captions' and 'person' (0 or
        1), and the images and masks it names.
      shape: `(H, W)` to which images and masks are stretched together.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [N, H, W, 3] with labels, captions and the annotations 'region', bool [N,
      H, W], and 'region_valid', bool [N]; known by the images' paths.

    Raises:
      ImportError: if pillow is not installed.
      FileNotFoundError: if a file is missing, naming it.
      ValueError: naming file, row and rule, if the list is of another form, an image is
        there twice, a path is absolute or holds '..', or an image or mask cannot be
        read.
    """
    folder = pathlib.Path(directory) / "coco_captions_ccby"
    rows = _listed(folder / "annotations.json")
    examples = [_photograph(folder, row, shape=shape) for row in rows]
    region = np.stack([mask for _, mask in examples])
    dataset = datasets.Dataset(
        grey_digits.normalise_images(
            np.stack([image for image, _ in examples]), mean=mean, std=std
        ),
        np.array([row.label for row in rows], np.int32),
        ("no person", "person"),
        {"region": region, "region_valid": region.any(axis=(1, 2))},
    )
    return describing.Described(
        dataset, tuple(row.texts for row in rows), tuple(row.image for row in rows)
    )


def _listed(path: pathlib.Path) -> list[assembling.ImageRow]:
    if not path.is_file():
        raise FileNotFoundError(
            f"put annotations.json, the list of photographs and captions, at {path}; "
            "`described_digits` needs no file."
        )
    try:
        listed = json.loads(path.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} must be json in UTF-8 ({error}).") from error
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{path.name} must be a list of photographs.")
    rows: dict[str, assembling.ImageRow] = {}
    for number, entry in enumerate(listed):
        row = _row(entry, f"{path.name}, row {number}")
        if row.image in rows:
            raise ValueError(
                f"{row.place}: the image {row.image!r} is that of "
                f"{rows[row.image].place}."
            )
        rows[row.image] = row
    return list(rows.values())


def _row(entry: Any, place: str) -> assembling.ImageRow:
    right = isinstance(entry, dict) and all(
        isinstance(entry.get(key), kind) for key, kind in _KEYS.items()
    )
    if (
        not right
        or entry["person"] not in (0, 1)
        or not all(isinstance(caption, str) for caption in entry["captions"])
    ):
        raise ValueError(
            f"{place} must have 'file' and 'person_mask' as texts, 'captions' as a "
            "list of texts and 'person' as 0 or 1."
        )
    captions = (caption.strip() for caption in entry["captions"])
    return assembling.ImageRow(
        place,
        assembling.inside(entry["file"], place, column="file"),
        int(entry["person"]),
        tuple(caption for caption in captions if caption),
        assembling.inside(entry["person_mask"], place, column="person_mask"),
    )


def _photograph(
    folder: pathlib.Path, row: assembling.ImageRow, *, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    image = assembling.read_image_of(row, folder)
    if not (folder / row.map).is_file():
        raise FileNotFoundError(f"{row.place}: there is no mask {folder / row.map}.")
    try:
        mask = image_files.read_mask(folder / row.map)
        region = label_masks.region_from_labels(mask, inside=255, outside=0).region
    except ValueError as error:
        raise ValueError(f"{row.place}: the mask {row.map}: {error}") from error
    if image.shape[:2] != region.shape:
        raise ValueError(
            f"{row.place}: the mask of {region.shape} must have the height and width "
            f"of its image, {image.shape[:2]}."
        )
    image, known = spatial.resize(image, {"region": region}, shape=shape)
    return image, known["region"]
