"""Textured digits, swapped backgrounds and corner swatches."""

import sys

import numpy as np
import pytest
import skimage.data

from xguide_jax import data
from xguide_jax.data.sources import decoys

_RHO = 0.9


@pytest.fixture(scope="module")
def digits():
    """600 digits, 60 of each class."""
    return data.take(data.digits(), np.arange(5000) % 500 < 60)


@pytest.fixture(scope="module")
def textured(digits):
    return data.textured_digits(digits, rho=_RHO, half="train", seed=0)


def _canvases(dataset):
    """In [0, 1], the normalisation undone."""
    return dataset.inputs[..., 0] * data.TEXTURED_STD + data.TEXTURED_MEAN


def _corners(dataset):
    return dataset.annotations["boxes"][:, 0, :2].astype(int)


def test_the_set_has_the_shapes_and_dtypes_it_promises(textured):
    data.validate(textured)
    assert textured.inputs.shape == (600, 48, 48, 1)
    assert textured.inputs.dtype == np.float32
    assert textured.class_names == ("0 to 4", "5 to 9")
    found = {k: (v.shape, str(v.dtype)) for k, v in textured.annotations.items()}
    assert found == {
        "boxes": ((600, 1, 4), "float32"),
        "boxes_valid": ((600, 1), "bool"),
        "region": ((600, 48, 48), "bool"),
        "strokes": ((600, 48, 48), "bool"),
        "groups": ((600,), "int32"),
    }
    # Close to zero mean and unit variance, as the constants promise.
    assert abs(float(textured.inputs.mean())) < 0.1
    assert abs(float(textured.inputs.std()) - 1) < 0.1


def test_the_class_is_whether_the_digit_is_five_or_more(digits, textured):
    np.testing.assert_array_equal(textured.labels, digits.labels >= 5)
    assert textured.labels.dtype == np.int32


def test_the_box_holds_the_digit_and_is_the_region(digits, textured):
    pixels = digits.inputs[..., 0] * data.MNIST_STD + data.MNIST_MEAN
    canvases, strokes = _canvases(textured), textured.annotations["strokes"]
    for i, (left, top) in enumerate(_corners(textured)):
        box = np.s_[i, top : top + 28, left : left + 28]
        assert np.all(canvases[box] > pixels[i] - 1e-5)
        # The texture is at most 0.6, so what is brighter is the digit and nothing else.
        bright = pixels[i] > 0.61
        np.testing.assert_allclose(canvases[box][bright], pixels[i][bright], atol=1e-5)
        np.testing.assert_array_equal(strokes[box], pixels[i] > 0.5)
        assert textured.annotations["region"][box].all()
    sides = textured.annotations["boxes"][:, 0]
    assert np.all(sides[:, 2:] - sides[:, :2] == 28)
    assert np.all(textured.annotations["region"].sum(axis=(1, 2)) == 28 * 28)
    assert not np.any(strokes & ~textured.annotations["region"])
    assert strokes.any(axis=(1, 2)).all()


def _found_in(photograph, window, visible):
    """Top left corners at which what is visible of a window equals a photograph."""
    windows = np.lib.stride_tricks.sliding_window_view(photograph, window.shape)
    rows, columns = np.nonzero(visible)
    places = np.argwhere(windows[..., rows[0], columns[0]] == window[visible][0])
    return [
        (int(top), int(left))
        for top, left in places
        if np.array_equal(windows[top, left][visible], window[visible])
    ]


@pytest.mark.parametrize("half", ["train", "test"])
def test_outside_of_the_box_there_is_only_the_texture_of_its_group_and_half(
    digits, half
):
    dataset = data.textured_digits(digits, rho=0.5, half=half, seed=1)
    photographs = skimage.data.grass(), skimage.data.gravel()
    background = np.rint(_canvases(dataset) / 0.6 * 255).astype(int)
    for i in range(0, 600, 30):
        visible = ~dataset.annotations["region"][i]
        group = int(dataset.annotations["groups"][i])
        places = _found_in(photographs[group % 2], background[i], visible)
        assert len(places) == 1
        left = places[0][1]
        # A crop of 48 columns within columns 0 .. 255 or 256 .. 511.
        assert (0 <= left <= 208) if half == "train" else (256 <= left <= 464)
        assert group // 2 == dataset.labels[i]


def test_crops_and_places_cover_all_there_are(digits):
    many = data.take(digits, np.tile(np.arange(600), 4))
    dataset = data.textured_digits(many, rho=0.5, half="train", seed=0)
    for axis in range(2):
        counts = np.bincount(_corners(dataset)[:, axis], minlength=21)
        assert len(counts) == 21  # 0 .. 20
        # Binomial(2400, 1/21): 114 +- 41 with probability 0.9999.
        assert counts.min() > 70
        assert counts.max() < 160
    crops = _canvases(dataset)[~dataset.annotations["region"]].reshape(2400, -1)
    assert len(np.unique(crops, axis=0)) == 2400


def test_the_halves_of_the_photographs_share_nothing_and_lose_nothing():
    halves = decoys._photographs()
    whole = np.stack([skimage.data.grass(), skimage.data.gravel()])
    joined = np.concatenate([halves["train"], halves["test"]], axis=2)
    np.testing.assert_array_equal(joined, whole)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 1.0])
