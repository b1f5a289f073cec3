"""The library's own check of metrics: of maps, of regions, of pairs, of networks."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics, ops, testing

REGION = np.array([[[1.0, 1, 0, 0], [0, 0, 0, 0]]], np.float32)
GOOD = np.array([[[3.0, 2, 1, 0.5], [-1, 0, 0.25, -2]]], np.float32)
BAD = GOOD[..., ::-1].copy()
UNMARKED = [(0 * GOOD, REGION), (GOOD, 0 * REGION)]
CONSTANT = [(0 * GOOD + 1, REGION), *UNMARKED]
OF_REGIONS = {
    "average_precision": (metrics.average_precision, CONSTANT),
    "energy_pointing_game": (metrics.energy_pointing_game, UNMARKED),
    "iou": (functools.partial(metrics.iou, threshold=0.5), CONSTANT),
    "pointing_game": (metrics.pointing_game, CONSTANT),
    "relevance_mass_accuracy": (metrics.relevance_mass_accuracy, UNMARKED),
    "relevance_rank_accuracy": (metrics.relevance_rank_accuracy, CONSTANT),
}
OF_PAIRS = {
    "cosine_similarity": metrics.cosine_similarity,
    "rank_correlation": metrics.rank_correlation,
    "top_k_intersection": functools.partial(metrics.top_k_intersection, k=2),
}


@pytest.mark.parametrize("name", sorted(OF_REGIONS))
def test_metrics_of_a_map_and_a_region(name):
    metric, undefined = OF_REGIONS[name]
    testing.check_metric(
        metric, better=(GOOD, REGION), worse=(BAD, REGION), higher_is_better=True,
        bounds=(0.0, 1.0), scale_invariant=True, undefined=undefined,
    )  # fmt: skip


@pytest.mark.parametrize("part", ["precision", "recall", "f1"])
def test_metrics_of_a_map_and_signs(part):
    index = ["precision", "recall", "f1"].index(part)
    metric = lambda maps, signs: metrics.explanation_precision_recall(
        maps, signs, threshold=0.5
    )[index]
    signs = 2 * REGION - 1
    undefined = [(0 * GOOD, signs), (GOOD, 0 * signs)]
    testing.check_metric(
        metric, better=(GOOD, signs), worse=(BAD, signs), higher_is_better=True,
        bounds=(0.0, 1.0), scale_invariant=False, undefined=undefined,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(OF_PAIRS))
def test_metrics_of_two_maps(name):
    testing.check_metric(
        OF_PAIRS[name], better=(GOOD, 2 * GOOD), worse=(BAD, GOOD),
        higher_is_better=True, bounds=(-1.0, 1.0), scale_invariant=True,
        undefined=[(0 * GOOD, GOOD), (GOOD, 0 * GOOD)],
    )  # fmt: skip


def test_the_structural_similarity():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 1, 11, 12)).astype(np.float32)
    testing.check_metric(
        functools.partial(metrics.structural_similarity, data_range=4.0),
        better=(first, first + 0.1 * second), worse=(second, first),
        higher_is_better=True, bounds=(-1.0, 1.0), scale_invariant=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "higher_is_better", "bounds"),
    [
        ("effective_number_of_features", False, (1.0, 8.0)),
        ("entropy", False, (0.0, np.log(8))),
        ("gini", True, (0.0, 7 / 8)),
    ],
)
def test_metrics_of_how_simple_a_map_is(name, higher_is_better, bounds):
    simple = np.array([[[9.0, 0, 0, 0], [0, -0.1, 0, 0]]], np.float32)
    testing.check_metric(
        getattr(metrics, name), better=(simple,), worse=(GOOD,),
        higher_is_better=higher_is_better, bounds=bounds, scale_invariant=True,
        undefined=[(0 * GOOD,)],
    )  # fmt: skip


WEIGHTS = np.array([4.0, 3, 2, 1, 0.5, 0.25, 0, 0], np.float32)
INPUTS = np.ones((1, 8), np.float32)
EXACT, REVERSED = WEIGHTS[None], WEIGHTS[None, ::-1].copy()
LABELS = np.zeros(1, np.int32)
FRACTIONS = (0.25, 0.5, 0.75)
zeros = functools.partial(ops.constant_fill, value=0.0)


def network(inputs):
    """Two logits, of which the first is Σ w x."""
    return jnp.stack([inputs @ WEIGHTS, 0 * inputs[:, 0]], axis=-1)


def probability(logits, labels):
    return jax.nn.softmax(logits)[jnp.arange(len(labels)), labels]


def of_a_network(metric, **settings):
    """A metric of a network as one of (maps, inputs, labels)."""
    return lambda maps, inputs, labels: metric(
        network, inputs, labels, maps, key=jax.random.key(0), **settings
    )


def area(curve, **settings):
    of_maps = of_a_network(curve, **settings)
    return lambda *example: metrics.area_under_curve(
        of_maps(*example), fractions=FRACTIONS
    )


REPLACED = {"fill": zeros, "value": probability}
OF_NETWORKS = {
    "removal_curve": (
        area(metrics.removal_curve, fractions=FRACTIONS, **REPLACED), False,
        (0.0, 1.0), True,
    ),
    "insertion_curve": (
        area(metrics.insertion_curve, fractions=FRACTIONS, **REPLACED), True,
        (0.0, 1.0), True,
    ),
    "comprehensiveness": (
        of_a_network(metrics.comprehensiveness, fractions=FRACTIONS, **REPLACED), True,
        (-1.0, 1.0), True,
    ),
    "sufficiency": (
        of_a_network(metrics.sufficiency, fractions=FRACTIONS, **REPLACED), False,
        (-1.0, 1.0), True,
    ),
    "non_sensitivity": (
        of_a_network(metrics.non_sensitivity, tolerance=1e-3, **REPLACED), False,
        (0.0, 8.0), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OF_NETWORKS))
def test_metrics_of_a_map_and_a_network(name):
    metric, higher_is_better, bounds, scale_invariant = OF_NETWORKS[name]
    constant = (0 * EXACT + 1, INPUTS, LABELS)
    testing.check_metric(
        metric, better=(EXACT, INPUTS, LABELS), worse=(REVERSED, INPUTS, LABELS),
        higher_is_better=higher_is_better, bounds=bounds,
        scale_invariant=scale_invariant,
        undefined=[] if name == "non_sensitivity" else [constant],
    )  # fmt: skip


def test_the_invariance_to_a_shift():
    """Of maps (x − b) ⊙ w, where b is as far from the shift as the example says."""
    metric = lambda inputs, bases: metrics.input_invariance(
        lambda x: x * WEIGHTS, lambda x: (x - bases) * WEIGHTS, inputs,
        shift=jnp.ones(8),
    )  # fmt: skip
    testing.check_metric(
        metric, better=(INPUTS, INPUTS), worse=(INPUTS, 3 * INPUTS),
        higher_is_better=False, bounds=(0.0, np.inf), scale_invariant=False,
        undefined=[(0 * INPUTS, INPUTS)],
    )  # fmt: skip


CELLS = hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-8, 8, width=16))
MARKS = hnp.arrays(np.float32, (2, 3, 4), elements=st.sampled_from([0.0, 1.0]))


@pytest.mark.parametrize("name", sorted(OF_REGIONS))
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(maps=CELLS, region=MARKS)
def test_any_map_and_mask_has_a_value_in_range_or_none(name, maps, region):
    metric, _ = OF_REGIONS[name]
    found = np.asarray(metric(maps, region))
    assert found.shape == (2,)
    assert np.all(np.isnan(found) | ((found >= 0) & (found <= 1 + 1e-6)))
    # What says nothing of a place is unchanged by turning both alike.
    turned = np.asarray(metric(maps[:, ::-1], region[:, ::-1]))
    if name != "pointing_game":  # of equal peaks the first in reading order is taken
        np.testing.assert_allclose(turned, found, atol=1e-6)
    # A region that nobody marked is no perfect hit.
    empty = np.asarray(metric(maps, 0 * region))
    assert np.isnan(empty).all()


@pytest.mark.parametrize("name", sorted(OF_PAIRS))
@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(first=CELLS, second=CELLS)
def test_any_two_maps_have_a_value_in_range_or_none(name, first, second):
    found = np.asarray(OF_PAIRS[name](first, second))
    assert np.all(np.isnan(found) | (np.abs(found) <= 1 + 1e-6))
    if name != "top_k_intersection":  # equal cells are as likely in as out, each time
        same = np.asarray(OF_PAIRS[name](first, first))
        assert np.all(np.isnan(same) | (np.abs(same - 1) <= 1e-5))
