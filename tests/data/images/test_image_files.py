"""Image files of every mode, upright, in RGB, or refused by name."""

import functools
import sys

import numpy as np
import PIL.Image
import pytest

from xguide_jax import data
from xguide_jax.data.images import image_files

_COLOUR = np.zeros((4, 6, 3), np.uint8)
_COLOUR[:2], _COLOUR[2:, 3:] = (200, 100, 50), (0, 250, 0)
_GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)


def _saved(folder, image, name="a.png", **options):
    image = image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)
    image.save(folder / name, **options)
    return folder / name


def test_colours_and_palettes_are_read_as_rgb(tmp_path):
    whole = PIL.Image.fromarray(_COLOUR)
    for image in (whole, whole.quantize(4), whole.convert("RGBA")):
        read = data.read_image(_saved(tmp_path, image))
        assert read.dtype == np.uint8
        np.testing.assert_array_equal(read, _COLOUR)
    cmyk = np.full((8, 8, 4), (0, 255, 255, 0), np.uint8)  # no cyan: red
    path = _saved(
        tmp_path, PIL.Image.fromarray(cmyk, "CMYK"), "c.tif", compression="tiff_lzw"
    )
    np.testing.assert_array_equal(data.read_image(path)[3, 3], (255, 0, 0))


def test_grey_becomes_three_equal_channels(tmp_path):
    read = data.read_image(_saved(tmp_path, _GREY))
    np.testing.assert_array_equal(read, np.repeat(_GREY[..., None], 3, axis=-1))
    two = data.read_image(_saved(tmp_path, _GREY > 100))
    assert np.unique(two).tolist() == [0, 255]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_by_their_maximum_and_not_cut_off(tmp_path, name):
    values = np.array([[0, 257, 40000, 65535]], np.uint16)
    read = data.read_image(_saved(tmp_path, values, name))
    # 40000 / 65535 * 255 = 155.64; 257 is exactly 1.
    assert read[0, :, 0].tolist() == [0, 1, 156, 255]
    assert read.shape == (1, 4, 3)


def test_what_is_transparent_lies_on_the_background(tmp_path):
    pixels = np.array([[[10, 20, 30, 255], [90, 90, 90, 0], [0, 100, 200, 51]]])
    path = _saved(tmp_path, pixels.astype(np.uint8))
    # 51 / 255 = 1/5: 0 + 204, 20 + 204 and 40 + 204 on white.
    white = [[10, 20, 30], [255, 255, 255], [204, 224, 244]]
    assert data.read_image(path)[0].tolist() == white
    black = [[10, 20, 30], [0, 0, 0], [0, 20, 40]]
    assert data.read_image(path, background=(0, 0, 0))[0].tolist() == black
    grey = np.array([[[80, 255], [80, 0]]], np.uint8)
    path = _saved(tmp_path, PIL.Image.fromarray(grey, "LA"))
    assert data.read_image(path)[0, :, 0].tolist() == [80, 255]
    palette = PIL.Image.fromarray(_COLOUR).quantize(4)
    first = palette.getpixel((0, 0))
    path = _saved(tmp_path, palette, transparency=first)
    read = data.read_image(path)
    assert np.all(read[:2] == 255)
    np.testing.assert_array_equal(read[2:], _COLOUR[2:])


# What a viewer has to do to show the image, by the EXIF standard.
_STORED = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: functools.partial(np.rot90, k=2),
    4: np.flipud,
    5: lambda upright: np.swapaxes(upright, 0, 1),
    6: np.rot90,
    7: lambda upright: np.swapaxes(np.rot90(upright, k=2), 0, 1),
    8: functools.partial(np.rot90, k=-1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_read_upright(tmp_path, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    for read, upright in ((data.read_image, _COLOUR), (data.read_mask, _GREY)):
        stored = np.ascontiguousarray(_STORED[orientation](upright))
        path = _saved(tmp_path, stored, exif=exif)
        np.testing.assert_array_equal(read(path), upright)
        np.testing.assert_array_equal(read(path, upright=False), stored)


def test_masks_keep_their_numbers(tmp_path):
    palette = PIL.Image.fromarray(np.array([[0, 15], [255, 7]], np.uint8), "P")
    palette.putpalette([n // 3 * 31 % 256 for n in range(768)])
    read = data.read_mask(_saved(tmp_path, palette))
    assert (read.dtype, read.tolist()) == (np.uint8, [[0, 15], [255, 7]])
    read = data.read_mask(_saved(tmp_path, np.array([[0, 1000]], np.uint16)))
    assert (read.dtype, read.tolist()) == (np.uint16, [[0, 1000]])
    read = data.read_mask(_saved(tmp_path, np.array([[True, False]])))
    assert (read.dtype, read.tolist()) == (np.uint8, [[1, 0]])
    with pytest.raises(
        ValueError, match=r"a.png \(mode RGB\) must be a mask of one ch"
    ):
        data.read_mask(_saved(tmp_path, _COLOUR))


def test_broken_and_other_files_are_refused_by_name(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    whole = _saved(tmp_path, noise, "a.jpg").read_bytes()
    for content in (whole[:400], b"", b"no image at all"):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.jpg cannot be read as an image: ."):
            data.read_image(tmp_path / "a.jpg")
        with pytest.raises(ValueError, match=r"row 7 cannot be read as an image"):
            image_files.decode_image(content, "row 7")
    for read in (data.read_image, data.read_mask):
        with pytest.raises(FileNotFoundError, match=r"there is no image .*b\.png"):
            read(tmp_path / "b.png")
    frames = [PIL.Image.fromarray(_GREY), PIL.Image.fromarray(_GREY[::-1])]
    path = _saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"a\.gif must hold one picture"):
        data.read_image(path)


def test_what_the_system_refuses_is_said_without_its_number(tmp_path, monkeypatch):
    path = _saved(tmp_path, _COLOUR)

    def forbid(source):
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(PIL.Image, "open", forbid)
    for read in (data.read_image, data.read_mask):
        with pytest.raises(ValueError, match="cannot be read") as refused:
            read(path)
        expected = f"{path} cannot be read as an image: Permission denied."
        assert str(refused.value) == expected


def test_modes_without_a_known_maximum_are_refused_by_name(tmp_path):
    floats = _saved(tmp_path, np.ones((2, 2), np.float32), "f.tif")
    with pytest.raises(
        ValueError, match=r"f\.tif \(mode F\) must have one of the mode"
    ):
        data.read_image(floats)
    wide = _saved(tmp_path, np.full((2, 2), 70000, np.int32), "i.tif")
    with pytest.raises(ValueError, match=r"i\.tif \(mode I\) must hold 8 or 16 bits"):
        data.read_image(wide)


def test_missing_pillow_is_named(tmp_path, monkeypatch):
    path = _saved(tmp_path, _GREY)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"install pillow, or xguide_jax\[exper"):
        data.read_image(path)
