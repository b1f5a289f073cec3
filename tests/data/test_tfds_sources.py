"""Image sets of tensorflow-datasets, without TensorFlow and without a network."""

import importlib.util
import io
import subprocess
import sys
import tempfile

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds

from xguide_jax import data


@pytest.fixture(autouse=True)
def _temporary_folders_that_are_removed(tmp_path, monkeypatch):
    """A builder makes an empty one whenever it is loaded, and leaves it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def _png(pixels):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


class TinyPhotographs(tfds.core.GeneratorBasedBuilder):
    """Four colours in two classes; example i has i everywhere in its red channel."""

    VERSION = tfds.core.Version("1.0.0")
    # The class lives in a test module; there is no package to look for files in.
    code_path = None
    image_shape = (4, 5, 3)

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=self.image_shape),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(4):
            pixels = np.zeros((4, 5, 3), np.uint8)
            pixels[..., 0] = i
            yield i, {"image": io.BytesIO(_png(pixels)), "label": i % 2}


class UnevenPhotographs(TinyPhotographs):
    """Images of any size."""

    image_shape = (None, None, 3)


class TinySentences(TinyPhotographs):
    """No images."""

    def _info(self):
        features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features)


class BrokenPhotographs(TinyPhotographs):
    """A download that fails."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to the host")


@pytest.mark.parametrize(
    ("name", "shape", "class_name"),
    [
        ("mnist", (28, 28, 1), "3"),
        ("fashion_mnist", (28, 28, 1), "Dress"),
        ("cifar10", (32, 32, 3), "3"),  # its names come with the download
    ],
)
def test_the_classic_sets_are_decoded_into_arrays(name, shape, class_name):
    with tfds.testing.mock_data(num_examples=6):
        dataset = data.tensorflow_datasets_images(name, "test")
    assert dataset.inputs.shape == (6, *shape)
    assert dataset.inputs.dtype == np.float32
    assert 0 <= dataset.inputs.min() < dataset.inputs.max() <= 1
    assert dataset.labels.dtype == np.int32
    assert dataset.class_names[3] == class_name
    data.validate(dataset)
    assert "tensorflow" not in sys.modules


def test_a_prepared_set_is_read_with_its_pixels_labels_and_slices(tmp_path):
    prepared = data.tensorflow_datasets_images(
        "tiny_photographs", "train", data_dir=tmp_path
    )
    # Records are shuffled when they are written: read each example's number back.
    numbers = np.rint(prepared.inputs[:, 3, 4, 0] * 255).astype(int)
    assert sorted(numbers.tolist()) == [0, 1, 2, 3]
    np.testing.assert_array_equal(prepared.labels, numbers % 2)
    assert np.all(prepared.inputs[..., 1:] == 0)
    assert prepared.class_names == ("cat", "dog")
    half = data.tensorflow_datasets_images(
        "tiny_photographs",
        "train[:50%]",
        data_dir=tmp_path,
        download=False,
        mean=(0.0, 0.5, 0.0),
        std=2.0,
    )
    assert len(half.labels) == 2
    assert np.all(half.inputs[..., 1] == -0.25)
    with pytest.raises(ValueError, match="Unknown split"):
        data.tensorflow_datasets_images(
            "tiny_photographs", "nonsense", data_dir=tmp_path
        )


@pytest.mark.parametrize("download", [True, False])
def test_a_set_that_cannot_be_prepared_says_what_to_put_where(tmp_path, download):
    with pytest.raises(FileNotFoundError) as error:
        data.tensorflow_datasets_images(
            "broken_photographs", "train", data_dir=tmp_path, download=download
        )
    message = str(error.value)
    assert str(tmp_path / "broken_photographs" / "1.0.0") in message
    assert "array_record" in message
    reason = "no route to the host" if download else "`download` is False"
    assert reason in message


def test_sets_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"features \['text'\], not 'image' and"):
        data.tensorflow_datasets_images("tiny_sentences", "train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="'uneven_photographs' differ in shape"):
        data.tensorflow_datasets_images(
            "uneven_photographs", "train", data_dir=tmp_path
        )
    with pytest.raises(ValueError, match="registers no 'mnits'"):
        data.tensorflow_datasets_images("mnits", "train")


def test_a_missing_h5py_is_named_instead_of_a_missing_set(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "h5py" else find_spec(name, *rest),
    )
    with pytest.raises(ImportError, match="needs h5py to register all of its sets"):
        data.tensorflow_datasets_images("mnist", "train")


def test_importing_the_package_imports_no_optional_library_and_no_jax():
    program = (
        "import sys, xguide_jax.data; "
        "print(sorted({'jax', 'mlxtend', 'tensorflow_datasets', 'tensorflow', "
        "'matplotlib', 'jinja2'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
