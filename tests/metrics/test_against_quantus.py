"""Quantus' numbers of a small network and its maps, as stored by `make_quantus.py`.

Where the definitions agree; where they do not, see `metrics/differences.md`.
"""

import functools
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics, ops
from xguide_jax.metrics import robustness

PLACE = pathlib.Path(__file__).parents[1] / "golden" / "quantus.npz"
KEY = jax.random.key(0)
# The package has a function of this name.
sensitivity_n = importlib.import_module("xguide_jax.metrics.sensitivity_n")
zeros = functools.partial(ops.constant_fill, value=0.0)


@pytest.fixture(scope="module")
def stored():
    with np.load(PLACE) as file:
        return {name: jnp.asarray(value) for name, value in file.items()}


def params_of(stored, prefix=""):
    return {
        layer: {name: stored[f"{prefix}{layer}/{name}"] for name in ("kernel", "bias")}
        for layer in ("first", "second")
    }


def network(params, inputs):
    flat = inputs.reshape(len(inputs), -1)
    first, second = params["first"], params["second"]
    hidden = jnp.tanh(flat @ first["kernel"] + first["bias"])
    return hidden @ second["kernel"] + second["bias"]


def logit(logits, targets):
    return jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]


def gradient(predict_fn, inputs, targets):
    return jax.grad(lambda inputs: logit(predict_fn(inputs), targets).sum())(inputs)


def gradient_x_input(predict_fn, inputs, targets):
    return inputs * gradient(predict_fn, inputs, targets)


@pytest.fixture(scope="module")
def predict_fn(stored):
    return functools.partial(network, params_of(stored))


def close(found, stored, name):
    np.testing.assert_allclose(found, stored[f"quantus/{name}"], rtol=1e-5, atol=1e-5)


OF_REGIONS = {
    "pointing_game": metrics.pointing_game,
    "attribution_localisation": metrics.relevance_mass_accuracy,
    "positive_attribution_localisation": metrics.energy_pointing_game,
    "relevance_mass_accuracy": metrics.relevance_mass_accuracy,
    "relevance_rank_accuracy": metrics.relevance_rank_accuracy,
}


@pytest.mark.parametrize("name", sorted(OF_REGIONS))
def test_metrics_of_a_map_and_a_region(stored, name):
    close(OF_REGIONS[name](stored["maps"], stored["regions"]), stored, name)


def test_the_share_of_the_highest_cells_that_is_in_the_region(stored):
    maps, regions = (stored[name].reshape(4, -1) for name in ("maps", "regions"))
    found = metrics.top_k_agreement(maps, regions > 0, k=5)
    close(found.precision, stored, "top_k_intersection")


@pytest.mark.parametrize(
    ("name", "metric"), [("sparseness", metrics.gini), ("complexity", metrics.entropy)]
)
def test_metrics_of_how_simple_a_map_is(stored, name, metric):
    close(metric(stored["maps"]), stored, name)


def test_pixel_flipping_is_a_removal_curve_of_the_logit(stored, predict_fn):
    found = metrics.removal_curve(
        jax.jit(predict_fn), stored["inputs"], stored["targets"], stored["maps"],
        fractions=np.arange(1, 9) / 8, fill=zeros, key=KEY, value=logit,
    )  # fmt: skip
    close(found, stored, "pixel_flipping")


def test_region_perturbation_is_the_fall_by_blocks(stored, predict_fn):
    blocks = stored["maps"].reshape(4, 2, 2, 2, 2).sum((2, 4))
    by_block = jnp.repeat(jnp.repeat(blocks, 2, axis=1), 2, axis=2)
    found = metrics.removal_curve(
        jax.jit(predict_fn), stored["inputs"], stored["targets"], by_block,
        fractions=np.arange(5) / 4, fill=zeros, key=KEY, value=logit,
    )  # fmt: skip
    close(found[:, :1] - found[:, 1:], stored, "region_perturbation")


def test_road_imputes_and_counts_the_same(stored, predict_fn):
    images, maps = (stored[name][..., None] for name in ("inputs", "maps"))
    found = metrics.road_curve(
        jax.jit(predict_fn), images, stored["targets"], maps,
        fractions=(0.25, 0.5, 0.75), sigma=0.0, key=KEY,
    )  # fmt: skip
    close(found.mean(0), stored, "road")
    # Quantus has the mean over the first batch alone.
    close(found[:2].mean(0), stored, "road_in_batches_of_2")


