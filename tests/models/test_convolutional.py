import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax import lax
from jax.test_util import check_grads

from xguide_jax import models, ops


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def initialise(module, inputs):
    # Compiled whole, which is faster than layer by layer.
    return jax.jit(module.init)(jax.random.key(1), inputs)


def tiny(**settings):
    """A two-layer network for 8x8 images, with features [B, 4, 4, 3]."""
    return models.SmallCNN(
        **{"num_classes": 2, "channels": (2, 3), "strides": (1, 2), **settings}
    )


def reduce_window_pool(inputs, *, window):
    return nn.max_pool(inputs, window, strides=window)


def test_the_published_network_has_its_published_number_of_parameters():
    variables = jax.eval_shape(
        models.SaliencyGuidedCNN().init, jax.random.key(0), jnp.zeros((1, 28, 28, 1))
    )
    # 9*32+32 + 9*32*64+64 + 12*12*64*128+128 + 128*10+10 = 1 199 882.
    sizes = [leaf.size for leaf in jax.tree.leaves(variables)]
    assert sum(sizes) == 1_199_882
    assert set(variables) == {"params"}


def test_the_published_network_is_the_chain_of_its_layers():
    inputs = normal(0, 2, 8, 7, 1)
    module = models.SaliencyGuidedCNN(num_classes=3)
    params = initialise(module, inputs)["params"]
    output = module.apply({"params": params}, inputs)

    def convolve(hidden, layer):
        hidden = lax.conv_general_dilated(
            hidden,
            layer["kernel"],
            (1, 1),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return jnp.maximum(hidden + layer["bias"], 0.0)

    hidden = convolve(convolve(inputs, params["Conv_0"]), params["Conv_1"])
    # 8x7 loses two pixels twice, 4x3, and the third column fills no window.
    features = hidden[:, :, :2].reshape(2, 2, 2, 1, 2, 64).max(axis=(2, 4))
    dense = features.reshape(2, -1) @ params["Dense_0"]["kernel"]
    dense = jnp.maximum(dense + params["Dense_0"]["bias"], 0.0)
    logits = dense @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    chex.assert_shape(output.intermediates["features"], (2, 2, 1, 64))
    np.testing.assert_allclose(
        output.intermediates["features"], features, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(output.logits, logits, rtol=1e-5, atol=1e-6)


def test_the_published_network_drops_a_quarter_and_then_a_half():
    module = models.SaliencyGuidedCNN()
    inputs = jnp.ones((1, 12, 12, 1))
    variables = initialise(module, inputs)
    _, states = module.apply(
        variables,
        inputs,
        train=True,
        rngs={"dropout": jax.random.key(1)},
        mutable=["intermediates"],
        capture_intermediates=lambda block, _: isinstance(block, nn.Dropout),
    )
    kept = [
        jnp.sum(states["intermediates"][name]["__call__"][0] != 0)
        for name in ("Dropout_0", "Dropout_1")
    ]
    clean = module.apply(variables, inputs).intermediates["features"]
    assert clean.size == 1024
    # Binomial(active, 0.75) within 5 standard deviations.
    active = int(jnp.sum(clean != 0))
    assert abs(int(kept[0]) - 0.75 * active) < 5 * np.sqrt(0.1875 * active)
    # Of 128 units at most all are active: half of them leave at most 64 + 5 * 5.7.
    assert 0 < int(kept[1]) < 93


class LawsTest(chex.TestCase):
    @parameterized.named_parameters(
        ("published", models.SaliencyGuidedCNN(3, dropout=(0.0, 0.0))),
        ("average", tiny(num_classes=3)),
        ("flatten", tiny(num_classes=3, head="flatten")),
    )
    def test_the_clean_features_in_place_of_themselves_change_nothing(self, module):
        inputs = normal(0, 2, 8, 8, 1)
        variables = initialise(module, inputs)
        output = module.apply(variables, inputs, train=True)
        features = output.intermediates["features"]
        # Not even NaN reaches the head: all before a replaced activation is dead.
        elsewhere = module.apply(
            variables, jnp.nan * inputs, overrides={"features": features}
        )
        chex.assert_trees_all_close(elsewhere.logits, output.logits)
        chex.assert_trees_all_close(elsewhere.intermediates["features"], features)
        changed = module.apply(variables, inputs, overrides={"features": 2 * features})
        assert not jnp.allclose(changed.logits, output.logits)

    def test_every_layer_of_the_small_network_can_be_replaced(self):
        module, inputs = tiny(), normal(0, 2, 8, 8, 1)
        variables = initialise(module, inputs)
        output = module.apply(variables, inputs)
        *before, last = output.intermediates
        assert before == [f"layer_{number}" for number in range(len(before))]
        assert last == "features"
        for name, layer in output.intermediates.items():
            elsewhere = module.apply(
                variables, jnp.nan * inputs, overrides={name: layer}
            )
            chex.assert_trees_all_close(elsewhere.logits, output.logits)

    @parameterized.named_parameters(
        (
            "published",
            models.SaliencyGuidedCNN,
            {"max_pool": reduce_window_pool},
        ),
        ("small", tiny, {}),
    )
    def test_fast_and_lax_layers_give_the_same_network(self, make, slow):
        inputs = normal(0, 2, 8, 8, 1)
        fast = make(num_classes=3)
        slow = make(
            num_classes=3, conv_general_dilated=lax.conv_general_dilated, **slow
        )
        variables = initialise(fast, inputs)

        @functools.partial(jax.jit, static_argnums=0)
        def double_backward(module, variables):
            def penalty(variables):
                gradient = jax.grad(
                    lambda x: jnp.sum(jax.nn.log_softmax(module.apply(variables, x)[0]))
                )(inputs)
                return jnp.sum(gradient**2)

            return jax.grad(penalty)(variables)

        chex.assert_trees_all_close(
            double_backward(fast, variables),
            double_backward(slow, variables),
            rtol=1e-4,
            atol=1e-5,
        )

    @chex.variants(with_jit=True, without_jit=True)
    def test_logits_of_the_average_head_are_linear_in_the_mean_feature(self):
        module, inputs = tiny(), normal(0, 2, 8, 8, 3)
        variables = initialise(module, inputs)
        output = self.variant(module.apply)(variables, inputs)
        features = output.intermediates["features"]
        dense = variables["params"]["Dense_0"]
        chex.assert_shape(features, (2, 4, 4, 3))
        np.testing.assert_allclose(
            output.logits,
            features.mean(axis=(1, 2)) @ dense["kernel"] + dense["bias"],
            rtol=1e-5,
        )


def test_the_flatten_head_weighs_every_cell_by_itself():
    module, inputs = tiny(head="flatten"), normal(0, 2, 8, 8, 1)
    variables = initialise(module, inputs)
    output = module.apply(variables, inputs)
    dense = variables["params"]["Dense_0"]
    kernel = dense["kernel"].reshape(4, 4, 3, 2)
    np.testing.assert_allclose(
        output.logits,
        jnp.einsum("bijk,ijkc->bc", output.intermediates["features"], kernel)
        + dense["bias"],
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_gradient_at_the_features_of_the_average_head_is_its_weights():
    module, inputs = tiny(), normal(0, 2, 8, 8, 1)
    variables = initialise(module, inputs)

    def logit(features):
        output = module.apply(variables, inputs, overrides={"features": features})
        return jnp.sum(output.logits[:, 1])

    gradient = jax.grad(logit)(normal(2, 2, 4, 4, 3))
    # The mean over 4 * 4 cells divides the weights by 16.
    expected = variables["params"]["Dense_0"]["kernel"][:, 1] / 16
    np.testing.assert_allclose(
        gradient, jnp.broadcast_to(expected, (2, 4, 4, 3)), rtol=1e-6
    )


def test_forty_eight_pixels_become_twelve_cells():
    module = models.SmallCNN(4)
    output, variables = jax.eval_shape(
        module.init_with_output, jax.random.key(0), jnp.zeros((1, 48, 48, 3))
    )
    assert output.intermediates["features"].shape == (1, 12, 12, 32)
    # 27*16+16 + 9*16*32+32 + 9*32*32+32 + 32*4+4
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 14_468


@pytest.mark.parametrize("module", [models.SaliencyGuidedCNN(), tiny(dropout=0.5)])
def test_dropout_follows_its_key_and_leaves_the_exposed_features_alone(module):
    inputs = normal(0, 4, 8, 8, 1)
    variables = initialise(module, inputs)
    one, again, other = (
        module.apply(
            variables, inputs, train=True, rngs={"dropout": jax.random.key(seed)}
        )
        for seed in (0, 0, 1)
    )
    chex.assert_trees_all_equal(one, again)
    chex.assert_trees_all_equal(one.intermediates, other.intermediates)
    assert not jnp.allclose(one.logits, other.logits)


def test_batch_norm_normalises_by_the_batch_and_keeps_a_running_mean():
    module = tiny(normalise="batch", channels=(3,), strides=(1,))
    inputs = normal(0, 4, 6, 6, 1)
    variables = initialise(module, inputs)
    assert set(variables["params"]["Conv_0"]) == {"kernel"}
    output, updates = module.apply(
        variables, inputs, train=True, mutable=["batch_stats"]
    )
    raw = ops.conv_general_dilated(
        inputs,
        variables["params"]["Conv_0"]["kernel"],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    mean, variance = raw.mean((0, 1, 2)), raw.var((0, 1, 2))
    np.testing.assert_allclose(
        output.intermediates["features"],
        nn.relu((raw - mean) / jnp.sqrt(variance + 1e-5)),
        rtol=1e-4,
        atol=1e-5,
    )
    # Momentum 0.9 from a mean of 0 and a variance of 1.
    statistics = updates["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * variance, rtol=1e-4)


def test_synchronised_batch_norm_on_shards_equals_the_whole_batch():
    whole = tiny(normalise="batch")
    sharded = tiny(normalise="batch", axis_name="shards")
    inputs = normal(0, 4, 8, 8, 1)
    variables = initialise(sharded, inputs)

    def train(module, inputs):
        return module.apply(variables, inputs, train=True, mutable=["batch_stats"])

    expected, statistics = train(whole, inputs)
    actual, shares = jax.vmap(functools.partial(train, sharded), axis_name="shards")(
        inputs.reshape(2, 2, 8, 8, 1)
    )
    np.testing.assert_allclose(
        actual.logits.reshape(4, 2), expected.logits, rtol=1e-4, atol=1e-5
    )
    for shard in range(2):
        chex.assert_trees_all_close(
            jax.tree.map(lambda leaf, i=shard: leaf[i], shares),
            statistics,
            rtol=1e-4,
            atol=1e-6,
        )


def test_a_softplus_network_has_numerically_right_second_derivatives(x64):
    module = tiny(activation=nn.softplus, channels=(2,), strides=(2,))
    inputs = normal(0, 1, 4, 4, 1)
    variables = initialise(module, inputs.astype(jnp.float32))
    variables = jax.tree.map(jnp.float64, variables)
    check_grads(
        jax.jit(lambda variables, inputs: module.apply(variables, inputs).logits),
        (variables, inputs),
        order=2,
        modes=["rev"],
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "max"}, r"`head` \(='max'\) must be one of \('average', 'flatten'\)"),
        ({"normalise": "layer"}, r"`normalise` \(='layer'\) must be one of"),
        ({"strides": (1,)}, r"`strides` \(=\(1,\)\) must have one entry for each"),
    ],
)
def test_unknown_choices_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tiny(**settings).init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


@pytest.mark.parametrize("module", [models.SaliencyGuidedCNN(), tiny()])
def test_inputs_without_a_batch_axis_are_refused(module):
    with pytest.raises(AssertionError, match="rank"):
        module.init(jax.random.key(0), jnp.zeros((28, 28, 1)))
