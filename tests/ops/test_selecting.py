import functools

import chex
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from xguide_jax import ops

# n = 12 scores an example. Each new shape compiles a pass for each bit of the dtype, so
# there are few shapes, and float16 where the dtype does not matter.
SHAPE = (4, 3, 4)
MASKS = {"bottom": ops.bottom_k_mask, "top": ops.top_k_mask}

# Ties, both zeros, infinities, subnormal and neighbouring numbers.
SCORES = hnp.arrays(
    np.float32,
    SHAPE,
    elements=st.one_of(
        st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 1e-45, -1e-45, 1.0, np.inf]),
        st.floats(width=32, allow_nan=False),
    ),
    fill=st.nothing(),
)
COUNTS = hnp.arrays(np.int32, SHAPE[:1], elements=st.integers(0, 14))
VALID = hnp.arrays(np.bool_, SHAPE, fill=st.nothing())


def sorted_mask(scores, k, where=None, *, end="bottom"):
    """The oracle: a stable argsort, invalid scores behind all others."""
    scores = np.asarray(scores)
    rows = scores.reshape(len(scores), -1).astype(np.float64)
    valid = np.ones_like(rows, bool) if where is None else np.reshape(where, rows.shape)
    mask = np.zeros_like(rows, bool)
    for row, ok, count, out in zip(
        rows, valid, np.broadcast_to(k, len(rows)), mask, strict=True
    ):
        order = np.lexsort((row if end == "bottom" else -row, ~ok))
        out[order[: min(count, ok.sum())]] = True
    return mask.reshape(scores.shape)


def tied_scores(seed=0, dtype=jnp.float16):
    return jax.random.randint(jax.random.key(seed), SHAPE, -2, 3).astype(dtype)


def test_takes_the_two_lowest_and_the_two_highest():
    scores = [[3.0, -1.0, 2.0, 0.5], [0.0, 5.0, -jnp.inf, jnp.inf]]
    scores = jnp.array(scores, jnp.float16)
    # Row 0 ascending: -1 (place 1), 0.5 (3), 2 (2), 3 (0).
    # Row 1 ascending: -inf (place 2), 0 (0), 5 (1), inf (3).
    low = [[False, True, False, True], [True, False, True, False]]
    np.testing.assert_array_equal(ops.bottom_k_mask(scores, 2), low)
    np.testing.assert_array_equal(ops.top_k_mask(scores, 2), np.logical_not(low))


def test_ties_go_to_the_lowest_flat_index_at_both_ends():
    scores = jnp.array([[1.0, 0.0, -0.0, 1.0], [2.0, -0.0, 0.0, 2.0]], jnp.float16)
    # The zeros at places 1 and 2 tie, whatever their signs; so do the ones and twos.
    for k, low, high in (
        (1, [False, True, False, False], [True, False, False, False]),
        (3, [True, True, True, False], [True, True, False, True]),
    ):
        np.testing.assert_array_equal(ops.bottom_k_mask(scores, k), [low, low])
        np.testing.assert_array_equal(ops.top_k_mask(scores, k), [high, high])


@pytest.mark.parametrize("end", MASKS)
def test_a_blank_map_loses_its_first_k_places(end):
    mask = MASKS[end](
        jnp.zeros(SHAPE, jnp.float16), 5
    )  # all 12 scores tie, 7 of them stay
    np.testing.assert_array_equal(mask.reshape(4, 12), [[True] * 5 + [False] * 7] * 4)


@pytest.mark.parametrize("end", MASKS)
@hypothesis.given(scores=SCORES, k=COUNTS)
def test_equals_a_stable_sort(end, scores, k):
    np.testing.assert_array_equal(
        MASKS[end](jnp.asarray(scores), jnp.asarray(k)), sorted_mask(scores, k, end=end)
    )


@pytest.mark.parametrize("end", MASKS)
@hypothesis.given(scores=SCORES, k=COUNTS, where=VALID)
def test_equals_a_stable_sort_of_the_valid_scores(end, scores, k, where):
    mask = MASKS[end](jnp.asarray(scores), jnp.asarray(k), where=jnp.asarray(where))
    np.testing.assert_array_equal(mask, sorted_mask(scores, k, where, end=end))


@pytest.mark.parametrize("end", MASKS)
def test_selects_exactly_k_for_every_k(end):
    for k in range(13):
        mask = MASKS[end](tied_scores(), k)
        np.testing.assert_array_equal(mask.sum((1, 2)), [k] * 4)
        np.testing.assert_array_equal(mask, sorted_mask(tied_scores(), k, end=end))


