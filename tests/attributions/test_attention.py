"""Tests of maps from attention weights."""

import functools

import chex
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions
from xguide_jax.types import ModelOutput

score_fn = attributions.target_logit
RNG = np.random.default_rng(0)
TARGETS = np.array([0, 1], np.int32)
# Two sentences of 4 tokens and of 3, the last of which is padding.
TOKENS = RNG.normal(size=(2, 4, 6)).astype(np.float32)
MASK = np.array([[True] * 4, [True] * 3 + [False]])
PARAMS = {
    name: (RNG.normal(size=(2, 6, 6)) / np.sqrt(6)).astype(np.float32)
    for name in ("query", "key", "value")
} | {"head": RNG.normal(size=(6, 2)).astype(np.float32)}
NAMES = ("attention_0", "attention_1")


def transformer(params, tokens, mask, *, overrides=None):
    """Two layers of attention with two heads and a residual; token 0 is read."""
    stream, exposed = tokens, {}
    for layer, name in enumerate(NAMES):
        query, key, value = (
            (stream @ params[part][layer]).reshape(*stream.shape[:2], 2, 3)
            for part in ("query", "key", "value")
        )
        scores = jnp.einsum("bihd,bjhd->bhij", query, key)
        scores = jnp.where(mask[:, None, None], scores, -1e9)
        attention = (overrides or {}).get(name, jax.nn.softmax(scores))
        exposed[name] = attention
        read = jnp.einsum("bhij,bjhd->bihd", attention, value)
        stream = stream + jnp.tanh(read.reshape(stream.shape))
    return ModelOutput(stream[:, 0] @ params["head"], exposed)


def forward_of(params=PARAMS, tokens=TOKENS, mask=MASK):
    return lambda inputs, overrides=None: transformer(
        params, inputs, mask[: len(inputs)], overrides=overrides
    )


def relevance(params=PARAMS, tokens=TOKENS, *, names=NAMES, **settings):
    heads, layers = attributions.split_each(forward_of(params), tokens, names)
    return attributions.attention_x_gradient(
        heads, layers, TARGETS, score_fn=score_fn, **settings
    )


def attentions_of(tokens=TOKENS, mask=MASK):
    exposed = transformer(PARAMS, tokens, mask).intermediates
    return [exposed[name] for name in NAMES]


# One head of two tokens, then two layers of it.
FIRST = np.array([[[[0.6, 0.4], [0.2, 0.8]]]], np.float32)
SECOND = np.array([[[[0.5, 0.5], [0.0, 1.0]]]], np.float32)


class ByHandTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_the_class_token_reads_the_last_layer(self):
        heads = np.concatenate([FIRST, SECOND], axis=1)
        run = self.variant(attributions.class_token_attention)
        np.testing.assert_allclose(run(heads), [[0.55, 0.45]], rtol=1e-6)
        np.testing.assert_allclose(run([FIRST, SECOND]), [[0.5, 0.5]], rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_rollout_of_two_layers(self):
        # ½ A + ½ I: (0.8, 0.2; 0.1, 0.9) and then (0.75, 0.25; 0, 1). Row 0 of the
        # product: 0.75 (0.8, 0.2) + 0.25 (0.1, 0.9) = (0.625, 0.375).
        run = self.variant(attributions.attention_rollout)
        np.testing.assert_allclose(run([FIRST, SECOND]), [[0.625, 0.375]], rtol=1e-6)
        np.testing.assert_allclose(run(FIRST), [[0.8, 0.2]], rtol=1e-6)
        # The layers do not commute: 0.8 (0.75, 0.25) + 0.2 (0, 1) = (0.6, 0.4).
        np.testing.assert_allclose(run([SECOND, FIRST]), [[0.6, 0.4]], rtol=1e-6)

    @chex.variants(with_jit=True, without_jit=True)
    def test_attention_times_gradient_of_one_and_of_two_layers(self):
        slope = np.array([[[[2.0, -1], [3, 1]]]], np.float32)

        def head(attention):
            score = jnp.sum(attention * slope, axis=(1, 2, 3))
            return jnp.stack([score, -score], axis=1)

        def run(heads, layers, **settings):
            function = lambda layers: attributions.attention_x_gradient(
                heads, layers, np.zeros(1, np.int32), score_fn=score_fn, **settings
            )
            return self.variant(function)(layers)

        # A g = (1.2, −0.4; 0.6, 0.8) and (1, −0.5; 0, 1).
        np.testing.assert_allclose(run(head, FIRST), [[1.2, 0]], rtol=1e-6)
        signed = run(head, FIRST, signed=True)
        np.testing.assert_allclose(signed, [[1.2, -0.4]], rtol=1e-6)
        # (1, 0) + (1, 0) = (2, 0); (2, 0) + 2 (1.2, 0) = (4.4, 0).
        both = run((head, head), (FIRST, SECOND))
        np.testing.assert_allclose(both, [[4.4, 0]], rtol=1e-6)
        # (2, −0.5); (2, −0.5) + 2 (1.2, −0.4) − 0.5 (0.6, 0.8) = (4.1, −1.7).
        both = run((head, head), (FIRST, SECOND), signed=True)
        np.testing.assert_allclose(both, [[4.1, -1.7]], rtol=1e-5)

    def test_heads_are_clipped_before_they_are_averaged(self):
        slope = np.array([1.0, -1.0], np.float32)[None, :, None, None]
        attention = np.full((1, 2, 2, 2), 0.5, np.float32)
        head = lambda a: jnp.stack([jnp.sum(a * slope, (1, 2, 3))] * 2, axis=1)
        maps = attributions.attention_x_gradient(
            head, attention, np.zeros(1, np.int32), score_fn=score_fn
        )
        np.testing.assert_allclose(maps, [[0.25, 0.25]])  # and not 0


class LawsTest(chex.TestCase):
    def test_uniform_attention_is_rolled_out_to_itself(self):
        layers = [np.full((1, 3, 5, 5), 0.2, np.float32)] * 2
        actual = attributions.attention_rollout(layers)
        # ¼ stays on the class token twice: ½ · ½ + ¾ / 5.
        np.testing.assert_allclose(actual, [[0.4] + [0.15] * 4], rtol=1e-6)

    def test_a_rollout_adds_up_to_one(self):
        layers = attentions_of()
        for mask in (None, MASK):
            total = attributions.attention_rollout(layers, mask=mask).sum(axis=1)
            np.testing.assert_allclose(total, [1, 1], rtol=1e-5)

    def test_padding_is_never_salient_and_passes_nothing_on(self):
        """Whatever stands there: also in a network that does not mask it itself."""
        careless = np.ones_like(MASK)
        other = TOKENS.copy()
        other[1, 3] += 7.0
        for function in (
            attributions.class_token_attention,
            attributions.attention_rollout,
        ):
            unmasked = function(attentions_of(mask=careless))
            self.assertGreater(unmasked[1, 3], 1e-3)
            for mask in (MASK, careless):
                maps = function(attentions_of(mask=mask), mask=MASK)
                self.assertEqual(maps[1, 3], 0)
                self.assertTrue(np.all(maps[0] > 0))
            # A network that masks: the map of a sentence is that without padding.
            maps = function(attentions_of(), mask=MASK)
            np.testing.assert_array_equal(
                maps, function(attentions_of(other), mask=MASK)
            )
            short = function(attentions_of(TOKENS[1:, :3], MASK[1:, :3]))
            np.testing.assert_allclose(maps[1:, :3], short, rtol=1e-4, atol=1e-6)
        maps = relevance(mask=MASK, signed=True)
        self.assertEqual(maps[1, 3], 0)
        self.assertGreater(np.min(np.abs(maps[0])), 0)

    def test_nan_on_the_padding_stays_out_of_the_map_and_its_gradient(self):
        layers = [
            attention.at[1, :, :, 3].set(jnp.nan) for attention in attentions_of()
        ]
        layers = [layer.at[1, :, 3].set(0.25) for layer in layers]

        def total(layers):
            return jnp.sum(attributions.attention_rollout(layers, mask=MASK) ** 2)

        value, slope = jax.value_and_grad(total)(layers)
        chex.assert_tree_all_finite((value, slope))

    def test_each_layer_has_its_total_derivative(self):
        """The first layer's gradient goes through the second's attention as well."""
        heads, layers = attributions.split_each(forward_of(), TOKENS, NAMES)
        joint, _ = attributions.split_at(forward_of(), TOKENS, NAMES)
        score = lambda values: jnp.sum(score_fn(joint(values), TARGETS))
        partial = jax.grad(score)(layers)
        total = [
            attributions.input_gradient(head, layer, TARGETS, score_fn=score_fn)
            for head, layer in zip(heads, layers, strict=True)
        ]
        np.testing.assert_allclose(total[1], partial[1], rtol=1e-4, atol=1e-6)
        self.assertGreater(np.max(np.abs(total[0] - partial[0])), 1e-2)
        # By differences: one entry of the first layer moved, the second follows.
        step = jnp.zeros_like(layers[0]).at[0, 1, 2, 0].set(1e-2)
        both = [heads[0](layers[0] + sign * step)[0, 0] for sign in (1, -1)]
        slope = (both[0] - both[1]) / 2e-2
        np.testing.assert_allclose(total[0][0, 1, 2, 0], slope, rtol=1e-2, atol=1e-4)

    def test_one_head_of_several_layers_is_refused(self):
        joint, layers = attributions.split_at(forward_of(), TOKENS, NAMES)
        heads, _ = attributions.split_each(forward_of(), TOKENS, NAMES)
        for head, attentions in (
            (joint, layers),
            (heads[:1], layers),
            (heads[:1], layers[0]),
        ):
            with pytest.raises(
                ValueError, match=r"`head_fn` must be one head for each"
            ):
                attributions.attention_x_gradient(
                    head, attentions, TARGETS, score_fn=score_fn
                )

    def test_wrong_shapes_are_refused(self):
        with pytest.raises(ValueError, match=r"`attentions` must be one layer or more"):
            attributions.attention_rollout([])
        for wrong in (FIRST[0], FIRST[..., :1]):
            with pytest.raises(AssertionError):
                attributions.class_token_attention(wrong)
        for wrong in (np.ones((1, 3), bool), np.ones((1, 2), np.float32)):
            with pytest.raises(AssertionError):
                attributions.attention_rollout(FIRST, mask=wrong)

    def test_maps_are_float32_of_narrow_weights(self):
        maps = attributions.attention_rollout(jnp.asarray(FIRST, jnp.bfloat16))
        chex.assert_type(maps, jnp.float32)

    def test_maps_have_gradients_in_the_parameters_of_every_layer(self):
        sharp = {
            "class token": lambda p: attributions.class_token_attention(
                _layers_of(p), mask=MASK
            ),
            "rollout": lambda p: attributions.attention_rollout(
                _layers_of(p), mask=MASK
            ),
            "times gradient": functools.partial(relevance, mask=MASK),
        }
        for name, maps in sharp.items():
            slope = jax.jit(jax.grad(lambda p, m=maps: jnp.sum(m(p)[:, 1] ** 2)))(
                PARAMS
            )
            chex.assert_tree_all_finite(slope)
            for layer in range(2):
                self.assertTrue(np.any(slope["query"][layer]), (name, layer))


def _layers_of(params):
    exposed = transformer(params, TOKENS, MASK).intermediates
    return [exposed[name] for name in NAMES]


def test_derivatives_in_parameters_and_tokens_are_right(x64):
    del x64
    wide = jax.tree.map(lambda w: w.astype(np.float64), (PARAMS, TOKENS))
    maps = jax.jit(functools.partial(relevance, mask=MASK, signed=True))
    jax.test_util.check_grads(maps, wide, order=1, modes=["rev"])
