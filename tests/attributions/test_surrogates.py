"""Tests of LIME against normal equations, of KernelSHAP against Shapley values."""

import functools

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import attributions, ops, testing

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
TARGETS = np.zeros(2, int)
INPUTS = RNG.normal(size=(2, 5)).astype(np.float32)
SLOPES = np.array([[1.0], [-2], [3], [0], [5]], np.float32)


def explain(name, predict, inputs, targets=TARGETS, *, key=KEY, **settings):
    settings = {
        "segments": np.arange(5),
        "num_segments": 5,
        "num_samples": 12,
        "baselines": 0.3,
        "score_fn": attributions.regression_output,
        "chunk_size": 32,
        **({"kernel_width": 0.5, "ridge": 0.0} if name == "lime" else {}),
        **settings,
    }
    run = lambda inputs, targets, key: getattr(attributions, name)(
        predict, inputs, targets, key=key, **settings
    )
    return jax.jit(run)(inputs, targets, key)


def entangled(inputs):
    """Products of two and of three features beside a sum of curves."""
    curves = jnp.sum(jnp.tanh(inputs * np.arange(1, 6, dtype=inputs.dtype)), axis=1)
    pair = inputs[:, 0] * inputs[:, 1]
    return (curves + pair + inputs[:, 2] * inputs[:, 3] * inputs[:, 4])[:, None]


def changes(inputs):
    """f(x) − f(b) of the entangled score."""
    return (entangled(inputs) - entangled(np.full_like(inputs, 0.3)))[:, 0]


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
class TestBoth:
    def test_affine_functions_give_weight_times_change(self, name):
        actual = explain(name, lambda x: x @ SLOPES + 4.0, INPUTS)
        expected = SLOPES[:, 0] * (INPUTS - 0.3)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)

    def test_a_sum_of_functions_of_segments_is_shared_out_within_them(self, name):
        # x1 x2 is of one segment, sin(x3) + x3 x4 of another, x5 alone.
        parts = lambda x: (x[:, 0] * x[:, 1], jnp.sin(x[:, 2]) + x[:, 2] * x[:, 3])
        predict = lambda x: (sum(parts(x)) + x[:, 4])[:, None]
        segments = np.array([0, 0, 1, 1, 2])
        actual = explain(
            name, predict, INPUTS, segments=segments, num_segments=3, num_samples=20
        )
        base = np.full_like(INPUTS, 0.3)
        first, second = (a - b for a, b in zip(parts(INPUTS), parts(base), strict=True))
        columns = [first / 2, first / 2, second / 2, second / 2, INPUTS[:, 4] - 0.3]
        np.testing.assert_allclose(
            actual, np.stack(columns, axis=1), rtol=1e-4, atol=1e-5
        )

    def test_what_is_never_perturbed_gets_nothing(self, name):
        # The last two stay as they are, so the score is x1 · x4 · x5 − x2.
        predict = lambda x: x[:, :1] * x[:, 3:4] * x[:, 4:] - x[:, 1:2]
        segments = np.array([0, 1, 2, -1, -1])
        actual = explain(
            name, predict, INPUTS, segments=segments, num_segments=3, num_samples=20
        )
        product = (INPUTS[:, 0] - 0.3) * INPUTS[:, 3] * INPUTS[:, 4]
        np.testing.assert_allclose(actual[:, 0], product, rtol=1e-4)
        np.testing.assert_allclose(actual[:, 1], 0.3 - INPUTS[:, 1], rtol=1e-4)
        np.testing.assert_allclose(actual[:, 2:], 0, atol=1e-6)

    def test_the_key_of_an_example_decides_its_samples(self, name):
        keys = ops.example_keys(KEY, 2)
        together = explain(name, entangled, INPUTS)
        swapped = explain(name, entangled, INPUTS[::-1], key=keys[::-1], chunk_size=5)
        np.testing.assert_allclose(swapped[::-1], together, rtol=1e-4, atol=1e-5)
        other = explain(name, entangled, INPUTS, key=jax.random.key(1))
        assert np.max(np.abs(other - together)) > 1e-3

    def test_gradients_through_the_fit_are_right(self, name, x64):
        del x64
        inputs = INPUTS.astype(np.float64)
        run = jax.jit(
            lambda scale, inputs: explain(
                name, lambda x: jnp.tanh(scale * entangled(x)), inputs
            )
        )
        jax.test_util.check_grads(run, (0.7, inputs), order=1, modes=["rev"])
        assert run(0.7, inputs).dtype == jnp.float64

    def test_float32_inputs_stay_float32_where_float64_exists(self, name, x64):
        del x64
        actual = explain(name, lambda x: x[:, :1], jnp.asarray(INPUTS))
        assert actual.dtype == jnp.float32

    def test_it_keeps_what_every_explainer_promises(self, name):
        segments, count = attributions.grid_segments((6, 6, 2), (2, 6))
        more = {"kernel_width": 0.5, "ridge": 0.1} if name == "lime" else {}

        def with_own_keys(predict_fn, inputs, targets):
            first = inputs.reshape(len(inputs), -1)[:, 0].astype(jnp.float32)
            bits = jax.lax.bitcast_convert_type(first, jnp.uint32)
            return getattr(attributions, name)(
                predict_fn, inputs, targets, segments=segments, num_segments=count,
                key=jax.vmap(functools.partial(jax.random.fold_in, KEY))(bits),
                num_samples=6, baselines=0.1, score_fn=attributions.target_logit,
                chunk_size=6, **more,
            )  # fmt: skip

        testing.check_explainer(with_own_keys)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"segments": np.array([0, 1, 2, 5, 4])}, r"`segments` \(one is 5\) must"),
            ({"num_segments": 0}, r"`num_segments` \(=0\) must be at least 1"),
            ({"num_samples": 5}, r"`num_samples` \(=5\) must be at least (6|10), "),
            ({"num_samples": 2.5}, r"`num_samples` \(=2.5\) must be a whole number"),
            ({"baselines": np.ones(3)}, r"`baselines` \(of shape \(3,\)\) must broad"),
            ({"key": jax.random.PRNGKey(0)}, "`key` must be a typed key"),
            ({"chunk_size": 0}, r"`chunk_size` \(=0\) must be at least 1"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, name, settings, message):
        with pytest.raises(ValueError, match=message):
            explain(name, entangled, INPUTS, **settings)


