"""A folder a class."""

import pytest

from xguide_jax import data


def test_the_folder_is_the_class(images, photograph):
    for name in ("dog/a.png", "cat/deep/b.jpg", "dog/.hidden.png", "top.png"):
        photograph(name)
    (images / "dog" / "notes.txt").write_text("")
    (images / "dog" / "broken.png").write_bytes(b"none")
    (images / "emu").mkdir()
    (images / ".git").mkdir()
    found = data.read_class_folders(images)
    assert found.class_names == ("cat", "dog", "emu")
    assert [(i.name, i.label, i.size, i.objects) for i in found.images] == [
        ("cat/deep/b.jpg", 0, (12, 16), ()), ("dog/a.png", 1, (12, 16), ()),
    ]  # fmt: skip
    assert found.problems == (
        ("top.png", "the file", "it lies in no class folder"),
        ("dog/broken.png", "the file", "it cannot be read as an image"),
    )


def test_a_folder_without_folders_is_refused(images, photograph):
    photograph("a.png")
    with pytest.raises(ValueError, match="must hold a folder a class"):
        data.read_class_folders(images)
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        data.read_class_folders(images / "a.png")
