"""From what a reader finds in files to images that can be used.

A reader says which images and objects are written where, and how to draw one of its
objects; whatever is true of all formats is decided here.
"""

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from xguide_jax.data.images import polygons
from xguide_jax.data.images.formats import locating, record

Size = tuple[int, int]
Drawing = tuple[np.ndarray | None, record.Outline | None]
# An outline smaller than this may lie between the centres of pixels.
_SMALL = 4.0


class Written(NamedTuple):
    """An object as its file has it.

    Attributes:
      place: where.
      class_name: of its class; None where it has none that the format knows.
      content: what `draw` takes.
      void: whether it is evidence neither way.
    """

    place: str
    class_name: str | None
    content: Any
    void: bool = False


class Entry(NamedTuple):
    """An image as its file has it.

    Attributes:
      file: the name of the file.
      place: where in it.
      name: of the image; '' where the file has none.
      size: `(H, W)` as recorded.
      objects: on it.
      stem: the name to fall back to, without a suffix.
      classes: that the file says the whole image is of; with several it is of none.
      source: as in `record.Annotated`.
      beside: as in `locating.find`.
    """

    file: str
    place: str
    name: str
    size: Size | None
    objects: tuple[Written, ...]
    stem: str | None = None
    classes: tuple[str, ...] = ()
    source: str | None = None
    beside: pathlib.Path | None = None


def gather(
    entries: Iterable[Entry],
    folder: locating.Folder,
    *,
    draw: Callable[[Any, Size], Drawing],
    class_names: Sequence[str] | None,
    problems: Iterable[record.Problem] = (),
    left_out: Mapping[str, str] | None = None,
    turning: bool = False,
) -> record.AnnotatedImages:
    """The images that can be used, and what could not.

    Left out and listed: an image that is missing, cannot be opened or has another size
    than recorded; one that is annotated twice, both times if they differ; an object
    that cannot be drawn, lies outside its image, covers no pixel, or is of an unknown
    class.

    Args:
      entries: of the files.
      folder: of the images.
      draw: of an object's content and the `(H, W)` it fits: box and outline in pixels.
        What it raises as `ValueError` is wrong with that object.
      class_names: the known classes, in order; None for all that are written, sorted.
      problems: that the reader found itself.
      left_out: {name of an image: why}, of those among them that lost a whole image.
      turning: as `locating.fitting`.

    Raises:
      ImportError: if pillow is not installed.
      ValueError: if a class name is given twice.
    """
    entries, wrong, lost = list(entries), list(problems), dict(left_out or {})
    names = _names(entries) if class_names is None else tuple(class_names)
    if len(set(names)) < len(names):
        raise ValueError(f"`class_names` (={names}) must name each class once.")
    images, num_clipped = [], 0
    once, unnamed = _found_once(entries, folder, wrong, lost)
    for entry, path in once:
        name = _name_below(folder, path)
        try:
            sizes = locating.sizes_of(path)
            size, upright = locating.fitting(sizes, entry.size, turning=turning)
            told = {_index(class_name, names) for class_name in entry.classes}
        except ValueError as error:
            wrong.append(_problem(entry.file, entry.place, error))
            lost[name] = wrong[-1].what
            continue
        objects, void, clipped = _drawn(entry, draw, size, names, wrong)
        num_clipped += clipped
        labels = told or {one.label for one in objects}
        image = record.Annotated(
            name,
            path,
            labels.pop() if len(labels) == 1 else -1,
            size,
            objects,
            void,
            upright,
            entry.source,
        )
        images.append(image)
        lost.pop(name, None)  # one of several annotations of it could be used
    return record.AnnotatedImages(
        tuple(images), names, tuple(wrong), num_clipped, tuple(lost.items()), unnamed
    )


def corners_of(numbers: Sequence[Any]) -> np.ndarray:
    """An outline as its corners, float64 [V, 2], from `x0, y0, x1, y1 ...` or pairs.

    Raises:
      ValueError: if it has fewer than three corners or half of one, or is not finite.
    """
    try:
        corners = np.asarray(numbers, np.float64).reshape(-1, 2)
    except (TypeError, ValueError) as error:
        raise ValueError("its outline must be corners, x and y each") from error
    if len(corners) < 3 or not np.all(np.isfinite(corners)):
        raise ValueError("its outline must have three corners or more, all finite")
    return corners