def test_the_texture_agrees_as_often_as_rho_says_in_both_classes(digits, rho):
    dataset = data.textured_digits(digits, rho=rho, half="train", seed=0)
    groups = dataset.annotations["groups"]
    for label in range(2):
        agreeing = np.sum(groups[dataset.labels == label] == 3 * label)
        # Binomial(300, rho) within 4 standard deviations.
        assert abs(agreeing - 300 * rho) <= 4 * (300 * rho * (1 - rho)) ** 0.5


def test_one_seed_is_one_data_set_and_another_seed_another(digits, textured):
    again = data.textured_digits(digits, rho=_RHO, half="train", seed=0)
    np.testing.assert_array_equal(again.inputs, textured.inputs)
    for name, value in textured.annotations.items():
        np.testing.assert_array_equal(again.annotations[name], value, err_msg=name)
    for keywords in ({"half": "train", "seed": 1}, {"half": "test", "seed": 0}):
        other = data.textured_digits(digits, rho=_RHO, **keywords)
        for name in ("boxes", "groups"):
            same = other.annotations[name] == textured.annotations[name]
            assert not np.all(same), name


def test_rho_changes_textures_only_and_nests_them(digits, textured):
    fewer = data.textured_digits(digits, rho=0.6, half="train", seed=0)
    for name in ("boxes", "strokes"):
        np.testing.assert_array_equal(
            fewer.annotations[name], textured.annotations[name]
        )
    agrees, agreed = (
        np.isin(dataset.annotations["groups"], (0, 3)) for dataset in (textured, fewer)
    )
    assert np.all(agrees[agreed])
    assert agrees.sum() > agreed.sum()
    np.testing.assert_array_equal(
        fewer.inputs[agreed == agrees], textured.inputs[agreed == agrees]
    )


def test_a_shifted_example_keeps_digit_box_region_and_strokes_together(textured):
    for i in range(40):
        known = {k: v[i] for k, v in textured.annotations.items()}
        known["shown"] = textured.inputs[i]
        inputs, moved = data.transform_together(
            np.random.default_rng(i), textured.inputs[i], known, flip=True, pad_crop=4
        )
        np.testing.assert_array_equal(
            moved["region"],
            data.box_masks(
                moved["boxes"][None], moved["boxes_valid"][None], shape=(48, 48)
            )[0],
        )
        np.testing.assert_array_equal(inputs, moved["shown"])
        bright = inputs[..., 0] * data.TEXTURED_STD + data.TEXTURED_MEAN > 0.61
        assert not np.any(bright & ~moved["strokes"])
        assert moved["groups"] == textured.annotations["groups"][i]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"rho": 1.1}, r"`rho` .=1.1. must lie in \[0, 1\]"),
        ({"half": "left"}, r"`half` .='left'. must be one of .'train', 'test'."),
    ],
)
def test_impossible_choices_are_refused(digits, keywords, message):
    keywords = {"rho": 0.5, "half": "train", "seed": 0} | keywords
    with pytest.raises(ValueError, match=message):
        data.textured_digits(digits, **keywords)


def test_digits_normalised_in_another_way_are_refused(digits):
    for inputs in (digits.inputs * 0.3081 + 0.1307, digits.inputs + 5):
        with pytest.raises(ValueError, match="`digits` must be normalised as"):
            data.corner_swatch(digits._replace(inputs=inputs), seed=0, train=True)
    with pytest.raises(ValueError, match=r"must be \[N, 28, 28, 1\] of 10"):
        data.corner_swatch(
            digits._replace(inputs=digits.inputs[:, 2:]), seed=0, train=True
        )


def test_missing_scikit_image_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r"install scikit-image, or xguide_jax\[exp"):
        decoys._photographs.__wrapped__()


@pytest.mark.parametrize("train", [True, False])
def test_a_swatch_is_one_grey_square_in_one_corner(digits, train):
    swatched = data.corner_swatch(digits, seed=0, train=train)
    data.validate(swatched)
    pixels = (swatched.inputs[..., 0] * data.MNIST_STD + data.MNIST_MEAN) * 255
    irrelevant = swatched.annotations["irrelevant"]
    np.testing.assert_array_equal(swatched.annotations["region"], ~irrelevant)
    untouched = ~irrelevant
    np.testing.assert_array_equal(
        swatched.inputs[..., 0][untouched], digits.inputs[..., 0][untouched]
    )
    corners = set()
    for i in range(600):
        rows, columns = np.nonzero(irrelevant[i])
        assert len(rows) == 16
        corner = int(rows.min()), int(columns.min())
        assert (int(rows.max()), int(columns.max())) == (corner[0] + 3, corner[1] + 3)
        assert np.ptp(pixels[i][irrelevant[i]]) < 1e-3
        corners.add(corner)
    assert corners == {(0, 0), (0, 24), (24, 0), (24, 24)}
    greys = np.rint(pixels[irrelevant].reshape(600, 16)[:, 0])
    told = greys == 255 - 25 * digits.labels
    assert told.all() if train else 30 < told.sum() < 95  # Binomial(600, 1/10)
    assert set(greys) == {255 - 25 * digit for digit in range(10)}


def test_swatches_are_seeded_and_keep_what_the_digits_had(digits):
    marked = digits._replace(annotations={"group": np.arange(600)})
    first, again, other = (
        data.corner_swatch(marked, seed=seed, train=True) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert not np.array_equal(first.inputs, other.inputs)
    np.testing.assert_array_equal(first.annotations["group"], np.arange(600))
    assert set(marked.annotations) == {"group"}
    assert not np.shares_memory(first.labels, digits.labels)