@pytest.mark.parametrize(
    ("name", "size"), [("faithfulness_correlation", 5), ("faithfulness_estimate", 1)]
)
def test_faithfulness_correlation_is_sensitivity_n(
    stored, predict_fn, monkeypatch, name, size
):
    # Of subsets of one feature Quantus takes each once.
    singles = jnp.tile(jnp.arange(16)[:, None, None], (1, 4, 1))
    places = stored.get(f"quantus/{name}/subsets", singles)
    subsets = jnp.any(jax.nn.one_hot(places, 16) > 0, axis=2)
    monkeypatch.setattr(sensitivity_n, "_draw", lambda *_: subsets)
    found = sensitivity_n.sensitivity_n(
        predict_fn, stored["inputs"], stored["targets"], stored["maps"], key=KEY,
        num_features=size, num_subsets=len(subsets), baselines=0.0, score_fn=logit,
        chunk_size=len(subsets),
    )  # fmt: skip
    close(found, stored, name)


def test_infidelity_of_removing_patches_that_are_not_put_back(stored, predict_fn):
    measure = functools.partial(
        metrics.infidelity, predict_fn, stored["inputs"], stored["targets"],
        stored["maps"], key=KEY, num_samples=1, score_fn=logit,
    )  # fmt: skip
    gone = jnp.zeros((4, 4))
    values = []
    for rows in (slice(0, 2), slice(2, 4)):
        for columns in (slice(0, 2), slice(2, 4)):
            gone = gone.at[rows, columns].set(1)
            values.append(measure(perturb=lambda _, inputs, gone=gone: inputs * gone))
    close(values[-1], stored, "infidelity_of_all")
    close(jnp.mean(jnp.stack(values), axis=0), stored, "infidelity_of_halves")


def noise_of(stored, name, radius):
    """What is drawn of one copy after another, in units of the radius."""
    noise = stored[f"quantus/{name}/noise"] / radius
    return lambda keys, sample, inputs: noise[sample].astype(inputs.dtype)


@pytest.mark.parametrize("name", ["local_lipschitz", "max_sensitivity"])
def test_how_far_maps_move(stored, predict_fn, monkeypatch, name):
    monkeypatch.setattr(robustness, "_uniform", noise_of(stored, name, 0.2))
    found = getattr(robustness, name)(
        lambda inputs: gradient(predict_fn, inputs, stored["targets"]),
        stored["inputs"], key=KEY, radius=0.2, num_samples=5,
    )  # fmt: skip
    close(found, stored, name)


def test_the_map_of_the_other_class_of_two(stored, predict_fn):
    found = metrics.random_logit(
        lambda targets: gradient(predict_fn, stored["inputs"], targets),
        stored["targets"], key=KEY, num_classes=2, similarity=metrics.rank_correlation,
    )  # fmt: skip
    close(found, stored, "random_logit")


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("top_down", metrics.cascading_randomisation),
        ("independent", metrics.independent_randomisation),
    ],
)
def test_maps_of_randomised_parameters(stored, name, metric):
    def explain(params):
        predict_fn = functools.partial(network, params)
        return gradient(predict_fn, stored["inputs"], stored["targets"])

    found = metric(
        explain, params_of(stored), key=KEY, layers=[("second",), ("first",)],
        init_fn=lambda _: params_of(stored, "quantus/fresh/"),
        similarity=metrics.rank_correlation,
    )  # fmt: skip
    close(found.T, stored, f"mprt/{name}")


def test_features_without_effect(stored, predict_fn):
    found = metrics.non_sensitivity(
        predict_fn, stored["inputs"], stored["targets"], stored["maps"], baselines=0.0,
        score_fn=logit, map_tolerance=1e-5, score_tolerance=1e-5, chunk_size=16,
    )  # fmt: skip
    close(found, stored, "non_sensitivity")


def test_input_invariance_differs(stored, predict_fn):
    """Quantus shifts the first cell of no input, and so has no invariant gradient."""
    for explain, moves in ((gradient, False), (gradient_x_input, True)):
        found = metrics.input_invariance(
            lambda f, x, explain=explain: explain(f, x, stored["targets"]),
            predict_fn, stored["inputs"], shift=-1.0,
        )  # fmt: skip
        np.testing.assert_array_equal(found > 1e-4, [moves] * 4)
        assert not np.any(stored[f"quantus/input_invariance/{explain.__name__}"])
