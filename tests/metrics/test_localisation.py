import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

ATTRIBUTIONS = np.array([[[2.0, -1.0], [1.0, 1.0]]], np.float32)
REGION = np.array([[[1.0, 0.0], [1.0, 0.0]]], np.float32)


@jax.jit
def region_metrics(maps, region):
    """All three metrics of a map and a region, [3, B]."""
    return jnp.stack(
        [
            metrics.energy_pointing_game(maps, region),
            metrics.pointing_game(maps, region),
            metrics.iou(maps, region, threshold=0.5),
        ]
    )


@jax.jit
def annotation_metrics(maps, annotations):
    """Precision, recall and F1, [3, B]."""
    return jnp.stack(
        metrics.explanation_precision_recall(maps, annotations, threshold=0.5)
    )


class WorkedExampleTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_values_are_those_worked_out_by_hand(self):
        found = self.variant(region_metrics)(ATTRIBUTIONS, REGION)
        # (2 + 1) / (2 + 1 + 1); the peak of 2 lies inside; of the positive part
        # [1, 0, 0.5, 0.5] one cell is strictly above 0.5, of a region of two.
        np.testing.assert_allclose(found[:, 0], [0.75, 1.0, 0.5], rtol=1e-6)


def test_precision_recall_and_f1_worked_out_by_hand():
    maps = np.array([[[1.0, 0.9, 0.8], [0.7, 0.2, 0.0]]], np.float32)
    annotations = np.array([[[1, 1, -1], [0, 1, -1]]])
    # Marked: four cells, of which 2 positive, 1 negative, 1 without annotation.
    expected = [2 / 3, 2 / 3, 4 / 6]
    np.testing.assert_allclose(
        annotation_metrics(maps, annotations)[:, 0], expected, rtol=1e-6
    )
    annotations = np.array([[[1, -1, -1], [1, 1, 1]]])
    # TP = 2 (1.0, 0.7), FP = 2, FN = 2 : 2/4, 2/4; then F1 = 4 / (4 + 2 + 2)
    np.testing.assert_allclose(
        annotation_metrics(maps, annotations)[:, 0], [0.5, 0.5, 0.5], rtol=1e-6
    )
    annotations = np.array([[[1, 1, 1], [1, 0, -1]]])
    # TP = 4, FP = 0, FN = 0
    np.testing.assert_allclose(annotation_metrics(maps, annotations)[:, 0], 1.0)
    annotations = np.array([[[-1, 1, 1], [-1, 1, 1]]])
    # TP = 2, FP = 2, FN = 2 and then one positive less: FN = 1, 2 / 3, 4 / 7
    annotations[0, 1, 2] = 0
    np.testing.assert_allclose(
        annotation_metrics(maps, annotations)[:, 0], [2 / 4, 2 / 3, 4 / 7], rtol=1e-6
    )


def test_iou_equals_sets_at_several_thresholds():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 4)).astype(np.float32)
    region = rng.choice([False, True], size=maps.shape)
    for threshold in (0.0, 0.3, 0.9):
        positive = np.maximum(maps, 0)
        low, high = positive.min((1, 2)), positive.max((1, 2))
        marked = (positive - low[:, None, None]) / (high - low)[:, None, None]
        marked = marked > threshold
        expected = (marked & region).sum((1, 2)) / (marked | region).sum((1, 2))
        found = metrics.iou(maps, region, threshold=threshold)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_many_thresholds_at_once():
    maps = jax.random.normal(jax.random.key(3), (4, 5, 6))
    region = jax.random.bernoulli(jax.random.key(4), 0.4, (4, 5, 6))
    thresholds = (0.0, 0.3, 0.9)
    at = lambda threshold: metrics.iou(maps, region, threshold=threshold)
    found = jax.jit(jax.vmap(at))(jnp.array(thresholds))
    np.testing.assert_array_equal(found, [at(t) for t in thresholds])
    assert len(np.unique(found)) > 3


