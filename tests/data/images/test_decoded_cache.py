"""Photographs are decoded once, kept whole or not at all, and named when they fail."""

import builtins
import concurrent.futures
import errno
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xguide_jax import data
from xguide_jax.data.images import cached_rows, decoded_cache, image_files

SHAPE = (6, 8)
_ROW = 6 * 8 * 3
_ROOT = pathlib.Path(data.__file__).parents[2]


def _photographs(folder, count=7, seed=0):
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        pixels = rng.integers(0, 256, (9 + number, 20 - number, 3)).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        PIL.Image.fromarray(pixels).save(paths[-1])
    return paths


def _expected(paths, shape=SHAPE, **options):
    whole = [data.read_image(path, **options) for path in paths]
    return np.stack([data.resize(image, {}, shape=shape)[0] for image in whole])


def _pixels(images):
    return data.read_rows(images, np.arange(len(images.ids)))


def _files(cache):
    return sorted(path.name for path in cache.iterdir())


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "photographs").mkdir()
    return _photographs(tmp_path / "photographs")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded."""
    names, decode = [], image_files.decode_image

    def counted(content, name, **options):
        names.append(pathlib.Path(name).name)
        return decode(content, name, **options)

    monkeypatch.setattr(image_files, "decode_image", counted)
    return names


@pytest.fixture
def three_a_file(monkeypatch):
    monkeypatch.setattr(decoded_cache, "_FILE_BYTES", 3 * _ROW + 1)


def test_rows_are_those_of_reading_and_resizing(paths, cache, three_a_file):
    images = data.decode_images(paths, cache, shape=SHAPE)
    np.testing.assert_array_equal(_pixels(images), _expected(paths))
    assert sorted(len(file) for file in images.files) == [1, 3, 3]
    assert images.sizes.tolist() == [[9 + n, 20 - n] for n in range(7)]
    assert not any(file.flags.writeable for file in images.files)
    order = np.array([5, 0, 5])
    np.testing.assert_array_equal(
        data.read_rows(images, order), _expected(paths)[order]
    )
    assert data.read_rows(images, np.array([], int)).shape == (0, *SHAPE, 3)


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"mean": 0.3, "std": 0.7},
        {"mean": (0.1, 0.2, 0.3), "std": 0.5},
        {"mean": [0.485, 0.456, 0.406], "std": np.array([0.229, 0.224, 0.225])},
    ],
)
def test_rows_are_normalised_as_the_whole_is(paths, cache, numbers):
    images = data.decode_images(paths, cache, shape=SHAPE)
    whole = data.normalise_images(
        _expected(paths), **{"mean": 0.0, "std": 1.0, **numbers}
    )
    order = np.array([5, 0, 5])
    read = data.read_images(images, order, **numbers)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, whole[order])
    assert data.read_images(images, order[:0], **numbers).shape == (0, *SHAPE, 3)
    with pytest.raises(ValueError, match=r"`mean` \(=\(1, 2\)\) must be one number"):
        data.read_images(images, order, mean=(1, 2))
    with pytest.raises(ValueError, match=r"`std` \(=0\) must be positive"):
        data.read_images(images, order, std=0)


@given(
    old=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    new=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_any_size_is_stretched_to_any_shape(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("sizes")
    pixels = np.arange(old[0] * old[1] * 3, dtype=np.uint8).reshape(*old, 3)
    PIL.Image.fromarray(pixels).save(folder / "a.png")
    for _ in range(2):  # made, and read again
        images = data.decode_images([folder / "a.png"], folder, shape=new)
        expected = data.resize(pixels, {}, shape=new)[0]
        np.testing.assert_array_equal(_pixels(images)[0], expected)
        assert images.sizes.tolist() == [list(old)]


def test_annotations_follow_their_images_without_the_pixels(paths, cache):
    images = data.decode_images(paths, cache, shape=SHAPE)
    height, width = images.sizes[2].tolist()
    region = np.zeros((height, width), bool)
    region[2:7, 3:9] = True
    known = {"region": region, "boxes": np.array([[3, 2, 9, 7]])}
    expected = data.resize(data.read_image(paths[2]), known, shape=SHAPE)[1]
    found = data.resize(np.zeros((*images.sizes[2], 1)), known, shape=SHAPE)[1]
    for name in known:
        np.testing.assert_array_equal(found[name], expected[name])


def test_orientation_and_background_are_as_asked_and_kept_apart(tmp_path, cache):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:2, :3] = (200, 100, 50, 255)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    paths = [tmp_path / "a.png"]
    for options in ({}, {"upright": False}, {"background": (0, 0, 9)}):
        images = data.decode_images(paths, cache, shape=(3, 3), **options)
        expected = _expected(paths, (3, 3), **options)
        np.testing.assert_array_equal(_pixels(images), expected)
        upright = options.get("upright", True)
        assert images.sizes.tolist() == ([[6, 4]] if upright else [[4, 6]])
    assert len(_files(cache)) == 3


def test_only_a_changed_photograph_is_decoded_again(paths, cache, decoded):
    data.decode_images(paths, cache, shape=SHAPE)
    assert sorted(decoded) == sorted(path.name for path in paths)
    decoded.clear()
    data.decode_images(paths[::-1], cache, shape=SHAPE)
    assert decoded == []
    os.utime(paths[1])
    PIL.Image.fromarray(np.full((5, 5, 3), 77, np.uint8)).save(paths[3])
    images = data.decode_images(paths, cache, shape=SHAPE)
    assert decoded == ["3.jpg"]
    np.testing.assert_array_equal(_pixels(images), _expected(paths))
    decoded.clear()
    data.decode_images(paths, cache, shape=(4, 4))
    assert len(decoded) == len(paths)


def test_copies_are_decoded_once(paths, cache, decoded):
    copy = paths[0].with_name("copy.jpg")
    copy.write_bytes(paths[0].read_bytes())
    images = data.decode_images([*paths, copy, paths[2]], cache, shape=SHAPE)
    assert len(decoded) == len(paths)
    assert images.files[0].shape[0] == len(paths)
    np.testing.assert_array_equal(_pixels(images), _expected([*paths, copy, paths[2]]))


def test_all_images_that_fail_are_named_and_the_others_kept(paths, cache, decoded):
    paths[1].write_bytes(b"none")
    paths[4].write_bytes(paths[4].read_bytes()[:200])
    paths[5].write_bytes(b"none")
    with pytest.raises(ValueError, match="3 of 7 images cannot be decoded") as caught:
        data.decode_images(paths, cache, shape=SHAPE)
    _, *lines = str(caught.value).splitlines()
    for line, path in zip(lines, (paths[1], paths[4], paths[5]), strict=True):
        assert line.startswith(f"  {path} cannot be read as an image: ")
    decoded.clear()
    whole = [path for n, path in enumerate(paths) if n not in (1, 4, 5)]
    images = data.decode_images(whole, cache, shape=SHAPE)
    assert decoded == []
    np.testing.assert_array_equal(_pixels(images), _expected(whole))


def test_all_files_that_cannot_be_opened_are_named_before_any_is_decoded(
    paths, cache, decoded
):
    paths[0].unlink()
    paths[6].unlink()
    with pytest.raises(FileNotFoundError, match="2 of 7 images cannot be opened") as e:
        data.decode_images(paths, cache, shape=SHAPE)
    assert str(paths[0]) in str(e.value)
    assert str(paths[6]) in str(e.value)
    paths[0].mkdir()
    with pytest.raises(OSError, match=r"0\.jpg: Is a directory"):
        data.decode_images(paths, cache, shape=SHAPE)
    assert decoded == []
    assert not cache.exists()


@pytest.mark.parametrize("removed", [False, True])
def test_a_photograph_that_changes_meanwhile_is_refused(
    paths, cache, monkeypatch, removed
):
    fill, content = cached_rows.fill, paths[2].read_bytes()

    def changing(*arguments, **options):
        paths[2].unlink()
        if not removed:
            paths[2].write_bytes(paths[0].read_bytes())
        return fill(*arguments, **options)

    monkeypatch.setattr(cached_rows, "fill", changing)
    with pytest.raises(ValueError, match=r"2\.jpg was changed while"):
        data.decode_images(paths, cache, shape=SHAPE)
    monkeypatch.undo()
    paths[2].write_bytes(content)
    images = data.decode_images(paths, cache, shape=SHAPE)
    np.testing.assert_array_equal(_pixels(images), _expected(paths))


def _cut(content):
    return content[:-1]


def _longer(content):
    return content + b"\0"


def _changed_row(content):
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def _changed_header(content):
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


def _in_the_head(content):
    return content[:20]


def _foreign(content):
    return b"not ours" * 100


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_cut, "has .* bytes and must have"),
        (_longer, "has .* bytes and must have"),
        (_changed_row, "has damaged rows"),
        (_changed_header, "has a damaged header"),
        (_in_the_head, "is no file of rows"),
        (_foreign, "is no file of rows"),
    ],
)
def test_a_damaged_file_is_named_and_made_again(
    paths, cache, decoded, three_a_file, harm, message
):
    data.decode_images(paths, cache, shape=SHAPE)
    before = {file: (cache / file).read_bytes() for file in _files(cache)}
    damaged = cache / _files(cache)[1]
    decoded.clear()
    damaged.write_bytes(harm(damaged.read_bytes()))
    with pytest.warns(UserWarning, match=rf"{damaged.name} {message}") as caught:
        images = data.decode_images(paths, cache, shape=SHAPE)
    assert caught[0].filename == __file__
    assert len(decoded) in (1, 3)  # the rows of that file
    np.testing.assert_array_equal(_pixels(images), _expected(paths))
    assert {file: (cache / file).read_bytes() for file in _files(cache)} == before


def test_a_file_of_other_rows_under_this_name_is_made_again(paths, cache):
    data.decode_images(paths, cache, shape=SHAPE)
    (own,) = _files(cache)
    data.decode_images(paths, cache, shape=(8, 6))
    (other,) = set(_files(cache)) - {own}
    (cache / own).write_bytes((cache / other).read_bytes())
    with pytest.warns(UserWarning, match="holds rows that were made otherwise"):
        images = data.decode_images(paths, cache, shape=SHAPE)
    np.testing.assert_array_equal(_pixels(images), _expected(paths))


_CHILD = """
import os, pathlib, sys, time
from xguide_jax import data
from xguide_jax.data.images import decoded_cache

