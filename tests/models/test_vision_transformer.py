"""Vision transformers: what timm says of them, what is replaced and refused."""

import functools
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from xguide_jax import attributions, guidance, losses, models, training

FOLDER = pathlib.Path(__file__).parent / "fixtures"


@functools.cache
def stored():
    """The network of timm, 16 pixels in patches of 4, and its parameters."""
    return models.load_vision_transformer(
        FOLDER / "vit.safetensors", num_classes=5, key=jax.random.key(0), num_heads=2
    )


def images(height, width):
    """As fixtures/make_backbones.py has them."""
    count = np.arange(2 * height * width * 3)
    return np.sin(0.1 * count**2.0).reshape(2, height, width, 3).astype(np.float32)


@functools.cache
def run(height=16, width=16):
    module, params = stored()
    return jax.jit(module.apply)({"params": params}, images(height, width))


def bound(module, params):
    return functools.partial(models.linen_apply_fn(module), params, {}, train=False)


def assert_close(value, expected):
    np.testing.assert_allclose(value, expected, atol=1e-5 * np.abs(expected).max())


def test_every_activation_is_that_of_timm():
    module, _ = stored()
    assert (module.image_size, module.patch_size, module.hidden_width) == (16, 4, 32)
    output, theirs = run(), np.load(FOLDER / "backbones.npz")
    assert_close(output.logits, theirs["vit/logits"])
    for name in ("attention_0", "attention_1", "tokens_0", "tokens_1"):
        assert_close(output.intermediates[name], theirs[f"vit/{name}"])


def test_positions_of_another_size_are_interpolated_as_timm_does():
    # Fewer rows of patches and more columns: 3x5 of 4x4.
    output = run(12, 20)
    assert_close(output.logits, np.load(FOLDER / "backbones.npz")["vit/other_logits"])
    assert output.intermediates["patches"].shape == (2, 3, 5, 16)
    assert output.intermediates["attention_0"].shape == (2, 2, 16, 16)


def test_patches_are_the_tokens_that_go_into_the_last_layer():
    exposed = run(12, 20).intermediates
    expected = exposed["tokens_0"][:, 1:].reshape(2, 3, 5, 16)
    np.testing.assert_array_equal(exposed["patches"], expected)


def test_every_activation_can_be_replaced():
    module, params = stored()
    names = sorted(run().intermediates)
    assert names == ["attention_0", "attention_1", "patches", "tokens_0", "tokens_1"]

    @jax.jit
    def replaced(inputs):
        forward = bound(module, params)
        heads = [attributions.split_at(forward, inputs, name) for name in names]
        others = [attributions.split_at(forward, 0 * inputs, name) for name in names]
        return [
            (head(x), head(x**2), other(x))
            for (head, x), (other, _) in zip(heads, others, strict=True)
        ]

    for name, (same, squared, other) in zip(
        names, replaced(images(16, 16)), strict=True
    ):
        np.testing.assert_allclose(same, run().logits, rtol=1e-4, atol=1e-5)
        assert not np.allclose(squared, same, rtol=1e-2), name
        # Behind whole tokens nothing of the inputs is left.
        assert np.allclose(other, same, rtol=1e-5) == name.startswith("tokens"), name


def test_every_patch_before_the_last_layer_has_a_gradient_and_none_behind():
    module, params = stored()

    @jax.jit
    def gradients(inputs):
        found = {}
        for name in ("patches", "tokens_1"):
            head, x = attributions.split_at(bound(module, params), inputs, name)
            found[name] = jax.grad(lambda x, head=head: jnp.sum(head(x)[:, 0]))(x)
        return found

    found = gradients(images(16, 16))
    assert np.all(np.any(found["patches"] != 0, axis=-1))
    np.testing.assert_array_equal(found["tokens_1"][:, 1:], 0)


def test_the_mean_pools_the_patches_behind_the_norm():
    module, params = stored()
    logits = (
        module.clone(pooling="mean").apply({"params": params}, images(16, 16)).logits
    )
    tokens = np.asarray(run().intermediates["tokens_1"], np.float64)[:, 1:]
    centred = tokens - tokens.mean(-1, keepdims=True)
    normed = centred / np.sqrt(tokens.var(-1, keepdims=True) + 1e-6)
    pooled = (
        normed.mean(1) * params["final_norm"]["scale"] + params["final_norm"]["bias"]
    )
    head = params["classifier"]
    assert_close(logits, pooled @ np.asarray(head["kernel"]) + np.asarray(head["bias"]))