@pytest.mark.parametrize("end", MASKS)
def test_nothing_is_computed_to_select_nothing(end):
    cost = jax.jit(lambda x: MASKS[end](jnp.sin(x), 0)).lower(tied_scores()).compile()
    assert cost.cost_analysis().get("transcendentals", 0) == 0
    with pytest.raises(ValueError, match="`scores` must not be NaN"):
        MASKS[end](jnp.full(SHAPE, jnp.nan), 0)


def test_k_of_each_example_is_clipped_to_its_valid_scores():
    where = jnp.arange(12).reshape(1, 3, 4) < jnp.array([0, 1, 5, 12])[:, None, None]
    for k in (jnp.array(6), jnp.array([0, 99, 6, 6])):
        mask = ops.bottom_k_mask(tied_scores(), k, where=where)
        np.testing.assert_array_equal(mask.sum((1, 2)), [0, 1, 5, 6])
    np.testing.assert_array_equal(
        ops.bottom_k_mask(tied_scores(), 6, where=where).sum((1, 2)), [0, 1, 5, 6]
    )


def test_where_is_broadcast_and_its_excluded_places_never_chosen():
    where = jnp.array([True, False, True, True])[None, None]  # no second column
    mask = ops.top_k_mask(tied_scores().at[:, :, 1].set(9.0), 9, where=where)
    np.testing.assert_array_equal(mask, np.broadcast_to(where, SHAPE))


@pytest.mark.parametrize("largest", [jnp.float16(jnp.inf), jnp.uint8(255)])
def test_the_largest_valid_scores_beat_invalid_places_that_come_first(largest):
    where = jnp.arange(12).reshape(1, 3, 4) > 7  # the last of three rows
    mask = ops.bottom_k_mask(jnp.full(SHAPE, largest), 1, where=where)
    np.testing.assert_array_equal(np.flatnonzero(mask[0]), [8])


@pytest.mark.parametrize("end", MASKS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "int32", "uint8"])
def test_narrow_floats_and_integers_are_ordered_too(end, dtype):
    scores = tied_scores(1, jnp.int32) * 45  # -90 to 90
    scores = (jnp.abs(scores) * 2 if dtype == "uint8" else scores).astype(dtype)
    mask = MASKS[end](scores, 5)
    np.testing.assert_array_equal(
        mask, sorted_mask(scores.astype(jnp.float32), 5, end=end)
    )


def test_float64_scores_are_not_rounded(x64):
    # Steps of 1e-12 beside 1 vanish in float32, where all of these would tie.
    steps = jax.random.permutation(jax.random.key(0), 12).reshape(1, 12)
    scores = 1 + 1e-12 * (steps - 6).astype(jnp.float64)
    np.testing.assert_array_equal(ops.bottom_k_mask(scores, 5), steps < 5)


