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
from xguide_jax.data.sources import tfds_builders


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


class TinyBirds(TinyPhotographs):
    """Images of several shapes: image i is 8 + i high, its bird at rows i and i + 1.

    It has i everywhere in its blue channel.
    """

    mask_features = ("segmentation_mask",)

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "bbox": tfds.features.BBoxFeature(),
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["wren", "tit"]),
                **{
                    name: tfds.features.Image(shape=(None, None, 1))
                    for name in self.mask_features
                },
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self):
        for i in range(4):
            height = 8 + i
            pixels = np.zeros((height, 16, 3), np.uint8)
            pixels[i : i + 2, 4:10] = 200
            pixels[..., 2] = i
            mask = np.zeros((height, 16), np.uint8)
            if i < 3:  # nobody drew a mask of the last one
                mask[i, 5] = 51
            yield (
                i,
                {
                    "bbox": tfds.features.BBox(
                        i / height, 4 / 16, (i + 2) / height, 0.625
                    ),
                    "image": io.BytesIO(_png(pixels)),
                    "label": i % 2,
                    **{name: io.BytesIO(_png(mask)) for name in self.mask_features},
                },
            )


class TinyCars(TinyBirds):
    """Boxes only."""

    mask_features = ()


def _of_mode(mode, pixels):
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(pixels)
    if mode == "P":
        image.quantize(4).save(buffer, format="png")
    elif mode == "cut off":
        image.save(buffer, format="jpeg")
        return buffer.getvalue()[:300]
    else:
        image.convert(mode).save(buffer, format="jpeg" if mode == "CMYK" else "png")
    return buffer.getvalue()


class ManyModes(TinyPhotographs):
    """The same colour, stored in four ways; the record's own name stands beside it."""

    modes = ("RGB", "CMYK", "P", "RGBA")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "file_name": tfds.features.Text(),
                "image": tfds.features.Image(shape=(16, 24, 3)),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self):
        pixels = np.full((16, 24, 3), (200, 100, 50), np.uint8)
        for i, mode in enumerate(self.modes):
            content = io.BytesIO(_of_mode(mode, pixels))
            yield i, {"image": content, "label": 0, "file_name": f"{mode}.img"}


class CutOffPhotographs(ManyModes):
    """One of them ends early."""

    modes = ("RGB", "cut off")


class MisfitBirds(TinyBirds):
    """Masks of photographs that somebody turned."""

    def _generate_examples(self):
        for i, row in super()._generate_examples():
            mask = np.ones((16, 8 + i), np.uint8)
            yield i, {**row, "segmentation_mask": io.BytesIO(_png(mask))}


class PixelBoxes(TinyCars):
    """Boxes in pixels, against the package's own rule."""

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "bbox": tfds.features.Tensor(shape=(4,), dtype=np.float32),
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["wren", "tit"]),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _generate_examples(self):
        for i, row in super()._generate_examples():
            yield i, {**row, "bbox": np.array([1, 4, 3, 10], np.float32)}


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


def _birds(name, folder, shape):
    """The prepared set in the order of the birds' numbers, which writing shuffles."""
    dataset = data.tensorflow_datasets_regions(
        name, "train", shape=shape, data_dir=folder
    )
    data.validate(dataset)
    numbers = np.rint(dataset.inputs[:, 0, 0, 2] * 255).astype(int)
    assert sorted(numbers.tolist()) == [0, 1, 2, 3]
    return data.take(dataset, np.argsort(numbers))


def test_boxes_and_masks_follow_their_images_to_one_shape(tmp_path):
    # Twice as wide; 8 rows out of 8 + i.
    birds = _birds("tiny_birds", tmp_path, (8, 32))
    assert birds.labels.tolist() == [0, 1, 0, 1]
    assert birds.class_names == ("wren", "tit")
    known = birds.annotations
    assert known["boxes"][0].tolist() == [[8, 0, 20, 2]]
    # Bird 2: rows 2 and 3 of 10 touch rows floor(1.6) = 1 to ceil(3.2) = 4 of 8.
    assert known["boxes"][2].tolist() == [[8, 1, 20, 4]]
    assert np.argwhere(known["region"][0]).tolist() == [[0, 10], [0, 11]]
    # Row 2 of 10 touches 1.6 .. 2.4: rows 1 and 2.
    rows, columns = np.nonzero(known["region"][2])
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (1, 10),
        (1, 11),
        (2, 10),
        (2, 11),
    ]
    assert known["region_valid"].tolist() == [True, True, True, False]
    assert known["boxes_valid"].all()
    boxes = data.box_masks(known["boxes"], known["boxes_valid"], shape=(8, 32))
    np.testing.assert_array_equal(birds.inputs[..., 0] > 0, boxes)
    assert not np.any(known["region"] & ~boxes)
    one = {name: value[2] for name, value in known.items()}
    _, moved = data.flip_horizontally(birds.inputs[2], one)
    assert moved["boxes"].tolist() == [[12, 1, 24, 4]]


