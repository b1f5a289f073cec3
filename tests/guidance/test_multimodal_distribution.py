"""Distribution consistency: the prior, the batch as a whole, the state, the devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import pytest
from jax.test_util import check_grads

from xguide_jax import guidance, losses, ops, testing

# Two maps of 4 x 4 pixels: the left half, and the top right quarter.
LEFT = np.tile([[1.0, 1, 0, 0]], (4, 1))
CORNER = np.kron([[0.0, 1.0], [0.0, 0.0]], np.ones((2, 2)))
HUMAN = np.stack([LEFT, np.zeros((4, 4)), CORNER, np.ones((4, 4))])
VALID = np.array([True, True, True, False])
# P of the two, on 2 x 2 cells: (1.001, 0.001, ...) over 2.004 and 1.004.
FIRST = np.array([[1.001, 0.001], [1.001, 0.001]]) / 2.004
SECOND = np.array([[0.001, 1.001], [0.001, 0.001]]) / 1.004


def statistics_by_hand(share, coverage):
    """The six numbers of a map of 2 x 2 cells, whose middles are at 1/4 and 3/4."""
    x = 0.25 * share[:, 0].sum() + 0.75 * share[:, 1].sum()
    y = 0.25 * share[0].sum() + 0.75 * share[1].sum()
    squares = 0.0
    for i, j in np.ndindex(2, 2):
        place = np.array([0.25 + j / 2, 0.25 + i / 2])
        squares += share[i, j] * np.sum((place - [x, y]) ** 2)
    entropy = -np.sum(share * np.log(share)) / np.log(4)
    return np.array([coverage, entropy, share.max(), x, y, np.sqrt(squares)])


def prior_of():
    return guidance.map_prior(HUMAN, VALID, shape=(2, 2))


def test_the_prior_is_made_of_the_maps_that_somebody_drew(x64):
    """An empty map is none, and one that is not valid does not count."""
    prior = prior_of()
    np.testing.assert_allclose(prior.distribution, (FIRST + SECOND) / 2, rtol=1e-6)
    rows = np.stack([statistics_by_hand(FIRST, 0.5), statistics_by_hand(SECOND, 0.25)])
    np.testing.assert_allclose(prior.means, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(prior.deviations, rows.std(axis=0, ddof=1), atol=1e-7)
    assert len(guidance.MAP_STATISTICS) == rows.shape[1]
    one = guidance.map_prior(HUMAN[:1], shape=(2, 2))
    np.testing.assert_array_equal(one.deviations, np.zeros(6))


def test_statistics_of_a_blank_map_are_those_of_a_uniform_one(x64):
    maps = jnp.stack([-jnp.ones((3, 4)), jnp.ones((3, 4))])
    blank, uniform = guidance.map_statistics(maps)
    np.testing.assert_allclose(blank[1:], uniform[1:], rtol=1e-12)
    assert blank[0] == 0
    spread = np.sqrt((1 - 1 / 16) / 12 + (1 - 1 / 9) / 12)
    np.testing.assert_allclose(uniform, [1, 1, 1 / 12, 0.5, 0.5, spread], rtol=1e-12)
    random = jax.random.uniform(jax.random.key(0), (2, 3, 4))
    statistics = jax.jit(guidance.map_statistics)
    np.testing.assert_allclose(statistics(7 * random), statistics(random), rtol=1e-10)
    check_grads(statistics, (random,), order=2, modes=["rev"], rtol=1e-3)


def term_of(prior=None, *, explain=cases.summed, **arguments):
    prior = prior_of() if prior is None else prior
    return guidance.distribution_consistency(prior, explain=explain, **arguments)


def batch_of(with_map, **changes):
    """A region in some rows, with which a row is no concern of the term."""
    region = jnp.asarray(with_map, float)[:, None, None] * jnp.ones((2, 2))
    return {"region": region, **changes}


def features_of(size, *, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 1, (size, 2, 2, 1))


def shares_by_hand(features):
    maps = features[..., 0] / features.max(axis=(1, 2, 3))[:, None, None]
    return (maps + 0.001) / (maps + 0.001).sum(axis=(1, 2))[:, None, None], maps


def divergence_by_hand(mean, prior):
    expected = np.asarray(prior.distribution)
    return np.sum(mean * np.log(mean / expected))


def moments_by_hand(rows, prior):
    expected, spread = np.asarray(prior.means), np.asarray(prior.deviations)
    location = (rows.mean(axis=0) - expected) ** 2 / (spread**2 + 1e-6)
    logs = np.log(rows.var(axis=0, ddof=1) + 1e-6) - np.log(spread**2 + 1e-6)
    return np.mean(location + logs**2 / 4)


def test_the_loss_is_one_number_of_the_rows_without_a_map(x64):
    """Row 1 has a map and row 3 is padding: neither is in a mean."""
    prior, features = prior_of(), features_of(5)
    batch = batch_of([0, 1, 0, 0, 0], weight=jnp.array([1.0, 1, 3, 0, 1]))
    rows = [0, 2, 4]
    share, maps = shares_by_hand(features)
    divergence = divergence_by_hand(share[rows].mean(axis=0), prior)
    statistics = [statistics_by_hand(share[i], maps[i].mean()) for i in rows]
    distance = moments_by_hand(np.stack(statistics), prior)
    out = cases.applied(term_of(moments=0.3), (), features, batch)
    expected = divergence + 0.3 * distance
    np.testing.assert_allclose(out.loss, expected * np.array([1, 0, 1, 0, 1]))
    np.testing.assert_array_equal(out.weight, [1, 0, 1, 0, 1])
    np.testing.assert_allclose(out.metrics["divergence"], np.full(5, divergence))
    np.testing.assert_allclose(out.metrics["moments"], np.full(5, distance))
    alone = cases.applied(term_of(moments=0.0), (), features[rows], {})
    np.testing.assert_allclose(alone.loss, np.full(3, divergence))
    assert alone.state == ()


def slope_of(term):
    """Gradient of the mean loss in the features, and the next state, compiled."""

    def total(features, batch, state):
        out = term.apply((), state, cases.context_of(features, batch))
        loss = ops.weighted_mean(out.loss, out.weight)
        return loss, out.state

    return jax.jit(jax.grad(total, has_aux=True))


def test_a_running_mean_starts_with_the_first_batch_and_skips_those_without_rows(x64):
    """After two batches (0.9 · 0.1 P̄₁ + 0.1 P̄₂) / 0.19."""
    prior, term = prior_of(), term_of(moments=0.0, momentum=0.9)
    _, state = cases.init(term)
    first, second = features_of(3), features_of(3, seed=1)
    means = [shares_by_hand(f)[0].mean(axis=0) for f in (first, second)]
    out = cases.applied(term, (), first, {}, state=state)
    np.testing.assert_allclose(out.loss, divergence_by_hand(means[0], prior), rtol=1e-6)
    everyone = batch_of([1, 1, 1])
    skipped = cases.applied(term, (), second, everyone, state=out.state)
    chex.assert_trees_all_equal(skipped.state, out.state)
    np.testing.assert_array_equal(skipped.loss, np.zeros(3))
    np.testing.assert_array_equal(skipped.weight, np.zeros(3))
    out = cases.applied(term, (), second, {}, state=skipped.state)
    running = (0.09 * means[0] + 0.1 * means[1]) / 0.19
    np.testing.assert_allclose(out.loss, divergence_by_hand(running, prior), rtol=1e-6)
    unknown = cases.applied(term, (), second, everyone, state=state)
    chex.assert_trees_all_equal(unknown.state, state)
    assert np.all(np.isfinite(unknown.metrics["divergence"]))


def test_the_gradient_of_a_running_mean_is_that_of_a_batch_in_its_place(x64):
    """And none flows into the state: log(running / prior) times the slope of P̄."""
    prior, term = prior_of(), term_of(moments=0.0, momentum=0.9)
    features = jnp.asarray(features_of(3))
    state = {"total": 0.3 * jnp.asarray(FIRST, jnp.float32), "weight": jnp.float32(0.3)}
    gradient, moved = slope_of(term)(features, {}, state)
    running = np.asarray(moved["total"] / moved["weight"])
    pull = np.log(running / np.asarray(prior.distribution))

    def by_hand(features):
        share = guidance.saliency_distribution(features[..., 0])
        return jnp.sum(pull * jnp.mean(share, axis=0))

    np.testing.assert_allclose(gradient, jax.grad(by_hand)(features), atol=1e-6)
    assert np.max(np.abs(gradient)) > 1e-3


def test_rows_with_a_map_get_no_gradient_and_batches_of_them_have_no_loss():
    term = term_of(momentum=0.9)
    _, state = cases.init(term)
    features = jnp.asarray(features_of(4), jnp.float32)
    slope = slope_of(term)
    gradient, _ = slope(features, batch_of([0, 1, 0, 1]), state)
    np.testing.assert_array_equal(gradient[1::2], np.zeros((2, 2, 2, 1)))
    assert np.all(np.any(gradient[::2] != 0, axis=(1, 2, 3)))
    gradient, kept = slope(features, batch_of([1, 1, 1, 1]), state)
    np.testing.assert_array_equal(gradient, np.zeros_like(features))
    chex.assert_trees_all_equal(kept, state)


DISTANCES = {
    "discrepancy": (
        functools.partial(losses.maximum_mean_discrepancy, bandwidth=0.3), None,
    ),
    "wasserstein": (
        functools.partial(losses.sliced_wasserstein, num_projections=4),
        jax.random.key(3),
    ),
}  # fmt: skip


def set_term(name, *, human=HUMAN[[0, 2]]):
    distance, key = DISTANCES[name]
    return guidance.map_set_consistency(
        human, explain=cases.summed, distance=distance, key=key
    )


@pytest.mark.parametrize("name", sorted(DISTANCES))
def test_sets_of_maps_are_compared_as_sets(name, x64):
    """The rows are the human maps in another order: 0, and more with another one."""
    maps = np.stack([CORNER, np.ones((4, 4)), LEFT])[:, ::2, ::2, None]
    batch = batch_of([0, 1, 0])
    out = cases.applied(set_term(name), (), maps, batch)
    np.testing.assert_allclose(out.loss, np.zeros(3), atol=1e-10)
    np.testing.assert_array_equal(out.weight, [1, 0, 1])
    out = cases.applied(set_term(name), (), maps, {}, step=2)
    human = jnp.stack([FIRST.ravel(), SECOND.ravel()])
    rows = jnp.concatenate([human, jnp.full((1, 4), 0.25)])
    distance, key = DISTANCES[name]
    drawn = {} if key is None else {"key": jax.random.fold_in(key, 2)}
    expected = distance(rows, human, **drawn)
    np.testing.assert_allclose(out.loss, np.full(3, expected), rtol=1e-9)
    assert expected > 1e-3


def test_the_term_keeps_the_promises_of_the_core():
    """Rows without a map on one of two devices more than on the other."""
    human = np.array(testing.example_batch(jax.random.key(0))["region"])[:3]
    human[1] = np.roll(human[1], 2, axis=1)
    prior = guidance.map_prior(human, shape=(3, 3))
    term = term_of(prior, explain=cases.SECOND_ORDER, momentum=0.9)
    batch = testing.example_batch(jax.random.key(1))
    batch["region_valid"] = jnp.array([1, 0, 1, 0, 1, 1, 0, 0], bool)
    testing.check_guidance_term(term, batch=batch)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"^`moments` \(=-1\) must be finite and at"):
        term_of(moments=-1)
    for momentum in (0.0, 1.0):
        with pytest.raises(ValueError, match=rf"^`momentum` \(={momentum}\) must lie"):
            term_of(momentum=momentum)
    with pytest.raises(ValueError, match=r"^`prior` is of \(2, 2\) cells, the map of "):
        cases.applied(term_of(), (), np.ones((2, 3, 3, 1)), {})
    message = r"^`maps` \(of shape \(2, 4, 4\)\) must hold one map at least"
    with pytest.raises(ValueError, match=message):
        guidance.map_prior(HUMAN[[1, 3]], np.array([True, False]), shape=(2, 2))
    with pytest.raises(ValueError, match=r"^`maps`\[0, 0, 0\] \(=255.0\) must lie in"):
        guidance.map_prior(255 * HUMAN, shape=(2, 2))
    with pytest.raises(ValueError, match=r"^a map of \(1, 4\) cells does not fit"):
        guidance.map_prior(HUMAN, shape=(1, 4))
    with pytest.raises(
        ValueError, match=r"^`human_maps` .* not empty; empty are \[1\]"
    ):
        set_term("discrepancy", human=HUMAN)
