"""Features of a frozen trunk are computed once, and are the same when read again."""

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from xguide_jax import data
from xguide_jax.data.images import features_cache

NUM, BATCH = 10, 4
_ROW = 2 * 2 * 5 * 4


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    paths = []
    for number in range(NUM):
        paths.append(folder / f"{number}.png")
        pixels = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        PIL.Image.fromarray(pixels).save(paths[-1])
    return data.decode_images(paths, folder / "cache", shape=(4, 4))


class _Trunk:
    """Mean colours of blocks, times weights; remembers what it was asked."""

    def __init__(self, fails_at=None):
        self.weights = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
        self.asked = []
        self.fails_at = fails_at

    def __call__(self, inputs):
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append(inputs)
        blocks = inputs.reshape(len(inputs), 2, 2, 2, 2, 3).mean(axis=(2, 4))
        return jnp.asarray(blocks @ self.weights)


def _cache(trunk, images, folder, **options):
    options = {"key": "w", "batch_size": BATCH, "mean": 0.5, "std": 0.25, **options}
    cached = data.cache_features(trunk, images, folder, **options)
    return data.read_rows(cached, np.arange(len(images.ids)))


def _expected(images):
    inputs = data.read_images(images, np.arange(NUM), mean=0.5, std=0.25)
    return np.asarray(_Trunk()(inputs))


def test_features_are_computed_once_in_batches_of_one_shape(images, tmp_path):
    trunk = _Trunk()
    first = _cache(trunk, images, tmp_path)
    assert first.shape == (NUM, 2, 2, 5)
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, _expected(images), rtol=1e-6, atol=1e-6)
    assert [len(inputs) for inputs in trunk.asked] == [BATCH] * 3
    np.testing.assert_array_equal(trunk.asked[2][1:], trunk.asked[2][[1, 1, 1]])
    again = _cache(trunk, images, tmp_path)
    assert len(trunk.asked) == 3
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    "changed", [{"key": "v"}, {"batch_size": 5}, {"mean": 0.4}, {"std": (1, 1, 2)}]
)
def test_whatever_decides_is_part_of_the_key(images, tmp_path, changed):
    trunk = _Trunk()
    _cache(trunk, images, tmp_path)
    trunk.asked.clear()
    _cache(trunk, images, tmp_path, **changed)
    assert trunk.asked
    trunk.asked.clear()
    _cache(trunk, images, tmp_path)
    assert not trunk.asked


def test_other_images_have_other_features(images, tmp_path):
    trunk = _Trunk()
    _cache(trunk, images, tmp_path)
    trunk.asked.clear()
    order = np.arange(NUM)[::-1]
    turned = images._replace(
        places=images.places[order],
        sizes=images.sizes[order],
        ids=tuple(images.ids[i] for i in order),
    )
    found = _cache(trunk, turned, tmp_path)
    assert len(trunk.asked) == 3
    np.testing.assert_allclose(found, _expected(images)[order], rtol=1e-6, atol=1e-6)


def test_a_stopped_run_goes_on_with_the_same_batches(images, tmp_path, monkeypatch):
    monkeypatch.setattr(features_cache, "_FILE_BYTES", BATCH * _ROW)
    whole, trunk = _Trunk(), _Trunk(fails_at=2)
    expected = _cache(whole, images, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _cache(trunk, images, tmp_path / "stopped")
    resumed = _Trunk()
    np.testing.assert_array_equal(
        _cache(resumed, images, tmp_path / "stopped"), expected
    )
    assert len(resumed.asked) == 1
    for asked, before in zip([*trunk.asked, *resumed.asked], whole.asked, strict=True):
        np.testing.assert_array_equal(asked, before)
    written = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert written == sorted(file.name for file in (tmp_path / "stopped").iterdir())
    assert len(written) == 3


def test_features_stream_like_images(images, tmp_path):
    cached = data.cache_features(_Trunk(), images, tmp_path, key="w", batch_size=BATCH)
    dataset = data.Dataset(np.arange(NUM), np.zeros(NUM, np.int32), ("a",))
    batch_at = data.streamed_batches(
        dataset, lambda rows: data.read_rows(cached, rows), batch_size=3, seed=0
    )
    rows = data.batch_indices(NUM, batch_size=3, seed=0, step=4)
    assert [len(file) for file in cached.files] == [NUM]  # and no padding
    found = batch_at(4)["inputs"]
    np.testing.assert_array_equal(found, data.read_rows(cached, rows))


def test_features_that_cannot_be_kept_are_refused(images, tmp_path):
    def refused(features_fn, rule, **options):
        with pytest.raises(ValueError, match=rule):
            _cache(features_fn, images, tmp_path, **options)

    refused(lambda x: x.mean(), r"the shape \(\) and must return \[4, \.\.\.\]")
    refused(lambda x: x[:3], r"the shape \(3, 4, 4, 3\) and must return \[4, \.\.\.\]")
    refused(lambda x: jnp.asarray(x, jnp.bfloat16), "not bfloat16: float32 holds")
    bad = lambda x: np.where(x == x[2, 0, 0, 0], np.nan, x)
    refused(bad, "the features of image [0-9] must be finite")
    refused(_Trunk(), r"`key` \(=''\) must say which weights", key="")
    refused(_Trunk(), r"`batch_size` \(=0\) must be at least 1", batch_size=0)
    assert not list(tmp_path.glob("*.rows"))


def test_a_digest_is_of_paths_types_shapes_and_values():
    tree = {"a": {"kernel": np.arange(6.0).reshape(2, 3)}, "b": jnp.ones(3)}
    digest = data.arrays_digest(tree)
    assert len(digest) == 64
    assert data.arrays_digest({"b": tree["b"], "a": dict(tree["a"])}) == digest
    kernel = tree["a"]["kernel"]
    changed = (
        {**tree, "a": {"bias": kernel}},
        {**tree, "a": {"kernel": kernel.reshape(3, 2)}},
        {**tree, "a": {"kernel": kernel.astype(np.float32)}},
        {**tree, "a": {"kernel": kernel.T.copy()}},
        {**tree, "a": {"kernel": np.nextafter(kernel, 9)}},
    )
    assert len({digest, *map(data.arrays_digest, changed)}) == 6
    with pytest.raises(ValueError, match="'/a/c' in `tree` must be an array of num"):
        data.arrays_digest({"a": {"c": object()}})