def _found_once(
    entries: list[Entry],
    folder: locating.Folder,
    wrong: list[record.Problem],
    lost: dict[str, str],
) -> tuple[list[tuple[Entry, pathlib.Path]], tuple[str, ...]]:
    """The entries whose image is there, each image once; images without an entry."""
    by_path: dict[pathlib.Path, list[Entry]] = {}
    for entry in entries:
        try:
            path = locating.find(
                folder, entry.name, stem=entry.stem, beside=entry.beside
            )
        except ValueError as error:
            wrong.append(_problem(entry.file, entry.place, error))
            if entry.name:
                lost[locating.composed(entry.name)] = wrong[-1].what
        else:
            by_path.setdefault(path, []).append(entry)
    kept = []
    for path, (first, *others) in by_path.items():
        differ = any(_said(other) != _said(first) for other in others)
        what = "otherwise" if differ else "the same"
        for other in others:
            text = f"{path.name} is annotated in {first.file}, {first.place}, too, "
            problem = record.Problem(other.file, other.place, text + what)
            wrong.append(problem)
        if differ:
            text = f"{path.name} is annotated in {others[0].file}, {others[0].place}, "
            text += "too, otherwise"
            wrong.append(record.Problem(first.file, first.place, text))
            lost[_name_below(folder, path)] = text
        else:
            kept.append((first, path))
    named = {_name_below(folder, path) for path in by_path} | lost.keys()
    return kept, tuple(sorted(folder.by_name.keys() - named))


def _name_below(folder: locating.Folder, path: pathlib.Path) -> str:
    return locating.composed(path.relative_to(folder.path).as_posix())


def _said(entry: Entry) -> tuple[Any, ...]:
    """What an entry says of its image, wherever it stands."""
    objects = [(one.class_name, one.content, one.void) for one in entry.objects]
    return entry.size, entry.classes, entry.source, objects


def _drawn(
    entry: Entry,
    draw: Callable[[Any, Size], Drawing],
    size: Size,
    names: tuple[str, ...],
    wrong: list[record.Problem],
) -> tuple[tuple[record.Object, ...], tuple[record.Object, ...], int]:
    """The objects of an image, what is void in it, and how many boxes were cut."""
    objects: list[record.Object] = []
    void: list[record.Object] = []
    num_clipped = 0
    for one in entry.objects:
        try:
            drawn, clipped = _object(one, draw, size, names)
        except ValueError as error:
            wrong.append(_problem(entry.file, one.place, error))
            continue
        num_clipped += clipped
        (void if one.void else objects).append(drawn)
    return tuple(objects), tuple(void), num_clipped


def _object(
    one: Written,
    draw: Callable[[Any, Size], Drawing],
    size: Size,
    names: tuple[str, ...],
) -> tuple[record.Object, bool]:
    """An object that can be drawn, and whether its box had to be cut.

    Raises:
      ValueError: saying what is wrong with it.
    """
    nameless = one.void and one.class_name is None
    label = -1 if nameless else _index(one.class_name, names)
    box, outline = draw(one.content, size)
    box, clipped = _checked(box, outline, size)
    return record.Object(label, box, outline), clipped


def _problem(file: str, place: str, error: ValueError) -> record.Problem:
    return record.Problem(file, place, str(error).rstrip("."))


def _checked(
    box: np.ndarray | None, outline: record.Outline | None, size: Size
) -> tuple[np.ndarray | None, bool]:
    """The box within the image, and whether it had to be cut.

    Raises:
      ValueError: if box or outline are no place in the image.
    """
    if isinstance(outline, tuple) and not isinstance(outline, record.MaskPixels):
        _check_polygons(outline, size)
    elif outline is None and box is None:
        raise ValueError("it has neither a box nor an outline")
    if box is None:
        return None, False
    if np.any(box[:2] >= box[2:]):
        raise ValueError(f"its box {box.tolist()} must have an area")
    limits = np.array([size[1], size[0]] * 2, np.float32)
    cut = np.clip(box, 0, limits)
    if np.any(cut[:2] >= cut[2:]):
        raise ValueError(f"its box {box.tolist()} lies outside of its image, {size}")
    if outline is None and np.any(np.ceil(cut[:2]) >= np.ceil(cut[2:])):
        raise ValueError(f"its box {box.tolist()} covers no pixel")
    return cut, bool(np.any(cut != box))


def _check_polygons(outline: tuple[np.ndarray, ...], size: Size) -> None:
    corners = np.concatenate(outline)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if np.any(high <= 0) or np.any(low >= size[::-1]):
        raise ValueError(f"its outline lies outside of its image, {size}")
    seen = np.prod(np.clip(high, 0, size[::-1]) - np.clip(low, 0, size[::-1]))
    area = min(seen, sum(_area(polygon) for polygon in outline))
    if area < _SMALL and not polygons.mask_from_polygons(outline, shape=size).any():
        raise ValueError("its outline covers no pixel")


def _area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return float(abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


def _names(entries: Iterable[Entry]) -> tuple[str, ...]:
    found = {one.class_name for entry in entries for one in entry.objects}
    found |= {class_name for entry in entries for class_name in entry.classes}
    return tuple(sorted(name for name in found if name is not None))


def _index(class_name: str | None, names: tuple[str, ...]) -> int:
    if class_name not in names:
        raise ValueError(f"its class {class_name!r} is none of the {len(names)} known")
    return names.index(class_name)
