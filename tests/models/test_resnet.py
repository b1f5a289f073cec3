"""ResNets: what torchvision says of them, what is replaced, held and refused."""

import functools
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.test_util import check_grads

from xguide_jax import attributions, guidance, models, ops, training
from xguide_jax.models import resnet

FOLDER = pathlib.Path(__file__).parent / "fixtures"
EXPOSED = ["stem", "stage_1", "stage_2", "stage_3", "features"]
OPTIMIZER = optax.sgd(0.1)


@functools.cache
def stored(name):
    """A network of torchvision, and its variables."""
    module, params, model_state = models.load_resnet(
        FOLDER / f"{name}.safetensors", num_classes=5, key=jax.random.key(0)
    )
    return module, params, model_state


def images(height, width):
    """As fixtures/make_backbones.py has them."""
    count = np.arange(2 * height * width * 3)
    return np.sin(0.1 * count**2.0).reshape(2, height, width, 3).astype(np.float32)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@functools.cache
def tiny(**fields):
    """One block a stage of few channels, and its variables."""
    module = resnet.ResNet(depth=10, num_classes=3, width=2, **fields)
    return module, *models.init_linen(
        module, jax.random.key(1), normal(0, 4, 32, 32, 3)
    )


@pytest.mark.parametrize(
    ("name", "sides", "depth"), [("basic", (40, 56), 10), ("bottleneck", (43, 64), 14)]
)
def test_every_activation_is_that_of_torchvision(name, sides, depth):
    module, params, model_state = stored(name)
    assert (module.depth, module.width, module.num_classes) == (depth, 2, 5)
    output = jax.jit(module.apply)({"params": params, **model_state}, images(*sides))
    assert set(output.intermediates) == set(EXPOSED)
    theirs = np.load(FOLDER / "backbones.npz")
    for own, value in {**output.intermediates, "logits": output.logits}.items():
        expected = theirs[f"{name}/{own}"]
        np.testing.assert_allclose(
            value, expected, atol=1e-5 * np.abs(expected).max(), err_msg=own
        )


@pytest.mark.parametrize(
    ("depth", "num_channels", "num_params"),
    # The published counts, of 1,000 classes.
    [(18, 512, 11_689_512), (34, 512, 21_797_672), (50, 2048, 25_557_032)],
)
def test_published_depths_have_their_sizes(depth, num_channels, num_params):
    module = models.ResNet(depth=depth)
    output, variables = jax.eval_shape(
        module.init_with_output, jax.random.key(0), jnp.zeros((1, 224, 224, 3))
    )
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == num_params
    shapes = [output.intermediates[name].shape for name in EXPOSED]
    assert [shape[1] for shape in shapes] == [56, 56, 28, 14, 7]
    assert shapes[-1] == (1, 7, 7, num_channels)


def test_pooling_by_hand():
    inputs = jnp.array(
        [
            [9.0, 1.0, 2.0, 0.0],
            [0.0, 3.0, 0.0, 4.0],
            [5.0, 0.0, 6.0, 7.0],
        ]
    ).reshape(1, 3, 4, 1)
    pooled = resnet.max_pool_of_relu(inputs)
    # Rows 0-1 and 1-2, columns 0-1 and 1-3.
    np.testing.assert_array_equal(pooled[0, ..., 0], [[9.0, 4.0], [5.0, 7.0]])


