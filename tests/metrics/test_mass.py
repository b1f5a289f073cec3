"""Precision and recall by mass: by hand, against a loop, what is left out."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics, testing

TENTHS = tuple(np.arange(1, 10) / 10)
MAPS = np.array([[[4.0, -3.0], [2.0, 1.0]]], np.float32)
REGION = np.array([[[1.0, 0.0], [1.0, 0.0]]], np.float32)


@functools.partial(jax.jit, static_argnames="fractions")
def curves(maps, region, where=None, *, fractions=TENTHS):
    return metrics.mass_precision_recall(maps, region, fractions=fractions, where=where)


def by_hand(mass, inside, share):
    """The shortest prefix of the descending order that holds the share."""
    order = np.argsort(-mass)
    held, chosen = 0.0, []
    for cell in order:
        if held >= share * mass.sum() * (1 - 1e-6) and chosen:
            break
        held += mass[cell]
        chosen.append(cell)
    hits = (mass * inside)[chosen].sum()
    return hits / mass[chosen].sum(), hits / (mass * inside).sum()


def test_four_cells_by_hand():
    # Of 10, magnitudes 4, 3, 2, 1: 0.4 is the first cell, 0.7 two, 0.9 three.
    precision, recall = curves(MAPS, REGION, fractions=(0.4, 0.5, 0.7, 0.9, 1.0))
    np.testing.assert_allclose(precision[0], [1, 4 / 7, 4 / 7, 6 / 9, 0.6], rtol=1e-6)
    np.testing.assert_allclose(recall[0], [4 / 6, 4 / 6, 4 / 6, 1, 1], rtol=1e-6)


@hypothesis.given(st.integers(0, 10_000))
def test_it_is_that_of_a_loop_over_the_cells(seed):
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(2, 3, 4)).astype(np.float32)
    region = (rng.random((2, 3, 4)) < 0.4).astype(np.float32)
    region[:, 0, 0] = 1
    found = curves(maps, region)
    for b in range(2):
        mass, inside = np.abs(maps[b]).ravel(), region[b].ravel()
        expected = np.array([by_hand(mass, inside, share) for share in TENTHS]).T
        np.testing.assert_allclose(
            [found.precision[b], found.recall[b]], expected, rtol=1e-5
        )


def test_the_ceiling_of_the_published_areas():
    """A perfect map: precision 1 throughout, an area of 0.8 as published."""
    cells = np.arange(1.0, 101).reshape(1, 10, 10).astype(np.float32)
    region = (cells > 50).astype(np.float32)
    precision, recall = curves(cells * region, region)
    area = metrics.area_under_curve(precision, fractions=TENTHS)
    np.testing.assert_allclose(area, [1.0], rtol=1e-6)
    np.testing.assert_allclose(np.trapezoid(precision, TENTHS), [0.8], rtol=1e-6)
    # Its recall is the share of the mass that was asked for.
    np.testing.assert_allclose(recall[0], TENTHS, atol=0.03)


def test_equal_cells_come_together():
    maps = jnp.ones((1, 2, 2))
    precision, recall = curves(maps, REGION, fractions=(0.1, 0.9))
    np.testing.assert_allclose(precision, [[0.5, 0.5]])
    np.testing.assert_allclose(recall, [[1, 1]])


def test_padding_and_what_it_holds_count_nowhere():
    padded = np.concatenate([MAPS, np.full((1, 1, 2), np.nan)], 1, dtype=np.float32)
    region = np.concatenate([REGION, np.ones((1, 1, 2))], 1, dtype=np.float32)
    where = np.broadcast_to(np.arange(3)[:, None] < 2, padded.shape)
    for found, expected in zip(
        curves(padded, region, where), curves(MAPS, REGION), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isnan(curves(padded, region).precision).all()


def test_nothing_found_is_a_recall_of_0_and_nothing_to_find_is_undefined():
    outside = curves(MAPS * (1 - REGION), REGION)
    np.testing.assert_array_equal(outside, np.zeros((2, 1, 9)))
    for maps, region in ((0 * MAPS, REGION), (MAPS, 0 * REGION)):
        assert np.isnan(curves(maps, region)).all()


def test_of_time_and_of_features_alone():
    """Sums of magnitudes 7 and 3 by step, 6 and 4 by feature."""
    by_time = curves(np.abs(MAPS).sum(-1), REGION.max(-1), fractions=(0.5, 1.0))
    np.testing.assert_allclose(by_time.precision, [[1, 1]])
    by_feature = curves(np.abs(MAPS).sum(1), REGION.max(1), fractions=(0.5, 1.0))
    np.testing.assert_allclose(by_feature.precision, [[1, 0.6]], rtol=1e-6)


@pytest.mark.parametrize("of", ["precision", "recall"])
def test_its_areas_keep_the_promises_of_metrics(of):
    # Curves as one program: shapes are few, and operations one by one are slow.
    area = lambda maps, region: metrics.area_under_curve(
        getattr(curves(maps, region), of), fractions=TENTHS
    )
    worse = np.array([[[1.0, -4.0], [0.5, 3.0]]], np.float32)
    testing.check_metric(
        area,
        better=(MAPS, REGION),
        worse=(worse, REGION),
        higher_is_better=True,
        bounds=(0.0, 1.0),
        scale_invariant=True,
        undefined=[(0 * MAPS, REGION), (MAPS, 0 * REGION)],
    )


def test_shares_that_are_none_are_refused():
    with pytest.raises(ValueError, match="fractions"):
        curves(MAPS, REGION, fractions=(0.5, 0.2))
    with pytest.raises(ValueError, match="region"):
        metrics.mass_precision_recall(MAPS, 255 * REGION, fractions=TENTHS)
