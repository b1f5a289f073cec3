"""COCO's json, as many tools export it."""

import collections
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xguide_jax.data.images import box_formats, coco_format
from xguide_jax.data.images.formats import gathering, locating, parsing, record

_LISTS = ("images", "annotations", "categories")


def read_coco(
    file: str | os.PathLike[str], images: str | os.PathLike[str]
) -> record.AnnotatedImages:
    """Images with the boxes and outlines of a COCO file.

    * 'bbox' is (x, y, w, h) in pixels; 'segmentation' a list of flat outlines, which
      are joined, or a run-length code, compressed or not. Either may be missing; with
      both, the outline is the mask.
    * A category's 'id' is any number, with gaps; classes are the categories' names in
      the order of their ids. Two ids of one name are one class.
    * A crowd ('iscrowd' 1) marks many objects and what is between them: it is `void`,
      no object.
    * 'width' and 'height' of an image tell how its boxes fit (`upright_of`).

    Images without annotations have no objects. Left out and listed as problems, besides
    what cannot be drawn or found (`AnnotatedImages`): all images of an 'id' that
    several have, annotations of no image, and those of no category.

    Args:
      file: the json.
      images: the folder that 'file_name' is below.

    Returns:
      The images in the order of the file, and its problems.

    Raises:
      FileNotFoundError: if the file or the folder is missing.
      ImportError: if pillow is not installed.
      ValueError: naming file and place, if it is no json, or something is missing or of
        another type.

    Source: "COCO data format", cocodataset.org.
    """
    content = parsing.json_content(file)
    name = os.path.basename(file)
    lists = _lists(content, name)
    classes = _classes(lists["categories"], name)
    wrong: list[record.Problem] = []
    ids = [
        _id(one, "id", f"{name}, images[{n}]") for n, one in enumerate(lists["images"])
    ]
    by_image = _by_image(lists["annotations"], ids, classes, name, wrong)
    left_out: dict[str, str] = {}
    entries = _entries(lists["images"], ids, by_image, name, wrong, left_out)
    return gathering.gather(
        entries,
        locating.folder_of(images),
        draw=_draw,
        class_names=tuple(dict.fromkeys(classes.values())),
        problems=wrong,
        left_out=left_out,
    )


def _by_image(
    annotations: Sequence[Mapping[str, Any]],
    ids: Sequence[int | str],
    classes: Mapping[Any, str],
    name: str,
    wrong: list[record.Problem],
) -> dict[Any, list[gathering.Written]]:
    """{id of an image: its objects}, for every one of `ids`."""
    by_image: dict[Any, list[gathering.Written]] = {image_id: [] for image_id in ids}
    for n, one in enumerate(annotations):
        place = f"annotations[{n}] (id {one.get('id')})"
        where = f"{name}, {place}"
        image_id, category = _id(one, "image_id", where), _id(one, "category_id", where)
        if image_id not in by_image:
            text = f"its image {image_id} is not in the list of images"
            wrong.append(record.Problem(name, place, text))
        elif category not in classes:
            text = f"its category {category} is not in the list of categories"
            wrong.append(record.Problem(name, place, text))
        else:
            content, crowd = _content(one, where)
            written = gathering.Written(place, classes[category], content, crowd)
            by_image[image_id].append(written)
    return by_image


def _entries(
    images: Sequence[Mapping[str, Any]],
    ids: Sequence[int | str],
    by_image: Mapping[Any, list[gathering.Written]],
    name: str,
    wrong: list[record.Problem],
    left_out: dict[str, str],
) -> list[gathering.Entry]:
    """The images whose id is theirs alone."""
    times = collections.Counter(ids)
    entries = []
    for n, one in enumerate(images):
        place, where = f"images[{n}]", f"{name}, images[{n}]"
        file_name = _text(one, "file_name", where)
        size = parsing.size(one.get("height"), one.get("width"), where)
        if times[one["id"]] > 1:
            text = f"its id {one['id']} is that of several images"
            wrong.append(record.Problem(name, place, text))
            left_out[locating.composed(file_name)] = text
            continue
        objects = tuple(by_image[one["id"]])
        entries.append(gathering.Entry(name, place, file_name, size, objects))
    return entries


def _draw(content: Any, size: gathering.Size) -> gathering.Drawing:
    bbox, segmentation = content
    box = None if bbox is None else box_formats.boxes_from_coco(np.array(bbox))
    if not segmentation:
        return box, None
    if not isinstance(segmentation, Mapping):
        return box, tuple(gathering.corners_of(outline) for outline in segmentation)
    written = segmentation.get("size")  # looked at first: a huge one fills the memory
    if not isinstance(written, list) or tuple(written) != tuple(size):
        raise ValueError(f"its run lengths, {written}, must be of its image, {size}")
    if not coco_format.mask_from_coco(segmentation, shape=size).any():
        raise ValueError("its outline covers no pixel")
    return box, {key: segmentation[key] for key in ("size", "counts")}


def _content(one: Mapping[str, Any], where: str) -> tuple[Any, bool]:
    """What `_draw` takes, and whether it is a crowd."""
    crowd = one.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"{where}: 'iscrowd' (={crowd!r}) must be 0 or 1.")
    bbox, segmentation = one.get("bbox") or None, one.get("segmentation") or None
    if bbox is not None:
        if not isinstance(bbox, Sequence) or len(bbox) != 4:
            raise ValueError(f"{where}: 'bbox' (={bbox!r}) must be four numbers.")
        bbox = tuple(parsing.number(value, where, "bbox") for value in bbox)
    if not isinstance(segmentation, (list, Mapping, type(None))):
        raise ValueError(
            f"{where}: 'segmentation' must be a list of outlines or a run-length code."
        )
    return (bbox, segmentation), bool(crowd)


def _lists(content: Any, name: str) -> dict[str, list[dict[str, Any]]]:
    lists = {}
    for key in _LISTS:
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list) or not all(isinstance(o, dict) for o in found):
            raise ValueError(f"{name}: {key!r} must be a list of objects.")
        lists[key] = found
    return lists


def _classes(categories: Sequence[Mapping[str, Any]], name: str) -> dict[Any, str]:
    """{id: name} by ascending id."""
    classes: dict[Any, str] = {}
    for n, one in enumerate(categories):
        where = f"{name}, categories[{n}]"
        category = _id(one, "id", where)
        if category in classes:
            raise ValueError(f"{where}: its id {category} must not be there twice.")
        classes[category] = _text(one, "name", where)
    return dict(
        sorted(classes.items(), key=lambda item: (isinstance(item[0], str), item[0]))
    )


def _id(one: Mapping[str, Any], key: str, where: str) -> int | str:
    if not isinstance(one.get(key), (int, str)):
        raise ValueError(f"{where}: {key!r} (={one.get(key)!r}) must be an id.")
    return one[key]


def _text(one: Mapping[str, Any], key: str, where: str) -> str:
    if not isinstance(one.get(key), str):
        raise ValueError(f"{where}: {key!r} (={one.get(key)!r}) must be text.")
    return one[key]
