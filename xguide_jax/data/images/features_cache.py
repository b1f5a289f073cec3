"""What a frozen trunk makes of images, computed once and then read from disk.

While the trunk is frozen and the images are not augmented, its features are the same in
every epoch; a head can be trained on them at a fraction of the cost.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from xguide_jax.data import trees
from xguide_jax.data.images import cached_rows, decoded_cache

_VERSION = 1
_FILE_BYTES = 1 << 27


def cache_features(
    features_fn: Callable[[np.ndarray], Any],
    images: cached_rows.CachedRows,
    folder: decoded_cache.Path,
    *,
    key: str,
    batch_size: int,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> cached_rows.CachedRows:
    """Features of all images, from a folder that is filled as needed.

    They are kept under `key`, the images and their order, `batch_size`, `mean` and
    `std`; with all of these equal the stored features are returned, bit for bit. A
    program that is killed goes on behind the features that it has written, with the
    same batches. Files are treated as by `decode_images`.

        key = f"{data.arrays_digest(variables)} layer_2"
        features = data.cache_features(trunk, images, folder, key=key, batch_size=64)
        read = functools.partial(data.read_rows, features)
        batch_at = data.streamed_batches(train, read, batch_size=64, seed=0)

    Args:
      features_fn: float32 [B, h, w, 3], as of `read_images`, -> an array [B, ...] of
        real numbers, e.g. [B, h', w', K]. Each row must depend on its own image alone,
        so batch norm must use its running statistics and dropout be off.
      images: N, as of `decode_images`.
      folder: of the features; it may be that of the images.
      key: says of `features_fn` all that decides: the digest of its weights, the layer.
      batch_size: B >= 1; the last batch repeats its last image.
      mean: as for `read_images`.
      std: likewise.

    Returns:
      N rows, which `read_rows` reads, in the dtype of the features.

    Raises:
      OSError: naming `folder`, if it is full, may not be written or is a file.
      ValueError: if `key` is empty, `batch_size` is less than 1, or the features are
        not finite, of another number of rows, or of a dtype that NumPy lacks.
    """
    if not key:
        raise ValueError("`key` (='') must say which weights and which layer.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` (={batch_size}) must be at least 1.")
    inputs = [np.asarray(numbers, float).tolist() for numbers in (mean, std)]
    settings = json.dumps([_VERSION, int(batch_size), *inputs])
    # With the images: rows of another batch may differ in their last bits.
    full_key = cached_rows.digest("features", key, settings, images.key, *images.ids)

    def make(missing: list[int]) -> Iterator[cached_rows.Rows]:
        parts: list[np.ndarray] = []
        begin = 0
        for start in range(0, len(missing), batch_size):
            rows = np.array(missing[start : start + batch_size])
            padded = np.pad(rows, (0, batch_size - len(rows)), mode="edge")
            batch = decoded_cache.read_images(images, padded, mean=mean, std=std)
            features = np.asarray(features_fn(batch))
            _check_features(features, padded)
            parts.append(features[: len(rows)])
            end = start + len(rows)
            if end == len(missing) or sum(p.nbytes for p in parts) >= _FILE_BYTES:
                written = missing[begin:end]
                ids = [images.ids[row] for row in written]
                yield cached_rows.Rows(
                    ids, images.sizes[written], np.concatenate(parts)
                )
                parts, begin = [], end

    found = cached_rows.fill(folder, images.ids, key=full_key, make=make)
    return cached_rows.arrange(found, images.ids, key=full_key)


def arrays_digest(tree: Any) -> str:
    """The SHA-256 of all arrays of a tree: their paths, shapes, dtypes and values.

    Args:
      tree: an array, or a dict of such, nested or not, e.g. a network's variables.

    Returns:
      64 characters, the same whatever the order of the keys.

    Raises:
      ValueError: if a leaf is no array of numbers, naming its path.
    """
    total = hashlib.sha256()
    for name, leaf in sorted(trees.named_leaves("", tree).items()):
        if leaf.dtype.kind == "O":
            raise ValueError(f"{name!r} in `tree` must be an array of numbers.")
        total.update(json.dumps([name, str(leaf.dtype), leaf.shape]).encode())
        total.update(leaf.tobytes())
    return total.hexdigest()


def _check_features(features: np.ndarray, rows: np.ndarray) -> None:
    if features.dtype.kind not in "buif":
        raise ValueError(
            f"`features_fn` must return numbers that NumPy has, not {features.dtype}: "
            "float32 holds those of bfloat16."
        )
    if features.ndim < 1 or len(features) != len(rows):
        raise ValueError(
            f"`features_fn` returned the shape {features.shape} and must return "
            f"[{len(rows)}, ...], a row an image."
        )
    if features.dtype.kind == "f":
        finite = np.isfinite(features).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"the features of image {rows[~finite][0]} must be finite."
            )
