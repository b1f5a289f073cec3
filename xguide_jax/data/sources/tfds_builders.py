"""Image sets of tensorflow-datasets, read without TensorFlow.

Only data prepared in the array_record format can be read that way. Preparing one of the
classic sets still runs TensorFlow once, on whatever machine; afterwards, and on every
other machine that its folder is copied to, it is not needed.

Images are decoded as `read_image` does, so grey, CMYK, palettes and alpha become RGB in
a set of colours; but their pixels are as they are stored, whatever orientation a file's
EXIF part asks for, for so the package itself decodes them, on whose pixels a set's
boxes and masks were checked, if anybody did: the boxes of a rotated photograph may mean
either.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xguide_jax.data import datasets
from xguide_jax.data.images import annotations, image_files, spatial
from xguide_jax.data.sources import grey_digits, prepared_sets


def tensorflow_datasets_images(
    name: str,
    split: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> datasets.Dataset:
    """A labelled image set of tensorflow-datasets, decoded into memory.

    'mnist', 'fashion_mnist', 'cifar10' and every other set with 'image' and 'label'
    features and images of one shape. Its order is the one it was prepared in.

    Args:
      name: as tensorflow-datasets registers it.
      split: e.g. 'train', 'test' or 'train[:10%]'.
      data_dir: the folder of prepared sets; the package's own default if None.
      download: whether to download and prepare the set where it is not there yet.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [N, H, W, channels] with labels and class names.

    Raises:
      ImportError: if h5py is missing, without which sets vanish from the registry.
      ValueError: if no such set is registered, it has no images with labels, or one of
        them cannot be read, naming it.
      FileNotFoundError: if it is not prepared and cannot be, saying what to put where.
    """
    builder = prepared_sets.builder_of(name, data_dir, ("image", "label"))
    features = builder.info.features
    if None in features["image"].shape:
        raise ValueError(f"the images of {name!r} differ in shape; it takes one shape.")
    rows = list(_rows(builder, split, download))
    for place, row in rows:
        if row["image"].shape != features["image"].shape:
            raise ValueError(
                f"{place}: the image of {row['image'].shape} must have the shape of "
                f"its set, {features['image'].shape}."
            )
    pixels = np.stack([row["image"] for _, row in rows])
    labels = np.array([row["label"] for _, row in rows], np.int32)
    images = grey_digits.normalise_images(pixels, mean=mean, std=std)
    return datasets.Dataset(images, labels, tuple(features["label"].names))


def tensorflow_datasets_regions(
    name: str,
    split: str,
    *,
    shape: tuple[int, int],
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> datasets.Dataset:
    """A labelled image set of tensorflow-datasets with a box, and a mask if it has one.

    'caltech_birds2011' (200 kinds of birds, a box and a mask each), 'cars196' (a box)
    and every other set with 'image', 'label' and 'bbox' features. Images may differ in
    shape: each is stretched to one, its box and mask with it.

    Args:
      name: as tensorflow-datasets registers it.
      split: e.g. 'train', 'test' or 'train[:10%]'.
      shape: `(H, W)` of all inputs.
      data_dir: the folder of prepared sets; the package's own default if None.
      download: whether to download and prepare the set where it is not there yet.
      mean: subtracted from pixels in [0, 1]; one number, or one a channel.
      std: divides what is left; with the default of both, inputs lie in [0, 1].

    Returns:
      float32 [N, H, W, channels] with labels, class names and the annotations 'boxes',
      float32 [N, 1, 4], `(x0, y0, x1, y1)` in pixels, 'boxes_valid', bool [N, 1],
      'region', bool [N, H, W], where the 'segmentation_mask' is not 0, or else the box
      as a mask, and 'region_valid', bool [N], False where that is empty.

    Raises:
      ImportError: if h5py is missing, without which sets vanish from the registry.
      ValueError: if no such set is registered, or it has no images, labels and boxes;
        naming the example, if its image cannot be read, its mask has another shape, or
        its box is not in fractions of the image.
      FileNotFoundError: if it is not prepared and cannot be, saying what to put where.
    """
    builder = prepared_sets.builder_of(name, data_dir, ("bbox", "image", "label"))
    rows = _rows(builder, split, download)
    labels, images, known = [], [], []
    # Resized one by one: the set as it is may not fit into memory.
    for place, row in rows:
        image, annotated = _resized(row, shape, place)
        labels.append(row["label"])
        images.append(image)
        known.append(annotated)
    return datasets.Dataset(
        grey_digits.normalise_images(np.stack(images), mean=mean, std=std),
        np.array(labels, np.int32),
        tuple(builder.info.features["label"].names),
        {key: np.stack([one[key] for one in known]) for key in known[0]},
    )


def _resized(
    row: Mapping[str, Any], shape: tuple[int, int], place: str
) -> spatial.Example:
    """One example's image, box and region, stretched to one shape."""
    size = row["image"].shape[:2]
    y0, x0, y1, x1 = (float(side) for side in row["bbox"])
    if not all(0 <= side <= 1 for side in (y0, x0, y1, x1)):
        raise ValueError(
            f"{place}: 'bbox' (={[y0, x0, y1, x1]}) must be fractions of the image."
        )
    box = np.array([[x0 * size[1], y0 * size[0], x1 * size[1], y1 * size[0]]])
    # As fractions in float32 whole pixels become 15.999999 or 16.000001.
    known = {
        "boxes": np.round(box, 3).astype(np.float32),
        "boxes_valid": np.array([True]),
    }
    image, known = spatial.resize(row["image"], known, shape=shape)
    if "segmentation_mask" in row:
        mask = row["segmentation_mask"]
        if mask.shape != (*size, 1):
            raise ValueError(
                f"{place}: 'segmentation_mask' of {mask.shape} must have the height "
                f"and width of its image, {size}, and one channel."
            )
        region = annotations.resize_mask(mask[..., 0] != 0, shape=shape)
    else:
        region = annotations.box_masks(
            known["boxes"][None], known["boxes_valid"][None], shape=shape
        )[0]
    return image, {**known, "region": region, "region_valid": np.array(region.any())}


def _rows(
    builder: Any, split: str, download: bool
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What an error calls each example, and the example with its image decoded."""
    import tensorflow_datasets as tfds

    source = prepared_sets.source_of(builder, split, download=download)
    feature = builder.info.features["image"]
    channels = feature.shape[-1]
    if channels in (1, 3) and feature.np_dtype == np.uint8:
        # The package takes CMYK for four channels and a palette's numbers for greys.
        # (Its own mock data needs TensorFlow when a decoder is given to the source.)
        source.decoders = {"image": tfds.decode.SkipDecoding()}
    for number, row in enumerate(source):
        file = row.get("file_name", row.get("image/filename", ""))
        file = file.decode("utf-8", "replace") if isinstance(file, bytes) else file
        place = f"{builder.name!r}, {split!r}, example {number} {file}".rstrip()
        yield place, {**row, "image": _decoded(row["image"], channels, place)}


def _decoded(image: bytes | np.ndarray, channels: int | None, place: str) -> np.ndarray:
    if isinstance(image, bytes):
        image = image_files.decode_image(image, place)
        if channels == 1:
            if np.any(image != image[..., :1]):
                raise ValueError(f"{place}: the image must be grey, as its set is.")
            image = image[..., :1]
    if image.ndim != 3 or image.shape[-1] != (channels or image.shape[-1]):
        raise ValueError(
            f"{place}: the image of {image.shape} must be [H, W, {channels}]."
        )
    return image
