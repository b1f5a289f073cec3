"""Tests of Shapley values, exact and sampled, against sums over all orders."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, ops, testing

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
TARGETS = np.zeros(2, int)
INPUTS = RNG.normal(size=(2, 5)).astype(np.float32)
sampling = functools.partial(
    attributions.shapley_sampling, key=KEY, num_samples=4, chunk_size=16
)
exact = functools.partial(attributions.shapley_values, chunk_size=32)


def explain(explainer, predict, inputs, targets=TARGETS, **settings):
    count = settings.get("num_segments", inputs.shape[-1])
    settings = {
        "segments": np.arange(count),
        "num_segments": count,
        "baselines": 0.3,
        "score_fn": attributions.regression_output,
        **settings,
    }
    run = lambda inputs, targets: explainer(predict, inputs, targets, **settings)
    return jax.jit(run)(inputs, targets)


def entangled(inputs):
    """Products of two and of three features beside a sum of curves."""
    curves = jnp.sum(jnp.tanh(inputs * np.arange(1, 6, dtype=np.float32)), axis=1)
    pair = inputs[:, 0] * inputs[:, 1]
    return (curves + pair + inputs[:, 2] * inputs[:, 3] * inputs[:, 4])[:, None]


def by_orders(predict, inputs, baseline):
    """The mean over all S! orders of what a feature adds when its turn comes."""
    size = inputs.shape[1]
    values = np.zeros(inputs.shape)
    subsets = list(itertools.product([False, True], repeat=size))
    copies = [np.where(s, inputs, np.float32(baseline)) for s in subsets]
    score = {
        s: np.asarray(predict(c))[:, 0] for s, c in zip(subsets, copies, strict=True)
    }
    for order in itertools.permutations(range(size)):
        on = [False] * size
        for feature in order:
            before = score[tuple(on)]
            on[feature] = True
            values[:, feature] += score[tuple(on)] - before
    return values / math.factorial(size)


def test_exact_values_are_the_mean_over_all_orders():
    actual = explain(exact, entangled, INPUTS)
    expected = by_orders(entangled, INPUTS, 0.3)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_three_features_by_hand():
    # f = x1 x2 x3 + 2 x1 at (1, 2, 3) against 0: a third of 6 each, 2 for the first.
    predict = lambda x: jnp.prod(x, axis=1, keepdims=True) + 2 * x[:, :1]
    inputs = jnp.array([[1.0, 2.0, 3.0]])
    actual = explain(exact, predict, inputs, TARGETS[:1], baselines=0.0)
    np.testing.assert_allclose(actual, [[4.0, 2.0, 2.0]], rtol=1e-6)


@pytest.mark.parametrize("explainer", [exact, sampling], ids=["exact", "sampling"])
class TestBoth:
    def test_an_interaction_of_two_is_halved_and_a_dummy_gets_nothing(self, explainer):
        # x1 x2 − x4, where 3 and 5 do nothing: 3 = 2 · 1.5, two halves of it.
        predict = lambda x: x[:, :1] * x[:, 1:2] - x[:, 3:4]
        inputs = jnp.array([[2.0, 1.5, 7.0, 4.0, 9.0]])
        if explainer is sampling:  # one permutation and its reverse
            explainer = functools.partial(explainer, num_samples=2)
        actual = explain(explainer, predict, inputs, TARGETS[:1], baselines=0.0)
        np.testing.assert_allclose(actual, [[1.5, 1.5, 0, -4, 0]], atol=1e-6)

    def test_affine_functions_give_weight_times_change(self, explainer):
        slopes = RNG.normal(size=(5, 1)).astype(np.float32)
        actual = explain(explainer, lambda x: x @ slopes + 4.0, INPUTS)
        expected = slopes[:, 0] * (INPUTS - 0.3)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)

    def test_the_map_adds_up_to_the_change_of_the_score(self, explainer):
        segments = np.array([0, 1, 1, 2, 0])
        actual = explain(
            explainer, entangled, INPUTS, segments=segments, num_segments=3
        )
        gap = attributions.completeness_gap(
            entangled, INPUTS, TARGETS, actual,
            baselines=0.3, score_fn=attributions.regression_output,
        )  # fmt: skip
        np.testing.assert_allclose(gap, [0, 0], atol=2e-6)
        np.testing.assert_array_equal(actual[:, 1], actual[:, 2])

    def test_patches_share_their_value_out_over_pixels_and_channels(self, explainer):
        # All ones against 0, and a score of 12 for the left half, 6 for the right.
        weights = jnp.ones((2, 4, 3)).at[:, 2:].set(0.5)
        predict = lambda x: jnp.sum(weights * x, axis=(1, 2, 3))[:, None]
        segments, count = attributions.grid_segments((2, 4, 3), (2, 2))
        actual = explain(
            explainer, predict, jnp.ones((1, 2, 4, 3)), TARGETS[:1],
            segments=segments, num_segments=count, baselines=0.0,
        )  # fmt: skip
        np.testing.assert_allclose(actual[0], weights, rtol=1e-5)
        sums = attributions.segment_sums(actual, segments, count)
        np.testing.assert_allclose(sums, [[12, 6]], rtol=1e-5)

    def test_what_is_never_perturbed_gets_nothing(self, explainer):
        # The last two stay as they are, so the score is x1 · 3 · 5 + x2.
        predict = lambda x: x[:, :1] * x[:, 2:3] * x[:, 3:] + x[:, 1:2]
        inputs = jnp.array([[2.0, 7.0, 3.0, 5.0]])
        actual = explain(
            explainer, predict, inputs, TARGETS[:1],
            segments=np.array([0, 1, -1, -1]), num_segments=2, baselines=0.0,
        )  # fmt: skip
        np.testing.assert_allclose(actual, [[30, 7, 0, 0]], rtol=1e-6)

    def test_float32_inputs_stay_float32_where_float64_exists(self, explainer, x64):
        del x64
        actual = explain(explainer, lambda x: x[:, :1], jnp.asarray(INPUTS[:, :3]))
        assert actual.dtype == jnp.float32

    def test_one_segment_takes_the_whole_change(self, explainer):
        actual = explain(
            explainer, entangled, INPUTS, segments=np.zeros(5, int), num_segments=1
        )
        change = entangled(INPUTS) - entangled(np.full_like(INPUTS, 0.3))
        np.testing.assert_allclose(actual, np.tile(change / 5, 5), rtol=1e-5)

    def test_examples_may_have_segments_of_their_own(self, explainer):
        segments = np.array([[0, 1, 2, 0, 1], [2, 2, 1, 0, -1]])
        keys = ops.example_keys(KEY, 2)
        if explainer is sampling:
            explainer = functools.partial(explainer, key=keys)
        together = explain(
            explainer, entangled, INPUTS, segments=segments, num_segments=3
        )
        for i in range(2):
            one = slice(i, i + 1)
            if "key" in explainer.keywords:
                explainer = functools.partial(explainer, key=keys[one])
            alone = explain(
                explainer, entangled, INPUTS[one], TARGETS[one],
                segments=segments[one], num_segments=3,
            )  # fmt: skip
            np.testing.assert_allclose(together[one], alone, rtol=1e-5, atol=1e-6)

    def test_it_keeps_what_every_explainer_promises(self, explainer):
        segments, count = attributions.grid_segments((6, 6, 2), (3, 6))

        def with_own_keys(predict_fn, inputs, targets):
            chosen = explainer
            if explainer is sampling:
                chosen = functools.partial(explainer, key=keys_of(inputs))
            return chosen(
                predict_fn, inputs, targets, segments=segments, num_segments=count,
                baselines=0.1, score_fn=attributions.target_logit,
            )  # fmt: skip

        testing.check_explainer(with_own_keys)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"segments": np.array([0, 1, 2, 5, 4])}, r"`segments` \(one is 5\) must"),
            ({"segments": np.array([0, 1, 2, -2, 4])}, r"`segments` \(one is -2\)"),
            ({"segments": np.arange(4)}, r"`segments` \(of shape \(4,\)\) must broad"),
            (
                {"segments": np.ones(5, np.float32)},
                r"`segments` \(float32\) must be integers",
            ),
            ({"num_segments": 0}, r"`num_segments` \(=0\) must be at least 1"),
            ({"baselines": np.ones(3)}, r"`baselines` \(of shape \(3,\)\) must broad"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, explainer, settings, message):
        with pytest.raises(ValueError, match=message):
            explain(
                explainer, entangled, INPUTS, **{"segments": np.arange(5), **settings}
            )


def keys_of(inputs):
    """A key of each example's own, whatever the batch it comes in."""
    first = inputs.reshape(len(inputs), -1)[:, 0].astype(jnp.float32)
    bits = jax.lax.bitcast_convert_type(first, jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(KEY, bits)


def test_sampled_values_tend_to_the_exact_ones():
    expected = explain(exact, entangled, INPUTS)
    few = explain(sampling, entangled, INPUTS, num_samples=2)
    many = explain(sampling, entangled, INPUTS, num_samples=400, chunk_size=1600)
    few, many = (np.max(np.abs(a - expected)) for a in (few, many))
    assert many < 0.3 * few


def test_more_samples_extend_the_sequence():
    first = explain(sampling, entangled, INPUTS, num_samples=2)
    both = explain(sampling, entangled, INPUTS, num_samples=4)
    second = 2 * both - first
    assert np.min(np.max(np.abs(second - first), axis=1)) > 1e-3
    again = explain(sampling, entangled, INPUTS, num_samples=4, chunk_size=3)
    np.testing.assert_allclose(again, both, rtol=1e-5, atol=1e-6)


def test_a_traced_segment_out_of_range_is_marked():
    run = jax.jit(lambda s: explain(exact, entangled, INPUTS, segments=s))
    actual = run(jnp.array([0, 1, 2, 3, 5]))
    np.testing.assert_array_equal(np.isnan(actual[0]), [0, 0, 0, 0, 1])


def test_too_many_segments_are_refused():
    with pytest.raises(ValueError, match=r"`num_segments` \(=17\) must be at most 16"):
        explain(exact, entangled, jnp.ones((2, 17)))


def test_a_key_of_the_old_kind_is_refused():
    with pytest.raises(ValueError, match="`key` must be a typed key"):
        explain(sampling, entangled, INPUTS, key=jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match=r"`num_samples` \(=0\) must be at least 1"):
        explain(sampling, entangled, INPUTS, num_samples=0)
