"""Tests of the removal and insertion curves and of their area."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from xguide_jax import attributions, metrics, ops

KEY = jax.random.key(0)
QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
WEIGHTS = np.array([4.0, 3, 2, 1], np.float32)
INPUTS = np.ones((4, 4), np.float32)
LABELS = np.array([0, 0, 1, 0])
BLANK = functools.partial(ops.constant_fill, value=0.0)

# By the weights, against them, by the weights for class 1, by an order of its own.
MAPS = np.stack([WEIGHTS, -WEIGHTS, WEIGHTS, [1.0, 4, 3, 2]]).astype(np.float32)


def planted(inputs):
    """Logits (w · x, 5): 10 against 5 on inputs of ones, so class 0."""
    score = inputs @ WEIGHTS
    return jnp.stack([score, jnp.full_like(score, 5.0)], axis=-1)


def curve(function, maps=MAPS, inputs=INPUTS, labels=LABELS, **settings):
    predict_fn = settings.pop("predict_fn", planted)
    settings = {"fractions": QUARTERS, "fill": BLANK, "key": KEY} | settings
    return function(predict_fn, inputs, labels, maps, **settings)


removal = functools.partial(curve, metrics.removal_curve)
insertion = functools.partial(curve, metrics.insertion_curve)


class CurvesTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_removal_of_a_planted_linear_network_by_hand(self):
        expected = [
            [1, 1, 0, 0, 0],  # w · x = 10, 6, 3, 1, 0
            [1, 1, 1, 0, 0],  # 10, 9, 7, 4, 0
            [0, 0, 1, 1, 1],  # as the first, of the other class
            [1, 1, 1, 0, 0],  # 10, 7, 5: a tie goes to class 0; 4, 0
        ]
        np.testing.assert_array_equal(self.variant(removal)(MAPS), expected)

    @chex.variants(with_jit=True, without_jit=True)
    def test_insertion_of_a_planted_linear_network_by_hand(self):
        expected = [
            [0, 0, 1, 1, 1],  # w · x = 0, 4, 7, 9, 10
            [0, 0, 0, 1, 1],  # 0, 1, 3, 6, 10
            [1, 1, 0, 0, 0],
            [0, 0, 1, 1, 1],  # 0, 3, 5, 6, 10
        ]
        np.testing.assert_array_equal(self.variant(insertion)(MAPS), expected)

    @parameterized.parameters(
        # 0.29 · 100 is 28.999999999999996 in floating point
        (0.29, 29),
        (0.295, 29),
        (0.0, 0),
        (1.0, 100),
    )
    def test_number_of_replaced_features_is_the_floor(self, fraction, expected):
        seen = self.seen_inputs(removal, 100, fractions=(fraction,))
        np.testing.assert_array_equal(np.sum(seen[0] == 0, axis=-1), [expected] * 2)
        seen = self.seen_inputs(insertion, 100, fractions=(fraction,))
        np.testing.assert_array_equal(np.sum(seen[0] != 0, axis=-1), [expected] * 2)

    @parameterized.parameters(removal, insertion)
    def test_all_fractions_share_one_draw_and_the_intact_input(self, function):
        calls = []

        def noise(key, inputs):
            calls.append(np.asarray(inputs))
            return ops.uniform_range_fill(key, inputs, axes=1)

        seen = self.seen_inputs(function, 12, fractions=QUARTERS, fill=noise)
        self.assertLen(calls, 1)
        inputs, values = calls[0], noise(KEY, calls[0])
        if function is insertion:
            seen = seen[::-1]
        changed = [images != inputs for images in seen]
        for less, more, images in zip(changed[:-1], changed[1:], seen[1:], strict=True):
            self.assertTrue(np.all(more[less]))
            np.testing.assert_array_equal(images[more], values[more])
        self.assertEqual([mask.sum() for mask in changed], [0, 6, 12, 18, 24])

    def test_one_score_a_position_removes_all_its_channels(self):
        inputs = np.ones((1, 2, 2, 3), np.float32)
        maps = np.array([[0.1, 0.4], [0.3, 0.2]], np.float32)[None, ..., None]
        seen = []

        def predict_fn(inputs):
            seen.append(inputs)
            return jnp.zeros((1, 2))

        labels = np.array([0])
        settings = {"predict_fn": predict_fn, "fractions": (0.5,)}
        removal(maps, inputs, labels, **settings)
        expected = np.array([[1, 0], [0, 1]])[..., None] * np.ones(3)
        np.testing.assert_array_equal(seen[0][0], expected)

    @parameterized.parameters(removal, insertion)
    def test_undefined_rows_are_nan_and_leave_the_others_alone(self, function):
        maps = MAPS.copy()
        maps[0, 2] = np.nan
        maps[1] = 0.5  # orders nothing
        labels = LABELS.copy()
        labels[2] = 2  # no such class
        for run in (function, jax.jit(function)):
            actual = run(maps, labels=labels)
            np.testing.assert_array_equal(actual[:3], np.full((3, 5), np.nan))
            np.testing.assert_array_equal(actual[3], function()[3])
        labels[2] = -1
        self.assertTrue(np.all(np.isnan(function(labels=labels)[2])))

    def test_equal_scores_are_taken_by_index_as_the_masks_of_training_are(self):
        rng = np.random.default_rng(0)
        maps = rng.integers(-1, 2, size=(2, 12)).astype(np.float32)
        maps = np.where(maps == 0, rng.choice([-0.0, 0.0], size=(2, 12)), maps)
        seen = self.seen_inputs(removal, 12, maps=maps, fractions=(0.5, 0.75))
        for images, k in zip(seen, (6, 9), strict=True):
            np.testing.assert_array_equal(images == 0, ops.top_k_mask(maps, k))

    def test_infinite_scores_are_ordinary_ones(self):
        maps = np.where(WEIGHTS == 4, np.inf, MAPS)
        maps[1, 0] = -np.inf
        np.testing.assert_array_equal(removal(maps)[:3], removal()[:3])

    def test_a_single_score_needs_no_order(self):
        inputs, maps = np.ones((2, 1), np.float32), np.ones((2, 1), np.float32)
        predict_fn = lambda inputs: jnp.concatenate([inputs, 0 * inputs + 0.5], axis=1)
        settings = {"predict_fn": predict_fn, "fractions": (0.0, 1.0)}
        actual = removal(maps, inputs, np.array([0, 1]), **settings)
        np.testing.assert_array_equal(actual, [[1, 0], [0, 1]])

    def test_nan_logits_make_their_own_entry_nan(self):
        def predict_fn(inputs):
            broken = jnp.any(inputs == 0, axis=-1, keepdims=True)
            return jnp.where(broken, jnp.nan, planted(inputs))

        actual = removal(predict_fn=predict_fn, fractions=(0.0, 0.5))
        np.testing.assert_array_equal(actual[:, 0], [1, 1, 0, 1])
        self.assertTrue(np.all(np.isnan(actual[:, 1])))

    def test_each_example_has_the_curve_it_has_alone(self):
        keys = ops.example_keys(KEY, 4)
        noise = functools.partial(ops.uniform_range_fill, axes=1)
        rng = np.random.default_rng(0)
        inputs = rng.uniform(0, 2, size=(4, 4)).astype(np.float32)
        settings = {"fill": noise}
        together = jax.jit(functools.partial(removal, **settings))(
            MAPS, inputs, LABELS, key=keys
        )
        for i in range(4):
            one = slice(i, i + 1)
            alone = removal(
                MAPS[one], inputs[one], LABELS[one], key=keys[one], **settings
            )
            np.testing.assert_array_equal(together[one], alone)

    @parameterized.parameters(removal, insertion)
    def test_a_sigmoid_head_says_itself_what_is_correct(self, function):
        def one_logit(inputs):
            zero, one = jnp.moveaxis(planted(inputs), -1, 0)
            return (one - zero)[:, None]

        def correct(logits, labels):
            return (logits[:, 0] > 0) == (labels == 1)

        own = functools.partial(function, predict_fn=one_logit, value=correct)
        for run in (own, jax.jit(own)):
            actual = run(MAPS)
            np.testing.assert_array_equal(actual, function())
            self.assertEqual(actual.dtype, jnp.float32)

    @parameterized.parameters(removal, insertion)
    def test_one_logit_is_refused_where_nobody_says_what_is_correct(self, function):
        message = r"`value` must be given .* \(4, 1\).* one logit"
        one_logit = lambda inputs: planted(inputs)[:, :1]
        softmax = functools.partial(function, predict_fn=one_logit)
        for run in (softmax, jax.jit(softmax)):
            with pytest.raises(ValueError, match=message):
                run(MAPS)

    def test_correct_may_be_a_share_of_several_labels(self):
        # Two independent sigmoids; the second logit, 5, is right in the second row.
        labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
        share = lambda logits, labels: jnp.mean(
            (logits > 4.5) == (labels > 0.5), axis=-1
        )
        actual = removal(labels=labels, value=share)
        # w · x, as above, against 4.5, and 5 against it.
        expected = [
            [0.5, 0.5, 0, 0, 0],
            [1, 1, 1, 0.5, 0.5],
            [0, 0, 0.5, 0.5, 0.5],
            [0.5, 0.5, 0.5, 1, 1],
        ]
        np.testing.assert_array_equal(actual, expected)

    def test_what_is_not_one_value_an_example_is_refused(self):
        every = lambda logits, labels: logits > 0
        with pytest.raises(ValueError, match=r"`value` must .*\(4,\).*\(4, 2\)"):
            removal(value=every)

    def test_with_a_value_of_ones_own_nan_is_undefined_all_the_same(self):
        maps = MAPS.copy()
        maps[1] = 0.5  # orders nothing
        own = lambda logits, labels: jnp.where(labels == 1, jnp.nan, 1.0)
        actual = removal(maps, value=own)
        np.testing.assert_array_equal(np.isnan(actual[:, 0]), [0, 1, 1, 0])

    @parameterized.parameters("bfloat16", "float16")
    def test_curves_in_narrow_types_are_those_of_float32(self, dtype):
        narrow = lambda array: jnp.asarray(array, dtype)
        predict_fn = lambda inputs: planted(inputs.astype(jnp.float32)).astype(dtype)
        actual = removal(narrow(MAPS), narrow(INPUTS), predict_fn=predict_fn)
        np.testing.assert_array_equal(actual, removal())
        self.assertEqual(actual.dtype, jnp.float32)

    def test_labels_may_be_small_integers(self):
        actual = removal(labels=LABELS.astype(np.uint8))
        np.testing.assert_array_equal(actual, removal())

    @parameterized.parameters(removal, insertion)
    def test_wrong_arguments_are_refused(self, function):
        message = r"`fractions` \(=.*\) must increase strictly and lie in \[0, 1\]"
        for fractions in ((0.5, 0.2), (0.1, 0.1), (-0.1, 0.5), (0.5, 1.2), ()):
            with pytest.raises(ValueError, match=message):
                function(fractions=fractions)
        with pytest.raises(AssertionError, match="rank"):
            function(MAPS[..., None])
        with pytest.raises(AssertionError, match="broadcast"):
            function(MAPS[:, :3])
        with pytest.raises(AssertionError, match="shape"):
            function(MAPS[:1])
        with pytest.raises(AssertionError, match="type"):
            function(labels=LABELS.astype(np.float32))

    def seen_inputs(self, function, num_features, *, maps=None, **settings):
        """The inputs, none of them 0, that a network is shown along a curve."""
        rng = np.random.default_rng(0)
        inputs = rng.uniform(1, 2, size=(2, num_features)).astype(np.float32)
        if maps is None:
            maps = rng.normal(size=(2, num_features)).astype(np.float32)
        seen = []

        def predict_fn(inputs):
            seen.append(np.asarray(inputs))
            return jnp.zeros((2, 2))

        labels = np.zeros(2, np.int32)
        function(maps, inputs, labels, predict_fn=predict_fn, **settings)
        return seen


class AreaTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_by_hand(self):
        values = np.array([[1.0, 1.0, 0.0], [0.0, 0.5, 1.0]], np.float32)
        area = functools.partial(metrics.area_under_curve, fractions=(0.0, 0.3, 0.5))
        # (0.3 · 1 + 0.2 · 0.5) / 0.5 and (0.3 · 0.25 + 0.2 · 0.75) / 0.5
        np.testing.assert_allclose(self.variant(area)(values), [0.8, 0.45], rtol=1e-6)

    def test_a_constant_curve_has_its_own_height_over_any_range(self):
        values = np.full((2, 3, 10), 0.7, np.float32)
        for fractions in (np.linspace(0, 0.9, 10), np.linspace(0.1, 1, 10) ** 2):
            area = metrics.area_under_curve(values, fractions=fractions)
            np.testing.assert_allclose(area, np.full((2, 3), 0.7), rtol=1e-6)

    @parameterized.parameters("int32", "uint8", "bool", "bfloat16", "float16")
    def test_the_area_of_ones_is_one_in_any_type(self, dtype):
        values = np.ones((2, 10)).astype(jnp.dtype(dtype))
        for curve in (values, jnp.asarray(values)):
            area = metrics.area_under_curve(curve, fractions=np.linspace(0, 0.9, 10))
            np.testing.assert_allclose(area, [1.0, 1.0], rtol=1e-6)
            self.assertEqual(area.dtype, jnp.float32)

    def test_an_area_in_float16_does_not_overflow(self):
        values = jnp.full((2,), 60_000, jnp.float16)
        area = metrics.area_under_curve(values, fractions=(0.0, 1.0))
        np.testing.assert_allclose(area, float(values[0]), rtol=1e-6)

    def test_an_undefined_value_makes_its_own_area_nan(self):
        values = np.array([[1.0, np.nan, 0.0], [1.0, 1.0, 1.0]], np.float32)
        area = metrics.area_under_curve(values, fractions=(0.0, 0.5, 1.0))
        np.testing.assert_array_equal(area, [np.nan, 1.0])

    def test_wrong_fractions_are_refused(self):
        area = metrics.area_under_curve
        with pytest.raises(
            ValueError, match=r"`fractions` \(=\(0\.0,\)\) must be at l"
        ):
            area(np.ones((2, 1)), fractions=(0.0,))
        with pytest.raises(ValueError, match=r"as many as the last axis .* long, 3\."):
            area(np.ones((2, 4, 3)), fractions=(0.0, 1.0))
        with pytest.raises(ValueError, match="must increase strictly"):
            area(np.ones((2, 2)), fractions=(1.0, 0.0))


class ReadingTest(chex.TestCase):
    def test_deletion_and_insertion_of_a_score_by_hand(self):
        actual = removal(value=attributions.target_logit)
        expected = [[10, 6, 3, 1, 0], [10, 9, 7, 4, 0], [5] * 5, [10, 7, 5, 4, 0]]
        np.testing.assert_array_equal(actual, expected)
        actual = insertion(value=attributions.target_logit)
        expected = [[0, 4, 7, 9, 10], [0, 1, 3, 6, 10], [5] * 5, [0, 3, 5, 6, 10]]
        np.testing.assert_array_equal(actual, expected)

    def test_probabilities_end_at_those_of_the_intact_and_of_the_blank_input(self):
        value = attributions.target_probability
        removed, inserted = removal(value=value), insertion(value=value)
        clean = value(planted(INPUTS), LABELS)
        blank = value(planted(0 * INPUTS), LABELS)
        for curve, ends in ((removed, (clean, blank)), (inserted, (blank, clean))):
            np.testing.assert_allclose(curve[:, 0], ends[0], rtol=1e-6)
            np.testing.assert_allclose(curve[:, -1], ends[1], rtol=1e-6)

    def test_removing_to_the_maps_own_baseline(self):
        baselines = np.arange(16, dtype=np.float32).reshape(4, 4) / 8
        fill = functools.partial(ops.constant_fill, value=baselines)
        # Contributions to a linear score add up to the drop that their removal makes.
        maps = WEIGHTS * (INPUTS - baselines)
        removed = removal(maps, fill=fill, value=lambda logits, _: logits[:, 0])
        sums = np.cumsum(-np.sort(-maps, axis=-1), axis=-1)
        np.testing.assert_allclose(removed[:, :1] - removed[:, 1:], sums, rtol=1e-5)

    @parameterized.parameters(removal, insertion)
    def test_the_old_keyword_says_what_is_new(self, function):
        old = lambda logits, labels: logits[:, 0]
        with pytest.warns(DeprecationWarning, match="give `value=` instead"):
            actual = function(correct=old)
        np.testing.assert_array_equal(actual, function(value=old))

    @parameterized.parameters(removal, insertion)
    def test_a_nan_is_seen_in_a_large_batch_too(self, function):
        # A maximum over many numbers does not always see it.
        maps = np.random.default_rng(0).normal(size=(64, 100)).astype(np.float32)
        maps[7, 50] = np.nan
        actual = function(
            maps, np.ones((64, 100), np.float32), np.zeros(64, np.int32),
            predict_fn=lambda inputs: inputs[:, :2],
        )  # fmt: skip
        np.testing.assert_array_equal(np.isnan(actual[:, 2]), np.arange(64) == 7)
