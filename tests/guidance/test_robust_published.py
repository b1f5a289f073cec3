"""The published code's own numbers, its defects included."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import robust_oracle as oracle

from xguide_jax import guidance, testing
from xguide_jax.guidance.published import robust

TERMS = {
    "gaussian": guidance.res_gaussian_published(),
    "learned": guidance.res_learned_published(kernel_size=5, stride=2),
    "haics": guidance.haics_published(),
}
VALID = [0, 1, 4]  # the third example has no evidence, so it is dropped


@pytest.fixture(scope="module")
def published():
    with jax.enable_x64(True):
        batch, params = oracle.uneven_batch(), oracle.network_params()
        guidance_params = oracle.init_params(TERMS, batch)
        run = jax.jit(functools.partial(oracle.guide, TERMS))
        metrics, _ = run(params, guidance_params, batch)
        lost = {**batch, "annotations": jnp.maximum(batch["annotations"], 0)}
        lost["region_valid"] = jnp.arange(6) == 4
        lost_metrics, _ = run(params, guidance_params, lost)
        kernel = np.asarray(guidance_params["learned"]["kernel"])
        batch = {name: np.asarray(value) for name, value in batch.items()}
    maps = oracle.cams_by_hand(params, batch, epsilon=1e-6)
    return batch, maps, kernel, metrics, lost_metrics


def test_one_pixel_decides_over_a_cell(published):
    batch, maps, _, metrics, _ = published
    signs = batch["annotations"][VALID][:, ::2, ::2]
    assert np.all(signs[2] == -1)  # the one pixel of evidence is lost
    expected = oracle.robust_by_hand(maps[VALID], signs, slack=0.1)
    for name in ("gaussian", "learned"):
        np.testing.assert_allclose(metrics[f"{name}/robust"], expected, rtol=1e-12)


def test_the_imputed_targets(published):
    batch, maps, kernel, metrics, _ = published
    evidence = batch["annotations"] > 0
    blurred = [oracle.blurred_by_hand(one[::2, ::2]) for one in evidence]
    targets = {
        "gaussian": [blurred[i] / (blurred[i].max() + 1e-6) for i in VALID],
        "learned": [oracle.imputed_by_hand(evidence[i], kernel) for i in VALID],
    }
    for name, target in targets.items():
        distances = np.abs(maps[VALID] - target).mean(axis=(1, 2))
        expected = oracle.weighted_mean(distances, VALID, batch)
        # Whole numbers are averaged in float32, the rest is in float64.
        np.testing.assert_allclose(metrics[f"{name}/imputation"], expected, rtol=1e-7)


def test_haics_is_a_mean_over_all_cells_times_the_marked_share(published):
    batch, maps, _, metrics, _ = published
    signs, maps = batch["annotations"][VALID][:, ::2, ::2], maps[VALID]
    logs = np.log(np.maximum(np.where(signs > 0, maps, 1 - maps), 1e-300))
    entropy = -np.mean(np.maximum(logs, -100))
    expected = entropy * np.mean(signs != 0)
    np.testing.assert_allclose(metrics["haics"], expected, rtol=1e-9)


def test_the_worked_example_of_haics(monkeypatch, x64):
    # -(log .9 + log(1 - .2) + log .6 + log(1 - .4)) / 4 of *all* cells, times the 3 / 4
    # that are marked; the mean over these three would be .279777. The map is given, for
    # one between its own minimum and maximum has a cell at 0 and one at 1.
    maps = jnp.array([[[0.9, 0.2], [0.6, 0.4]]])
    signs = jnp.array([[[1, -1], [1, 0]]])
    monkeypatch.setattr(robust, "_published_cam", lambda layer: lambda context: maps)
    batch = {
        "inputs": jnp.zeros((1, 4, 4, 2)),
        "labels": jnp.array([0]),
        "annotations": jnp.kron(signs, jnp.ones((1, 2, 2), int)),
    }
    terms = {"haics": guidance.haics_published()}
    metrics, _ = oracle.guide(terms, oracle.network_params(), {"haics": ()}, batch)
    assert metrics["haics"] == pytest.approx(0.253154, abs=1e-6)


def test_evidence_that_is_lost_pulls_the_map_to_zero(published):
    """0 / 0 in the published code: no cell of the batch is marked any more."""
    _, maps, _, _, metrics = published
    np.testing.assert_allclose(metrics["gaussian"], np.mean(maps[4]), rtol=1e-12)
    assert float(metrics["gaussian/robust"]) == float(metrics["haics"]) == 0


@pytest.mark.parametrize("name", ["gaussian", "learned", "haics"])
def test_a_term_keeps_the_promises_of_the_core(name):
    testing.check_guidance_term(TERMS[name])


def test_a_negative_slack_is_refused():
    for build in (guidance.res_gaussian_published, guidance.res_learned_published):
        with pytest.raises(ValueError, match=r"`slack` \(=-1\) must not be negative\."):
            build(slack=-1)