def test_an_example_is_classified_without_regard_to_the_others():
    module, params = stored()
    other = images(16, 16) * np.array([1, 3], np.float32)[:, None, None, None]
    logits = jax.jit(module.apply)({"params": params}, other).logits
    np.testing.assert_array_equal(logits[0], run().logits[0])
    assert not np.allclose(logits[1], run().logits[1])


def test_dropout_follows_its_key_and_acts_in_train_mode_alone():
    module, params = stored()
    module = module.clone(dropout=0.3, attention_dropout=0.3)
    apply_fn = models.linen_apply_fn(module)
    runs = [
        apply_fn(params, {}, images(16, 16), train=train, key=jax.random.key(seed))[0]
        for train, seed in ((True, 0), (True, 0), (True, 1), (False, 2))
    ]
    chex.assert_trees_all_equal(runs[0], runs[1])
    assert not np.allclose(runs[0].logits, runs[2].logits)
    np.testing.assert_allclose(runs[3].logits, run().logits, rtol=1e-4, atol=1e-5)
    rows = runs[0].intermediates["attention_0"].sum(-1)  # seen before it is dropped
    np.testing.assert_allclose(rows, np.ones((2, 2, 17)), rtol=1e-5)


def test_above_a_frozen_trunk_the_top_layer_alone_is_trained():
    module, params = stored()
    trained = models.top_layers(params, num_layers=1)
    names = {name for name, tree in trained.items() if all(jax.tree.leaves(tree))}
    assert names == {"layer_1", "final_norm", "classifier"}
    _, moving, _ = models.freeze(
        models.linen_apply_fn(module), params, {}, trained=trained
    )
    assert moving.keys() == names


def test_a_guided_step_is_lowered_for_other_accelerators():
    module, params = stored()
    batch = {
        "inputs": jnp.asarray(images(16, 16)),
        "labels": jnp.array([0, 3]),
        "region": jnp.ones((2, 16, 16)).at[:, :, 8:].set(0.0),
        "region_valid": jnp.array([True, True]),
    }
    explain = guidance.explain(
        functools.partial(attributions.grad_cam, score_fn=attributions.target_logit),
        layer="patches",
    )
    terms = {"cam": guidance.localisation(loss=losses.energy, explain=explain)}
    optimizer = optax.sgd(0.1)
    state = training.init_train_state(
        jax.random.key(1), params, {}, terms, optimizer, batch
    )
    step = training.make_train_step(models.linen_apply_fn(module), terms, optimizer)
    exported = jax.export.export(jax.jit(step), platforms=("tpu", "cuda"))(state, batch)
    assert exported.platforms == ("tpu", "cuda")
    assert "dot_general" in exported.mlir_module()


@pytest.mark.usefixtures("standard_promotion")  # of Flax's norms, in float64
def test_second_derivatives_are_numerically_right(x64):
    module = models.VisionTransformer(
        image_size=4, patch_size=2, num_layers=1, num_heads=2, width=4, num_classes=2
    )
    inputs = jax.random.normal(jax.random.key(0), (1, 2, 4, 3))
    params = module.init(jax.random.key(1), inputs.astype(jnp.float32))["params"]
    params = jax.tree.map(jnp.float64, params)
    check_grads(
        jax.jit(lambda params, inputs: module.apply({"params": params}, inputs).logits),
        (params, inputs), order=2, modes=["rev"], rtol=1e-3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"num_heads": 5},
            r"`width` \(=384\) must be a multiple of `num_heads` \(=5\)",
        ),
        ({"pooling": "max"}, r"`pooling` \(='max'\) must be one of"),
        ({"image_size": 40}, r"sides of `image_size` \(=\[40\]\) must be positive"),
        ({"patch_size": 7}, r"must be positive multiples of `patch_size` \(=7\)"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            models.VisionTransformer(**fields).init,
            jax.random.key(0),
            jnp.zeros((1, 32, 32, 3)),
        )


def test_inputs_of_another_form_are_refused():
    module, params = stored()
    with pytest.raises(AssertionError, match="rank"):
        module.apply({"params": params}, jnp.zeros((16, 16, 3)))
    with pytest.raises(ValueError, match=r"sides of `inputs` \(=\(16, 18\)\) must be"):
        module.apply({"params": params}, jnp.zeros((1, 16, 18, 3)))
