"""Metrics equal those of Quantus where the definitions agree.

What Quantus says is stored; `tests/golden/make_quantus.py` made it.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, metrics, ops

PATH = pathlib.Path(__file__).parents[1] / "golden" / "quantus.npz"
fill = functools.partial(ops.constant_fill, value=0.25)


@pytest.fixture(scope="module")
def stored():
    with np.load(PATH) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def predict(stored):
    @jax.jit
    def logits(inputs):
        flat = inputs.reshape(len(inputs), -1)
        return jnp.tanh(flat @ stored["w1"] + stored["b1"]) @ stored["w2"]

    return logits


def probability(logits, labels):
    return jnp.exp(attributions.target_log_probability(logits, labels))


MAPS = {
    "gini": metrics.gini,
    "entropy": metrics.entropy,
    "rank_correlation": lambda maps, others: metrics.rank_correlation(maps, others),
    "cosine_similarity": lambda maps, others: metrics.cosine_similarity(maps, others),
    "relevance_mass": lambda maps, region: metrics.relevance_mass_accuracy(
        maps, region
    ),
    "relevance_rank": lambda maps, region: metrics.relevance_rank_accuracy(
        maps, region
    ),
    "pointing_game": lambda maps, region: metrics.pointing_game(maps, region),
    "energy_pointing_game": lambda maps, region: metrics.energy_pointing_game(
        maps, region
    ),
    "top_5_precision": lambda maps, region: (
        metrics.top_k_agreement(
            maps.reshape(len(maps), -1), region.reshape(len(maps), -1) > 0, k=5
        ).precision
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_metric_of_maps_agrees(name, stored):
    second = {"rank_correlation": "others", "cosine_similarity": "others"}
    arguments = [stored["maps"][:, 0]]
    if name not in ("gini", "entropy"):
        arguments.append(stored[second.get(name, "region")][:, 0])
    found = np.asarray(MAPS[name](*map(jnp.asarray, arguments)))
    np.testing.assert_allclose(found, stored[f"found/{name}"], atol=1e-5)


def test_pixel_flipping_is_a_removal_curve_of_the_probability(stored, predict):
    found = metrics.removal_curve(
        predict, jnp.asarray(stored["inputs"]), jnp.asarray(stored["labels"]),
        jnp.asarray(stored["maps"]),
        fractions=[(step + 1) / 16 for step in range(16)], fill=fill,
        key=jax.random.key(0), value=probability,
    )  # fmt: skip
    np.testing.assert_allclose(found, stored["found/pixel_flipping"], atol=1e-5)


def test_non_sensitivity_agrees(stored, predict):
    found = metrics.non_sensitivity(
        predict, jnp.asarray(stored["inputs"]), jnp.asarray(stored["labels"]),
        jnp.asarray(stored["maps"]), fill=fill, key=jax.random.key(0),
        value=probability, tolerance=1e-2,
    )  # fmt: skip
    np.testing.assert_array_equal(found, stored["found/non_sensitivity"])
    assert np.ptp(found) > 0


def test_every_stored_number_is_compared(stored):
    compared = {*MAPS, "pixel_flipping", "non_sensitivity"}
    assert {f"found/{n}" for n in compared} == {n for n in stored if "/" in n}
