import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import ops

NUM_CASES = 1000


def search_by_loop(maps, annotations):
    """The published search: all candidates against all cells, in float32."""
    values, signs = maps.ravel(), annotations.ravel()
    negative, positive = values[signs < 0], values[signs > 0]
    candidates = [*(negative + np.float32(1e-4)), *positive]
    best, best_score = np.float32(0), 0
    for candidate in candidates:
        # mean + mean over a common denominator, as whole numbers
        score = np.sum(candidate > negative) * max(len(positive), 1)
        score += np.sum(candidate <= positive) * max(len(negative), 1)
        if score > best_score:
            best, best_score = candidate, score
    return best


def random_cases():
    rng = np.random.default_rng(0)
    shape = (NUM_CASES, 2, 3, 3)
    maps = rng.uniform(size=shape)
    tied = np.round(4 * maps) / 4 + rng.choice([0.0, 1e-4], size=shape)
    maps = np.where(rng.uniform(size=(NUM_CASES, 1, 1, 1)) < 0.6, tied, maps)
    share = rng.dirichlet([0.6, 0.6, 0.6], size=NUM_CASES)[:, :, None, None, None]
    draw = rng.uniform(size=shape)
    annotations = np.where(
        draw < share[:, 0], -1, np.where(draw < 1 - share[:, 1], 0, 1)
    )
    return maps.astype(np.float32), annotations


class BalancedThresholdTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_pmap=True)
    def test_lies_just_above_the_negative_cell_that_it_separates(self):
        maps = jnp.array([[[0.9, 0.2], [0.6, 0.4]]])
        annotations = jnp.array([[[1, -1], [1, 0]]])
        threshold = self.variant(ops.balanced_threshold)(maps, annotations)
        # a = 0.2001: the negative lies below, both positives above, score 2.
        np.testing.assert_allclose(threshold, 0.2001, rtol=1e-6)


def test_equals_the_published_loop_exactly_on_1000_cases():
    maps, annotations = random_cases()
    found = jax.jit(jax.vmap(ops.balanced_threshold))(maps, annotations)
    expected = [search_by_loop(*case) for case in zip(maps, annotations, strict=True)]
    np.testing.assert_array_equal(found, np.array(expected))
    assert found.dtype == jnp.float32


# One compiled shape for all cases worked out by hand.
threshold_of = jax.jit(ops.balanced_threshold)
MAPS = jnp.array([[0.3, 0.1, 0.7]])


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        # 0.1001 and 0.7 both separate all; the negative's candidate comes first.
        ([0, -1, 1], 0.1001),
        # Scores of 0.1001, 0.7001 and 0.3: 1/2 + 1, 1 + 0 and 1/2 + 1.
        ([1, -1, -1], 0.1001),
        # Scores of 0.7001, 0.3 and 0.1: 1 + 0, 0 + 1/2 and 0 + 1.
        ([1, 1, -1], 0.7001),
        # Scores of 0.3001, 0.7001 and 0.1: 1/2 + 0, 1 + 0 and 0 + 1.
        ([-1, 1, -1], 0.7001),
    ],
)
def test_of_equal_scores_negative_cells_win_then_the_first(annotations, expected):
    found = threshold_of(MAPS, jnp.array([annotations]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [([1, 0, 1], 0.3), ([-1, -1, 0], 0.3001), ([0, 0, 0], 0.0)],
)
def test_a_missing_class_scores_nothing_and_none_gives_zero(annotations, expected):
    found = threshold_of(MAPS, jnp.array([annotations]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_candidate_that_classifies_no_cell_rightly_leaves_zero():
    # At 5000 the margin of 1e-4 is lost in float32, so the candidate is not above.
    found = threshold_of(MAPS + 5000.0, jnp.array([[-1, 0, 0]]))
    np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize("num_cells", [300, 200_000])
def test_scores_of_many_cells_are_compared_exactly(num_cells):
    rng = np.random.default_rng(3)
    signs = rng.choice([-1, 1], size=num_cells, p=[0.4, 0.6])
    maps = (rng.normal(size=signs.shape) + 2 * signs).astype(np.float32)
    negative, positive = maps[signs < 0], maps[signs > 0]
    candidates = np.concatenate([negative + np.float32(1e-4), positive])
    below = np.searchsorted(np.sort(negative), candidates)
    above = len(positive) - np.searchsorted(np.sort(positive), candidates)
    scores = below * len(positive) + above * len(negative)  # int64
    # More than one digit to the base 2^10, and more than 32 bits.
    assert scores.max() > (2**33 if num_cells == 200_000 else 2**10)
    found = threshold_of(maps[None], signs[None])
    np.testing.assert_array_equal(found, candidates[np.argmax(scores)])


def test_all_devices_get_the_threshold_of_the_whole_batch():
    maps, annotations = random_cases()
    sharded = jax.pmap(
        functools.partial(ops.balanced_threshold, axis_name="devices"),
        axis_name="devices",
    )(maps[:4], annotations[:4])
    whole = search_by_loop(maps[:4], annotations[:4])
    np.testing.assert_array_equal(sharded, np.full(4, whole))
    alone = [search_by_loop(maps[i], annotations[i]) for i in range(4)]
    assert len(np.unique(alone)) > 1


def test_the_gradient_is_the_one_of_the_cell_that_was_chosen():
    gradient = jax.jit(jax.grad(ops.balanced_threshold))(MAPS, jnp.array([[1, -1, 1]]))
    np.testing.assert_array_equal(gradient, [[0.0, 1.0, 0.0]])


def test_works_in_float64(x64):
    threshold = ops.balanced_threshold(
        jnp.array([[0.9, 0.2]]), jnp.array([[1.0, -1.0]])
    )
    assert threshold.dtype == jnp.float64
    np.testing.assert_allclose(threshold, 0.2001, rtol=1e-14)


def test_too_many_cells_are_refused():
    maps = jax.ShapeDtypeStruct((2, 2**20 + 1), jnp.float32)
    with pytest.raises(
        ValueError, match=r"`maps` \(=2097154 cells\) must have at most"
    ):
        jax.eval_shape(ops.balanced_threshold, maps, maps)
    most = jax.ShapeDtypeStruct((2, 2**20), jnp.float32)
    assert jax.eval_shape(ops.balanced_threshold, most, most).shape == ()