def test_iou_shifts_a_map_by_its_own_minimum():
    maps = jnp.array([[[4.0, 3.0, 2.0]]])
    # Scaled to 1, 0.5, 0; without the shift 3/4 would lie above 0.5 as well.
    found = metrics.iou(maps, jnp.array([[[True, False, False]]]), threshold=0.5)
    np.testing.assert_array_equal(found, [1.0])


def test_the_scale_of_a_map_does_not_matter():
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(2, 3, 4)).astype(np.float32)
    region = rng.choice([0.0, 1.0], size=maps.shape).astype(np.float32)
    found = region_metrics(maps, region)
    np.testing.assert_allclose(region_metrics(1024 * maps, region), found, rtol=1e-6)
    assert jnp.all((found >= 0) & (found <= 1))
    complement = region_metrics(maps, 1 - region)
    np.testing.assert_allclose(complement[:2], 1 - found[:2], rtol=1e-5)


def test_the_pointing_game_looks_at_the_peak_alone():
    maps = jnp.array([[[0.0, 3.0], [2.0, 2.0]], [[-1.0, -3.0], [-2.0, -2.0]]])
    region = jnp.array([[[0, 0], [1, 1]], [[1, 0], [0, 0]]])
    np.testing.assert_array_equal(region_metrics(maps, region)[1], [0.0, 1.0])
    # Of equal peaks the first one counts.
    tied = jnp.array([[[0.0, 1.0], [1.0, 0.0]]])
    second = jnp.array([[[0, 0], [1, 0]]])
    np.testing.assert_array_equal(region_metrics(tied, second)[1], [0.0])


def test_what_is_not_defined_is_nan_and_nothing_else():
    varied = np.array([[0.0, 1.0, 0.25, 0.75]], np.float32)
    half = np.array([[0, 1, 0, 0]], np.float32)
    maps = np.stack([varied, 0 * varied, 0 * varied + 1, varied - 2, varied, varied])
    region = np.stack([half, half, half, half, 0 * half, 0 * half + 1])
    nan = np.nan
    # varied, zero, constant, negative, without region, all region
    expected = [
        [0.5, nan, 0.25, nan, nan, 1.0],  # energy
        [1.0, nan, nan, 1.0, nan, 1.0],  # pointing
        [0.5, nan, nan, nan, nan, 0.5],  # iou; two of the cells are above 0.5
    ]
    np.testing.assert_allclose(region_metrics(maps, region), expected, rtol=1e-6)


def test_a_cell_at_the_threshold_is_not_marked():
    maps = np.array([[[1.0, 0.5, 0.5, 0.0]]], np.float32)
    # TP = 1, FP = 0, FN = 1.
    found = annotation_metrics(maps, np.array([[[1, -1, 1, -1]]]))
    np.testing.assert_allclose(found[:, 0], [1, 1 / 2, 2 / 3], rtol=1e-6)
    region = np.array([[[1.0, 0.0, 0.0, 0.0]]], np.float32)
    np.testing.assert_allclose(metrics.iou(maps, region, threshold=0.5), [1.0])
    np.testing.assert_allclose(metrics.iou(maps, region, threshold=1.0), [0.0])
    np.testing.assert_allclose(metrics.iou(maps, region, threshold=0.0), [1 / 3])


def test_undefined_precision_recall_and_f1():
    varied = np.array([[0.0, 1.0, 0.25, 0.75]], np.float32)
    rows = [
        (varied, [0, 0, 0, 0], [np.nan] * 3),  # nobody said anything
        (0 * varied + 1, [1, 1, -1, 0], [np.nan] * 3),  # a constant map
        (varied, [1, 0, 1, -1], [0.0, 0.0, 0.0]),  # only the negative is marked
        (varied, [1, 0, 1, 0], [np.nan, 0.0, 0.0]),  # no annotated cell is marked
        (varied, [-1, -1, 0, 0], [0.0, np.nan, np.nan]),  # no positive cell
        (varied, [0, 1, 0, 1], [1.0, 1.0, 1.0]),
    ]
    found = annotation_metrics(
        np.stack([row[0] for row in rows]), np.array([[row[1]] for row in rows])
    )
    np.testing.assert_allclose(found.T, [row[2] for row in rows], rtol=1e-6)


