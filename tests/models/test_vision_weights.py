"""Weights of ResNets and vision transformers: names, what is fresh, what is refused."""

import gzip
import json
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from xguide_jax import models
from xguide_jax.models import (
    resnet_weights,
    vision_transformer_weights,
    vision_weights,
)

FOLDER = pathlib.Path(__file__).parent / "fixtures"
KEY = jax.random.key(0)
# A view of one zero: a published network in no memory.
NAMES = {
    network: {name: np.broadcast_to(np.float32(0), s) for name, s in shapes.items()}
    for network, shapes in json.loads(
        gzip.decompress((FOLDER / "names.json.gz").read_bytes())
    ).items()
}


def load(name, path=None, *, num_classes=5, key=KEY):
    """(params, model_state) of a fixture, or of a file like it."""
    path = FOLDER / f"{name}.safetensors" if path is None else path
    if name == "vit":
        return models.load_vision_transformer(
            path, num_classes=num_classes, key=key, num_heads=2
        )[1], {}
    return models.load_resnet(path, num_classes=num_classes, key=key)[1:]


def tensors(name):
    return safetensors.load_file(FOLDER / f"{name}.safetensors")


def torch_shape(own, leaf):
    axes = {4: (3, 2, 0, 1), 2: (1, 0)} if own.endswith("kernel") else {}
    return tuple(leaf.shape[axis] for axis in axes.get(leaf.ndim, range(leaf.ndim)))


def expected(module, name_in_file, sides):
    """{name in a file: shape} of every leaf of a network."""
    shapes = jax.eval_shape(module.init, KEY, jnp.zeros((1, *sides, 3)))
    found = {}
    for collection in shapes.values():
        for place, leaf in jax.tree_util.tree_leaves_with_path(collection):
            own = jax.tree_util.keystr(place, simple=True, separator=".")
            found[name_in_file(own)] = torch_shape(own, leaf)
    return found


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_a_published_resnet_has_the_names_of_torchvision_and_timm(depth):
    theirs = NAMES[f"resnet{depth}"]
    assert resnet_weights._sizes(theirs, "file") == (depth, 64)
    ours = expected(models.ResNet(depth=depth), resnet_weights._name_in_file, (32, 32))
    used = {n: v.shape for n, v in theirs.items() if n in ours}
    assert used == ours
    ignored = theirs.keys() - ours.keys()
    assert all(re.fullmatch(resnet_weights.IGNORED, name) for name in ignored)


@pytest.mark.parametrize(
    ("name", "width", "num_heads", "num_params"),
    [("small", 384, 6, 22_050_664), ("base", 768, 12, 86_567_656)],
)
def test_a_published_vision_transformer_has_the_names_of_timm(
    name, width, num_heads, num_params
):
    theirs = NAMES[f"vit_{name}_patch16_224"]
    module = vision_transformer_weights._module(
        theirs, "file", num_heads=None, num_classes=1000
    )
    assert module.clone(activation=None, hidden_width=None) == models.VisionTransformer(
        width=width, num_heads=num_heads, activation=None
    )
    split = vision_transformer_weights._split(theirs)
    ours = expected(module, vision_transformer_weights._name_in_file, (224, 224))
    assert {name: value.shape for name, value in split.items()} == ours
    assert sum(np.prod(shape) for shape in ours.values()) == num_params


@pytest.mark.parametrize("name", ["basic", "vit"])
def test_the_classifier_alone_is_fresh_where_classes_are_others(name):
    (own, state), (fresh, same_state) = load(name), load(name, num_classes=3)
    assert fresh["classifier"]["kernel"].shape == (16, 3)
    assert jnp.std(fresh["classifier"]["kernel"]) > 0.1  # 1 / √16 of Flax
    other = load(name, num_classes=3, key=jax.random.key(1))[0]
    assert jnp.any(other["classifier"]["kernel"] != fresh["classifier"]["kernel"])
    own = {**own, "classifier": fresh["classifier"]}
    jax.tree.map(np.testing.assert_array_equal, (own, state), (fresh, same_state))


@pytest.mark.parametrize(("name", "head"), [("basic", "fc"), ("vit", "head")])
def test_a_folder_of_halves_without_a_classifier_is_read(name, head, tmp_path):
    halves = {
        own: value.astype(np.float16) if value.dtype == np.float32 else value
        for own, value in tensors(name).items()
        if not own.startswith(f"{head}.")
    }
    safetensors.save_file(halves, tmp_path / "model.safetensors")
    loaded, whole = load(name, tmp_path), load(name)
    for (place, leaf), value in zip(
        jax.tree_util.tree_leaves_with_path(loaded), jax.tree.leaves(whole), strict=True
    ):
        assert leaf.dtype == jnp.float32
        if "classifier" not in jax.tree_util.keystr(place):
            np.testing.assert_allclose(leaf, value, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "lost", "reshaped"),
    [
        ("basic", "layer2.0.downsample.1.running_var", "layer3.0.conv2.weight"),
        ("vit", "blocks.1.attn.proj.bias", "blocks.0.attn.qkv.weight"),
    ],
)
def test_what_is_missing_unknown_or_of_another_shape_is_named(
    name, lost, reshaped, tmp_path
):
    found = tensors(name)
    del found[lost]
    found["extra.weight"] = np.zeros(1, np.float32)
    found[reshaped] = found[reshaped][:-3]
    path = tmp_path / "file.safetensors"
    safetensors.save_file(found, path)
    with pytest.raises(ValueError, match="does not fit") as error:
        load(name, path)
    for text in (
        f"{lost} (of ",
        "extra.weight is not of this network",
        reshaped.replace("qkv", "key") + " is float32",
    ):
        assert text in str(error.value), text


def test_other_networks_are_refused(tmp_path):
    found = {n: v for n, v in tensors("basic").items() if not n.startswith("layer4")}
    path = tmp_path / "file.safetensors"
    safetensors.save_file(found, path)
    with pytest.raises(ValueError, match=r"it has \(1, 1, 1, 0\) blocks .* without"):
        load("basic", path)
    with pytest.raises(ValueError, match=r"it lacks \['blocks.0.mlp.fc1.weight', 'pa"):
        load("vit", path)
    with pytest.raises(ValueError, match=r"`num_heads` \(=None\) must be given"):
        models.load_vision_transformer(
            FOLDER / "vit.safetensors", num_classes=5, key=KEY
        )


def test_no_pickle_is_read_and_a_damaged_file_is_named(tmp_path):
    for name in ("resnet18.pth", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"\x80\x02")
        with pytest.raises(ValueError, match=rf"{name} is no .safetensors; .* pickle"):
            load("basic", tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"pytorch_model.bin is a pickle"):
        load("basic", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere.safetensors"):
        load("basic", tmp_path / "nowhere.safetensors")
    damaged = tmp_path / "half.safetensors"
    damaged.write_bytes((FOLDER / "basic.safetensors").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"half.safetensors cannot be read"):
        load("basic", damaged)


def test_without_safetensors_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match="needs safetensors: pip install"):
        vision_weights.read(FOLDER / "basic.safetensors")
