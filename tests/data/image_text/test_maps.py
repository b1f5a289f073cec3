"""Maps of any range, each normalised by itself, and the files they come from."""

import pathlib

import numpy as np
import PIL.Image
import pytest

from xguide_jax import data
from xguide_jax.data.image_text import maps


def test_a_map_becomes_shares_between_its_own_extremes():
    found, valid = data.normalise_maps(np.array([[[2, 4], [6, 10]]]))
    # (M - 2) / 8
    np.testing.assert_allclose(found, [[[0, 0.25], [0.5, 1]]])
    assert found.dtype == np.float32
    assert valid.tolist() == [True]


def test_a_constant_map_is_not_valid_and_leaves_the_others_alone():
    """Batched extremes made the whole batch 0 when one map was constant."""
    drawn = np.stack([np.arange(6.0).reshape(2, 3), np.full((2, 3), 7.0)])
    alone = data.normalise_maps(drawn[:1])[0]
    for constant in (0.0, 7.0, -1.0, 1e-30):
        drawn[1] = constant
        found, valid = data.normalise_maps(drawn)
        np.testing.assert_array_equal(found[0], alone[0])
        assert found[0].max() == 1
        assert not found[1].any()
        assert valid.tolist() == [True, False]


def test_a_map_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(5, 4, 3)) * 10.0 ** np.arange(-2, 3)[:, None, None]
    together, _ = data.normalise_maps(drawn)
    for row in range(5):
        apart, valid = data.normalise_maps(drawn[row : row + 1])
        np.testing.assert_array_equal(apart[0], together[row])
        assert valid.all()
        assert (apart.min(), apart.max()) == (0, 1)
    scaled, _ = data.normalise_maps(drawn * 3 - 2)
    np.testing.assert_allclose(scaled, together, atol=1e-6)


def test_rounding_makes_no_map_of_a_constant_one():
    constant = np.full((7, 7), 0.3)
    resized = maps.resized_map(constant, (14, 14), "row 1", shape=(2, 2))
    assert resized.min() < resized.max()
    _, valid = data.normalise_maps(np.stack([resized, resized]))
    assert not valid.any()
    _, valid = data.normalise_maps(np.array([[[0.3, 0.3 * (1 + 1e-5)]]]))
    assert valid.all()


def test_the_largest_numbers_there_are_do_not_overflow():
    largest = np.finfo(np.float64).max
    found, valid = data.normalise_maps(np.array([[[-largest, 0, largest]]]))
    np.testing.assert_allclose(found, [[[0, 0.5, 1]]])
    assert valid.all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([[[0, 1]], [[0, np.nan]]]), "`maps` in row 1 must be finite"),
        (np.array([[[np.inf, 1]]]), "`maps` in row 0 must be finite"),
        (np.zeros((2, 2)), r"`maps` \(float64 \(2, 2\)\) must be numbers \[N, H, W\]"),
        (np.zeros((2, 0, 2)), "must be numbers"),
        (np.zeros((1, 2, 2), complex), "`maps` .complex128"),
    ],
)
def test_what_is_no_map_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        data.normalise_maps(wrong)


def test_a_map_is_read_of_an_array_or_a_grey_image(tmp_path):
    values = np.array([[0, 1, 2], [3, 4, 5]], np.float32)
    np.save(tmp_path / "flat.npy", values)
    np.save(tmp_path / "three.npy", np.stack([values, values, values + 3], axis=-1))
    PIL.Image.fromarray((values * 50).astype(np.uint8)).save(tmp_path / "grey.png")
    read = lambda name: maps.read_map(tmp_path / name, "row 1")
    np.testing.assert_array_equal(read("flat.npy"), values)
    np.testing.assert_allclose(read("three.npy"), values + 1)
    np.testing.assert_array_equal(read("grey.png"), values * 50)


def test_a_resized_map_holds_the_means_of_what_lies_under_each_cell():
    values = np.arange(16.0).reshape(4, 4)
    found = maps.resized_map(values, (8, 8, 3), "row 1", shape=(2, 2))
    np.testing.assert_allclose(found, [[2.5, 4.5], [10.5, 12.5]])


@pytest.mark.parametrize("size", [(4, 6), (3, 4), (7, 10)])
def test_a_map_of_the_same_aspect_to_within_a_pixel_is_taken(size):
    maps.resized_map(np.zeros(size), (40, 60), "row 1", shape=(4, 6))


@pytest.mark.parametrize("size", [(6, 4), (4, 4), (60, 40)])
def test_a_map_of_another_aspect_belongs_to_another_image(size):
    with pytest.raises(
        ValueError, match=r"row 1: the map of .* its image, \(40, 60\), or be coarse"
    ):
        maps.resized_map(np.zeros(size), (40, 60), "row 1", shape=(4, 6))


class _Code:
    """What a pickle would run."""

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("ran"),)


def test_a_pickle_is_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "map.npy", np.array([_Code()], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"entry 'a': map.npy must be an ar.*allow_p"):
        maps.read_map(tmp_path / "map.npy", "entry 'a'")
    assert not (tmp_path / "ran").exists()


def test_files_that_hold_no_map_are_named_with_their_row(tmp_path):
    np.save(tmp_path / "line.npy", np.zeros(4))
    np.save(tmp_path / "nan.npy", np.array([[0, np.nan]]))
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "whole.npy", np.zeros((40, 40)))
    whole = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:500])
    (tmp_path / "text.npy").write_bytes(b"0 1 2")
    (tmp_path / "text.png").write_bytes(b"0 1 2")
    np.savez(tmp_path / "archive.npz", map=np.zeros((2, 2)))
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0, 0] = 255
    PIL.Image.fromarray(colours).save(tmp_path / "heat.png")
    for name, message in {
        "line.npy": r"line.npy \(float64 \(4,\)\) must be numbers \[H, W\]",
        "nan.npy": "nan.npy must be finite",
        "words.npy": "words.npy .* must be numbers",
        "cut.npy": "cut.npy must be an array as `np.save` writes it",
        "text.npy": "text.npy must be an array",
        "archive.npy": "archive.npy must be an array",
        "text.png": "the map .*text.png cannot be read as an image",
        "heat.png": "heat.png must be grey, not colours",
    }.items():
        with pytest.raises(ValueError, match=f"row 7: .*{message}"):
            maps.read_map(tmp_path / name, "row 7")
    with pytest.raises(FileNotFoundError, match=r"row 7: there is no map .*none.npy"):
        maps.read_map(tmp_path / "none.npy", "row 7")
