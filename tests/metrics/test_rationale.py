"""Agreement of tokens and spans with marks, and shares of the attention."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics, testing

T = 9
token_agreement = jax.jit(metrics.token_agreement)
top_k_agreement = jax.jit(metrics.top_k_agreement)
token_iou = jax.jit(metrics.token_iou)
span_agreement = jax.jit(metrics.span_agreement, static_argnames="iou_threshold")
attention_share = jax.jit(metrics.attention_share)
of_halves = functools.partial(span_agreement, iou_threshold=0.5)
OF_SETS = {"tokens": token_agreement, "spans": of_halves, "iou": token_iou}

SETS = hnp.arrays(bool, (2, T))


def tokens(*texts):
    """'.xx.' -> [[0, 1, 1, 0]]."""
    return np.array([[character == "x" for character in text] for text in texts])


def spans_of(row):
    spans, start = [], None
    for place, inside in enumerate([*row, False]):
        if inside and start is None:
            start = place
        elif not inside and start is not None:
            spans.append(set(range(start, place)))
            start = None
    return spans


def harmonic(precision, recall):
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def by_hand(found, true):
    """(precision, recall, F1) of two lists, by whether each has a partner."""
    nan = float("nan")
    precision = np.mean(found) if found else nan
    recall = np.mean(true) if true else nan
    return precision, recall, harmonic(precision if found else 0.0, recall)


def test_precision_recall_and_f1_of_tokens_by_hand():
    predicted = tokens(".xxx.....", "x........", ".........", ".xx......", ".........")
    marks = tokens("..xx.x...", ".x.......", ".x.......", ".........", ".........")
    nan = np.nan
    # Two of three, two of three marks; no hit; nothing predicted; nothing marked.
    expected = [
        [2 / 3, 0, nan, 0, nan],
        [2 / 3, 0, 0, nan, nan],
        [2 * 2 / (3 + 3), 0, 0, nan, nan],
    ]
    found = token_agreement(predicted, marks)
    np.testing.assert_allclose(np.stack(found), expected, rtol=1e-6)
    found = token_iou(predicted, marks)
    np.testing.assert_allclose(found, [2 / 4, 0, 0, nan, nan], rtol=1e-6)


def test_precision_recall_and_f1_of_spans_by_hand():
    # xxx. of .xxx: 2 of 4 tokens, a match at ½; x of xxxx: 1 of 4, none.
    predicted = tokens("xxx..x...")
    marks = tokens(".xxx.xxxx")
    found = of_halves(predicted, marks)
    np.testing.assert_allclose(np.stack(found), [[1 / 2], [1 / 2], [1 / 2]], rtol=1e-6)
    strict = span_agreement(predicted, marks, iou_threshold=0.51)
    np.testing.assert_array_equal(np.stack(strict), [[0], [0], [0]])
    whole = span_agreement(marks, marks, iou_threshold=1)
    np.testing.assert_array_equal(np.stack(whole), [[1], [1], [1]])
    loose = span_agreement(predicted, marks, iou_threshold=0.25)
    np.testing.assert_array_equal(np.stack(loose), [[1], [1], [1]])
    # At a third two spans match one, which is found once, or one finds two.
    several, one = tokens("x.x......"), tokens("xxx......")
    for pair in ((several, one), (one, several)):
        found = span_agreement(*pair, iou_threshold=1 / 3)
        np.testing.assert_array_equal(np.stack(found), [[1], [1], [1]])
    # Every other token: as many spans as there can be.
    most = tokens("x.x.x.x.x")
    np.testing.assert_array_equal(np.stack(of_halves(most, most)), [[1], [1], [1]])
    found = of_halves(most, tokens("........x"))
    np.testing.assert_allclose(np.stack(found), [[1 / 5], [1], [1 / 3]], rtol=1e-6)


def test_spans_without_a_partner_and_without_an_answer():
    predicted = tokens("xx.......", ".........", "xx.......", ".........")
    marks = tokens(".....xx..", ".....xx..", ".........", ".........")
    nan = np.nan
    expected = [[0, nan, 0, nan], [0, 0, nan, nan], [0, 0, nan, nan]]
    np.testing.assert_array_equal(np.stack(of_halves(predicted, marks)), expected)


@hypothesis.given(SETS, SETS, SETS)
def test_tokens_equal_their_definitions(predicted, marks, where):
    of_tokens = np.stack(token_agreement(predicted, marks, where=where))
    overlap = token_iou(predicted, marks, where=where)
    for row in range(len(marks)):
        found, true = (
            {t for t in range(T) if each[row, t] and where[row, t]}
            for each in (predicted, marks)
        )
        expected = by_hand([t in true for t in found], [t in found for t in true])
        np.testing.assert_allclose(of_tokens[:, row], expected, rtol=1e-6)
        iou = len(found & true) / len(found | true) if true else np.nan
        np.testing.assert_allclose(overlap[row], iou, rtol=1e-6)


# At a third two spans may match one, and one two.
@pytest.mark.parametrize("threshold", [0.5, 1 / 3])
@hypothesis.given(SETS, SETS, SETS)
def test_spans_equal_their_definition(threshold, predicted, marks, where):
    metric = functools.partial(span_agreement, iou_threshold=threshold)
    of_spans = np.stack(metric(predicted, marks, where=where))
    for row in range(len(marks)):
        found, true = (spans_of(e[row] & where[row]) for e in (predicted, marks))
        share = lambda p, m: len(p & m) / len(p | m)
        pairs = [[share(p, m) >= threshold for m in true] for p in found]
        expected = by_hand(
            [any(row) for row in pairs],
            [any(pairs[p][m] for p in range(len(found))) for m in range(len(true))],
        )
        np.testing.assert_allclose(of_spans[:, row], expected, rtol=1e-6)


@hypothesis.given(SETS, SETS)
def test_exchanging_the_sets_exchanges_precision_and_recall(predicted, marks):
    for metric in (token_agreement, of_halves):
        found, other = metric(predicted, marks), metric(marks, predicted)
        np.testing.assert_array_equal(found.precision, other.recall)
        both = predicted.any(axis=1) & marks.any(axis=1)
        np.testing.assert_array_equal(found.f1[both], other.f1[both])
    overlap, f1 = token_iou(predicted, marks), token_agreement(predicted, marks).f1
    np.testing.assert_allclose(overlap, f1 / (2 - f1), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(OF_SETS))
def test_padding_is_as_if_it_were_not_there(name):
    rng = np.random.default_rng(0)
    predicted, marks = rng.uniform(size=(2, 3, 7)) < 0.5
    predicted[:, 0] = marks[:, 0] = True
    junk = rng.uniform(size=(2, 3, 2)) < 0.5
    wide = [
        np.concatenate([more[:, :1], each, more[:, 1:]], axis=1)
        for each, more in zip((predicted, marks), junk, strict=True)
    ]
    where = np.broadcast_to(np.arange(T) % 8 > 0, (3, T))
    found = jax.tree.leaves(OF_SETS[name](*wide, where=where))
    expected = jax.tree.leaves(OF_SETS[name](predicted, marks))
    np.testing.assert_array_equal(found, expected)
    nothing = OF_SETS[name](*wide, where=np.zeros((1, 1), bool))
    assert all(np.isnan(values).all() for values in jax.tree.leaves(nothing))


def test_a_token_that_does_not_count_ends_a_span():
    predicted, marks = tokens("xxxx....."), tokens("xx.......")
    separator = np.arange(T)[None] != 2
    found = of_halves(predicted, marks, where=separator)
    np.testing.assert_allclose(np.stack(found), [[1 / 2], [1], [2 / 3]], rtol=1e-6)
    np.testing.assert_array_equal(np.stack(of_halves(predicted, marks)), [[1]] * 3)


SCORES = hnp.arrays(np.float32, (2, T), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0]))


@hypothesis.given(SCORES, SETS, SETS)
def test_with_as_many_as_are_marked_all_three_are_the_rank_accuracy(
    scores, marks, where
):
    k = np.sum(marks & where, axis=1, dtype=np.int32)
    found = top_k_agreement(scores, marks, k=k, where=where)
    expected = np.asarray(metrics.relevance_rank_accuracy(scores, marks, where=where))
    for values in found:
        np.testing.assert_allclose(values, expected, rtol=1e-6)


@hypothesis.given(SETS, SETS, st.integers(1, T))
def test_the_top_k_of_distinct_scores_are_a_set(marks, where, k):
    scores = np.random.default_rng(k).permuted(np.arange(2 * T).reshape(2, T), axis=1)
    order = np.argsort(np.where(where, -scores, 99), axis=1)
    top = np.zeros((2, T), bool)
    np.put_along_axis(top, order[:, :k], True, axis=1)
    found = top_k_agreement(
        scores.astype(np.float32), marks, k=np.int32(k), where=where
    )
    expected = np.array(token_agreement(top & where, marks, where=where))
    expected[:, where.sum(axis=1) < 2] = np.nan  # one score has no order
    np.testing.assert_allclose(np.stack(found), expected, rtol=1e-6)


def test_tokens_tied_at_the_last_place_share_it():
    scores = np.array([[3, 1, 1, 1, 0, 0, 0, 0, 0]], np.float32)
    # The marked ones of the top two: the first, and a third of a place.
    found = top_k_agreement(scores, tokens("xx......."), k=np.int32(2))
    np.testing.assert_allclose(np.stack(found), [[2 / 3]] * 3, rtol=1e-6)
    found = top_k_agreement(scores, tokens("xx......."), k=np.int32(3))
    both = 1 + 2 / 3
    np.testing.assert_allclose(
        np.stack(found), [[both / 3], [both / 2], [2 * both / 5]], rtol=1e-6
    )


def test_without_an_order_there_are_no_highest():
    scores = np.array([[1.0] * T, [np.nan, *range(1, T)], range(T)], np.float32)
    found = top_k_agreement(scores, np.ones((3, T), bool), k=np.int32(2))
    nan = np.nan
    expected = [[nan, nan, 1], [nan, nan, 2 / T], [nan, nan, 4 / (2 + T)]]
    np.testing.assert_allclose(np.stack(found), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="10"):
        metrics.top_k_agreement(scores, np.ones((3, T), bool), k=10)
    with pytest.raises(AssertionError):
        metrics.top_k_agreement(np.ones((1, T), np.int32), np.ones((1, T), bool), k=1)


def test_shares_of_the_attention_by_hand():
    attention = np.array([[0.5, 0.25, 0.25, 0.0]], np.float32)
    which = np.array([[False, True, True, True]])
    np.testing.assert_array_equal(attention_share(attention, which), [0.5])
    heads = np.array([[[0.5, 0.25, 0.25, 0.0], [2.0, 0.0, 2.0, 4.0]]], np.float32)
    # Half of the one, six eighths of the other.
    np.testing.assert_array_equal(attention_share(heads, which), [(0.5 + 0.75) / 2])


@hypothesis.given(
    hnp.arrays(np.int32, (2, 4), elements=st.integers(0, 2)),
    hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1, width=16)),
)
def test_shares_of_classes_that_divide_the_tokens_add_up_to_1(classes, attention):
    shares = [attention_share(attention, classes == number) for number in range(3)]
    some = (attention.sum(axis=-1) > 0).all(axis=1)
    np.testing.assert_allclose(
        np.sum(shares, axis=0), np.where(some, 1.0, np.nan), rtol=1e-5
    )
    empty = attention_share(attention, np.zeros((2, 4), bool))
    np.testing.assert_array_equal(empty, np.where(some, 0.0, np.nan))


def test_attention_that_is_none_has_no_share():
    nan = np.nan
    attention = np.array([[0, 0], [1, -1], [1, nan], [1, 3]], np.float32)
    which = np.array([[True, False]] * 4)
    np.testing.assert_array_equal(
        attention_share(attention, which), [nan, nan, nan, 1 / 4]
    )
    heads = np.stack([attention, attention[::-1]], axis=1)  # one of two heads
    assert np.isnan(attention_share(heads, which)).all()


def test_narrow_attention_is_summed_in_float32():
    attention = jnp.full((1, 300), 1 / 256, jnp.bfloat16)
    share = attention_share(attention, np.arange(300)[None] < 257)
    assert share.dtype == jnp.float32
    np.testing.assert_allclose(share, [257 / 300], rtol=1e-6)


def test_the_top_k_keep_what_every_metric_promises():
    scores = np.arange(T, 0, -1.0, np.float32)[None]
    marks = tokens("xxx......")
    metric = lambda scores, marks: metrics.top_k_agreement(scores, marks, k=2).f1
    testing.check_metric(
        metric, better=(scores, marks), worse=(-scores, marks), higher_is_better=True,
        bounds=(0.0, 1.0), scale_invariant=True,
        undefined=[(0 * scores, marks), (scores, marks & ~marks)],
    )  # fmt: skip


def test_shares_of_the_attention_keep_what_every_metric_promises():
    attention = np.arange(T, 0, -1.0, np.float32)[None]
    marks = tokens("xxx......")
    testing.check_metric(
        metrics.attention_share,
        better=(attention, marks), worse=(attention, marks & ~marks),
        higher_is_better=True, bounds=(0.0, 1.0), scale_invariant=True,
        undefined=[(0 * attention, marks), (-attention, marks)],
    )  # fmt: skip


def test_what_does_not_fit_is_refused():
    marks = tokens("xxx......")
    with pytest.raises(
        ValueError, match=r"`iou_threshold` \(=0\) must lie in \(0, 1\]"
    ):
        metrics.span_agreement(marks, marks, iou_threshold=0)
    with pytest.raises(AssertionError):
        metrics.token_agreement(marks.astype(np.float32), marks)
    with pytest.raises(AssertionError):
        metrics.token_iou(marks[:, :4], marks)
    with pytest.raises(AssertionError):
        metrics.attention_share(np.ones((1, 4), np.float32), marks)
    with pytest.raises(AssertionError):
        metrics.attention_share(np.ones((1, 2, T, T), np.float32), marks)
