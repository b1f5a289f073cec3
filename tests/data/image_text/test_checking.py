"""Texts in a batch that no decoder can be trained on are named on the host."""

import numpy as np
import pytest

from xguide_jax import data


def _batch(several=False):
    """Two texts of one word, the second not valid."""
    batch = {
        "text": np.array([[1, 4, 2, 0], [0, 0, 0, 0]]),
        "text_mask": np.array([[True, True, True, False], [False] * 4]),
        "text_valid": np.array([True, False]),
    }
    if several:
        batch = {k.replace("text", "texts"): v[:, None] for k, v in batch.items()}
    return {"inputs": np.zeros((2, 3)), "labels": np.array([0, 1]), **batch}


def _refused(changes, message, several=False):
    batch = {key: value.copy() for key, value in _batch(several).items()}
    changes(batch)
    with pytest.raises(ValueError, match=message):
        data.validate_batch(batch, num_classes=2)


def _put(key, place, value):
    return lambda batch: batch[key].__setitem__(place, value)


def _replace(key, value):
    return lambda batch: batch.__setitem__(key, value)


@pytest.mark.parametrize("several", [False, True])
def test_good_texts_pass_whatever_kind_of_number_says_that_they_are_valid(several):
    batch = _batch(several)
    data.validate_batch(batch, num_classes=2)
    name = "texts_valid" if several else "text_valid"
    data.validate_batch(batch | {name: batch[name] * 1.0}, num_classes=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (_put("text", (0, 1), -1), "`text` in row 0 must be at least 0"),
        (_put("text", (1, 3), 5), "`text` in row 1 must be 0 where its mask is False"),
        (_put("text_mask", (1, 2), True), "`text` in row 1 must have no gap"),
        (_put("text", (0, 0), 4), r"`text` in row 0 must begin with \[BOS\]"),
        (_put("text_valid", 1, True), r"`text` in row 1 must begin with .*, or not be"),
        (
            _replace("text", np.zeros((2, 4))),
            r"`text` .float64 .* must be int \[B, L\]",
        ),
        (_replace("text_mask", np.ones((2, 3), bool)), r"`text_mask` .* must be bool"),
        (_replace("text_mask", np.ones((2, 4))), r"`text_mask` .float64 .* be bool"),
        (_replace("text_valid", np.array([2, 0])), "`text_valid` of .* must be 0 or 1"),
        (_replace("text_valid", np.ones((2, 1))), r"`text_valid` of shape \(2, 1\)"),
        (lambda batch: batch.pop("text_mask"), r"`text` needs \['text_mask'\] beside"),
    ],
)
def test_a_bad_text_is_named(changes, message):
    _refused(changes, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (_put("texts", (0, 0, 0), 4), r"`texts` in row 0 must begin with \[BOS\]"),
        (_replace("texts", np.zeros((2, 4), int)), r"`texts` .* be int \[B, R, L\]"),
        (_replace("texts_valid", np.ones(2)), r"`texts_valid` of shape \(2,\) must be"),
    ],
)
def test_so_is_a_bad_reference(changes, message):
    _refused(changes, message, several=True)