def test_lime_solves_the_normal_equations_of_the_documented_samples():
    """The constant is a column of its own here, and is spared by the ridge."""
    actual = explain("lime", entangled, INPUTS, num_samples=9, ridge=0.2)
    for i, row in enumerate(INPUTS.astype(np.float64)):
        keys = [jax.random.fold_in(jax.random.fold_in(KEY, i), n) for n in range(9)]
        on = np.stack([jax.random.bernoulli(k, 0.5, (5,)) for k in keys])
        on[0] = True
        weight = np.exp(-(((1 - np.sqrt(on.mean(axis=1))) / 0.5) ** 2))[:, None]
        scores = np.asarray(entangled(np.where(on, row, 0.3).astype(np.float32)))
        rows = np.concatenate([on, np.ones((9, 1))], axis=1)
        penalty = np.diag([0.2] * 5 + [0.0])
        expected = np.linalg.solve(
            rows.T @ (weight * rows) + penalty, rows.T @ (weight * scores)
        )
        np.testing.assert_allclose(actual[i], expected[:5, 0], rtol=1e-3, atol=1e-4)


def test_lime_of_samples_that_do_not_determine_it_is_nan_for_that_example_only():
    """Six samples for six unknowns: most draws leave some segments alike."""
    run = functools.partial(
        explain, "lime", lambda x: x @ SLOPES, INPUTS, num_samples=6
    )
    run_key = jax.jit(lambda key: run(key=key))
    outcomes = [np.isnan(run_key(jax.random.key(k))) for k in range(6)]
    whole = np.all(outcomes, axis=2)
    np.testing.assert_array_equal(whole, np.any(outcomes, axis=2))
    assert np.any(whole)
    assert np.any(whole[:, 0] != whole[:, 1])
    assert np.all(np.isfinite(run(ridge=1e-3)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_width": 0.0}, r"`kernel_width` \(=0.0\) must be above 0"),
        ({"kernel_width": float("nan")}, r"`kernel_width` \(=nan\) must be above 0"),
        ({"ridge": -1.0}, r"`ridge` \(=-1.0\) must be at least 0"),
    ],
)
def test_numbers_of_lime_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        explain("lime", entangled, INPUTS, **settings)