decoded_cache._FILE_BYTES = {file_bytes}
calls, real = [], os.{function}

def stopping(*arguments):
    calls.append(arguments)
    if len(calls) == {call}:
        print("here", flush=True)
        time.sleep(600)
    return real(*arguments)

os.{function} = stopping
paths = sorted(pathlib.Path({photographs!r}).iterdir())
data.decode_images(paths, {cache!r}, shape={shape})
"""


# Two calls of `fsync` a file: the file, and the folder that has its new name.
@pytest.mark.parametrize(
    ("function", "call", "whole"), [("fsync", 3, 1), ("replace", 2, 1), ("fsync", 4, 2)]
)
def test_a_killed_program_leaves_whole_files_only(
    paths, cache, decoded, three_a_file, function, call, whole
):
    code = _CHILD.format(
        function=function,
        call=call,
        file_bytes=3 * _ROW + 1,
        photographs=str(paths[0].parent),
        cache=str(cache),
        shape=SHAPE,
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "here\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    finished = [file for file in _files(cache) if file.endswith(".rows")]
    assert len(finished) == whole
    images = data.decode_images(paths, cache, shape=SHAPE)
    assert len(decoded) == 7 - 3 * whole
    np.testing.assert_array_equal(_pixels(images), _expected(paths))
    never_killed = cache.with_name("other")
    data.decode_images(paths, never_killed, shape=SHAPE)
    written = [file for file in _files(cache) if file.endswith(".rows")]
    assert written == _files(never_killed)
    for file in written:
        assert (cache / file).read_bytes() == (never_killed / file).read_bytes()


def test_what_a_killed_program_left_is_removed_when_nobody_writes_it(paths, cache):
    cache.mkdir()
    old, new = cache / ".a.rows.1.tmp", cache / ".b.rows.2.tmp"
    for file in (old, new):
        file.write_bytes(b"part")
    os.utime(old, (time.time() - 4000,) * 2)
    data.decode_images(paths, cache, shape=SHAPE)
    assert not old.exists()
    assert new.exists()


def test_two_writers_at_once_do_no_harm(paths, cache, three_a_file):
    def decode(_):
        return data.decode_images(paths, cache, shape=SHAPE, num_threads=2)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        every = list(pool.map(decode, range(4)))
    for images in every:
        np.testing.assert_array_equal(_pixels(images), _expected(paths))
    assert not [file for file in _files(cache) if file.endswith(".tmp")]
    np.testing.assert_array_equal(_pixels(decode(0)), _expected(paths))


def _failing(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_full_disk_is_said_and_leaves_nothing_half_written(
    paths, cache, monkeypatch, three_a_file, decoded
):
    calls, fsync = [], os.fsync

    def full_at_the_second_file(descriptor):
        calls.append(descriptor)
        return _failing(errno.ENOSPC)() if len(calls) == 3 else fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_the_second_file)
    rule = r"`folder` \(='.*cache'\) has no room left: free some, or give a folder on"
    with pytest.raises(OSError, match=rule) as caught:
        data.decode_images(paths, cache, shape=SHAPE)
    assert caught.value.errno == errno.ENOSPC
    assert len(_files(cache)) == 1
    assert _files(cache)[0].endswith(".rows")
    monkeypatch.setattr(os, "fsync", fsync)
    decoded.clear()
    images = data.decode_images(paths, cache, shape=SHAPE)
    assert len(decoded) == 4
    np.testing.assert_array_equal(_pixels(images), _expected(paths))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_not_be_written_is_said(paths, cache, monkeypatch, number):
    monkeypatch.setattr(pathlib.Path, "mkdir", _failing(number))
    rule = r"`folder` \(='.*cache'\) may not be written: allow it, or give another"
    with pytest.raises(OSError, match=rule):
        data.decode_images(paths, cache, shape=SHAPE)
    monkeypatch.undo()

    def read_only(file, mode="r", *arguments, **options):
        if "x" in mode or "w" in mode:
            _failing(number)()
        return builtins.open(file, mode, *arguments, **options)

    monkeypatch.setattr(cached_rows, "open", read_only, raising=False)
    with pytest.raises(OSError, match=rule):
        data.decode_images(paths, cache, shape=SHAPE)
    assert _files(cache) == []
    monkeypatch.undo()
    data.decode_images(paths, cache, shape=SHAPE)
    monkeypatch.setattr(pathlib.Path, "mkdir", _failing(number))
    monkeypatch.setattr(cached_rows, "open", read_only, raising=False)
    images = data.decode_images(paths, cache, shape=SHAPE)  # nothing is written
    np.testing.assert_array_equal(_pixels(images), _expected(paths))


def test_a_folder_that_is_a_file_is_said(paths, cache):
    cache.write_bytes(b"")
    for folder in (cache, cache / "below"):
        with pytest.raises(OSError, match=r"`folder` .* is no folder, or lies below"):
            data.decode_images(paths, folder, shape=SHAPE)
    assert cache.read_bytes() == b""


def test_what_cannot_be_is_refused(paths, cache):
    with pytest.raises(ValueError, match="`paths` must name at least one image"):
        data.decode_images([], cache, shape=SHAPE)
    with pytest.raises(ValueError, match=r"`shape` \(=\(0, 3\)\) must be two positive"):
        data.decode_images(paths, cache, shape=(0, 3))
    with pytest.raises(ValueError, match=r"`num_threads` \(=0\) must be at least 1"):
        data.decode_images(paths, cache, shape=SHAPE, num_threads=0)
    images = data.decode_images(paths, cache, shape=SHAPE)
    for rows, rule in (
        ([7], r"`rows` \(=7\) must lie in 0 \.\. 6"),
        ([-1], r"`rows` \(=-1\) must lie in 0 \.\. 6"),
        ([0.5], r"`rows` \(float64 \(1,\)\) must be int \[B\]"),
        ([[1]], r"`rows` \(int64 \(1, 1\)\) must be int \[B\]"),
    ):
        with pytest.raises(IndexError, match=rule):
            data.read_rows(images, np.array(rows))


def test_no_thread_is_left(paths, cache):
    before = threading.active_count()
    data.decode_images(paths, cache, shape=SHAPE, num_threads=4)
    paths[0].write_bytes(b"none")
    with pytest.raises(ValueError, match="1 of 7"):
        data.decode_images(paths, cache, shape=SHAPE, num_threads=4)
    assert threading.active_count() == before
