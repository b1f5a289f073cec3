"""Mass and rank accuracy, average precision, tolerance, and cells that do not count."""

import functools
import itertools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

MAPS = np.array([[[3.0, -2.0, 1.0], [0.0, 1.0, -5.0]]], np.float32)
REGION = np.array([[[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]], np.float32)
OF_MAPS = {
    "average_precision": metrics.average_precision,
    "energy": metrics.energy_pointing_game,
    "iou": functools.partial(metrics.iou, threshold=0.4),
    "mass": metrics.relevance_mass_accuracy,
    "pointing": metrics.pointing_game,
    "rank": metrics.relevance_rank_accuracy,
}
OF_REGIONS = {name: jax.jit(metric) for name, metric in OF_MAPS.items()}


@functools.partial(jax.jit, static_argnames="tolerance")
def pointing(maps, region, *, tolerance):
    return metrics.pointing_game(maps, region, tolerance=tolerance)


def precision_by_hand(scores, inside):
    """Over all thresholds, highest first: precision times the step of recall."""
    total, before = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        hits = sum(
            bool(i) for s, i in zip(scores, inside, strict=True) if s >= threshold
        )
        total += hits / sum(s >= threshold for s in scores) * (hits - before)
        before = hits
    return total / sum(bool(i) for i in inside)


def rank_by_hand(scores, inside):
    """The mean over all orders of the cells, equal ones in any order."""
    k, found, orders = int(sum(inside)), 0, 0
    for order in itertools.permutations(range(len(scores))):
        sorted_scores = [scores[i] for i in order]
        if sorted_scores == sorted(scores, reverse=True):
            found += sum(inside[i] for i in order[:k])
            orders += 1
    return found / orders / k


def test_mass_and_rank_accuracy_and_average_precision_by_hand():
    # |A| = 3 + 2 + 1 of 12 inside; of the three highest, 3, 1 and 1, two are inside.
    found = {name: float(OF_REGIONS[name](MAPS, REGION)[0]) for name in OF_REGIONS}
    np.testing.assert_allclose(found["mass"], 6 / 12, rtol=1e-6)
    np.testing.assert_allclose(found["rank"], 2 / 3, rtol=1e-6)
    # At 3 one of one; at 1 two of three; at -2, after 0, three of five.
    expected = (1 / 1 + 2 / 3 + 3 / 5) / 3
    np.testing.assert_allclose(found["average_precision"], expected, rtol=1e-6)
    np.testing.assert_allclose(found["energy"], 4 / 5, rtol=1e-6)


def test_ties_at_the_last_place_share_it():
    maps = np.array([[2.0, 1, 1, 1], [2, 0, 0, 0], [0, 0, 0, 2]], np.float32)
    region = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]])
    # The peak and a third of a place; half of one of three places, twice; likewise.
    expected = [(1 + 1 / 3) / 2, (1 / 3 + 1 / 3) / 2, (1 / 3 + 1 / 3) / 2]
    found = metrics.relevance_rank_accuracy(maps, region)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


SMALL = hnp.arrays(np.float32, (2, 5), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0]))


@hypothesis.given(SMALL, hnp.arrays(bool, (2, 5)))
def test_ranking_metrics_equal_their_definitions(maps, region):
    for name, by_hand in (
        ("rank", rank_by_hand), ("average_precision", precision_by_hand),
    ):  # fmt: skip
        found = np.asarray(OF_REGIONS[name](maps, region))
        for row, value in enumerate(found):
            if region[row].any() and len(set(maps[row])) > 1:
                expected = by_hand(maps[row].tolist(), region[row].tolist())
                np.testing.assert_allclose(value, expected, rtol=1e-5)
            else:
                assert np.isnan(value)


