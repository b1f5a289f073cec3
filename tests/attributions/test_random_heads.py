"""Attribution errors on untrained heads: how much each map adds up to, and why.

The error of a data set is Σ |Σ_i A_i − τ| / Σ |τ|, τ = f(A) − f(0) unless said. A head
is a random layer of 32 ReLUs behind features [400, 7, 7, 8], the means of four heads.
Sizes vary from head to head; that clipped maps add up to several times too much, and
that the midpoint rule beats both ends, does not.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions
from xguide_jax.types import ModelOutput

SCORE = {"score_fn": attributions.target_logit}
TARGETS = np.zeros(400, np.int32)
FEATURES = np.maximum(np.random.default_rng(0).normal(size=(400, 7, 7, 8)), 0)
FEATURES = FEATURES.astype(np.float32)
MEAN = FEATURES.mean(axis=0)


def head(seed, *, bias):
    draw = np.random.default_rng(seed).normal
    weights = (
        draw(size=(392, 32)) / np.sqrt(392), bias * draw(size=32), draw(size=(32, 2))
    )  # fmt: skip
    return tuple(weight.astype(np.float32) for weight in weights)


def apply(weights, features, activation=jax.nn.relu):
    first, offset, last = weights
    flat = features.reshape(len(features), -1)
    return activation(flat @ first + offset) @ last


# The weights are arguments, so that all heads share a program.
@functools.partial(jax.jit, static_argnums=1)
def maps_of(weights, name):
    explain, predict = getattr(attributions, name), functools.partial(apply, weights)
    return explain(predict, FEATURES, TARGETS, **SCORE)


@jax.jit
def riemann_sum(weights, node, baseline):
    """Eight steps, their points at the left ends, node 0, to the right ends, 1."""
    positions = (jnp.arange(8.0) + node) / 8
    return attributions.expected_gradients_at(
        functools.partial(apply, weights), FEATURES, TARGETS,
        starts=jnp.broadcast_to(baseline, (8, *FEATURES.shape)),
        positions=jnp.tile(positions[:, None], (1, 400)), noise=None, **SCORE,
    )  # fmt: skip


def integrated(weights, node, baseline=0 * MEAN):
    return riemann_sum(weights, jnp.float32(node), baseline)


def error(weights, maps, *, baselines=0.0):
    target = attributions.attribution_target(
        functools.partial(apply, weights), FEATURES, TARGETS,
        baselines=baselines, **SCORE,
    )  # fmt: skip
    absolute, _ = attributions.attribution_error(maps, target)
    return float(jnp.sum(absolute) / jnp.sum(jnp.abs(target)))


@pytest.fixture(scope="module", params=[0.0, 0.5], ids=["without biases", "biases"])
def heads(request):
    return request.param, [head(seed, bias=request.param) for seed in range(4)]


@pytest.mark.parametrize(
    ("name", "without_biases", "with_biases"),
    [
        ("hi_res_cam", (0.0, 1e-5), (0.2, 0.7)),
        ("layer_cam", (4.0, 7.5), (4.0, 8.5)),
        ("odam", (2.0, 4.5), (2.0, 5.0)),
        ("grad_cam", (0.7, 1.4), (0.7, 1.4)),
        ("signed_grad_cam", (0.5, 1.1), (0.5, 1.2)),
    ],
)
def test_maps_of_features_against_zero(name, without_biases, with_biases, heads):
    bias, predicts = heads
    low, high = with_biases if bias else without_biases
    found = np.mean([error(predict, maps_of(predict, name)) for predict in predicts])
    assert low <= found <= high


def test_clipped_maps_add_up_to_more_than_the_signed_one(heads):
    for predict in heads[1]:
        total = lambda name, f=predict: jnp.sum(maps_of(f, name), axis=(1, 2))
        signed, clipped, place_by_place = map(
            total, ("hi_res_cam", "odam", "layer_cam")
        )
        assert np.all(clipped >= signed)
        assert np.all(place_by_place >= clipped - 1e-5)


def test_the_left_end_of_each_step_is_the_worst_without_biases():
    predict = head(0, bias=0.0)
    assert error(predict, integrated(predict, 0.0)) == pytest.approx(1 / 8, rel=1e-3)
    assert error(predict, integrated(predict, 0.5)) < 1e-5
    assert error(predict, integrated(predict, 1.0)) < 1e-5


def test_the_midpoint_is_better_than_both_ends_with_biases():
    predicts = [head(seed, bias=0.5) for seed in range(4)]
    left, middle, right = (
        np.mean([error(f, integrated(f, node)) for f in predicts])
        for node in (0.0, 0.5, 1.0)
    )
    assert 0.02 < middle < 0.07
    assert middle < 0.8 * min(left, right)


def test_a_perfect_map_judged_against_another_baseline_looks_wrong():
    predict = head(0, bias=0.5)
    maps = integrated(predict, 0.5, MEAN)
    assert error(predict, maps, baselines=MEAN) < 0.05
    assert error(predict, maps, baselines=0.0) > 0.2


def slope(activation):
    """Of log error in log n, for n = 8 to 128 midpoints."""
    weights = [jnp.asarray(w, jnp.float64) for w in head(0, bias=0.5)]
    predict = functools.partial(apply, weights, activation=activation)
    features = jnp.asarray(FEATURES[:50], jnp.float64)
    counts, errors = [8, 32, 128], []
    for count in counts:
        settings = {"baselines": 0.0, **SCORE}
        maps = attributions.integrated_gradients(
            predict, features, TARGETS[:50],
            num_points=count, chunk_size=count, **settings,
        )  # fmt: skip
        gap = attributions.completeness_gap(
            predict, features, TARGETS[:50], maps, **settings
        )
        errors.append(jnp.sum(jnp.abs(gap)))
    return np.polyfit(np.log(counts), np.log(errors), 1)[0]


def test_the_midpoint_error_of_relus_falls_like_one_over_n(x64):
    assert slope(jax.nn.relu) == pytest.approx(-1, abs=0.2)


def test_the_midpoint_error_of_softplus_falls_like_one_over_n_squared(x64):
    assert slope(jax.nn.softplus) == pytest.approx(-2, abs=0.2)


def test_the_target_is_the_same_at_every_layer():
    draw = np.random.default_rng(3).normal
    weights = [draw(size=s).astype(np.float32) / 3 for s in ((6, 8), (8, 8), (8, 2))]
    inputs = draw(size=(4, 6)).astype(np.float32)
    baselines = draw(size=(4, 6)).astype(np.float32)

    def forward(inputs, *, overrides=None):
        overrides, seen, hidden = overrides or {}, {}, inputs
        for number, weight in enumerate(weights[:-1]):
            name = f"layer_{number}"
            hidden = overrides.get(name, jax.nn.relu(hidden @ weight + 0.1))
            seen[name] = hidden
        return ModelOutput(hidden @ weights[-1] + 0.1, seen)

    targets = np.array([0, 1, 0, 1])
    expected = attributions.attribution_target(
        lambda x: forward(x).logits, inputs, targets, baselines=baselines, **SCORE
    )
    for name in ("layer_0", "layer_1"):
        predict, features = attributions.split_at(forward, inputs, name)
        carried = attributions.layer_baseline(forward, baselines, name)
        target = attributions.attribution_target(
            predict, features, targets, baselines=carried, **SCORE
        )
        np.testing.assert_allclose(target, expected, rtol=1e-5, atol=1e-6)
        maps = attributions.integrated_gradients(
            predict, features, targets,
            baselines=carried, num_points=64, chunk_size=64, **SCORE,
        )  # fmt: skip
        np.testing.assert_allclose(jnp.sum(maps, axis=1), target, atol=0.02)
