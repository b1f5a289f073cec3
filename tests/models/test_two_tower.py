import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.test_util import check_grads

from xguide_jax import attributions, models
from xguide_jax.types import ModelOutput

WIDTH, WORDS, CHANNELS = 3, 7, 4


def pair_of_towers(**settings):
    image = models.SmallCNN(
        num_classes=WIDTH, channels=(2, CHANNELS), strides=(1, 2),
        activation=nn.softplus,
    )  # fmt: skip
    text = models.BagOfTokens(vocabulary_size=WORDS, width=5, num_classes=WIDTH)
    return models.TwoTower(image, text, **settings)


def pairs(size=4):
    image = jax.random.normal(jax.random.key(0), (size, 6, 6, 1))
    tokens = jax.random.randint(jax.random.key(1), (size, 5), 1, WORDS)
    return {
        "image": image,
        "tokens": tokens,
        "mask": jnp.arange(5)[None] < 4 - jnp.arange(size)[:, None] % 2,
    }


@functools.cache
def made(**settings):
    module = pair_of_towers(**settings)
    params, state = models.init_linen(module, jax.random.key(2), pairs())
    return models.linen_apply_fn(module), params, state


def run(inputs, params=None, **rest):
    apply_fn, first, state = made()
    params = first if params is None else params
    return apply_fn(params, state, inputs, train=False, **rest)[0]


def test_what_is_exposed_and_how_the_logits_come_of_it():
    output = run(pairs())
    found = output.intermediates
    chex.assert_shape(output.logits, (4, 1))
    chex.assert_shape(found["features"], (4, 3, 3, CHANNELS))
    chex.assert_shape(found["embeddings"], (4, 5, 5))
    chex.assert_shape((found["image_vectors"], found["text_vectors"]), (4, WIDTH))
    for name in ("image_vectors", "text_vectors"):
        np.testing.assert_allclose(jnp.sum(found[name] ** 2, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found["temperature"], np.full(4, 0.07), rtol=1e-5)
    cosines = jnp.einsum("bd,bd->b", found["image_vectors"], found["text_vectors"])
    np.testing.assert_allclose(output.logits[:, 0], cosines / 0.07, rtol=1e-5)


def test_the_vectors_are_the_directions_of_the_towers_logits():
    module, (_, params, _) = pair_of_towers(), made()
    inputs = pairs()
    alone = module.image.apply({"params": params["image"]}, inputs["image"]).logits
    norms = jnp.linalg.norm(alone, axis=1, keepdims=True)
    vectors = run(inputs).intermediates["image_vectors"]
    np.testing.assert_allclose(vectors, alone / norms, rtol=1e-5)


def test_a_pair_knows_of_no_other_pair():
    inputs = pairs()
    few = jax.tree.map(lambda leaf: leaf[1:3], inputs)
    np.testing.assert_allclose(run(few).logits, run(inputs).logits[1:3], rtol=1e-5)


def test_a_text_is_its_words_in_any_order_and_padding_says_nothing():
    inputs = pairs()
    mask = jnp.asarray([[True, True, True, False, False]] * 4)
    vectors = lambda **other: run({**inputs, "mask": mask, **other}).intermediates[
        "text_vectors"
    ]
    first = vectors()
    tokens = inputs["tokens"]
    moved = jnp.concatenate([tokens[:, 2::-1], tokens[:, 3:]], axis=1)
    np.testing.assert_allclose(vectors(tokens=moved), first, rtol=1e-5)
    padding = tokens.at[:, 3:].set(WORDS + 5)  # no word at all
    np.testing.assert_array_equal(vectors(tokens=padding), first)
    assert np.isnan(vectors(tokens=tokens.at[0, 0].set(WORDS))[0]).all()
    assert np.isnan(vectors(tokens=tokens.at[0, 0].set(-1))[0]).all()


def test_a_bag_of_tokens_is_the_projected_mean_of_its_embeddings():
    module = models.BagOfTokens(vocabulary_size=2, width=2, num_classes=1)
    params = {
        "word_embeddings": {"embedding": jnp.array([[1.0, 0.0], [3.0, 4.0]])},
        "projection": {"kernel": jnp.array([[1.0], [10.0]]), "bias": jnp.array([0.5])},
    }
    texts = {
        "tokens": jnp.array([[0, 1, 1], [1, 0, 0]]),
        "mask": jnp.array([[True, True, False], [False, False, False]]),
    }
    output = module.apply({"params": params}, texts)
    # The mean of (1, 0) and (3, 4) is (2, 2): 2 + 20 + 0.5; no token leaves 0.5.
    np.testing.assert_allclose(output.logits, [[22.5], [0.5]])


def test_the_temperature_is_cut_off_and_its_gradient_is_not():
    _, params, _ = made()
    # Below 0.01 and above 1: a clipped parameter alone would never come back.
    for learned, temperature in ((-9.0, 0.01), (2.0, 1.0), (math.log(0.5), 0.5)):
        given = {**params, "log_temperature": jnp.asarray(learned)}
        loss = lambda p: jnp.sum(run(pairs(), p).intermediates["temperature"])
        value, slope = jax.value_and_grad(loss)(given)
        np.testing.assert_allclose(value, 4 * temperature, rtol=1e-5)
        # d exp(x) / d x is the temperature, four rows of it.
        np.testing.assert_allclose(slope["log_temperature"], value, rtol=1e-5)


def test_replacing_the_features_leaves_the_text_alone():
    inputs = pairs()
    zeros = jnp.zeros((4, 3, 3, CHANNELS))
    output = run(inputs, overrides={"features": zeros})
    before = run(inputs).intermediates
    np.testing.assert_array_equal(
        output.intermediates["text_vectors"], before["text_vectors"]
    )
    # Without features all images are the projection's bias, which begins with 0.
    np.testing.assert_array_equal(output.logits, np.zeros((4, 1)))
    swapped = jnp.roll(before["text_vectors"], 1, axis=0)
    cosines = jnp.sum(before["image_vectors"] * swapped, axis=1)
    other = run(inputs, overrides={"text_vectors": swapped})
    np.testing.assert_allclose(other.logits[:, 0], cosines / 0.07, rtol=1e-4)


def test_gradients_are_right_twice(x64):
    module = pair_of_towers()
    inputs = pairs(2)
    narrow = {**inputs, "image": inputs["image"].astype(jnp.float32)}
    params = jax.jit(module.init)(jax.random.key(2), narrow)["params"]
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)

    def similarity(params, image):
        return module.apply({"params": params}, {**inputs, "image": image}).logits

    check_grads(similarity, (params, inputs["image"]), order=2, modes=["rev"])


