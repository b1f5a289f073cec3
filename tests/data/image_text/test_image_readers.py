"""Explained images of three kinds of files, one row an image."""

import json
import os

import numpy as np
import PIL.Image
import pytest

from xguide_jax import data

_FOLDER = os.environ.get("XGUIDE_DATA")
real_files = pytest.mark.skipif(not _FOLDER, reason="XGUIDE_DATA names no folder")
_MAP = np.array([[0, 0, 1], [0, 2, 4]], np.float32)
_READ = {"class_names": ("cat", "dog"), "shape": (2, 3)}


def _write_images(folder):
    """Grey images of 2 x 3 pixels, a to d, and one map."""
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate("abcd"):
        pixels = np.full((2, 3, 3), 51 * number, np.uint8)
        PIL.Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    np.save(folder / "map.npy", _MAP)
    np.save(folder / "flat.npy", np.ones((2, 3)))


def _entry(name, label, texts, drawn=""):
    return {
        "image_path": f"images/{name}.png",
        "class_id": label,
        "ans": "a word",
        "exp": texts,
        "visual_exp": drawn,
    }


_ENTRIES = {
    "1": _entry("a", 1, ["it barks", " and runs "], "map.npy"),
    "2": _entry("b", 0, []),
    "3": _entry("a", 1, ["a long tail", ""]),
    "4": _entry("c", 0, ["whiskers"], "flat.npy"),
    "5": _entry("d", 1, ["a leash"], None),
}
del _ENTRIES["2"]["visual_exp"]


def _write_json(folder, entries):
    path = folder / "exp_annotation.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


_CSV = """image,label,texts,map,source
images/a.png,dog,"[""it barks"", "" and runs ""]",map.npy,x
images/b.png,cat,,,
./images//a.png, dog ,a long tail,,y
images/c.png,cat,whiskers,flat.npy,
images/d.png,dog,"[""a leash""]",,
"""
_JSONL = [
    {"image": "images/a.png", "label": "dog", "map": "map.npy"}
    | {"texts": ["it barks", "and runs"]},
    {"image": "images/b.png", "label": "cat", "texts": [], "map": None},
    {"image": "images/a.png", "label": "dog", "texts": "a long tail"},
    {"image": "images/c.png", "label": "cat", "texts": "whiskers", "map": "flat.npy"},
    {"image": "images/d.png", "label": "dog", "texts": ["a leash", " "], "map": ""},
]


def _read(kind, folder):
    if kind == "json":
        return data.read_exp_annotation(_write_json(folder, _ENTRIES), **_READ)
    path = folder / f"table.{kind}"
    rows = "\n".join(map(json.dumps, _JSONL))
    path.write_text({"csv": _CSV, "jsonl": rows}.get(kind, _CSV.replace(",", "\t")))
    return data.read_described_images(path, **_READ)


@pytest.mark.parametrize("kind", ["json", "csv", "jsonl"])
def test_the_same_images_are_read_of_each_kind(tmp_path, kind):
    _write_images(tmp_path)
    described = _read(kind, tmp_path)
    data.validate(described.dataset)
    assert described.ids == tuple(f"images/{name}.png" for name in "abcd")
    assert described.dataset.labels.tolist() == [1, 0, 0, 1]
    assert described.dataset.labels.dtype == np.int32
    assert described.dataset.class_names == ("cat", "dog")
    assert described.dataset.inputs.shape == (4, 2, 3, 3)
    np.testing.assert_allclose(
        described.dataset.inputs[:, 0, 0, 0], [0, 0.2, 0.4, 0.6], rtol=1e-6
    )
    assert described.texts == (
        ("it barks", "and runs", "a long tail"),
        (),
        ("whiskers",),
        ("a leash",),
    )


@pytest.mark.parametrize("kind", ["json", "csv", "jsonl"])
def test_a_missing_map_is_not_valid_and_a_constant_one_neither(tmp_path, kind):
    """Not a target of zeros, which would train saliency to vanish."""
    _write_images(tmp_path)
    known = _read(kind, tmp_path).dataset.annotations
    assert known["region_valid"].tolist() == [True, False, False, False]
    np.testing.assert_allclose(known["region"][0], _MAP / 4)
    assert not known["region"][1:].any()