def test_average_precision_equals_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    maps = rng.integers(-4, 5, size=(8, 60)).astype(np.float32)
    maps[4:] = rng.normal(size=(4, 60))
    region = rng.uniform(size=maps.shape) < 0.3
    expected = [
        sklearn.average_precision_score(inside, scores)
        for inside, scores in zip(region, maps, strict=True)
    ]
    found = OF_REGIONS["average_precision"](maps, region)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(OF_REGIONS))
def test_a_perfect_map_is_1_and_an_inverted_one_is_below(name):
    rng = np.random.default_rng(1)
    region = np.zeros((1, 3, 4), np.float32)
    region[:, 1:, 2:] = 1
    noise = 0.1 * rng.uniform(size=region.shape).astype(np.float32)
    perfect = region + np.where(region > 0, noise, 0)
    maps = np.concatenate([perfect, 1.2 - perfect])
    good, bad = OF_REGIONS[name](maps, np.repeat(region, 2, axis=0))
    np.testing.assert_allclose(good, 1.0, rtol=1e-6)
    assert bad < 0.5


@pytest.mark.parametrize("name", sorted(OF_REGIONS))
def test_undefined_is_nan_in_its_row_alone(name):
    maps = np.repeat(MAPS, 5, axis=0)
    region = np.repeat(REGION, 5, axis=0)
    maps[1] = 0.0
    maps[2, 0, 1] = np.nan
    region[3] = 0.0
    expected = OF_REGIONS[name](maps[:1], region[:1])[0]
    found = OF_REGIONS[name](maps, region)
    np.testing.assert_array_equal(found, [expected, np.nan, np.nan, np.nan, expected])
    assert not np.isnan(expected)