def test_the_map_of_a_pair_is_differentiable_in_both_towers():
    apply_fn, params, state = made()
    inputs = pairs()

    def spread(params):
        forward = functools.partial(apply_fn, params, state, train=False)
        head_fn, features = attributions.split_at(forward, inputs, "features")
        maps = attributions.signed_grad_cam(
            head_fn, features, jnp.zeros(4, jnp.int32),
            score_fn=attributions.regression_output,
        )  # fmt: skip
        return jnp.sum(maps**2)

    slopes = jax.jit(jax.grad(spread))(params)
    sizes = jax.tree.map(lambda leaf: float(jnp.max(jnp.abs(leaf))), slopes)
    assert all(math.isfinite(size) for size in jax.tree.leaves(sizes))
    assert sizes["image"]["Conv_0"]["kernel"] > 0
    assert sizes["text"]["word_embeddings"]["embedding"] > 0


def test_a_tower_that_says_nothing_is_finite():
    _, params, _ = made()
    blank = jax.tree.map(jnp.zeros_like, params["image"])
    loss = lambda p: jnp.sum(run(pairs(), {**params, "image": p}).logits)
    value, slope = jax.value_and_grad(loss)(blank)
    assert value == 0
    chex.assert_tree_all_finite(slope)


class _Vector(nn.Module):
    """A tower of a fixed width that exposes one activation."""

    width: int
    name_of: str = "words"

    @nn.compact
    def __call__(self, inputs, *, train=False, overrides=None):
        del train, overrides
        leaf = jax.tree.leaves(inputs)[0]
        vector = jnp.ones((len(leaf), self.width))
        return ModelOutput(vector, {self.name_of: vector})


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (pair_of_towers(), lambda: pairs()["image"], "must be a dict of 'image' and"),
        (pair_of_towers(), lambda: {"image": None}, r"\(\['image'\]\) must"),
        (pair_of_towers(temperature=2.0), pairs, r"`temperature` \(=2.0\) and"),
        (pair_of_towers(temperature_range=(0.0, 1.0)), pairs, "0 < low <="),
        (
            models.TwoTower(_Vector(3, "a"), _Vector(2)), pairs,
            r"`image` and `text` give \(4, 3\) and \(4, 2\); both must be \[B, D\]",
        ),
        (
            models.TwoTower(_Vector(3), _Vector(3)), pairs,
            r"must not both expose \['words'\]",
        ),
        (
            models.BagOfTokens(vocabulary_size=2, width=2, num_classes=1), pairs,
            r"must be a dict of \['mask', 'tokens'\]",
        ),
    ],
)  # fmt: skip
def test_bad_input(module, inputs, message):
    with pytest.raises(ValueError, match=message):
        module.init(jax.random.key(0), inputs())


def test_a_transformer_may_read_the_text():
    text = models.Bert(
        vocabulary_size=WORDS, num_layers=1, num_heads=2, width=4, hidden_width=4,
        num_positions=5, num_classes=WIDTH, pooling="mean",
    )  # fmt: skip
    module = models.TwoTower(pair_of_towers().image, text)
    inputs = {**pairs(), "segments": jnp.zeros((4, 5), jnp.int32)}
    output, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), inputs)
    chex.assert_shape(output.logits, (4, 1))
    assert {"features", "attention_0", "text_vectors"} <= set(output.intermediates)
