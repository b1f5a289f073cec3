"""Energy and IoU of maps of any size, at a threshold of other maps."""

import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import evaluation, metrics

THRESHOLDS = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())


def regions(num, size=8):
    """A box that moves with the example."""
    region = np.zeros((num, size, size), bool)
    for i in range(num):
        region[i, 1 + i % 3 : 5 + i % 3, 2:6] = True
    return region


def maps_of(region, outside):
    """1 inside, `outside` in every second column elsewhere, else 0."""
    maps = np.where(region, 1.0, 0.0)
    maps[:, :, ::2][~region[:, :, ::2]] = outside
    return jnp.asarray(maps, jnp.float32)


def iou(maps, region, held_out, thresholds=THRESHOLDS):
    return evaluation.iou_at_held_out_threshold(
        maps, region, held_out=held_out, thresholds=thresholds
    )


def test_the_energy_of_a_coarse_map_counts_the_share_of_each_cell():
    maps = jnp.array([[[1.0, 3.0], [0.0, -5.0]]])
    region = np.zeros((1, 4, 4), bool)
    region[0, :2, 1:] = True  # half of the first cell, all of the second
    energy = evaluation.energy_in_region(maps, region)
    np.testing.assert_allclose(energy, [(0.5 * 1 + 3) / 4], rtol=1e-6)


def test_at_the_size_of_the_region_the_energy_is_the_metric():
    region = regions(4)
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8)), jnp.float32)
    maps = maps.at[2].set(0.0)
    expected = metrics.energy_pointing_game(maps, jnp.asarray(region, jnp.float32))
    energy = evaluation.energy_in_region(maps, region)
    np.testing.assert_allclose(energy, expected, rtol=1e-6)
    assert np.isnan(energy).tolist() == [False, False, True, False]


def test_the_threshold_is_the_best_one_of_the_held_out_maps():
    region, other = regions(4), regions(5)
    held_out = (maps_of(other, 0.5), other)
    # 0.5 is the first threshold that leaves out everything outside.
    found = iou(maps_of(region, 0.5), region, held_out)
    assert found.threshold == 0.5
    np.testing.assert_array_equal(found.iou, np.ones(4))
    # The test is not asked: what would be best there is 0.7.
    found = iou(maps_of(region, 0.7), region, held_out)
    assert found.threshold == 0.5
    # 16 cells of the box, and every second of the 48 others.
    np.testing.assert_allclose(found.iou, 16 / (16 + 24), rtol=1e-6)


def test_of_equal_thresholds_the_lowest_is_taken():
    region = regions(3)
    found = iou(
        maps_of(region, 0.0), region, (maps_of(region, 0.0), region), (0.3, 0.6)
    )
    assert found.threshold == 0.3


def test_the_ends_of_the_unit_interval_are_thresholds():
    region = regions(3)
    maps = maps_of(region, 0.0)
    # Above 0 lies the region and nothing else, above 1 nothing.
    found = iou(maps, region, (maps, region), (0.0, 1.0))
    assert found.threshold == 0
    np.testing.assert_array_equal(found.iou, np.ones(3))


def test_the_iou_is_the_metric_at_the_threshold():
    rng = np.random.default_rng(0)
    maps, tuning = jnp.asarray(rng.normal(size=(2, 6, 8, 8)), jnp.float32)
    region = regions(6)
    found = iou(maps, region, (tuning, region))
    evidence = jnp.asarray(region, jnp.float32)
    at = lambda m, t: np.asarray(metrics.iou(m, evidence, threshold=t))
    np.testing.assert_array_equal(found.iou, at(maps, found.threshold))
    best = max(THRESHOLDS, key=lambda t: at(tuning, t).mean())
    assert found.threshold == best


def test_an_undefined_map_has_no_iou_and_does_not_choose():
    region = regions(4)
    maps = maps_of(region, 0.5).at[1].set(1.0)
    found = iou(maps, region, (maps, region))
    assert np.isnan(found.iou).tolist() == [False, True, False, False]
    assert found.threshold == 0.5


def test_without_a_held_out_map_there_is_no_threshold_and_no_iou():
    region = regions(4)
    found = iou(maps_of(region, 0.5), region, (jnp.zeros((3, 8, 8)), regions(3)))
    assert np.isnan(found.threshold)
    assert np.isnan(found.iou).tolist() == [True] * 4


@pytest.mark.parametrize("thresholds", [(), (0.5, 1.5), (-0.1,)])
def test_thresholds_outside_the_unit_interval_are_refused(thresholds):
    region = regions(2)
    maps = maps_of(region, 0.5)
    with pytest.raises(ValueError, match=r"`thresholds` .* must lie in \[0, 1\]"):
        iou(maps, region, (maps, region), thresholds)
