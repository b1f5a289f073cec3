"""A folder of photographs to try: digits on pictures of grass and gravel, as JPEGs."""

import csv
import io
import pathlib

import numpy as np
import PIL.Image

from xguide_jax import data, files

CLASSES = ("below five", "five or more")
_TEXTURES = ("grass", "gravel")
# Training photographs, validation and test; of the last, texture and class are
# independent, so that each of the four groups is as large.
_COUNTS = {"train": 1500, "validation": 300, "test": 600}
_CORRELATION = 0.95
_LISTED = "photographs.csv"


def write_example(folder: pathlib.Path, *, scale: float = 1.0) -> None:
    """Writes images, COCO annotations and a table, if they are not there yet.

    In training and validation the texture agrees with the class at 95 %, in the test it
    says nothing. The same numbers each time.

    Args:
      folder: where 'images/', 'annotations.json' and 'photographs.csv' come to lie.
      scale: how many photographs there are, 1 for 2,400.
    """
    if (folder / _LISTED).exists():  # it is written last
        return
    counts = {part: max(int(n * scale), 8) for part, n in _COUNTS.items()}
    digits = data.digits()
    rows = data.generator(data.Stream.SPLIT, 0).permutation(len(digits.labels))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    listed, boxes = [], []
    start = 0
    for number, (part, count) in enumerate(counts.items()):
        chosen = data.take(digits, rows[start : start + count])
        start += count
        textured = data.textured_digits(
            chosen,
            rho=0.5 if part == "test" else _CORRELATION,
            half="test" if part == "test" else "train",
            seed=number,
        )
        for row in range(count):
            name = f"{part}_{row:04d}.jpg"
            files.write_bytes(folder / "images" / name, _jpeg(textured.inputs[row]))
            texture = _TEXTURES[textured.annotations["groups"][row] % 2]
            label = CLASSES[textured.labels[row]]
            listed.append((name, label, texture, part))
            boxes.append(textured.annotations["boxes"][row, 0])
    coco = _coco(listed, boxes)
    files.write_json(folder / "annotations.json", coco)
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "group", "split"))
    writer.writerows((name, texture, part) for name, _, texture, part in listed)
    files.write_bytes(folder / _LISTED, table.getvalue().encode())


def paths(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """Where `write_example` has put what the flags name.

    Args:
      folder: of the example.

    Returns:
      (images, annotations, table).
    """
    return folder / "images", folder / "annotations.json", folder / _LISTED


def _jpeg(image: np.ndarray) -> bytes:
    """Normalised pixels [H, W, C] as a file."""
    pixels = image * data.TEXTURED_STD + data.TEXTURED_MEAN
    whole = np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)
    picture = PIL.Image.fromarray(np.broadcast_to(whole, (*whole.shape[:2], 3)).copy())
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _coco(
    listed: list[tuple[str, str, str, str]], boxes: list[np.ndarray]
) -> dict[str, object]:
    size = 48
    numbers = {name: number for number, name in enumerate(CLASSES, start=1)}
    images, annotations = [], []
    for number, ((name, label, _, _), box) in enumerate(
        zip(listed, boxes, strict=True), start=1
    ):
        x0, y0, x1, y1 = (int(side) for side in box)
        images.append({"id": number, "file_name": name, "width": size, "height": size})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": numbers[label],
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "iscrowd": 0,
            }
        )
    categories = [{"id": n, "name": name} for name, n in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
