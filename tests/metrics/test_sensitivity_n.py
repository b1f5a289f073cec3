"""Sensitivity-n against exact maps, SciPy on the subsets drawn, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from xguide_jax import metrics

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(3, 6)).astype(np.float32)
WEIGHTS = RNG.normal(size=(6, 2)).astype(np.float32)
TARGETS = np.array([0, 1, 1])
EXACT = INPUTS * WEIGHTS.T[TARGETS]  # of the baseline 0
settings = {
    "key": KEY, "num_features": 2, "num_subsets": 12, "baselines": 0.0,
    "score_fn": lambda logits, targets: logits[jnp.arange(len(targets)), targets],
}  # fmt: skip


def affine(inputs):
    return inputs @ WEIGHTS + 1


def bent(inputs):
    return jnp.tanh(inputs @ WEIGHTS) + inputs[:, :1] * inputs[:, 1:3]


def measure(attributions, inputs=INPUTS, predict_fn=affine, **changed):
    return metrics.sensitivity_n(
        predict_fn, jnp.asarray(inputs), jnp.asarray(TARGETS[: len(inputs)]),
        jnp.asarray(attributions), **settings | changed,
    )  # fmt: skip


def copies_of(inputs=INPUTS, **changed):
    """The inputs that the network is asked for: the intact one is known."""
    seen = []

    def record(values):
        seen.append(np.asarray(values))
        return affine(values)

    measure(EXACT[: len(inputs)], inputs, record, **changed)
    return np.stack([s for s in seen if not np.array_equal(s, inputs)])


def test_an_exact_map_of_an_affine_score_has_1_and_its_opposite_minus_1():
    np.testing.assert_allclose(measure(EXACT), [1, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(measure(-3 * EXACT), [-1, -1, -1], rtol=1e-5)
    for num_features in (1, 5):
        found = measure(EXACT, num_features=num_features)
        np.testing.assert_allclose(found, [1, 1, 1], rtol=1e-5)


def test_the_baseline_is_part_of_what_is_exact():
    baselines = np.linspace(-2, 2, 6, dtype=np.float32)
    exact = (INPUTS - baselines) * WEIGHTS.T[TARGETS]
    found = measure(exact, baselines=baselines)
    np.testing.assert_allclose(found, [1, 1, 1], rtol=1e-5)
    assert np.all(measure(EXACT, baselines=baselines) < 0.999)


def test_it_is_pearsons_correlation_over_the_subsets():
    copies = copies_of()
    assert copies.shape == (12, 3, 6)
    removed = copies == 0
    np.testing.assert_array_equal(removed.sum(-1), 2)
    attributions = RNG.normal(size=(3, 6)).astype(np.float32)
    found = measure(attributions, predict_fn=bent)
    for row, target in enumerate(TARGETS):
        sums = np.where(removed[:, row], attributions[row], 0).sum(-1)
        falls = bent(INPUTS[row : row + 1])[0, target] - bent(copies[:, row])[:, target]
        expected = scipy.stats.pearsonr(sums, np.asarray(falls)).statistic
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_two_subsets_make_a_correlation():
    np.testing.assert_allclose(measure(EXACT, num_subsets=2), [1, 1, 1], rtol=1e-5)


def test_what_all_subsets_share_takes_no_digits():
    """Whole numbers that float32 holds: twice as large, it would round them to even."""
    weights, values = np.array([[3, 14, 7, 11, 2, 9], [8, 1, 13, 4, 10, 6]])
    predict_fn = lambda x: (x @ weights.astype(np.float32) + 2.0**23)[:, None].repeat(
        2, 1
    )
    maps = np.tile(values + 2**22, (3, 1)).astype(np.float32)
    found = measure(maps, np.ones((3, 6), np.float32), predict_fn)
    removed = copies_of() == 0
    for row in range(3):
        sums, falls = removed[:, row] @ values, removed[:, row] @ weights
        expected = scipy.stats.pearsonr(sums, falls).statistic
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_a_value_by_hand():
    # One of two features at a time: a score of 3 x_0 + x_1 at (1, 1) falls by 3 or 1.
    # Of only two different subsets every map that varies is right or wrong.
    predict_fn = lambda inputs: inputs @ jnp.array([[3.0], [1.0]])
    inputs = jnp.ones((3, 2))
    maps = jnp.array([[3.0, 1.0], [0.5, 0.2], [1.0, 2.0]])
    found = metrics.sensitivity_n(
        predict_fn, inputs, jnp.zeros(3, int), maps,
        **settings | {"num_features": 1, "num_subsets": 16},
    )  # fmt: skip
    np.testing.assert_allclose(found, [1, 1, -1], rtol=1e-6)


def test_subsets_belong_to_examples_and_more_of_them_extend_the_sequence():
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(3))
    whole = copies_of()
    alone = copies_of(INPUTS[:1], key=keys[:1])
    np.testing.assert_array_equal(alone[:, 0], whole[:, 0])
    more = copies_of(num_subsets=20)
    np.testing.assert_array_equal(more[:12], whole)
    assert len(np.unique((more == 0).reshape(-1, 6), axis=0)) > 10


def test_every_feature_is_drawn_as_often_as_another():
    inputs = np.ones((300, 6), np.float32)
    seen = []

    def record(values):
        seen.append(np.asarray(values))
        return values[:, :1]

    metrics.sensitivity_n(
        record, jnp.asarray(inputs), jnp.zeros(300, int), jnp.asarray(inputs),
        **settings | {"score_fn": lambda logits, _: logits[:, 0], "num_subsets": 4},
    )  # fmt: skip
    removed = np.concatenate([values == 0 for values in seen if np.any(values == 0)])
    assert len(removed) == 1200
    np.testing.assert_allclose(removed.mean(0), 1 / 3, atol=0.05)


def test_chunks_and_jit_change_nothing():
    expected = measure(EXACT**2, predict_fn=bent)
    found = measure(EXACT**2, predict_fn=bent, chunk_size=5)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    compiled = jax.jit(lambda maps: measure(maps, predict_fn=bent, chunk_size=12))
    np.testing.assert_allclose(compiled(EXACT**2), expected, atol=1e-5)


def test_constant_sides_and_nan_are_undefined_in_their_row_alone():
    for value in (0.0, 0.1, -7.3):
        maps = EXACT.copy()
        maps[1] = value
        found = measure(maps)
        np.testing.assert_array_equal(np.isnan(found), [False, True, False])
    maps[1] = EXACT[1]
    maps[1, 3] = np.nan
    np.testing.assert_array_equal(np.isnan(measure(maps)), [False, True, False])
    flat = lambda inputs: affine(jnp.where(inputs[:, :1] == inputs[:, :1], 0.1, inputs))
    assert np.all(np.isnan(measure(EXACT, predict_fn=flat)))
    # A score of 1e6 has steps of 1/16, and moves by a few of them.
    high = lambda inputs: 1e6 + 0.1 * affine(inputs)
    assert np.all(np.isnan(measure(EXACT, predict_fn=high)))
    broken = lambda inputs: jnp.where(inputs[:, :1] == 0, jnp.nan, affine(inputs))
    assert np.all(np.isnan(measure(EXACT, predict_fn=broken)))


def test_the_scale_of_a_map_does_not_matter():
    expected = measure(EXACT**2, predict_fn=bent)
    for factor in (1e-25, 1e25):
        found = measure(np.float32(factor) * EXACT**2, predict_fn=bent)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_channels_of_a_position_go_together_and_tokens_are_taken():
    inputs = RNG.normal(size=(2, 2, 2, 3)).astype(np.float32)
    weights = RNG.normal(size=(2, 2, 3)).astype(np.float32)
    predict_fn = lambda x: jnp.sum(x * weights, axis=(1, 2, 3))[:, None]
    exact = (inputs * weights).sum(-1, keepdims=True)
    changed = settings | {"score_fn": lambda logits, targets: logits[:, 0]}
    targets = jnp.zeros(2, int)
    found = metrics.sensitivity_n(predict_fn, inputs, targets, exact, **changed)
    np.testing.assert_allclose(found, [1, 1], rtol=1e-5)
    tokens = jnp.array([[3, 1, 2], [4, 4, 0]])
    table = jnp.array([0.0, 1.0, -2.0, 0.5, 3.0])
    predict_fn = lambda ids: jnp.sum(table[ids], axis=-1, keepdims=True)
    changed |= {"baselines": 0}
    found = metrics.sensitivity_n(predict_fn, tokens, targets, table[tokens], **changed)
    np.testing.assert_allclose(found, [1, 1], rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"num_features": 6}, "`num_features` .=6. must be below the 6 features"),
        ({"num_features": 0}, "`num_features` .=0. must be at least 1"),
        ({"num_subsets": 1}, "`num_subsets` .=1. must be at least 2"),
        ({"chunk_size": 0}, "`chunk_size` .=0. must be at least 1"),
        ({"key": jax.random.PRNGKey(0)}, "must be a typed key"),
    ],
)
def test_arguments_out_of_range_are_refused(changed, words):
    with pytest.raises(ValueError, match=words):
        measure(EXACT, **changed)


def test_shapes_and_scores_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        measure(EXACT[:, :5])
    with pytest.raises(AssertionError):
        measure(EXACT[:, 0])
    with pytest.raises(AssertionError):
        measure(EXACT, score_fn=lambda logits, targets: logits)