KINDS = st.sampled_from(["zero", "constant", "nan", "negative", "empty", "random"])


@hypothesis.given(st.lists(KINDS, min_size=2, max_size=2))
def test_a_row_without_an_answer_never_touches_the_others(kinds):
    rng = np.random.default_rng(2)
    maps = rng.uniform(size=(3, 3, 4)).astype(np.float32)
    region = rng.choice([0.0, 1.0], size=maps.shape).astype(np.float32)
    expected = [region_metrics(maps, region), annotation_metrics(maps, 2 * region - 1)]
    for row, kind in enumerate(kinds):
        change = {"zero": 0.0, "constant": 0.5, "nan": np.nan, "negative": -1.0}
        maps[row] = change.get(kind, maps[row])
        if kind == "empty":
            region[row] = 0
    found = [region_metrics(maps, region), annotation_metrics(maps, 2 * region - 1)]
    for before, after in zip(expected, found, strict=True):
        np.testing.assert_array_equal(before[:, 2], after[:, 2])
        assert not np.isnan(before[:, 2]).any()
    for row, kind in enumerate(kinds):
        if kind in ("zero", "nan"):
            assert np.isnan(found[0][:, row]).all()


def test_bfloat16_maps_give_float32():
    maps = jnp.asarray(ATTRIBUTIONS, jnp.bfloat16)
    assert region_metrics(maps, jnp.asarray(REGION, bool)).dtype == jnp.float32


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
@pytest.mark.parametrize("metric", [metrics.iou, metrics.explanation_precision_recall])
def test_a_threshold_outside_the_unit_interval_is_refused(metric, threshold):
    with pytest.raises(ValueError, match=r"`threshold` \(=.*\) must lie in \[0, 1\]"):
        metric(ATTRIBUTIONS, REGION, threshold=threshold)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.energy_pointing_game,
        metrics.pointing_game,
        functools.partial(metrics.iou, threshold=0.5),
        functools.partial(metrics.explanation_precision_recall, threshold=0.5),
    ],
)
def test_shapes_must_agree(metric):
    with pytest.raises(AssertionError, match="shape"):
        metric(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 1)))
    with pytest.raises(AssertionError, match="rank"):
        metric(jnp.ones(4), jnp.ones(4))


REGION_METRICS = {
    "energy": metrics.energy_pointing_game,
    "pointing": metrics.pointing_game,
    "iou": functools.partial(metrics.iou, threshold=0.5),
}


@pytest.mark.parametrize("name", sorted(REGION_METRICS))
@pytest.mark.parametrize("bad", [255, -1, 1.5, np.nan])
def test_a_region_that_holds_no_shares_is_refused(name, bad):
    with pytest.raises(ValueError, match=r"^`region`\[0, 0, 0\] .* lie in \[0, 1\]"):
        REGION_METRICS[name](ATTRIBUTIONS, bad * REGION)


def test_signs_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"^`annotations`\[0, 0, 0\] .*-1, 0 or 1"):
        metrics.explanation_precision_recall(ATTRIBUTIONS, 255 * REGION, threshold=0.5)


def test_cells_up_to_one_half_are_outside_to_the_pointing_game():
    """The peak on a share of 1/2 misses; a region of such shares alone is none."""
    maps = np.array([[[1.0, 0.2]], [[0.2, 1.0]], [[1.0, 0.2]]], np.float32)
    region = np.array([[[0.5, 0.6]], [[0.5, 0.6]], [[0.5, 0.3]]], np.float32)
    found = metrics.pointing_game(maps, region)
    np.testing.assert_array_equal(found, [0.0, 1.0, np.nan])
    found = metrics.iou(maps, region, threshold=0.5)
    np.testing.assert_array_equal(found, [0.0, 1.0, np.nan])


@pytest.mark.parametrize("size", [1e38, 1e-30])
def test_the_energy_of_maps_of_any_size(size):
    maps = np.float32(size) * ATTRIBUTIONS
    np.testing.assert_allclose(
        metrics.energy_pointing_game(maps, REGION), [0.75], rtol=1e-6
    )
