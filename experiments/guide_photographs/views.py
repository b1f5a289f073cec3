"""What a trained network is shown: photographs, and what is left of them."""

from typing import NamedTuple

import numpy as np

from experiments.guide_photographs import parts
from experiments.guide_photographs.networks import Network
from experiments.guide_photographs.photographs import Photographs
from xguide_jax import data


class Views(NamedTuple):
    """The inputs of one seed, made once for all arms.

    Attributes:
      rows: of the parts.
      train: what is trained on, inputs as rows; 'region' and 'region_valid'.
      random: the same with random boxes.
      validation: inputs of the validation part.
      composites: its objects on the backgrounds of other classes.
      swapped_validation: which of these are such composites, bool.
      test: inputs of the test part.
      object_only: its photographs, the rest at the training photographs' mean colour.
      background_only: its photographs, the region at that colour.
      swapped: its objects on the backgrounds of other classes.
      swapped_test: which of these are such composites, bool.
    """

    rows: parts.Rows
    train: data.Dataset
    random: data.Dataset
    validation: np.ndarray
    composites: np.ndarray
    swapped_validation: np.ndarray
    test: np.ndarray
    object_only: np.ndarray
    background_only: np.ndarray
    swapped: np.ndarray
    swapped_test: np.ndarray


def make_views(found: Photographs, network: Network, *, seed: int) -> Views:
    """All inputs of one seed.

    Args:
      found: all photographs.
      network: whose inputs they become.
      seed: of the parts, the partners of composites and the random boxes.

    Returns:
      The views.
    """
    rows = parts.split_rows(found, seed=seed)
    pixels = {
        name: data.read_rows(found.images, chosen)
        for name, chosen in rows._asdict().items()
        if name != "train"
    }
    swapped = {
        name: data.swapped_backgrounds(
            shown, found.regions[getattr(rows, name)],
            found.labels[getattr(rows, name)], seed=seed,
        )
        for name, shown in pixels.items()
    }  # fmt: skip
    colour = _mean_colour(found, rows.train)
    inside = found.regions[rows.test][..., None]
    only = [
        np.where(kept, pixels["test"], colour).astype(np.uint8)
        for kept in (inside, ~inside)
    ]
    return Views(
        rows=rows,
        train=_dataset(found, network, found.regions, rows.train),
        random=_dataset(found, network, random_regions(found, seed=seed), rows.train),
        validation=network.embed(pixels["validation"]),
        composites=network.embed(swapped["validation"][0]),
        swapped_validation=swapped["validation"][1] >= 0,
        test=network.embed(pixels["test"]),
        object_only=network.embed(only[0]),
        background_only=network.embed(only[1]),
        swapped=network.embed(swapped["test"][0]),
        swapped_test=swapped["test"][1] >= 0,
    )


def random_regions(found: Photographs, *, seed: int) -> np.ndarray:
    """Boxes as large as those of the objects, at uniformly random places.

    Args:
      found: all photographs.
      seed: of the places.

    Returns:
      bool [N, S, S]; empty where nobody drew a region.
    """
    rng = data.generator(data.Stream.RANDOM_BOXES, seed)
    size = found.regions.shape[1]
    corners, ends = np.floor(found.boxes[..., :2]), np.ceil(found.boxes[..., 2:])
    sides = np.clip(ends - corners, 0, size)
    at = np.floor(rng.random(sides.shape) * (size - sides + 1))
    boxes = np.concatenate([at, at + sides], axis=-1)
    valid = found.boxes_valid & found.regions.any(axis=(1, 2))[:, None]
    return data.box_masks(boxes, valid, shape=(size, size))


def _dataset(
    found: Photographs, network: Network, regions: np.ndarray, rows: np.ndarray
) -> data.Dataset:
    known = {
        "region": network.regions(regions[rows]),
        "region_valid": regions[rows].any(axis=(1, 2)),
    }
    return data.Dataset(rows, found.labels[rows], found.class_names, known)


def _mean_colour(found: Photographs, rows: np.ndarray) -> np.ndarray:
    """Of the training photographs, a hundred of them at once."""
    sums = [
        data.read_rows(found.images, rows[start : start + 100])
        .astype(np.float64)
        .mean(axis=(1, 2))
        .sum(axis=0)
        for start in range(0, len(rows), 100)
    ]
    return np.round(np.sum(sums, axis=0) / len(rows))
