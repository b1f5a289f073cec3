"""Fills of sequences: copies of what is kept, ranges without padding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import ops

KEY = jax.random.key(0)


def copied(kept, values=None, texts=None):
    """What each place takes over, of the values 10, 11, 12, ..."""
    if texts is not None:
        texts = jnp.array([[int(c) for c in texts]])[..., None]
    kept = jnp.asarray([[bool(int(c)) for c in row] for row in kept.split()])
    if values is None:
        values = jnp.broadcast_to(jnp.arange(10.0, 10 + kept.shape[1]), kept.shape)
    fill = jax.jit(ops.previous_salient_token)
    ones = jnp.ones_like(kept)[..., None]
    kept = kept[..., None]
    return fill(KEY, values[..., None], counted=ones, kept=kept, texts=texts)[..., 0]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ("10101", [10, 10, 12, 12, 14]),
        ("01001", [11, 11, 11, 11, 14]),  # none comes before: the next one
        ("00010", [13, 13, 13, 13, 13]),
        ("11111", [10, 11, 12, 13, 14]),
        ("00000", [10, 11, 12, 13, 14]),  # nothing is kept: nothing changes
        # [CLS] a b [SEP] [PAD], of which b is kept: neither the first nor the last
        # three are sources.
        ("00100", [12, 12, 12, 12, 12]),
    ],
)
def test_a_place_takes_the_previous_kept_value_or_else_the_next(kept, expected):
    np.testing.assert_array_equal(copied(kept)[0], expected)


@pytest.mark.parametrize(
    ("kept", "texts", "expected"),
    [
        ("0100010", "0000111", [11, 11, 11, 11, 15, 15, 15]),
        ("1101101", "0001112", [10, 11, 11, 13, 14, 14, 16]),
        ("0100000", "0000111", [11, 11, 11, 11, 11, 11, 11]),  # nothing of the second
        ("0000010", "0000111", [15, 15, 15, 15, 15, 15, 15]),  # nothing of the first
        ("1000001", "0001122", [10, 10, 10, 10, 10, 16, 16]),  # of the one in between
        ("0000000", "0000111", [10, 11, 12, 13, 14, 15, 16]),
        ("0100010", "0000000", [11, 11, 11, 11, 11, 15, 15]),
    ],
)
def test_a_text_takes_from_itself_where_it_can(kept, texts, expected):
    np.testing.assert_array_equal(copied(kept, texts=texts)[0], expected)


def test_a_fill_is_told_of_texts_where_it_says_so():
    seen = []

    def fill(key, values, **places):
        seen.append(sorted(places))
        return values

    values, places = jnp.ones((1, 2, 1)), jnp.ones((1, 2, 1), bool)
    for by_text in (False, True):
        told = ops.sequence_fill(fill, by_text=by_text)
        assert told.by_text == by_text
        told(KEY, values, counted=places, kept=places, texts=jnp.zeros((1, 2, 1), int))
    assert seen == [["counted", "kept"], ["counted", "kept", "texts"]]


def test_examples_are_apart_and_whole_places_move():
    values = jnp.arange(12.0).reshape(2, 3, 2)
    kept = jnp.array([[True, False, False], [False, False, True]])[..., None]
    found = ops.previous_salient_token(KEY, values, counted=kept, kept=kept)
    np.testing.assert_array_equal(found, [[[0, 1]] * 3, [[10, 11]] * 3])


def test_features_that_are_kept_apart_are_copied_apart():
    values = jnp.arange(6.0).reshape(1, 3, 2)
    kept = jnp.array([[[True, False], [False, True], [False, False]]])
    found = ops.previous_salient_token(KEY, values, counted=kept, kept=kept)
    np.testing.assert_array_equal(found, [[[0, 3], [0, 3], [0, 3]]])


def test_gradients_flow_into_what_is_copied():
    values = jnp.arange(4.0)[None]
    gradient = jax.grad(lambda v: jnp.sum(copied("1010", v)))(values)
    np.testing.assert_array_equal(gradient, [[2, 0, 2, 0]])


def test_tokens_may_be_whole_numbers():
    assert copied("10", jnp.array([[7, 8]])).dtype == jnp.int32


def test_shapes_must_be_those_documented():
    values = jnp.ones((2, 3, 2))
    for kept in (
        jnp.ones((2, 3), bool),
        jnp.ones((2, 1, 1), bool),
        jnp.ones_like(values),
    ):
        with pytest.raises(AssertionError):
            ops.previous_salient_token(KEY, values, counted=kept, kept=kept)
    kept = jnp.ones((2, 3, 1), bool)
    for texts in (jnp.ones((2, 3), int), jnp.ones((2, 3, 1)), jnp.ones((2, 2, 1), int)):
        with pytest.raises(AssertionError):
            ops.previous_salient_token(
                KEY, values, counted=kept, kept=kept, texts=texts
            )


# Two series of two features; their last steps are padding.
SERIES = jnp.array(
    [[[1.0, 10.0], [2.0, 30.0], [0.0, 0.0]], [[5.0, -8.0], [0.0, 0.0], [0.0, 0.0]]]
)
COUNTED = jnp.array([[True, True, False], [True, False, False]])[..., None]
BY_EXAMPLE = (np.array([1.0, -8.0]), np.array([30.0, 5.0]))
BY_FEATURE = (np.array([[1.0, 10], [5, -8]]), np.array([[2.0, 30], [5, -8]]))


@pytest.mark.parametrize(
    ("fill", "extremes"),
    [
        (ops.uniform_example_range_fill, [e[:, None, None] for e in BY_EXAMPLE]),
        (ops.uniform_feature_range_fill, [e[:, None] for e in BY_FEATURE]),
    ],
)
def test_ranges_are_of_what_counts(fill, extremes):
    keys = jax.random.split(KEY, 2000)
    draw = jax.jit(
        jax.vmap(lambda key: fill(key, SERIES, counted=COUNTED, kept=COUNTED))
    )
    values = np.asarray(draw(keys))
    low, high = (np.broadcast_to(e, SERIES.shape) for e in extremes)
    assert np.all((values >= low) & (values <= high))
    span = high - low
    np.testing.assert_array_less(values.min(0) - low, 0.02 * span + 1e-6)
    np.testing.assert_array_less(high - values.max(0), 0.02 * span + 1e-6)


def test_without_padding_the_ranges_are_those_of_images():
    everywhere = jnp.ones((2, 3, 1), bool)
    for fill, axes in (
        (ops.uniform_example_range_fill, (1, 2)),
        (ops.uniform_feature_range_fill, 1),
    ):
        np.testing.assert_array_equal(
            fill(KEY, SERIES, counted=everywhere, kept=everywhere),
            ops.uniform_range_fill(KEY, SERIES, axes=axes),
        )


def test_where_nothing_counts_the_fill_is_finite():
    nowhere = jnp.zeros((2, 3, 1), bool)

    def total(series):
        fill = ops.uniform_feature_range_fill(
            KEY, series, counted=nowhere, kept=nowhere
        )
        return jnp.sum(fill), fill

    gradient, fill = jax.grad(total, has_aux=True)(SERIES)
    np.testing.assert_array_equal(fill, jnp.zeros_like(SERIES))
    np.testing.assert_array_equal(gradient, jnp.zeros_like(SERIES))


def test_the_range_of_a_data_set_is_given():
    low, high = np.array([0.0, -1.0]), np.array([1.0, 3.0])
    fill = functools.partial(ops.uniform_data_range_fill, low=low, high=high)
    inputs = jnp.zeros((2, 4000, 2))
    values = np.asarray(jax.jit(fill)(KEY, inputs))
    assert np.all((values >= low) & (values < high))
    np.testing.assert_allclose(values.mean((0, 1)), [0.5, 1.0], atol=0.05)
    constant = ops.uniform_data_range_fill(KEY, inputs, low=2.0, high=2.0)
    np.testing.assert_array_equal(constant, jnp.full_like(inputs, 2.0))
    narrow = ops.uniform_data_range_fill(
        KEY, inputs.astype(jnp.bfloat16), low=0.0, high=1.0
    )
    assert narrow.dtype == jnp.bfloat16
    # An example's noise is a function of its key.
    keys = jax.random.split(KEY, 2)
    np.testing.assert_array_equal(fill(keys[1:], inputs[1:])[0], fill(keys, inputs)[1])


@pytest.mark.parametrize("low", [2.0, float("nan"), -float("inf")])
def test_extremes_that_are_no_range_are_refused(low):
    message = rf"^`low` \(={low}\) must be at most `high` \(=1\.0\), both finite\.$"
    with pytest.raises(ValueError, match=message):
        ops.uniform_data_range_fill(KEY, SERIES, low=low, high=1.0)


def test_ranks_of_single_features():
    attributions = jax.random.normal(KEY, (2, 3, 4))
    by_feature = lambda rank: ops.by_feature(rank)(attributions)
    np.testing.assert_array_equal(by_feature(ops.signed_channel_mean), attributions)
    np.testing.assert_array_equal(by_feature(ops.mean_magnitude), jnp.abs(attributions))
    random = ops.by_feature(ops.random_rank)
    assert isinstance(random, ops.KeyedRank)
    scores = random(attributions, key=KEY)
    assert scores.shape == attributions.shape
    assert len(np.unique(scores)) == scores.size
    assert not isinstance(ops.by_feature(ops.mean_magnitude), ops.KeyedRank)
    assert random.__name__ == "by_feature(random_rank)"