def test_boxes_of_whole_pixels_stay_so_though_they_are_stored_as_fractions():
    for size in range(1, 60):
        for first in range(size):
            fractions = [first / size, 0, (first + 1) / size, 1]
            row = {
                "image": np.zeros((size, 1, 1), np.uint8),
                "bbox": np.array(fractions, np.float32),
            }
            _, known = tfds_builders._resized(row, (size, 1), "one")
            assert known["boxes"].tolist() == [[0, first, 1, first + 1]]


def test_without_a_mask_the_region_is_the_box(tmp_path):
    cars = _birds("tiny_cars", tmp_path, (5, 7))
    known = cars.annotations
    np.testing.assert_array_equal(
        known["region"],
        data.box_masks(known["boxes"], known["boxes_valid"], shape=(5, 7)),
    )
    np.testing.assert_array_equal(known["region"], cars.inputs[..., 1] > 0)
    assert known["region_valid"].all()
    # The folder is prepared now, and a slice of it is normalised as asked.
    half = data.tensorflow_datasets_regions(
        "tiny_cars",
        "train[:50%]",
        shape=(5, 7),
        data_dir=tmp_path,
        download=False,
        mean=0.5,
        std=(0.5, 1.0, 2.0),
    )
    # (0 - 0.5) / std outside of the car.
    assert half.inputs[0, -1, -1, :2].tolist() == [-1, -0.5]
    assert len(half.labels) == 2


@pytest.mark.parametrize("name", ["caltech_birds2011", "cars196"])
def test_published_sets_with_boxes_have_the_features_that_are_read(name, monkeypatch):
    rows = tfds_builders._rows

    def rows_with_masks_of_their_images(*arguments):
        for place, row in rows(*arguments):
            mask = row.get("segmentation_mask")
            size = (*row["image"].shape[:2], 1)
            fitting = {} if mask is None else {"segmentation_mask": mask}
            yield place, {**row, **{k: np.resize(m, size) for k, m in fitting.items()}}

    # What the mock makes up is of one shape an array, not one an example.
    monkeypatch.setattr(tfds_builders, "_rows", rows_with_masks_of_their_images)
    with tfds.testing.mock_data(num_examples=6):
        dataset = data.tensorflow_datasets_regions(name, "train", shape=(12, 10))
    data.validate(dataset)
    assert dataset.inputs.shape == (6, 12, 10, 3)
    assert dataset.annotations["region"].shape == (6, 12, 10)
    assert dataset.annotations["boxes"].shape == (6, 1, 4)
    assert len(dataset.class_names) == (200 if name.startswith("caltech") else 196)
    # What the mock made up is partly inverted: no pixel, so no box.
    box = dataset.annotations["boxes"][:, 0]
    covering = np.all(box[:, 2:] > box[:, :2], axis=1)
    np.testing.assert_array_equal(dataset.annotations["boxes_valid"][:, 0], covering)
    assert "tensorflow" not in sys.modules


def test_images_of_every_mode_are_rgb_in_a_set_of_colours(tmp_path):
    images = data.tensorflow_datasets_images(
        "many_modes", "train", data_dir=tmp_path
    ).inputs
    assert images.shape == (4, 16, 24, 3)
    # JPEG and palettes round a little.
    np.testing.assert_allclose(255 * images[:, 8, 12], [[200, 100, 50]] * 4, atol=3)


def test_an_image_that_is_cut_off_is_named_with_its_set_and_file(tmp_path):
    message = r"'cut_off_photographs', 'train', example \d cut off.img cannot be read"
    with pytest.raises(ValueError, match=message):
        data.tensorflow_datasets_images(
            "cut_off_photographs", "train", data_dir=tmp_path
        )


def test_masks_of_other_shapes_and_boxes_in_pixels_are_refused_by_example(tmp_path):
    for name, message in [
        (
            "misfit_birds",
            r"example \d: 'segmentation_mask' of \(16, 8, 1\) must have .*",
        ),
        ("pixel_boxes", r"example \d: 'bbox' .* must be fractions of the image"),
    ]:
        with pytest.raises(ValueError, match=message.replace("(16, 8,", r"(16, \d+,")):
            data.tensorflow_datasets_regions(
                name, "train", shape=(4, 4), data_dir=tmp_path
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
    with pytest.raises(ValueError, match="not 'bbox' and 'image' and 'label'"):
        data.tensorflow_datasets_regions(
            "tiny_photographs", "train", shape=(4, 4), data_dir=tmp_path
        )
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
        "'matplotlib', 'jinja2', 'skimage', 'PIL', 'tokenizers'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
