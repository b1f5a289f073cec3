"""Comprehensiveness and sufficiency of tokens, beside random orders of the network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, evaluation, metrics, ops

KEY = jax.random.key(0)
FRACTIONS = (0.25, 0.5)
FILLS = {
    "mask": ops.fill_leaf("tokens", functools.partial(ops.constant_fill, value=0)),
    "delete": ops.delete_positions(("tokens",), mask="mask"),
}


@jax.jit
def predict(inputs):
    """How many tokens are odd, and half of how many there are."""
    odd = jnp.where(inputs["mask"], inputs["tokens"] % 2, 0).astype(jnp.float32)
    there = inputs["mask"].astype(jnp.float32)
    return jnp.stack([odd.sum(axis=1), 0.5 * there.sum(axis=1)], axis=1)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 20, size=(10, 8)).astype(np.int32)
    mask = np.arange(8) < rng.integers(4, 9, size=(10, 1))
    labels = np.zeros(10, np.int32)
    scores = {
        "evidence": (tokens % 2 + rng.uniform(size=tokens.shape) / 10),
        "nothing": np.zeros(tokens.shape),
    }
    scores = {name: each.astype(np.float32) for name, each in scores.items()}
    return {"tokens": tokens, "mask": mask}, labels, scores


@pytest.fixture(scope="module")
def found(problem):
    return measured(problem, batch_size=4)


def measured(problem, **changes):
    inputs, labels, scores = problem
    settings = {
        "orders": orders_of(scores), "fills": FILLS, "fractions": FRACTIONS, "key": KEY,
        "batch_size": 10, "value": attributions.target_probability,
        "where": inputs["mask"],
    } | changes  # fmt: skip
    return evaluation.measure_erasure(predict, inputs, labels, scores, **settings)


def orders_of(scores):
    return evaluation.random_orders_like(
        jnp.asarray(scores["evidence"]), key=jax.random.key(1), num_orders=3
    )


@pytest.mark.parametrize("fill", sorted(FILLS))
@pytest.mark.parametrize(
    ("name", "sign"), [("comprehensiveness", 1), ("sufficiency", -1)]
)
def test_the_gap_is_of_the_same_examples(problem, found, fill, name, sign):
    inputs, labels, scores = problem
    of = lambda each: np.asarray(
        getattr(metrics, name)(
            predict, inputs, labels, each, fractions=FRACTIONS, fill=FILLS[fill],
            key=KEY, value=attributions.target_probability, where=inputs["mask"],
        )
    )  # fmt: skip
    chance = np.mean([of(order) for order in orders_of(scores)], axis=0)
    own = of(scores["evidence"])
    side = getattr(found["evidence"][fill], name)
    np.testing.assert_allclose(side.rows, sign * (own - chance), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(side.value.mean, own.mean(), rtol=1e-5)
    np.testing.assert_allclose(side.chance.mean, chance.mean(), rtol=1e-5)
    np.testing.assert_allclose(side.gap.mean, side.rows.mean(), rtol=1e-5)
    assert side.gap.mean > 0.02


def test_a_map_that_orders_nothing_beats_no_random_order(found):
    for of_fill in found["nothing"].values():
        for side in of_fill:
            assert np.isnan(side.rows).all()
            assert (side.gap.mean_or_zero, side.gap.num_defined) == (0, 0)
            assert side.value.num_defined == side.chance.num_defined == 0


def test_batches_change_nothing(problem, found):
    whole = measured(problem)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
        whole, found,
    )  # fmt: skip
    assert list(found) == ["evidence", "nothing"]


def test_curves_of_tokens_have_the_same_chance(problem):
    inputs, labels, scores = problem
    settings = {"fractions": (0.0, 0.5, 1.0), "key": KEY, "where": inputs["mask"]}
    value = attributions.target_probability
    found = evaluation.measure_removal(
        predict, inputs, labels, {"evidence": scores["evidence"]},
        orders=orders_of(scores), fills=FILLS, batch_size=4, value=value, **settings,
    )  # fmt: skip
    for fill, removal in FILLS.items():
        curve = metrics.removal_curve(
            predict, inputs, labels, scores["evidence"], fill=removal, value=value,
            **settings,
        )  # fmt: skip
        side = found.maps["evidence"][fill].removal
        np.testing.assert_allclose(side.curve, np.mean(curve, axis=0), rtol=1e-5)
        assert side.gap.mean > 0.02
        # Nothing is left and nothing is gone, whatever the order.
        np.testing.assert_allclose(
            side.chance.curve[[0, -1]], side.curve[[0, -1]], rtol=1e-5
        )


def test_there_must_be_an_order_and_a_fill(problem):
    with pytest.raises(ValueError, match=r"`orders` \(0 of them\)"):
        measured(problem, orders=[])
    with pytest.raises(ValueError, match="must hold at least one each"):
        measured(problem, fills={})
    with pytest.raises(ValueError, match=r"`num_orders` \(=0\) must be at least 1"):
        evaluation.random_orders_like(np.ones((2, 3)), key=KEY, num_orders=0)