@pytest.mark.parametrize("kind", ["json", "csv", "jsonl"])
def test_an_image_with_several_texts_is_one_row_and_in_one_part(tmp_path, kind):
    """A row a text would put one image on both sides of a random split."""
    _write_images(tmp_path)
    described = _read(kind, tmp_path)
    assert len(described.ids) == len(set(described.ids)) == 4
    for seed in range(10):
        parts = data.split_images(described, seed=seed, fractions=(0.5, 0.5))
        assert not set(parts[0].ids) & set(parts[1].ids)
        where = [part for part in parts if "images/a.png" in part.ids]
        assert len(where) == 1
        assert len(where[0].texts[where[0].ids.index("images/a.png")]) == 3


def test_images_and_maps_are_stretched_and_normalised(tmp_path):
    _write_images(tmp_path)
    described = data.read_exp_annotation(
        _write_json(tmp_path, _ENTRIES),
        class_names=("cat", "dog"),
        shape=(4, 6),
        mean=0.5,
        std=(0.5, 1, 2),
    )
    np.testing.assert_allclose(described.dataset.inputs[0, 3, 5], [-1, -0.5, -0.25])
    expected = np.repeat(np.repeat(_MAP / 4, 2, axis=0), 2, axis=1)
    np.testing.assert_allclose(described.dataset.annotations["region"][0], expected)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", r"exp_annotation.json must be json in UTF-8"),
        pytest.param("[" * 100_000, "must be json in UTF-8", id="deep"),
        ("[]", "must be an object of entries by their ids"),
        ("{}", "there is no image to be read"),
        ('{"1": {}, "1": {}}', "the key '1' is there twice"),
        ({"1": 3}, r"exp_annotation.json, entry '1' must be an object with"),
        (
            {"1": {"class_id": 0, "exp": []}},
            r"entry '1' must be an object with .'image",
        ),
        ({"1": _entry("a", 2, [])}, r"entry '1': 'class_id' .='2'. must be .* 0 .. 1"),
        ({"1": _entry("a", True, [])}, r"'class_id' .='True'. must be a whole"),
        ({"1": _entry("a", "1", [])}, r"'class_id' .='1'. must be a whole"),
        ({"1": _entry("a", 0, "a text")}, "entry '1': 'exp' must be a list of texts"),
        ({"1": _entry("a", 0, ["a", 3])}, "entry '1': 'exp' must be a list of texts"),
        ({"1": _entry("a", 0, [], 3)}, "'visual_exp' must be a path, not '3'"),
        ({"1": _entry("a", 0, [], "map.pkl")}, r"'visual_exp' .* must end in '.npy'"),
        (
            {"x": _entry("a", 0, []), "y": _entry("a", 1, [])},
            r"entry 'y': the image 'images/a.png' must have the class .* entry 'x'",
        ),
        (
            {"x": _entry("a", 0, [], "map.npy"), "y": _entry("a", 0, [], "flat.npy")},
            r"entry 'y': the image 'images/a.png' must have the map .* entry 'x'",
        ),
    ],
)
def test_a_malformed_json_is_refused_by_file_entry_and_rule(tmp_path, entries, message):
    _write_images(tmp_path)
    with pytest.raises(ValueError, match=message):
        data.read_exp_annotation(_write_json(tmp_path, entries), **_READ)


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../a.png", "images/../../a.png", "C:\\a.png", "C:/a.png"),
        *("images\\a.png", "..", "", ".", "\\\\host\\a.png", "a\0.png", "a\n.png"),
    ],
)
def test_paths_that_leave_the_folder_are_refused(tmp_path, path):
    _write_images(tmp_path)
    PIL.Image.new("RGB", (3, 2)).save(tmp_path.parent / "a.png")
    entry = _entry("a", 0, []) | {"image_path": path}
    with pytest.raises(ValueError, match=r"entry '1': 'image_path' .* must be"):
        data.read_exp_annotation(_write_json(tmp_path, {"1": entry}), **_READ)
    rows = [{"image": path, "label": "dog"}, {"image": "images/a.png", "label": "dog"}]
    rows[1]["map"] = path
    columns = ["image", "map"] if path else ["image"]  # an empty map is none
    for row, column in zip(rows, columns, strict=False):
        table = tmp_path / "table.jsonl"
        table.write_text(json.dumps(row))
        with pytest.raises(ValueError, match=rf"line 1: '{column}' .* must be"):
            data.read_described_images(table, **_READ)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "image,texts\n", r"t.csv, line 1 must name each column .*'label'"),
        ("t.csv", "image,label\na.png\n", "t.csv, line 2 has 1 cells, the header 2"),
        (
            "t.csv",
            "image,label\nimages/a.png,cow\n",
            r"t.csv, line 2: 'label' .='cow'. must be one of .'cat', 'dog'.",
        ),
        (
            "t.csv",
            'image,label,texts\nimages/a.png,cat,"[1]"\n',
            r"t.csv, line 2: 'texts' must be a text or a list of texts, not '\[1\]'",
        ),
        ("t.csv", 'image,label,texts\nimages/a.png,cat,"[a"\n', "line 2: 'texts' must"),
        ("t.csv", "image,label\n", "there is no image to be read"),
        ("t.jsonl", "{", "t.jsonl, line 1 must be a json object"),
        ("t.jsonl", '{"image": "a"}', r"t.jsonl, line 1 must have 'label'"),
        (
            "t.jsonl",
            '\n{"image": "images/a.png", "label": "cat", "texts": [["a"]]}',
            "t.jsonl, line 2: 'texts' must be a text or a list of texts",
        ),
        (
            "t.jsonl",
            '{"image": "images/a.png", "label": "cat", "map": 3}',
            "t.jsonl, line 1: 'map' must be a path, not '3'",
        ),
        (
            "t.csv",
            "image,label\nimages/a.png,cat\nimages/a.png,dog\n",
            "t.csv, line 3: the image 'images/a.png' must have the class .*, line 2",
        ),
        (
            "t.csv",
            "image,label\nt.csv,cat\n",
            "line 2: .*t.csv cannot be read as an im",
        ),
        ("t.txt", "", r"`path` .* must end in one of .'.csv', '.tsv', '.jsonl'."),
    ],
)
def test_a_malformed_table_is_refused_by_file_line_and_rule(
    tmp_path, name, content, message
):
    _write_images(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        data.read_described_images(tmp_path / name, **_READ)


def test_tabs_separate_columns_as_well(tmp_path):
    _write_images(tmp_path)
    path = tmp_path / "t.tsv"
    path.write_text("image\tlabel\ttexts\nimages/a.png\tdog\tit barks, and runs\n")
    described = data.read_described_images(path, **_READ)
    assert described.texts == (("it barks, and runs",),)


def test_missing_files_are_named(tmp_path):
    _write_images(tmp_path)
    for read in (data.read_exp_annotation, data.read_described_images):
        with pytest.raises(
            FileNotFoundError, match=r"put the file at .*none.csv; `des"
        ):
            read(tmp_path / "none.csv", **_READ)
    for entry, message in (
        (_entry("z", 0, []), r"entry '1': there is no image .*z.png"),
        (_entry("a", 0, [], "z.npy"), r"entry '1': there is no map .*z.npy"),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            data.read_exp_annotation(_write_json(tmp_path, {"1": entry}), **_READ)


def test_a_map_of_another_aspect_is_refused_by_its_entry(tmp_path):
    _write_images(tmp_path)
    np.save(tmp_path / "turned.npy", _MAP.T)
    entries = {"1": _entry("a", 0, [], "turned.npy")}
    with pytest.raises(ValueError, match=r"entry '1': the map of \(3, 2\) must have"):
        data.read_exp_annotation(_write_json(tmp_path, entries), **_READ)


def _write_captions(folder, **changes):
    home = folder / "coco_captions_ccby"
    _write_images(home)
    (home / "masks").mkdir()
    mask = np.array([[0, 255, 0], [0, 255, 0]], np.uint8)
    for name, pixels in (("a", mask), ("b", np.zeros((2, 3), np.uint8))):
        PIL.Image.fromarray(pixels).save(home / "masks" / f"{name}.png")
    listed = [
        {"file": "images/a.png", "person_mask": "masks/a.png", "person": 1}
        | {"captions": ["A man stands. ", "someone"]},
        {"file": "images/b.png", "person_mask": "masks/b.png", "person": 0}
        | {"captions": ["A field."]},
    ]
    listed[1] |= changes
    (home / "annotations.json").write_text(json.dumps(listed))
    return home


def test_captions_come_with_the_mask_of_the_people(tmp_path):
    _write_captions(tmp_path)
    described = data.coco_captions(tmp_path, shape=(2, 3), mean=0.2)
    data.validate(described.dataset)
    assert described.ids == ("images/a.png", "images/b.png")
    assert described.texts == (("A man stands.", "someone"), ("A field.",))
    assert described.dataset.labels.tolist() == [1, 0]
    known = described.dataset.annotations
    assert known["region"].astype(int).tolist() == [[[0, 1, 0]] * 2, [[0, 0, 0]] * 2]
    assert known["region_valid"].tolist() == [True, False]
    np.testing.assert_allclose(described.dataset.inputs[1], 0, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"person": 2}, r"annotations.json, row 1 must have 'file'"),
        ({"captions": "A field."}, "row 1 must have .* 'captions' as a list"),
        ({"captions": [3]}, "row 1 must have .* 'captions' as a list of texts"),
        ({"file": None}, "row 1 must have 'file'"),
        (
            {"file": "images/a.png"},
            "row 1: the image 'images/a.png' is that of .* row 0",
        ),
        ({"file": "/images/b.png"}, "row 1: 'file' .* must be a path below"),
        ({"person_mask": "../b.png"}, "row 1: 'person_mask' .* must be a path below"),
        (
            {"person_mask": "images/c.png"},
            "row 1: the mask images/c.png: .* one channel",
        ),
        ({"file": "map.npy"}, "row 1: .*map.npy cannot be read as an image"),
    ],
)
def test_malformed_captions_are_refused_by_row_and_rule(tmp_path, changes, message):
    _write_captions(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        data.coco_captions(tmp_path, shape=(2, 3))


def test_masks_of_other_labels_or_sizes_are_refused_by_their_row(tmp_path):
    home = _write_captions(tmp_path)
    for pixels, message in (
        (np.full((2, 3), 7, np.uint8), r"row 1: the mask masks/b.png: `mask`.* .=7."),
        (np.zeros((3, 2), np.uint8), r"row 1: the mask of \(3, 2\) must have"),
    ):
        PIL.Image.fromarray(pixels).save(home / "masks" / "b.png")
        with pytest.raises(ValueError, match=message):
            data.coco_captions(tmp_path, shape=(2, 3))


def test_a_list_that_is_none_is_refused(tmp_path):
    home = _write_captions(tmp_path)
    for content, message in (
        ("{", "annotations.json must be json"),
        ("{}", "annotations.json must be a list of photographs"),
        ("[]", "annotations.json must be a list of photographs"),
    ):
        (home / "annotations.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            data.coco_captions(tmp_path, shape=(2, 3))
    (home / "masks" / "b.png").unlink()
    _rewrite = [{"file": "images/b.png", "person_mask": "masks/b.png", "person": 0}]
    (home / "annotations.json").write_text(json.dumps([_rewrite[0] | {"captions": []}]))
    with pytest.raises(FileNotFoundError, match=r"row 0: there is no mask .*b.png"):
        data.coco_captions(tmp_path, shape=(2, 3))
    with pytest.raises(
        FileNotFoundError, match=r"put annotations.json, the list of ph"
    ):
        data.coco_captions(tmp_path / "elsewhere", shape=(2, 3))


@real_files
def test_the_real_captions_are_five_a_photograph():
    described = data.coco_captions(_FOLDER, shape=(32, 32))
    data.validate(described.dataset)
    assert len(described.ids) == len(set(described.ids)) == 51
    assert {len(texts) for texts in described.texts} == {5}
    known = described.dataset.annotations
    np.testing.assert_array_equal(known["region_valid"], described.dataset.labels == 1)
    assert described.dataset.labels.sum() == 23
    train, test = data.split_images(described, seed=0, fractions=(0.8, 0.2))
    tokenizer = data.reference_tokenizer(train.texts)
    dataset, counts = data.encode_described(test, tokenizer, length=24)
    assert dataset.annotations["texts"].shape == (10, 5, 24)
    assert counts.texts == 50
    assert counts.unknown > 0