def test_constant_maps_and_full_regions_by_metric():
    ones, full = np.ones((1, 4), np.float32), np.ones((1, 4))
    half, varied = np.array([[1, 1, 0, 0]]), np.arange(4, dtype=np.float32)[None]
    expected = {
        "average_precision": np.nan, "energy": 0.5, "iou": np.nan, "mass": 0.5,
        "pointing": np.nan, "rank": np.nan,
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_array_equal(OF_REGIONS[name](ones, half), [value])
        if name != "iou":
            np.testing.assert_array_equal(OF_REGIONS[name](varied, full), [1.0])
    np.testing.assert_array_equal(
        metrics.relevance_mass_accuracy(-ones, half), [0.5]
    )  # where the energy is undefined
    assert np.isnan(metrics.energy_pointing_game(-ones, half))


@pytest.mark.parametrize("name", sorted(OF_REGIONS))
def test_a_positive_factor_changes_nothing(name):
    rng = np.random.default_rng(2)
    maps = rng.normal(size=(3, 4, 5)).astype(np.float32)
    region = rng.uniform(size=maps.shape) < 0.4
    found = OF_REGIONS[name](maps, region)
    for factor in (2.0**-10, 1024.0):
        np.testing.assert_allclose(
            OF_REGIONS[name](factor * maps, region), found, rtol=1e-6
        )
    assert np.all((found >= 0) & (found <= 1))


@pytest.mark.parametrize("name", [*sorted(OF_REGIONS), "precision_recall"])
def test_padded_tokens_are_as_if_they_were_not_there(name):
    metric = OF_MAPS.get(
        name, functools.partial(metrics.explanation_precision_recall, threshold=0.6)
    )
    rng = np.random.default_rng(3)
    maps = rng.uniform(0.2, 1, size=(3, 9)).astype(np.float32)
    region = (rng.uniform(size=maps.shape) < 0.4).astype(np.float32)
    region[:, 2], maps[:, 2] = 1, 0.9
    if name == "precision_recall":
        region = 2 * region - 1
    where = np.arange(9) < np.array([[9], [5], [4]])
    padded = np.where(where, maps, [[0.0], [7.0], [np.nan]]).astype(np.float32)
    annotation = np.where(where, region, 1.0)
    metric = jax.jit(metric)
    found = jax.tree.leaves(metric(padded, annotation, where=where))
    for row, length in enumerate((9, 5, 4)):
        cut = (maps[row : row + 1, :length], region[row : row + 1, :length])
        singles = jax.tree.leaves(metric(*cut))
        for values, single in zip(found, singles, strict=True):
            np.testing.assert_allclose(values[row], single[0], rtol=1e-6)
            assert not np.isnan(single[0])
    nothing = jax.tree.leaves(metric(maps, region, where=np.zeros((1, 1), bool)))
    assert all(np.isnan(values).all() for values in nothing)


def test_a_cell_that_is_half_covered_is_not_of_the_region():
    maps = np.array([[3.0, 2.0, 1.0]], np.float32)
    region = np.array([[0.5, 1.0, 0.0]], np.float32)
    # The highest cell is not of it, the second is all of it.
    wanted = {"average_precision": 0.5, "iou": 0.0, "pointing": 0.0, "rank": 0.0}
    metric = OF_MAPS | {"iou": functools.partial(metrics.iou, threshold=0.9)}
    for name, value in wanted.items():
        np.testing.assert_allclose(metric[name](maps, region), [value], err_msg=name)


def test_padding_does_not_make_a_constant_map_vary():
    maps = np.array([[0.5, 0.5, 7.0], [0.5, 0.5, -7.0]], np.float32)
    region = np.array([[1.0, 0.0, 0.0]] * 2, np.float32)
    found = metrics.pointing_game(maps, region, where=np.array([[True, True, False]]))
    assert np.isnan(found).all()


def test_where_must_be_bool_and_of_the_maps_rank():
    for where in (
        np.ones((1, 2, 3), np.float32),
        np.ones(3, bool),
        np.ones((1, 2, 2), bool),
    ):
        with pytest.raises(AssertionError):
            metrics.energy_pointing_game(MAPS, REGION, where=where)


def test_the_pointing_game_forgives_a_euclidean_distance():
    maps = np.zeros((2, 7, 9), np.float32)
    maps[0, 1, 2] = maps[1, 6, 0] = 1
    region = np.zeros((2, 7, 9))
    region[:, 4, 6] = 1  # 3 down and 4 right of the first peak, 2 up and 6 of the other
    for tolerance, expected in ((0, [0, 0]), (4, [0, 0]), (5, [1, 0]), (7, [1, 1])):
        found = pointing(maps, region, tolerance=tolerance)
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(pointing(-maps, region, tolerance=7), [0, 0])
    with pytest.raises(ValueError, match=r"`tolerance` \(=-1\) must not be negative"):
        metrics.pointing_game(maps, region, tolerance=-1)


def test_magnitudes_count_in_the_mass_and_not_in_the_energy():
    maps = np.array([[1.0, -3.0]], np.float32)
    region = np.array([[0.0, 0.5]])
    np.testing.assert_allclose(metrics.relevance_mass_accuracy(maps, region), [1.5 / 4])
    np.testing.assert_allclose(metrics.energy_pointing_game(maps, region), [0.0])
    faint = np.float32(1e-30) * maps
    np.testing.assert_allclose(metrics.relevance_mass_accuracy(faint, region), [0.375])


@pytest.mark.parametrize("name", sorted(OF_REGIONS))
def test_any_rank_gives_the_same(name):
    flat = OF_REGIONS[name](MAPS.reshape(1, 6), REGION.reshape(1, 6))
    np.testing.assert_allclose(OF_REGIONS[name](MAPS, REGION), flat, rtol=1e-6)
    volume = OF_REGIONS[name](MAPS[..., None], REGION[..., None])
    np.testing.assert_allclose(volume, flat, rtol=1e-6)


def test_bfloat16_maps_and_bool_regions_give_float32():
    maps = jnp.asarray(MAPS, jnp.bfloat16)
    for name in ("mass", "rank", "average_precision"):
        found = OF_REGIONS[name](maps, REGION > 0)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, OF_REGIONS[name](MAPS, REGION), rtol=1e-6)
