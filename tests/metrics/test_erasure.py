"""Comprehensiveness and sufficiency against hand-computed values and each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, metrics, ops, testing

WEIGHTS = np.array([4.0, 3, 2, 1], np.float32)
INPUTS = np.ones((3, 4), np.float32)
LABELS = np.array([0, 0, 1])
MAPS = np.stack([WEIGHTS, -WEIGHTS, WEIGHTS]).astype(np.float32)
BLANK = functools.partial(ops.constant_fill, value=0.0)
HALVES = (0.0, 0.5, 1.0)
MEASURES = (metrics.comprehensiveness, metrics.sufficiency)


def planted(inputs):
    """Logits (w · x, 5)."""
    score = inputs @ WEIGHTS
    return jnp.stack([score, jnp.full_like(score, 5.0)], axis=-1)


def measure(function, maps=MAPS, inputs=INPUTS, labels=LABELS, **settings):
    predict_fn = settings.pop("predict_fn", planted)
    settings = {
        "fractions": HALVES, "fill": BLANK, "key": jax.random.key(0),
        "value": attributions.target_logit,
    } | settings  # fmt: skip
    return function(predict_fn, inputs, labels, maps, **settings)


comprehensiveness = functools.partial(measure, metrics.comprehensiveness)
sufficiency = functools.partial(measure, metrics.sufficiency)


def test_by_hand():
    # Of class 0 w · x falls from 10 by 0, 7 and 10; in the other order by 0, 3 and 10.
    np.testing.assert_allclose(comprehensiveness(), [17 / 3, 13 / 3, 0], rtol=1e-6)
    # Of the top features alone 10, 3 and 0 are missing, and 10, 7 and 0.
    np.testing.assert_allclose(sufficiency(), [13 / 3, 17 / 3, 0], rtol=1e-6)


def test_of_probabilities_by_hand():
    p = lambda score: 1 / (1 + np.exp(5.0 - score))
    value = attributions.target_probability
    settings = {"value": value, "fractions": (0.25, 0.5)}
    expected = p(10) - (p(6) + p(3)) / 2
    np.testing.assert_allclose(comprehensiveness(**settings)[0], expected, rtol=1e-5)
    expected = p(10) - (p(4) + p(7)) / 2
    np.testing.assert_allclose(sufficiency(**settings)[0], expected, rtol=1e-5)
    # Of the other class the probabilities are 1 minus these.
    np.testing.assert_allclose(sufficiency(**settings)[2], -expected, rtol=1e-5)


def test_nothing_replaced_is_no_change_and_all_is_the_full_drop():
    full = [10.0, 10.0, 0.0]
    np.testing.assert_array_equal(comprehensiveness(fractions=(0.0,)), [0, 0, 0])
    np.testing.assert_array_equal(comprehensiveness(fractions=(1.0,)), full)
    np.testing.assert_array_equal(sufficiency(fractions=(1.0,)), [0, 0, 0])
    np.testing.assert_array_equal(sufficiency(fractions=(0.0,)), full)


@pytest.mark.parametrize(
    # 0.07 · 100 is 7.000000000000001
    ("fraction", "expected"), [(0.07, 7), (0.071, 8), (0.001, 1), (0.29, 29)],
)  # fmt: skip
def test_the_number_of_features_is_rounded_up(fraction, expected):
    maps = np.random.default_rng(0).normal(size=(2, 100)).astype(np.float32)
    count = lambda inputs: jnp.sum(inputs, axis=-1, keepdims=True)
    read = lambda logits, labels: logits[:, 0]
    arguments = (maps, np.ones((2, 100), np.float32), LABELS[:2])
    settings = {"predict_fn": count, "value": read, "fractions": (fraction,)}
    where = np.ones((2, 100), bool)
    for valid in (None, where):
        lost = comprehensiveness(*arguments, where=valid, **settings)
        np.testing.assert_array_equal(lost, [expected] * 2)
        lost = sufficiency(*arguments, where=valid, **settings)
        np.testing.assert_array_equal(lost, [100 - expected] * 2)


@pytest.mark.parametrize("function", MEASURES)
def test_padded_places_change_nothing(function):
    padding = np.array([[9.0, np.nan]] * 3, np.float32)
    wide = lambda array, more: np.concatenate([more[:, :1], array, more[:, 1:]], axis=1)
    maps, inputs = wide(MAPS, padding), wide(INPUTS, np.full((3, 2), 100.0, np.float32))
    where = wide(np.ones((3, 4), bool), np.zeros((3, 2), bool))

    def predict_fn(inputs):
        # Padding is left as it is, so that it adds 200 to the sum of the others.
        others = jnp.sum(inputs, axis=1) - jnp.sum(inputs[:, 1:-1], axis=1)
        return planted(inputs[:, 1:-1]) + (others - 200)[:, None]

    for fractions in ((0.25,), (0.3, 0.8), HALVES):
        found = measure(
            function, maps, inputs, predict_fn=predict_fn, where=where,
            fractions=fractions,
        )  # fmt: skip
        expected = measure(function, fractions=fractions)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_examples_may_be_of_several_lengths():
    where = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1]], bool)
    labels = np.zeros(3, np.int32)
    found = comprehensiveness(labels=labels, where=where, fractions=(0.5,))
    # 4 + 3 of four; 3 by the second map of two; the only one of one.
    np.testing.assert_allclose(found, [7, 3, 1], rtol=1e-6)
    found = sufficiency(labels=labels, where=where, fractions=(0.5,))
    np.testing.assert_allclose(found, [3, 4, 0], rtol=1e-6)


def test_padding_does_not_rank_a_constant_map():
    where = np.array([[1, 1, 1, 0]] * 3, bool)
    maps = np.where(where, 0.5, [[7.0], [-7.0], [0.5]]).astype(np.float32)
    assert np.isnan(comprehensiveness(maps, where=where)).all()


def test_without_a_feature_that_counts_there_is_no_value():
    where = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    assert np.isnan(comprehensiveness(where=where)).tolist() == [0, 1, 0]


def test_tokens_are_whole_numbers():
    tokens = np.array([[3, 1, 2]], np.int32)
    count = lambda tokens: jnp.sum(tokens, axis=-1, keepdims=True).astype(jnp.float32)
    found = comprehensiveness(
        np.array([[0.1, 0.3, 0.2]], np.float32), tokens, LABELS[:1],
        predict_fn=count, value=lambda logits, labels: logits[:, 0],
        fill=functools.partial(ops.constant_fill, value=0), fractions=(0.6,),
    )  # fmt: skip
    np.testing.assert_array_equal(found, [3.0])


def test_what_is_not_one_value_an_example_is_refused():
    with pytest.raises(ValueError, match=r"`value` must return \(3,\).*\(3, 2\)"):
        comprehensiveness(value=lambda logits, labels: logits)
    with pytest.raises(ValueError, match="must increase strictly"):
        sufficiency(fractions=(0.5, 0.5))
    with pytest.raises(AssertionError, match="rank"):
        sufficiency(where=np.ones(4, bool))


@pytest.mark.parametrize("function", MEASURES)
def test_they_keep_what_every_metric_promises(function):
    higher = function is metrics.comprehensiveness
    one = slice(0, 1)
    testing.check_metric(
        lambda maps, inputs, labels: measure(
            function, maps, inputs, labels, value=attributions.target_probability,
            fractions=(0.25, 0.5),
        ),
        better=(MAPS[one], INPUTS[one], LABELS[one]),
        worse=(-MAPS[one], INPUTS[one], LABELS[one]),
        higher_is_better=higher, bounds=(-1.0, 1.0), scale_invariant=True,
        undefined=[
            (0 * MAPS[one], INPUTS[one], LABELS[one]),
            (MAPS[one], np.nan * INPUTS[one], LABELS[one]),
        ],
    )  # fmt: skip
