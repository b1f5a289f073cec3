"""A user's photographs: found, read, checked and counted; what cannot be used is named.

Pixels stay on disk, decoded once; regions are in memory, at the size of training.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.guide_photographs import table
from experiments.running import flags
from xguide_jax import data

VOID = "void"  # pixels of a mask that say nothing

_FEWEST = 6  # of a class: two in each part
_SHOWN = 5  # names of photographs that no annotation is of
_Known = tuple[data.Annotated, table.Told]


class Photographs(NamedTuple):
    """Photographs that can be used, in the order of their annotations.

    Attributes:
      names: of the files, below their folder.
      paths: where they lie.
      images: their pixels, uint8 [N, S, S, 3] on disk, stretched to a square.
      regions: bool [N, S, S], what shows the class; empty where nobody drew it.
      boxes: float32 [N, boxes, 4], of these objects, in pixels of the square.
      boxes_valid: bool [N, boxes].
      labels: int32 [N].
      class_names: of the labels; classes without photographs are left out.
      groups: int [N], −1 where none is said.
      group_names: of the groups; () where there are none.
      sources: photographs of one source lie in one part.
      parts: 'train', 'validation' or 'test', as the table says; '' where it does not.
      problems: what was left out, and why.
      num_clipped: boxes that reached beyond their photograph, and were cut.
    """

    names: tuple[str, ...]
    paths: tuple[pathlib.Path, ...]
    images: data.CachedRows
    regions: np.ndarray
    boxes: np.ndarray
    boxes_valid: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray
    group_names: tuple[str, ...]
    sources: tuple[str, ...]
    parts: tuple[str, ...]
    problems: tuple[data.Problem, ...]
    num_clipped: int


def read_photographs(
    images: pathlib.Path,
    annotations: pathlib.Path,
    listed: pathlib.Path | None,
    *,
    size: int,
    cache: pathlib.Path,
    masks: Mapping[int, str] | None = None,
) -> Photographs:
    """All photographs that have a class and can be decoded.

    Args:
      images: their folder.
      annotations: a file or folder of any form that `data.read_annotations` knows.
      listed: a table of labels, groups, sources and parts; None for none.
      size: S.
      cache: the folder of decoded pixels.
      masks: {value: class} where the annotations are masks, `VOID` for void.

    Returns:
      The photographs.

    Raises:
      RefusedError: if what is there cannot be read, or too few of a class are left.
    """
    try:
        found = _read(annotations, images, masks)
        rows = {} if listed is None else table.read_table(listed)
    except (OSError, ValueError) as error:
        raise flags.refusal(error) from error
    kept, problems = _of_a_class(found, rows)
    if found.unnamed:
        problems.append(_unnamed(found.unnamed, images.name))
    if listed is not None:
        problems += _unknown(found, rows, listed.name)
    _check_counts([t.label for _, t in kept], found.class_names, problems)
    decoded, broken = _decoded([one for one, _ in kept], size=size, folder=cache)
    problems += broken
    lost = {problem.file for problem in broken}
    kept = [(one, t) for one, t in kept if one.name not in lost]
    _check_counts([t.label for _, t in kept], found.class_names, problems)
    used = {t.label for _, t in kept}
    unused = [name for n, name in enumerate(found.class_names) if n not in used]
    what = "is a class of no photograph"
    problems += [data.Problem(annotations.name, name, what) for name in unused]
    return _assembled(kept, decoded, found, tuple(problems), size=size)


def _read(
    annotations: pathlib.Path,
    images: pathlib.Path,
    masks: Mapping[int, str] | None,
) -> data.AnnotatedImages:
    if not masks:
        return data.read_annotations(annotations, images)
    return data.read_mask_files(
        annotations,
        images,
        class_of_value={v: name for v, name in masks.items() if name != VOID},
        void=[value for value, name in masks.items() if name == VOID],
    )


def _of_a_class(
    found: data.AnnotatedImages, rows: Mapping[str, Mapping[str, str]]
) -> tuple[list[_Known], list[data.Problem]]:
    """Photographs that have a class, and all problems up to here."""
    told = [table.told_of(one, rows, found.class_names) for one in found.images]
    problems = [*found.problems, *(t for t in told if isinstance(t, data.Problem))]
    kept = [
        (one, t)
        for one, t in zip(found.images, told, strict=True)
        if not isinstance(t, data.Problem) and one.path is not None
    ]
    return kept, problems


def _unnamed(names: tuple[str, ...], folder: str) -> data.Problem:
    """Photographs without an annotation, in one line: there may be thousands."""
    some = ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
    place = f"{len(names)} photographs"
    return data.Problem(folder, place, f"no annotation names them: {some}")


def _unknown(
    found: data.AnnotatedImages, rows: Mapping[str, Mapping[str, str]], listed: str
) -> list[data.Problem]:
    """What the table names beside the photographs that could be read."""
    left_out = dict(found.left_out)
    problems = []
    for name in sorted(rows.keys() - {one.name for one in found.images}):
        what = "names a photograph that no annotation is of"
        if name in left_out:
            what = f"names a photograph that was left out: {left_out[name]}"
        problems.append(data.Problem(listed, name, what))
    return problems


def _decoded(
    images: list[data.Annotated], *, size: int, folder: pathlib.Path
) -> tuple[data.CachedRows, list[data.Problem]]:
    """Pixels on disk of what can be decoded, and what cannot."""
    decode = lambda some: data.decode_images(
        [one.path for one in some if one.path is not None],
        folder,
        shape=(size, size),
        upright=[data.upright_of(one) for one in some],
    )
    try:
        return decode(images), []
    except data.UndecodableError as error:
        problems = [
            data.Problem(one.name, "the file", error.reasons[str(one.path)])
            for one in images
            if str(one.path) in error.reasons
        ]
        lost = {problem.file for problem in problems}
        rest = [one for one in images if one.name not in lost]
        if not rest:
            raise flags.RefusedError(
                f"none of {len(images)} photographs can be decoded; the first: "
                f"{problems[0].what}"
            ) from error
        return decode(rest), problems
    except (OSError, ValueError) as error:
        raise flags.refusal(error) from error


def _assembled(
    kept: list[_Known],
    decoded: data.CachedRows,
    found: data.AnnotatedImages,
    problems: tuple[data.Problem, ...],
    *,
    size: int,
) -> Photographs:
    """With regions and boxes, and classes and groups numbered without gaps."""
    labels = [t.label for _, t in kept]
    used = sorted(set(labels))
    outlines = [_outlined(one, t.label, size) for one, t in kept]
    boxes, boxes_valid = _padded([boxes for _, boxes in outlines])
    group_names = tuple(sorted({t.group for _, t in kept if t.group}))
    numbers = {name: number for number, name in enumerate(group_names)}
    return Photographs(
        names=tuple(one.name for one, _ in kept),
        paths=tuple(one.path for one, _ in kept if one.path is not None),
        images=decoded,
        regions=np.stack([region for region, _ in outlines]),
        boxes=boxes,
        boxes_valid=boxes_valid,
        labels=np.searchsorted(used, labels).astype(np.int32),
        class_names=tuple(found.class_names[n] for n in used),
        groups=np.array([numbers.get(t.group, -1) for _, t in kept]),
        group_names=group_names,
        sources=tuple(t.source or one.name for one, t in kept),
        parts=tuple(t.part for _, t in kept),
        problems=problems,
        num_clipped=found.num_clipped,
    )


def _outlined(
    one: data.Annotated, label: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The region of the class [S, S] and the boxes of its objects [boxes, 4]."""
    of_class = [o for o in one.objects if o.label == label]
    if one.size is None or not of_class:
        return np.zeros((size, size), bool), np.zeros((0, 4), np.float32)
    boxes = data.stretched_boxes(one, of_class, shape=(size, size))
    region = data.resize_mask(data.region_of(one, label), shape=(size, size))
    return region, boxes


def _padded(boxes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    most = max(1, *map(len, boxes))
    padded = np.zeros((len(boxes), most, 4), np.float32)
    for row, some in enumerate(boxes):
        padded[row, : len(some)] = some
    return padded, np.arange(most) < np.array([len(some) for some in boxes])[:, None]


def _check_counts(
    labels: Sequence[int], class_names: tuple[str, ...], problems: list[data.Problem]
) -> None:
    """Of the classes that have photographs."""
    numbers, every = np.unique(np.array(labels, int), return_counts=True)
    counts = {class_names[n]: c for n, c in zip(numbers, every.tolist(), strict=True)}
    if len(counts) < 2 or min(counts.values()) < _FEWEST:
        first = "; ".join(f"{p.file}, {p.place}: {p.what}" for p in problems[:3])
        raise flags.RefusedError(
            f"each of at least two classes must have {_FEWEST} photographs, but there "
            f"are {counts}; {len(problems)} problems were found"
            f"{f', such as {first}' if first else ''}."
        )
