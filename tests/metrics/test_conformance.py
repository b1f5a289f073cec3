"""The library's own check of metrics, of every metric of maps by region or by pair."""

import functools

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


# Of f = Σ w x at an input of ones, in which each cell has the effect of its weight.
WEIGHTS = jnp.array([4.0, -2, 1, 0])
KEYS = jax.random.split(jax.random.key(0), 2)
affine = lambda inputs: inputs @ WEIGHTS[:, None]
SCORE = {"score_fn": lambda logits, targets: logits[:, 0]}
zeros = functools.partial(ops.constant_fill, value=0.0)
OF_NETWORKS = {
    "infidelity": (
        functools.partial(
            metrics.infidelity, num_samples=3, **SCORE,
            perturb=functools.partial(metrics.gaussian_perturbation, sigma=0.5),
        ),
        False, (0.0, np.inf), False,
    ),
    "non_sensitivity": (
        lambda *arrays, key: metrics.non_sensitivity(
            *arrays, baselines=0.0, map_tolerance=0.1, score_tolerance=1e-5, **SCORE
        ),
        False, (0.0, 4.0), True,
    ),
    "sensitivity_n": (
        functools.partial(
            metrics.sensitivity_n, num_features=2, num_subsets=8, baselines=0.0, **SCORE
        ),
        True, (-1.0, 1.0), True,
    ),
    "the area under the removal curve": (
        lambda *arrays, key: metrics.area_under_curve(
            metrics.removal_curve(
                *arrays, key=key, fill=zeros, fractions=(0.0, 0.5, 1.0),
                value=SCORE["score_fn"],
            ),
            fractions=(0.0, 0.5, 1.0),
        ),
        False, (-np.inf, np.inf), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OF_NETWORKS))
def test_metrics_of_a_map_and_a_network(name):
    metric, higher_is_better, bounds, scale_invariant = OF_NETWORKS[name]

    def of_arrays(maps, inputs, keys):
        return metric(affine, inputs, jnp.zeros(len(inputs), int), maps, key=keys)

    inputs = jnp.ones((1, 4))
    testing.check_metric(
        of_arrays, better=(WEIGHTS[None], inputs, KEYS[:1]),
        worse=(WEIGHTS[None, ::-1], inputs, KEYS[1:]),
        higher_is_better=higher_is_better, bounds=bounds,
        scale_invariant=scale_invariant,
    )  # fmt: skip


# Explanations Φ = a (1 + steepness · what is moved), of a map a and how steep it is.
STEEP, FLAT = jnp.array([[3.0, -3, 1, 2]]), jnp.zeros((1, 4))
MAP = jnp.array([[1.0, 2, 3, 5]])
# A rank correlation of maps in which the class, or the layer, moves nothing is 1.
SAME = {"similarity": metrics.rank_correlation}


def of_noise(metric):
    def measure(maps, steepness, keys):
        explain = lambda inputs: maps * (1 + steepness * inputs)
        inputs = jnp.ones(maps.shape)
        return metric(explain, inputs, key=keys, radius=0.5, num_samples=2)

    return measure


def of_classes(maps, steepness, keys):
    explain = lambda targets: jnp.where(
        targets[:, None] == 0, maps, maps * (1 + steepness)
    )
    targets = jnp.zeros(len(maps), int)
    return metrics.random_logit(explain, targets, key=keys, num_classes=2, **SAME)


def of_layers(metric):
    def measure(maps, steepness, keys):
        found = metric(
            lambda params: maps * (1 + steepness * params["layer"]),
            {"layer": jnp.zeros(())}, key=KEYS[0], layers=[("layer",)],
            init_fn=lambda key: {"layer": jnp.ones(())}, **SAME,
        )  # fmt: skip
        return found[:, 0]

    return measure


OF_EXPLAINERS = {
    "cascading_randomisation": (
        of_layers(metrics.cascading_randomisation), STEEP, FLAT, (-1.0, 1.0), True,
    ),
    "independent_randomisation": (
        of_layers(metrics.independent_randomisation), STEEP, FLAT, (-1.0, 1.0), True,
    ),
    "local_lipschitz": (
        of_noise(metrics.local_lipschitz), FLAT, STEEP, (0.0, np.inf), False,
    ),
    "max_sensitivity": (
        of_noise(metrics.max_sensitivity), FLAT, STEEP, (0.0, np.inf), True,
    ),
    "random_logit": (of_classes, STEEP, FLAT, (-1.0, 1.0), True),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OF_EXPLAINERS))
def test_metrics_of_an_explainer(name):
    metric, better, worse, bounds, scale_invariant = OF_EXPLAINERS[name]
    zeros = (0 * MAP, STEEP, KEYS[:1])
    testing.check_metric(
        metric, better=(MAP, better, KEYS[:1]), worse=(MAP, worse, KEYS[1:]),
        higher_is_better=False, bounds=bounds, scale_invariant=scale_invariant,
        # A slope of 0 is a value; there is nothing a map of zeros is relative to.
        undefined=[] if name == "local_lipschitz" else [zeros],
    )  # fmt: skip
