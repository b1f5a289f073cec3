"""What a trained network is shown: photographs, and what is left of them."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.guide_photographs import parts
from experiments.guide_photographs.networks import Network
from experiments.guide_photographs.photographs import Photographs
from xguide_jax import data

_AT_ONCE = 64  # photographs in memory

# Places in a part, int [B] -> their pixels, uint8 [B, S, S, 3].
Pixels = Callable[[np.ndarray], np.ndarray]


class Inputs(NamedTuple):
    """Inputs of the photographs of a part, which come into memory as they are read.

    Attributes:
      size: how many there are.
      read: places, int [B] -> inputs [B, ...].
    """

    size: int
    read: Callable[[np.ndarray], np.ndarray]


class Views(NamedTuple):
    """What the networks of one seed are shown, the same for all arms.

    Attributes:
      rows: of the parts.
      train: what is trained on, inputs as rows; 'region' and 'region_valid'.
      random: the same with random boxes.
      validation: the validation part.
      composites: its objects on the backgrounds of other classes.
      swapped_validation: which of these are such composites, bool.
      test: the test part.
      object_only: its photographs, the rest at the training photographs' mean colour.
      background_only: its photographs, the region at that colour.
      swapped: its objects on the backgrounds of other classes.
      swapped_test: which of these are such composites, bool.
    """

    rows: parts.Rows
    train: data.Dataset
    random: data.Dataset
    validation: Inputs
    composites: Inputs
    swapped_validation: np.ndarray
    test: Inputs
    object_only: Inputs
    background_only: Inputs
    swapped: Inputs
    swapped_test: np.ndarray


def make_views(found: Photographs, network: Network, *, seed: int) -> Views:
    """What the networks of one seed are shown.

    Args:
      found: all photographs.
      network: whose inputs they become; what a trunk makes of them is kept.
      seed: of the parts, the partners of composites and the random boxes.

    Returns:
      The views.
    """
    rows = parts.split_rows(found, seed=seed)
    partners = {
        name: data.other_class_partners(
            found.regions[chosen], found.labels[chosen], seed=seed
        )
        for name, chosen in rows._asdict().items()
    }
    colour = _mean_colour(found, rows.train)
    inputs = functools.partial(_inputs, network)
    only = lambda kept: inputs(
        rows.test, _hidden(found, rows.test, colour, object_kept=kept)
    )
    swapped = lambda name, chosen: inputs(
        chosen, _swapped(found, chosen, partners[name])
    )
    return Views(
        rows=rows,
        train=_dataset(found, network, found.regions, rows.train),
        random=_dataset(found, network, random_regions(found, seed=seed), rows.train),
        validation=inputs(rows.validation, _plain(found, rows.validation)),
        composites=swapped("validation", rows.validation),
        swapped_validation=partners["validation"] >= 0,
        test=inputs(rows.test, _plain(found, rows.test)),
        object_only=only(True),
        background_only=only(False),
        swapped=swapped("test", rows.test),
        swapped_test=partners["test"] >= 0,
    )


def _inputs(network: Network, rows: np.ndarray, pixels: Pixels) -> Inputs:
    if network.trained is None:
        return Inputs(len(rows), lambda places: network.embed(pixels(places)))
    # The trunk is the same for all arms, and what it makes of a photograph is small.
    starts = range(0, len(rows), _AT_ONCE)
    chunks = [np.arange(start, min(start + _AT_ONCE, len(rows))) for start in starts]
    kept = np.concatenate([network.embed(pixels(places)) for places in chunks])
    return Inputs(len(rows), lambda places: kept[places])


def _plain(found: Photographs, rows: np.ndarray) -> Pixels:
    return lambda places: data.read_rows(found.images, rows[places])


def _hidden(
    found: Photographs, rows: np.ndarray, colour: np.ndarray, *, object_kept: bool
) -> Pixels:
    """Photographs with the region, or all but it, at one colour."""

    def pixels(places: np.ndarray) -> np.ndarray:
        shown = data.read_rows(found.images, rows[places])
        kept = found.regions[rows[places]] == object_kept
        return np.where(kept[..., None], shown, colour).astype(np.uint8)

    return pixels


def _swapped(found: Photographs, rows: np.ndarray, partners: np.ndarray) -> Pixels:
    """Photographs before the backgrounds of their partners, which are places, too."""

    def pixels(places: np.ndarray) -> np.ndarray:
        shown = data.read_rows(found.images, rows[places])
        # Who has no partner stays as it is.
        lending = rows[np.where(partners[places] < 0, places, partners[places])]
        lent = data.read_rows(found.images, lending)
        for place in np.flatnonzero(partners[places] >= 0):
            shown[place] = data.on_background(
                shown[place], found.regions[rows[places[place]]],
                lent[place], found.regions[lending[place]],
            )  # fmt: skip
        return shown

    return pixels


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
