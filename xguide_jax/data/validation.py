"""Checks of examples on the host, where a bad value can still be named.

Inside a compiled step nothing can be refused: a label out of range becomes NaN or
vanishes, a mask of 255 is 255 times a mask, and boxes as fractions cover no pixel, so
that nothing is guided and the loss is that of perfect guidance.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xguide_jax.data import datasets, trees
from xguide_jax.data.image_text import checking
from xguide_jax.data.images import shapes

_FROM_LABELS = (
    "(a mask of 0 and 255, of class numbers or with void: `data.region_from_labels` "
    "reads it)"
)

_VALID = ("rationale_valid", "region_valid")


def validate(dataset: datasets.Dataset) -> None:
    """Checks a data set on the host.

    Args:
      dataset: N examples.

    Raises:
      ValueError: as `validate_batch`, where the classes are `class_names`; or if an
        annotation is called 'inputs' or 'labels'.
    """
    datasets.check_names(dataset)
    rows = {"inputs": dataset.inputs, "labels": dataset.labels, **dataset.annotations}
    validate_batch(rows, num_classes=len(dataset.class_names))


def validate_batch(batch: Mapping[str, Any], *, num_classes: int) -> None:
    """Checks one batch on the host, before a compiled step takes it as it is.

    * 'inputs' [B, ...], an array or a dict of such, and every other float is finite.
    * 'labels' are int [B] in 0 .. C - 1. Where an example may have several classes or
      none they are multi-hot, [B, C] of 0 and 1 in any dtype: two axes mean that,
      always. 'targets', int [B] in 0 .. C - 1, are the classes to explain.
    * 'region', 'strokes', 'irrelevant' and names that end so, as 'true_region', lie in
      [0, 1]; 'annotations' are -1, 0 and 1. On images [B, H, W, channels] they are [B,
      H, W], or coarse, [B, h, w] with H / h = W / w a whole number; on other inputs
      they share the axes of these. Of inputs that are several they fit one.
    * A 'mask' among several inputs is bool, [B, T] of texts, False on padding.
    * 'rationale' [B, T] is at least 0, and 0 where 'mask' is False or 'special', bool
      [B, T], is True. Where 'rationale_valid' is True a token of the example has some.
    * 'boxes' [B, N, 4] are `(x0, y0, x1, y1)` in pixels with x0 <= x1 and y0 <= y1, and
      'boxes_valid', bool [B, N], says which count: those cover a pixel each, inside the
      image or outside. The others may hold anything, also in 'boxes_class', int [B, N]
      in 0 .. C - 1.
    * 'text' [B, L] and 'texts' [B, R, L] are token ids with a '_mask' and a '_valid'
      beside them, as `encode_texts` makes them.
    * 'region_valid' and 'rationale_valid' [B] are 0 or 1, and 'weight' [B] at least 0.

    Args:
      batch: as above, and anything else [B, ...].
      num_classes: C, the classes that a label can be; 2 for a binary head of one logit.

    Raises:
      ValueError: naming array, value, row and rule; or if 'inputs' or 'labels' are
        missing, or lengths or shapes differ.
    """
    missing = sorted({"inputs", "labels"} - batch.keys())
    if missing:
        raise ValueError(f"a batch needs {missing}; it has {sorted(batch)}.")
    inputs = trees.named_leaves("inputs", batch["inputs"])
    num_examples = len(next(iter(inputs.values()), np.zeros(0)))
    arrays = {k: np.asarray(v) for k, v in batch.items() if k != "inputs"}
    for name, array in {**inputs, **arrays}.items():
        if array.ndim == 0 or len(array) != num_examples:
            raise ValueError(
                f"`{name}` has shape {array.shape}, but `inputs` hold "
                f"{num_examples} examples."
            )
        if array.dtype.kind in "fc" and name != "boxes":
            _refuse(~np.isfinite(array), array, name, "be finite")
    _check_labels(arrays["labels"], num_classes)
    for name, array in arrays.items():
        if shapes.is_drawn(name):
            _check_shape(name, array.shape, [leaf.shape for leaf in inputs.values()])
            _check_drawn(name, array)
    _check_boxes(arrays, num_classes)
    if "targets" in arrays:
        _check_whole("targets", arrays["targets"], (num_examples,))
        _refuse_outside("targets", arrays["targets"], num_classes)
    for name in sorted({"weight", *_VALID} & arrays.keys()):
        if arrays[name].ndim != 1:
            raise ValueError(f"`{name}` has shape {arrays[name].shape}, not [B].")
        if name in _VALID:
            _check_two(name, arrays[name])
    _check_tokens(arrays, inputs.get("inputs/mask"))
    checking.check_texts(arrays)
    if "weight" in arrays:
        _refuse(arrays["weight"] < 0, arrays["weight"], "weight", "be at least 0")


def _check_labels(labels: np.ndarray, num_classes: int) -> None:
    if labels.ndim == 2:
        if labels.shape[1] != num_classes:
            raise ValueError(
                f"`labels` of shape {labels.shape} must be one class an example, [B], "
                f"or multi-hot, [B, {num_classes}]."
            )
        return _check_two("labels", labels)
    _check_whole("labels", labels, labels.shape[:1])
    return _refuse_outside("labels", labels, num_classes)


def _check_whole(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype.kind not in "iu":
        raise ValueError(
            f"`{name}` ({array.dtype} {array.shape}) must be whole numbers of shape "
            f"{shape}."
        )


def _check_two(name: str, array: np.ndarray) -> None:
    _refuse((array != 0) & (array != 1), array, name, "be 0 or 1")


def _refuse_outside(
    name: str, array: np.ndarray, num_classes: int, used: np.ndarray | bool = True
) -> None:
    outside = ((array < 0) | (array >= num_classes)) & used
    _refuse(outside, array, name, f"lie in 0 .. {num_classes - 1}")


def _check_drawn(name: str, array: np.ndarray) -> None:
    if name.endswith("annotations"):
        other = (array != 0) & (array != 1) & (array != -1)
        _refuse(other, array, name, f"be -1, 0 or 1 {_FROM_LABELS}")
    else:
        outside = ~((array >= 0) & (array <= 1))
        _refuse(outside, array, name, f"lie in [0, 1] {_FROM_LABELS}")


def _check_shape(
    name: str, shape: tuple[int, ...], leaves: Sequence[tuple[int, ...]]
) -> None:
    if any(_fits(shape, leaf) for leaf in leaves):
        return
    if len(leaves) > 1:
        raise ValueError(
            f"`{name}` of shape {shape} must fit one of the `inputs` {list(leaves)}."
        )
    (inputs,) = leaves
    if len(inputs) != 4:
        raise ValueError(
            f"`{name}` of shape {shape} must share the first axes of `inputs` {inputs}."
        )
    height, width = inputs[1:3]
    guess = ""
    if shape[1:] == inputs[2:]:
        guess = ": the images look like [B, channels, H, W]"
    elif shape[1:] == (width, height):
        guess = ": its height and width are swapped"
    raise ValueError(
        f"`{name}` of shape {shape} must have the height and width of `inputs` "
        f"{inputs}, or be coarse, of whole blocks of pixels with the same aspect"
        f"{guess}."
    )


def _fits(shape: tuple[int, ...], leaf: tuple[int, ...]) -> bool:
    """Whether a map of this shape is one of inputs of that shape, whole or coarse."""
    if len(leaf) != 4:
        return shape == leaf[: len(shape)]
    if len(shape) != 3 or 0 in shape:
        return False
    height, width = leaf[1:3]
    cell = height // shape[1], width // shape[2]
    whole = (cell[0] * shape[1], cell[1] * shape[2]) == (height, width)
    return whole and cell[0] == cell[1]


def _check_tokens(arrays: Mapping[str, np.ndarray], mask: np.ndarray | None) -> None:
    """'mask' of several inputs, and what stands beside it, a number a token."""
    if mask is not None and mask.dtype != bool:
        raise ValueError(f"`inputs/mask` ({mask.dtype}) must be bool.")
    rationale, special = arrays.get("rationale"), arrays.get("special")
    if special is not None and special.dtype != bool:
        raise ValueError(f"`special` ({special.dtype}) must be bool.")
    for name, array in (("rationale", rationale), ("special", special)):
        if array is not None and mask is not None and array.shape != mask.shape:
            raise ValueError(
                f"`{name}` of shape {array.shape} must be one a token: {mask.shape}."
            )
    if rationale is None:
        return
    _refuse(rationale < 0, rationale, "rationale", "be at least 0")
    if mask is not None:
        _refuse((rationale > 0) & ~mask, rationale, "rationale", "be 0 on padding")
    if special is not None:
        _refuse(
            (rationale > 0) & special, rationale, "rationale", "be 0 where `special`"
        )
    if "rationale_valid" in arrays:
        valid = arrays["rationale_valid"]
        unmarked = (valid != 0) & ~np.any(rationale > 0, axis=1)
        _refuse(unmarked, valid, "rationale_valid", "be False, as no token is marked")


def _check_boxes(arrays: Mapping[str, np.ndarray], num_classes: int) -> None:
    """'boxes' and what stands beside them, a number or a truth value a box."""
    boxes, valid = arrays.get("boxes"), arrays.get("boxes_valid")
    if boxes is not None and (boxes.ndim != 3 or boxes.shape[-1] != 4):
        raise ValueError(f"`boxes` has shape {boxes.shape}, not [B, N, 4].")
    if valid is not None and valid.dtype != bool:
        raise ValueError(f"`boxes_valid` ({valid.dtype}) must be bool.")
    for name in ("boxes_valid", "boxes_class"):
        if name in arrays and boxes is None:
            raise ValueError(f"`{name}` stands beside `boxes`, which are missing.")
        if name in arrays and boxes is not None:
            found = arrays[name].shape
            if found != boxes.shape[:2]:
                raise ValueError(
                    f"`{name}` of shape {found} must be one a box: {boxes.shape[:2]}."
                )
    if boxes is None:
        return
    used = np.ones(boxes.shape[:2], bool) if valid is None else valid
    _refuse(~np.all(np.isfinite(boxes), -1) & used, boxes, "boxes", "be finite")
    inverted = np.any(boxes[..., 2:] < boxes[..., :2], axis=-1)
    rule = "have x0 <= x1 and y0 <= y1 (inverted)"
    _refuse(inverted & used, boxes, "boxes", rule)
    if valid is not None:  # without it no term reads them, and zeros may be padding
        _check_they_cover(boxes, valid)
    if "boxes_class" in arrays:
        _check_whole("boxes_class", arrays["boxes_class"], boxes.shape[:2])
        _refuse_outside("boxes_class", arrays["boxes_class"], num_classes, used)


def _check_they_cover(boxes: np.ndarray, valid: np.ndarray) -> None:
    """Pixels ceil(x0) .. ceil(x1) - 1, and likewise for y, have to be some."""
    counted = boxes[valid]
    fractions = bool(np.all((counted >= 0) & (counted <= 1)))
    covers = np.all(np.ceil(boxes[..., :2]) < np.ceil(boxes[..., 2:]), axis=-1)
    rule = "cover a pixel, or be False in `boxes_valid`"
    if fractions:
        rule = (
            "be in pixels; all valid ones lie in [0, 1] and look like fractions of the "
            "image: multiply by its width and height"
        )
        covers &= np.all(boxes == np.rint(boxes), axis=-1)
    _refuse(valid & ~covers, boxes, "boxes", rule)


def _refuse(bad: np.ndarray, values: np.ndarray, name: str, rule: str) -> None:
    if bad.any():
        place = tuple(np.argwhere(bad)[0].tolist())
        where = f"row {place[0]}" + (f", at {list(place[1:])}" if place[1:] else "")
        raise ValueError(
            f"`{name}` (={values[place].tolist()}) in {where} must {rule}."
        )