@functools.partial(jax.jit, static_argnames="name")
def of_game(table, *, name):
    """The values of a game of four players that is given by all of its outcomes."""
    settings = {
        "segments": np.arange(4),
        "num_segments": 4,
        "baselines": 0.0,
        "score_fn": attributions.regression_output,
        "chunk_size": 16,
    }
    if name == "kernel_shap":
        settings |= {"key": KEY, "num_samples": 14}
    places = 2 ** np.arange(4, dtype=np.int32)
    predict = lambda x: table[jnp.sum(x.astype(jnp.int32) * places, axis=1)][:, None]
    explainer = getattr(attributions, name)
    return explainer(predict, jnp.ones((1, 4)), TARGETS[:1], **settings)[0]


@hypothesis.given(
    hypothesis.extra.numpy.arrays(np.float32, 16, elements=st.floats(-8, 8, width=32)),
    st.permutations(range(4)),
)
def test_with_all_coalitions_kernel_shap_is_the_shapley_value_of_any_game(table, order):
    actual = of_game(table, name="kernel_shap")
    np.testing.assert_allclose(actual, of_game(table, name="shapley_values"), atol=2e-5)
    np.testing.assert_allclose(np.sum(actual), table[15] - table[0], atol=2e-5)
    # Players who change places take their values along.
    moved = table.reshape(2, 2, 2, 2).transpose(3 - np.array(order)[::-1]).ravel()
    np.testing.assert_allclose(
        of_game(moved, name="kernel_shap"), actual[np.array(order)], atol=2e-5
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_kernel_shap_needs_no_key_and_no_luck_for_few_segments(count):
    segments = np.arange(5) % count
    settings = {"segments": segments, "num_segments": count}
    actual = explain(
        "kernel_shap", entangled, INPUTS, num_samples=max(1, 2**count - 2), **settings
    )
    expected = attributions.shapley_values(
        entangled, INPUTS, TARGETS, baselines=0.3, chunk_size=32,
        score_fn=attributions.regression_output, **settings,
    )  # fmt: skip
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_samples", [10, 29])
def test_sampled_kernel_shap_adds_up_to_the_change_of_the_score(num_samples):
    actual = explain("kernel_shap", entangled, INPUTS, num_samples=num_samples)
    np.testing.assert_allclose(np.sum(actual, axis=1), changes(INPUTS), atol=2e-6)


def test_sampled_kernel_shap_tends_to_the_shapley_values():
    segments, slopes = np.arange(9), RNG.normal(size=(9, 3)).astype(np.float32)
    predict = lambda x: jnp.prod(jnp.tanh(x @ slopes), axis=1, keepdims=True)
    inputs = RNG.normal(size=(2, 9)).astype(np.float32)
    run = functools.partial(
        explain, "kernel_shap", predict, inputs, segments=segments, num_segments=9,
        chunk_size=512,
    )  # fmt: skip
    exact = run(num_samples=510)
    few, many = (np.abs(run(num_samples=n) - exact).mean() for n in (18, 509))
    assert many < 0.35 * few


def test_the_coalitions_of_sampled_kernel_shap_are_single_then_random_pairs():
    seen = []
    attributions.kernel_shap(
        lambda x: seen.append(np.asarray(x[0])) or x, jnp.ones((1, 6)), TARGETS[:1],
        key=KEY, segments=np.arange(6), num_segments=6, num_samples=37,
        baselines=0.0, score_fn=lambda x, y: x[:, 0],
    )  # fmt: skip
    coalitions = np.stack(seen[2:]).astype(bool)  # after none and all
    assert len(coalitions) == 37
    singles, others = np.split(coalitions[:12], 2)
    np.testing.assert_array_equal(singles, np.eye(6))
    np.testing.assert_array_equal(others, 1 - np.eye(6))
    random = coalitions[12:]
    assert set(np.sum(random, axis=1)) == {2, 3, 4}
    np.testing.assert_array_equal(random[1:24:2], ~random[0:24:2])
    assert len({tuple(row) for row in random}) > 15
    assert not np.all(random[24] == ~random[23])


def test_kernel_shap_of_too_few_samples_names_the_rule():
    with pytest.raises(ValueError, match=r"at least 10, the smaller of 2 S and 2\^S"):
        explain("kernel_shap", entangled, INPUTS, num_samples=9)
    with pytest.raises(ValueError, match=r"`num_samples` \(=5\) must be at least 6"):
        explain(
            "kernel_shap", entangled, INPUTS,
            segments=np.arange(5) % 3, num_segments=3, num_samples=5,
        )  # fmt: skip
