"""People and things cut out of photographs, before pictures of in- and outdoors."""

import json
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from experiments.guide_photographs.drawn import Drawn
from xguide_jax import data

CLASSES = ("a person", "a thing")
PLACES = ("indoors", "outdoors")
# How many composites, and how often place and class agree.
_PARTS = {"train": (900, 0.95), "validation": (180, 0.95), "test": (400, 0.5)}
_SHARES = (0.6, 0.15, 0.25)  # of the photographs, in the order of the parts
_SIZE = 160
_OBJECT = (0.35, 0.6)  # its longer side, in shares of the canvas
_SMALLEST = 40  # pixels of a cut-out's shorter side
_INDOORS = ("wall", "ceiling", "floor", "cabinet", "counter", "curtain", "table")
_OUTDOORS = (
    "sky", "tree", "grass", "snow", "sea", "road", "sand", "dirt", "mountain",
    "pavement", "water", "playingfield",
)  # fmt: skip
_FOLDER = "coco_panoptic_ccby"


class _CutOut(NamedTuple):
    pixels: np.ndarray
    mask: np.ndarray


class _Stock(NamedTuple):
    """What the composites of one part are made of."""

    objects: tuple[list[_CutOut], list[_CutOut]]
    backgrounds: tuple[list[np.ndarray], list[np.ndarray]]


def composites(data_dir: pathlib.Path) -> Iterator[Drawn]:
    """Objects of two classes on backgrounds of two kinds, a mask each.

    In training and validation the kind agrees with the class at 95 %: people indoors,
    things outdoors; in the test it says nothing. Objects and backgrounds of different
    parts come from different photographs.

    Args:
      data_dir: the folder that holds `coco_panoptic_ccby`.

    Yields:
      The composites, in the order of the parts.

    Raises:
      FileNotFoundError: if the data is missing, saying where to put it.
    """
    folder = data_dir / _FOLDER
    listed = folder / "annotations.json"
    if not listed.is_file():
        raise FileNotFoundError(f"put the photographs and {listed.name} into {folder}.")
    photographs = json.loads(listed.read_text("utf-8"))["images"]
    rng = data.generator(data.Stream.COMPOSITES, 0)
    order = rng.permutation(len(photographs))
    ends = np.floor(np.cumsum(_SHARES) * len(order) + 1e-6).astype(int)
    for part, chosen in zip(_PARTS, np.split(order, ends[:-1]), strict=True):
        count, agreement = _PARTS[part]
        stock = _stock(folder, [photographs[number] for number in chosen])
        for number in range(count):
            label = number % 2
            place = label if rng.random() < agreement else 1 - label
            kind = stock.objects[label]
            cut_out = kind[rng.integers(len(kind))]
            canvases = stock.backgrounds[place]
            canvas = canvases[rng.integers(len(canvases))]
            pixels, mask = _pasted(rng, cut_out, canvas)
            yield Drawn(pixels, CLASSES[label], mask, PLACES[place], part)


def _stock(folder: pathlib.Path, photographs: list[dict]) -> _Stock:
    stock = _Stock(([], []), ([], []))
    for row in photographs:
        image = data.read_image(folder / row["file"])
        labels = data.read_mask(folder / row["mask"])
        things = np.zeros(labels.shape, bool)
        for segment in row["segments"]:
            if not segment["isthing"]:
                continue
            mask = labels == segment["category_id"]
            things |= mask
            x0, y0, x1, y1 = segment["box_xyxy"]
            alone = mask[y0:y1, x0:x1]
            if (
                segment["iscrowd"]
                or min(alone.shape) < _SMALLEST
                or alone.mean() < 0.3  # what is left of an object behind others
            ):
                continue
            label = int(segment["name"] != "person")
            cut = _CutOut(image[y0:y1, x0:x1], alone)
            stock.objects[label].append(cut)
        place = _place(row, labels)
        if place is not None:
            stock.backgrounds[place].append(_background(image, things))
    return stock


def _place(row: dict, labels: np.ndarray) -> int | None:
    """Indoors 0, outdoors 1: what more of the picture is of."""
    area = [0, 0]
    for segment in row["segments"]:
        for place, names in enumerate((_INDOORS, _OUTDOORS)):
            if not segment["isthing"] and segment["name"].startswith(names):
                area[place] += int((labels == segment["category_id"]).sum())
    return None if max(area) == 0 else int(area[1] > area[0])


def _background(image: np.ndarray, things: np.ndarray) -> np.ndarray:
    """The picture as a square canvas, its objects filled by the mean of the rest."""
    rest = image if things.all() else data.without_object(image, things)
    return data.resize(rest, {}, shape=(_SIZE, _SIZE))[0]


def _pasted(
    rng: np.random.Generator, cut_out: _CutOut, canvas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    side = _SIZE * rng.uniform(*_OBJECT)
    scale = side / max(cut_out.mask.shape)
    height, width = (max(int(scale * n), 1) for n in cut_out.mask.shape)
    pixels, known = data.resize(
        cut_out.pixels, {"region": cut_out.mask}, shape=(height, width)
    )
    top, left = (int(rng.integers(_SIZE - n + 1)) for n in (height, width))
    mask = np.zeros((_SIZE, _SIZE), bool)
    mask[top : top + height, left : left + width] = known["region"]
    full = np.zeros_like(canvas)
    full[top : top + height, left : left + width] = pixels
    return np.where(mask[..., None], full, canvas), mask
