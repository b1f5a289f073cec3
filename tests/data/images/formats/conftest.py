"""Photographs as files."""

import pathlib

import PIL.Image
import pytest


@pytest.fixture
def images(tmp_path):
    """An empty folder for them."""
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def photograph(images):
    """Writes one, (H, W) as it is stored, with an EXIF orientation if there is one."""

    def write(name, size=(12, 16), *, orientation=None) -> pathlib.Path:
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = PIL.Image.new("RGB", size[::-1], (9, 99, 199))
        exif = PIL.Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        picture.save(path, exif=exif)
        return path

    return write