@pytest.mark.parametrize(("height", "width"), [(1, 2), (5, 6), (4, 7)])
def test_pooling_and_its_gradients_are_those_of_flax(height, width):
    pool = lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    def derivatives(pool, inputs):
        first = jax.grad(lambda x: jnp.sum(jnp.sin(pool(x))))
        second = jax.grad(lambda x: jnp.sum(first(x) ** 2))
        return pool(inputs), first(inputs), second(inputs)

    ours, theirs = jax.jit(
        lambda x: [derivatives(p, x) for p in (resnet.max_pool_of_relu, pool)]
    )(jnp.abs(normal(0, 2, height, width, 2)))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_every_activation_can_be_replaced_and_hides_what_is_before():
    module, params, model_state = tiny()
    apply_fn = models.linen_apply_fn(module)

    @jax.jit
    def replaced(inputs):
        forward = functools.partial(apply_fn, params, model_state, train=False)
        found = []
        for name in EXPOSED:
            head, values = attributions.split_at(forward, inputs, name)
            other, _ = attributions.split_at(forward, 0 * inputs, name)
            found.append((head(values), other(values), head(2 * values)))
        return forward(inputs)[0].logits, found

    logits, found = replaced(normal(0, 2, 32, 32, 3))
    for same, other, twice in found:
        np.testing.assert_allclose(same, logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(other, same)
        assert not np.allclose(twice, same, rtol=1e-2)


def test_the_gradient_in_the_features_is_the_classifier():
    module, params, model_state = tiny()
    forward = functools.partial(
        models.linen_apply_fn(module), params, model_state, train=False
    )
    # A map of 1x2: the mean divides by two.
    inputs = normal(0, 1, 32, 64, 3)
    head, features = attributions.split_at(forward, inputs, "features")
    gradient = jax.grad(lambda x: head(x)[0, 1])(features)
    expected = params["classifier"]["kernel"][:, 1] / 2
    np.testing.assert_allclose(
        gradient, jnp.broadcast_to(expected, (1, 1, 2, 16)), rtol=1e-5
    )


def test_an_example_is_classified_without_regard_to_the_others():
    module, params, model_state = stored("basic")
    run = jax.jit(lambda x: module.apply({"params": params, **model_state}, x).logits)
    inputs = images(40, 56)
    other = inputs * np.array([1, 3], np.float32)[:, None, None, None]
    np.testing.assert_array_equal(run(inputs)[0], run(other)[0])
    assert not np.allclose(run(inputs)[1], run(other)[1])


def test_train_mode_moves_the_statistics_unless_they_are_to_run():
    inputs = normal(0, 4, 32, 32, 3)
    module, params, model_state = tiny()
    runs = {}
    for norm in ("batch", "running"):
        apply_fn = models.linen_apply_fn(module.clone(norm=norm))
        run = jax.jit(functools.partial(apply_fn, train=True))
        runs[norm] = run(params, model_state, inputs)
    before = models.linen_apply_fn(module)(params, model_state, inputs, train=False)[0]
    np.testing.assert_allclose(
        runs["running"][0].logits, before.logits, rtol=1e-5, atol=1e-6
    )
    chex.assert_trees_all_equal(runs["running"][1], model_state)
    convolved = ops.conv_general_dilated(
        inputs, params["stem_conv"]["kernel"], (2, 2), [(3, 3), (3, 3)],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    moved = runs["batch"][1]["batch_stats"]["stem_norm"]
    # Momentum 0.9 from a mean of 0 and a variance of 1.
    np.testing.assert_allclose(
        moved["mean"], 0.1 * convolved.mean((0, 1, 2)), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
        moved["var"], 0.9 + 0.1 * convolved.var((0, 1, 2)), rtol=1e-4
    )


def test_synchronised_batch_norm_on_shards_equals_the_whole_batch():
    whole, params, model_state = tiny()
    sharded = whole.clone(axis_name="shards")
    inputs = normal(0, 4, 32, 32, 3)

    def train(module, inputs):
        apply_fn = models.linen_apply_fn(module)
        output, state = apply_fn(params, model_state, inputs, train=True)
        return output.logits, state

    logits, statistics = jax.jit(functools.partial(train, whole))(inputs)
    split = jax.vmap(functools.partial(train, sharded), axis_name="shards")
    shares, moved = jax.jit(split)(inputs.reshape(2, 2, 32, 32, 3))
    np.testing.assert_allclose(shares.reshape(4, 3), logits, rtol=1e-4, atol=1e-5)
    first = jax.tree.map(lambda leaf: leaf[0], moved)
    chex.assert_trees_all_close(first, statistics, rtol=1e-4, atol=1e-6)


def guided(axis_name=None):
    """A step guided at the last map, with batch norm over an axis."""
    module, params, model_state = tiny()
    apply_fn = models.linen_apply_fn(module.clone(axis_name=axis_name))
    batch = {
        "inputs": normal(2, 8, 32, 32, 3),
        "labels": jnp.arange(8) % 3,
        "region": jnp.ones((8, 32, 32)).at[:, :, 16:].set(0.0),
        "region_valid": jnp.arange(8) < 5,
    }
    explain = guidance.explain(
        functools.partial(attributions.grad_cam, score_fn=attributions.target_logit),
        layer="stage_2",
    )
    terms = {"cam": guidance.localisation(loss=_outside, explain=explain)}
    state = training.init_train_state(
        jax.random.key(3), params, model_state, terms, OPTIMIZER, batch
    )
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, axis_name=axis_name)
    return step, state, batch


def _outside(maps, regions):
    """Mean square of a map off its region, which has no kink."""
    return jnp.mean(maps**2 * (1 - regions), axis=(1, 2))


def test_a_guided_step_is_lowered_for_other_accelerators():
    step, state, batch = guided()
    exported = jax.export.export(jax.jit(step), platforms=("tpu", "cuda"))(state, batch)
    assert exported.platforms == ("tpu", "cuda")
    assert "convolution" in exported.mlir_module()


@pytest.mark.thorough  # three programs, for one, two and eight devices
def test_one_two_and_eight_devices_take_the_same_step():
    step, state, batch = guided()
    alone, metrics = jax.jit(step)(state, batch)
    for number in (2, 8):
        step, state, batch = guided("devices")
        lifted = training.data_parallel(
            step, how="pmap", devices=jax.devices()[:number]
        )
        found, told = lifted(state, batch)
        chex.assert_trees_all_close(told, metrics, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(found.params, alone.params, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(
            found.model_state, alone.model_state, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, {"classifier"}), (1, {"classifier", "stage_4"}), (4, {"classifier", "stage"})],
)
def test_top_stages_are_the_last_ones_with_the_classifier(number, expected):
    _, params, _ = tiny()
    trained = models.top_stages(params, num_stages=number)
    assert jax.tree.structure(trained) == jax.tree.structure(params)
    names = {name for name, tree in trained.items() if all(jax.tree.leaves(tree))}
    assert names == {name for name in params if name.startswith(tuple(expected))}
    assert not any(name.startswith("stem") for name in names)


def test_above_a_frozen_trunk_the_top_alone_is_trained():
    module, params, model_state = tiny(norm="running")
    trained = models.top_stages(params, num_stages=1)
    apply_fn, moving, state = models.freeze(
        models.linen_apply_fn(module), params, model_state, trained=trained
    )
    loss = lambda moving: jnp.sum(
        apply_fn(moving, state, normal(0, 2, 32, 32, 3), train=True)[0].logits ** 2
    )
    gradient = jax.jit(jax.grad(loss))(moving)
    assert {name[:7] for name in gradient} == {"stage_4", "classif"}
    assert all(jnp.any(leaf != 0) for leaf in jax.tree.leaves(gradient))


@pytest.mark.thorough  # second derivatives of a dozen convolutions are compiled
@pytest.mark.usefixtures("standard_promotion")  # of Flax's norms, in float64
def test_second_derivatives_are_numerically_right(x64):
    module = resnet.ResNet(depth=10, num_classes=2, width=1)
    inputs = jax.random.normal(jax.random.key(0), (2, 33, 33, 3), jnp.float64)
    params, model_state = models.init_linen(
        module, jax.random.key(1), inputs.astype(jnp.float32)
    )
    params, model_state = jax.tree.map(jnp.float64, (params, model_state))
    apply_fn = models.linen_apply_fn(module)
    whole = lambda top, inputs: (
        apply_fn(
            {**params, "stage_4_block_0_1_conv": top}, model_state, inputs, train=True
        )[0].logits
    )
    check_grads(
        jax.jit(whole), (params["stage_4_block_0_1_conv"], inputs), order=2,
        modes=["rev"], eps=1e-6, rtol=1e-4, atol=1e-4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 20}, r"`depth` \(=20\) must be one of \(10, 14, 18,"),
        ({"norm": "layer"}, r"`norm` \(='layer'\) must be one of"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            models.ResNet(**fields).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
        )


def test_what_is_no_batch_or_no_number_of_stages_is_refused():
    with pytest.raises(AssertionError, match="rank"):
        models.ResNet().init(jax.random.key(0), jnp.zeros((32, 32, 3)))
    with pytest.raises(ValueError, match=r"`num_stages` \(=5\) must be 0 to 4"):
        models.top_stages({}, num_stages=5)