@pytest.mark.parametrize("num_scores", [1, 127, 128, 131, 300])
def test_many_ties_in_rows_of_any_length(num_scores):
    scores = jax.random.randint(jax.random.key(2), (2, num_scores), 0, 3)
    scores = scores.astype(jnp.uint8)
    for k in (0, num_scores // 3, num_scores - 1, num_scores):
        mask = ops.bottom_k_mask(scores, k)
        np.testing.assert_array_equal(mask, sorted_mask(scores, k))


@pytest.mark.parametrize("end", MASKS)
def test_many_scores_take_the_same_passes_unrolled(end):
    # Above 2^17 scores; three quarters of these tie at 0.
    noise = jax.random.normal(jax.random.key(3), (2, 65_543))
    scores = jnp.where(jnp.arange(65_543) % 4 == 0, noise, 0.0)
    k = jnp.array([4_000, 36_000])
    np.testing.assert_array_equal(
        MASKS[end](scores, k), sorted_mask(scores, k, end=end)
    )


def test_empty_batches_and_empty_examples():
    assert ops.bottom_k_mask(jnp.zeros((0, 3), jnp.int8), 2).shape == (0, 3)
    assert ops.bottom_k_mask(jnp.zeros((2, 0), jnp.int8), 0).shape == (2, 0)
    mask = ops.bottom_k_mask(jnp.zeros(2, jnp.int8), 1)  # one score an example
    np.testing.assert_array_equal(mask, [True, True])


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    @parameterized.named_parameters(*((end, end) for end in MASKS))
    def test_is_the_same_mask_however_it_is_compiled(self, end):
        scores, k = tied_scores(3), jnp.array([0, 3, 7, 12])
        mask = self.variant(MASKS[end])(scores, k)
        np.testing.assert_array_equal(mask, sorted_mask(scores, k, end=end))

    @chex.variants(with_jit=True, without_jit=True)
    def test_depends_on_the_order_of_the_scores_only(self):
        mask_fn = self.variant(functools.partial(ops.bottom_k_mask, k=5))
        scores = jax.random.permutation(jax.random.key(4), 48).reshape(SHAPE) - 24
        scores = scores.astype(jnp.float16)
        mask = mask_fn(scores)
        np.testing.assert_array_equal(mask_fn(scores**3 / 8 + 1), mask)
        np.testing.assert_array_equal(ops.top_k_mask(-scores, 5), mask)
        np.testing.assert_array_equal(ops.top_k_mask(scores, 7), ~mask)


def test_examples_do_not_see_each_other():
    scores, k = tied_scores(5), jnp.array([1, 4, 6, 11])
    mask = ops.bottom_k_mask(scores, k)
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_array_equal(
        ops.bottom_k_mask(scores[order], k[order]), mask[order]
    )
    mapped = jax.vmap(ops.bottom_k_mask)(scores[:, None], k[:, None])
    np.testing.assert_array_equal(mapped[:, 0], mask)
    sharded = jax.pmap(ops.bottom_k_mask)(scores[:, None], k[:, None])
    np.testing.assert_array_equal(sharded[:, 0], mask)


def test_gradient_passes_the_mask_by():
    scores = tied_scores(6)

    @jax.jit
    @jax.grad
    def gradient(scores):
        return jnp.sum(jnp.where(ops.bottom_k_mask(scores, 5), 3 * scores, scores))

    expected = jnp.where(sorted_mask(scores, 5), 3.0, 1.0)
    np.testing.assert_array_equal(gradient(scores), expected)


def test_neither_sorts_nor_scatters():
    program = str(jax.make_jaxpr(lambda s: ops.bottom_k_mask(s, 3))(tied_scores()))
    for primitive in ("sort", "top_k", "scatter", "cumsum"):
        assert f"{primitive}[" not in program


@pytest.mark.parametrize("end", MASKS)
def test_nan_is_refused_outside_jit_and_ranks_last_inside(end):
    scores = tied_scores(7).at[1, 0, 2].set(jnp.nan).at[3, 2, 3].set(-jnp.nan)
    with pytest.raises(ValueError, match=r"`scores` must not be NaN; .* rows \[1, 3\]"):
        MASKS[end](scores, 5)
    mask_fn = jax.jit(MASKS[end])
    for k in (11, 12):
        mask = mask_fn(scores, jnp.array(k))
        np.testing.assert_array_equal(mask, sorted_mask(scores, k, end=end))
        np.testing.assert_array_equal(mask[1, 0, 2], k == 12)
    where = ~jnp.isnan(scores)
    mask = MASKS[end](scores, 11, where=where)
    np.testing.assert_array_equal(mask, sorted_mask(scores, 11, where, end=end))
    where = jnp.ones_like(where).at[1, 0, 2].set(False).at[3, 0, 0].set(False)
    mask = jax.jit(MASKS[end])(scores, jnp.array(11), where=where)
    np.testing.assert_array_equal(mask, sorted_mask(scores, 11, where, end=end))
    assert mask[3, 2, 3]  # all 11 valid scores, NaN among them
    assert not mask[1, 0, 2]


def test_infinities_come_before_nan():
    scores = jnp.array([[jnp.nan, jnp.inf, -jnp.inf]], jnp.float16)
    for mask_fn in MASKS.values():
        mask = jax.jit(functools.partial(mask_fn, k=2))(scores)
        np.testing.assert_array_equal(mask, [[False, True, True]])


@pytest.mark.parametrize("mask_fn", MASKS.values())
def test_errors_name_the_argument_and_the_rule(mask_fn):
    scores = tied_scores()
    with pytest.raises(ValueError, match=r"`k` \(=-1\) must lie in \[0, n\], n = 12"):
        mask_fn(scores, -1)
    with pytest.raises(ValueError, match=r"`k` \(=13\) must lie in \[0, n\], n = 12"):
        jax.jit(functools.partial(mask_fn, k=13))(scores)
    with pytest.raises(ValueError, match=r"`k` \(=\[ 1 -2  0  3\]\) must not be neg"):
        mask_fn(scores, jnp.array([1, -2, 0, 3]))
    with pytest.raises(ValueError, match="`scores` must have a batch axis"):
        mask_fn(jnp.array(1.0), 0)
    with pytest.raises(TypeError, match="float"):
        mask_fn(scores, 2.0)
    with pytest.raises(AssertionError, match="has type float32 but expected"):
        mask_fn(scores, jnp.ones(4))
    with pytest.raises(AssertionError, match="has type float32 but expected"):
        mask_fn(scores, 2, where=jnp.ones(SHAPE))
    with pytest.raises(AssertionError, match="rank"):
        mask_fn(scores, 2, where=jnp.ones((3, 4), bool))
    with pytest.raises(ValueError, match="broadcast"):
        mask_fn(scores, jnp.array([1, 2]))
