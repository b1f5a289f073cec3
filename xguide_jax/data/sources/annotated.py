"""Photographs that people drew boxes and masks on, read from files beside the project.

Both sets are small: crops of blood cells that a small network learns in a minute, and
everyday photographs for pictures, pointing games and tests.
"""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.images import annotations, image_files, spatial
from xguide_jax.data.sources import grey_digits

_PERSON = 1  # the category's number in COCO
_SPLITS = ("train", "val", "test")


def bccd_crops(
    directory: str | pathlib.Path,
    *,
    split: str | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> datasets.Dataset:
    """861 blood cells of three kinds under the microscope, a box each.

    400 red and 228 white cells and 233 platelets, one labelled cell in the middle or
    elsewhere of a crop of 64x64 pixels. A box covers a median of 21 % of the crop for
    red cells, 59 % for white ones and 3 % for platelets.

    Licence: MIT, by way of the BCCD data set (Shenggan/BCCD_Dataset, 2017).

    Args:
      directory: the folder that holds `bccd_crops/bccd_crops.npz`, an archive of `x`,
        uint8 [N, 64, 64, 3], `y`, uint8 [N], `box`, float32 [N, 4] as `(x0, y0, x1,
        y1)` in pixels, and `split`, one of 'train', 'val' and 'test' each.
      split: one of them, or None for all. Crops of one photograph lie in one split;
        shuffling all crops into new ones would let photographs leak.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [N, 64, 64, 3] with labels and the annotations 'boxes', float32 [N, 1, 4],
      'boxes_valid', bool [N, 1], and 'region', bool [N, 64, 64], the box as a mask.

    Raises:
      FileNotFoundError: if the file is missing, saying where to put it.
      ValueError: if the archive holds something else, or no such split.
    """
    if split is not None and split not in _SPLITS:
        raise ValueError(f"`split` (={split!r}) must be None or one of {_SPLITS}.")
    path = pathlib.Path(directory) / "bccd_crops" / "bccd_crops.npz"
    _require(path, "the archive of x, y, box and split")
    arrays = _bccd_arrays(path)
    boxes = arrays["box"].astype(np.float32)[:, None]
    valid = np.ones((len(boxes), 1), bool)
    shape = arrays["x"].shape[1:3]
    everything = datasets.Dataset(
        grey_digits.normalise_images(arrays["x"], mean=mean, std=std),
        arrays["y"].astype(np.int32),
        ("red blood cell", "white blood cell", "platelet"),
        {
            "boxes": boxes,
            "boxes_valid": valid,
            "region": annotations.box_masks(boxes, valid, shape=shape),
        },
    )
    if split is None:
        return everything
    return datasets.take(everything, arrays["split"] == split)


def coco_masks(
    directory: str | pathlib.Path,
    *,
    shape: tuple[int, int],
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> datasets.Dataset:
    """Everyday photographs with and without people, and masks of the people.

    The class is whether a person is in the picture, 30 times out of 53, because no
    other category is in more than 6 of them; all people together are the region. A
    photograph without people has no region: nothing in it is evidence of an absence.
    Too few to train on. A box may hold a crowd, and a mask may exceed its box by a
    pixel, as the annotators left it. Images are read as `read_image` does, upright and
    in RGB.

    Licence: annotations CC BY 4.0 (COCO consortium), photographs CC BY 2.0 and CC BY-SA
    2.0 and one without known restrictions; `license_id` and `flickr_url` in the file
    are the attribution that a copy of a picture has to carry.

    Args:
      directory: the folder that holds `coco_panoptic_ccby/annotations.json` and the
        images and masks it names; the pixels of a mask are COCO's categories.
      shape: `(H, W)` to which images, masks and boxes are stretched together.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [N, H, W, 3] with labels and the annotations 'region', bool [N, H, W],
      'region_valid', bool [N], 'boxes', float32 [N, boxes, 4], the people one by one,
      and 'boxes_valid', bool [N, boxes].

    Raises:
      ImportError: if pillow is not installed.
      FileNotFoundError: if a file is missing, saying where to put it.
      ValueError: naming the file, if an image cannot be read, its mask has another
        shape, or the list is of another form.
    """
    folder = pathlib.Path(directory) / "coco_panoptic_ccby"
    _require(folder / "annotations.json", "the list of images and their segments")
    listed, people = _listed(folder / "annotations.json")
    num_boxes = max(len(boxes) for boxes in people)
    examples = [
        _photograph(folder, row, boxes, num_boxes=num_boxes, shape=shape)
        for row, boxes in zip(listed, people, strict=True)
    ]
    pixels = np.stack([image for image, _ in examples])
    stacked = {
        name: np.stack([known[name] for _, known in examples])
        for name in examples[0][1]
    }
    return datasets.Dataset(
        grey_digits.normalise_images(pixels, mean=mean, std=std),
        np.array([row["person"] for row in listed], np.int32),
        ("no person", "person"),
        stacked,
    )


def _bccd_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
    # A pickle inside the archive would run code.
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive}
    kinds = {"x": ("u", 4), "y": ("u", 1), "box": ("f", 2), "split": ("U", 1)}
    for name, kind in kinds.items():
        found = arrays.get(name)
        if found is None or (found.dtype.kind, found.ndim) != kind:
            raise ValueError(
                f"{path} must hold x, uint8 [N, H, W, 3], y, uint8 [N], box, float "
                "[N, 4], and split, text [N]."
            )
    shapes = {name: arrays[name].shape for name in kinds}
    if len({shape[0] for shape in shapes.values()}) > 1 or shapes["box"][1:] != (4,):
        raise ValueError(
            f"{path} must hold x, uint8 [N, H, W, 3], and as many y, box [N, 4] and "
            f"split, not arrays of the shapes {shapes}."
        )
    return arrays


def _listed(path: pathlib.Path) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """The rows of the list, and the boxes [people, 4] of each."""
    people = []
    row: Any = None
    try:
        listed = json.loads(path.read_text("utf-8"))["images"]
        for row in listed:
            found = [s for s in row["segments"] if s["category_id"] == _PERSON]
            boxes = [s["box_xyxy"] for s in found]
            people.append(np.array(boxes, np.float32).reshape(len(boxes), 4))
            if row["person"] not in (0, 1) or not (row["file"] and row["mask"]):
                raise ValueError("'person' must be 0 or 1")
        if not listed:
            raise ValueError("no images")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must list 'images' with 'file', 'mask', 'person' and 'segments' "
            f"of 'category_id' and 'box_xyxy' ({error!r} in {str(row)[:200]})."
        ) from error
    return listed, people


def _photograph(
    folder: pathlib.Path,
    row: dict[str, Any],
    boxes: np.ndarray,
    *,
    num_boxes: int,
    shape: tuple[int, int],
) -> spatial.Example:
    """One image of one shape, with its boxes padded to one number."""
    padded = np.zeros((num_boxes, 4), np.float32)
    padded[: len(boxes)] = boxes
    for name in (row["file"], row["mask"]):
        _require(folder / name, "the image that annotations.json names")
    image = image_files.read_image(folder / row["file"])
    region = image_files.read_mask(folder / row["mask"]) == _PERSON
    if image.shape[:2] != region.shape:
        raise ValueError(
            f"the image {folder / row['file']} of {image.shape[:2]}, upright, must "
            f"have the height and width of its mask {row['mask']}, {region.shape}."
        )
    known = {
        "region": region,
        "region_valid": np.array(region.any()),
        "boxes": padded,
        "boxes_valid": np.arange(num_boxes) < len(boxes),
    }
    return spatial.resize(image, known, shape=shape)


def _require(path: pathlib.Path, what: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(
            f"put {path.name}, {what}, at {path}; `textured_digits` needs no file."
        )
