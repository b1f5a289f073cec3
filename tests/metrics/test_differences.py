"""The cases of `metrics/differences.md`, with the values worked out there."""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, metrics, ops

KEY = jax.random.key(0)
LAST = np.array([[0, 0, 0, 1]], np.float32)
zeros = functools.partial(ops.constant_fill, value=0.0)
first_logit = lambda logits, targets: logits[:, 0]


def row(*cells):
    return np.array([cells], np.float32)


def linear(*weights):
    return lambda inputs: inputs @ jnp.array(weights, jnp.float32)[:, None]


def removal(maps, labels, predict_fn, fractions):
    inputs = jnp.ones(maps.shape)
    return metrics.removal_curve(
        predict_fn, inputs, jnp.asarray(labels), jnp.asarray(maps),
        fractions=fractions, fill=zeros, key=KEY,
    )  # fmt: skip


def three_classes(inputs):
    """The first class as long as the first feature is there."""
    return jnp.stack([inputs[:, 0], inputs[:, 0] * 0 + 0.5, inputs[:, 0] * 0], axis=-1)


def test_each_row_of_the_page_is_a_test_and_each_test_a_row():
    path = pathlib.Path(metrics.__file__).with_name("differences.md")
    named = re.findall(r"`(test_\w+)` \|$", path.read_text(), flags=re.MULTILINE)
    here = {name for name in globals() if name.startswith("test_")}
    assert len(named) == len(set(named))
    assert set(named) == here - {
        "test_each_row_of_the_page_is_a_test_and_each_test_a_row"
    }


def test_an_empty_region_is_no_hit():
    assert np.isnan(metrics.pointing_game(row(3, 1, 0), row(0, 0, 0)))[0]


def test_a_tied_peak_is_one_place():
    np.testing.assert_array_equal(metrics.pointing_game(row(1, 0, 0, 1), LAST), [0])
    assert np.isnan(metrics.pointing_game(row(1, 1, 1, 1), LAST))[0]


def test_a_nan_map_changes_no_other():
    maps = np.array([[0, 0, 1, 3], [1, 3, np.nan, 0], [4, 0, 0, 1], [0, 0, 0, 1]])
    maps, region = maps.astype(np.float32), np.repeat(LAST, 4, axis=0)
    found = metrics.pointing_game(maps, region)
    np.testing.assert_array_equal(found, [1, np.nan, 0, 1])
    found = metrics.relevance_mass_accuracy(maps, region)
    np.testing.assert_allclose(found, [3 / 4, np.nan, 1 / 5, 1], rtol=1e-6)


def test_maps_are_scaled_one_by_one():
    maps = np.array([[4, 2, 0, 0], [0.4, 0.2, 0, 0]], np.float32)
    region = np.array([[1, 1, 0, 0]] * 2, np.float32)
    np.testing.assert_array_equal(metrics.iou(maps, region, threshold=0.4), [1, 1])


def test_the_curve_of_a_nan_map_is_nan():
    maps = np.array([[np.nan] * 3, [3, 2, 1], [3, np.nan, 1]], np.float32)
    found = removal(maps, [0, 0, 0], three_classes, (0.0, 0.5))
    np.testing.assert_array_equal(found, [[np.nan] * 2, [1, 0], [np.nan] * 2])


def test_constant_maps_have_their_own_values():
    maps = np.array([[2, 2, 2, 2], [0, 0, 0, 0], [0, 0, 3, 0]], np.float32)
    nan = np.nan
    found = metrics.entropy(maps)
    np.testing.assert_allclose(found, [np.log(4), nan, 0], rtol=1e-6)
    np.testing.assert_allclose(metrics.gini(maps), [0, nan, 3 / 4], rtol=1e-6)
    found = metrics.effective_number_of_features(maps)
    np.testing.assert_allclose(found, [4, nan, 1], rtol=1e-6)
    found = metrics.pointing_game(maps, np.repeat(LAST[:, ::-1], 3, axis=0))
    np.testing.assert_array_equal(found, [nan, nan, 0])


def test_the_area_is_by_trapezoids():
    found = metrics.area_under_curve(row(1, 0.5, 0), fractions=(0.0, 0.5, 1.0))
    np.testing.assert_allclose(found, [0.5], rtol=1e-6)


def test_k_above_n_is_refused_by_name():
    with pytest.raises(ValueError, match="1000"):
        metrics.top_k_intersection(row(1, 2, 3, 4), row(4, 3, 2, 1), k=1000)


def test_a_label_out_of_range_is_nan_alone():
    maps = np.repeat(row(3, 2, 1), 2, axis=0)
    found = removal(maps, [3, 0], three_classes, (0.0, 0.5))
    np.testing.assert_array_equal(found, [[np.nan] * 2, [1, 0]])


def test_fractions_need_not_divide_the_cells():
    seen = []

    def record(inputs):
        seen.append(np.asarray(inputs))
        return three_classes(inputs)

    removal(row(1, 3, 2), [0], record, (0.5,))
    np.testing.assert_array_equal(seen, [row(1, 0, 1)])


def test_precision_of_no_marks_is_nan():
    found = metrics.explanation_precision_recall(
        row(5, 0.2, 0, 0), row(0, 1, -1, -1), threshold=0.5
    )
    np.testing.assert_array_equal(np.concatenate(found), [np.nan, 0, 0])


def test_average_precision_without_a_region_is_nan():
    assert np.isnan(metrics.average_precision(row(1, 2), row(0, 0)))[0]


def test_a_full_region_has_a_precision():
    found = metrics.average_precision(row(1, 2), row(1, 1))
    np.testing.assert_array_equal(found, [1])


def test_gini_adds_nothing():
    assert np.isnan(metrics.gini(row(0, 0)))[0]
    np.testing.assert_allclose(metrics.gini(row(0, 1e-8)), [0.5], rtol=1e-6)


def test_exact_maps_have_sensitivity_n_of_1():
    effects = np.array([[3, 0.5], [2, 1]], np.float32)
    predict_fn = lambda inputs: jnp.sum(inputs, axis=-1, keepdims=True)
    found = metrics.sensitivity_n(
        predict_fn, jnp.asarray(effects), jnp.zeros(2, int), jnp.asarray(effects),
        key=KEY, num_features=1, num_subsets=16, baselines=0.0, score_fn=first_logit,
    )  # fmt: skip
    np.testing.assert_allclose(found, [1, 1], rtol=1e-5)


def infidelity_of(predict_fn, inputs, maps, perturbation):
    return metrics.infidelity(
        predict_fn, jnp.asarray(inputs), jnp.zeros(1, int), jnp.asarray(maps), key=KEY,
        perturb=lambda key, inputs: jnp.asarray(perturbation), num_samples=1,
        score_fn=first_logit,
    )  # fmt: skip


def test_infidelity_of_given_perturbations():
    predict_fn = lambda x: 3 * x[:, :1] + x[:, :1] * x[:, 1:]
    for perturbation, missed in ((row(1, 0), 0), (row(1, 1), 5 - 4), (row(0, 1), 0)):
        found = infidelity_of(predict_fn, row(1, 1), row(4, 1), perturbation)
        np.testing.assert_allclose(found, [missed**2], atol=1e-6)


def test_infidelity_is_of_slopes():
    found = infidelity_of(linear(3, 1), row(2, 1), row(6, 1) / row(2, 1), row(2, 1))
    np.testing.assert_allclose(found, [0], atol=1e-6)
    found = infidelity_of(linear(3, 1), row(2, 1), row(6, 1), row(2, 1))
    np.testing.assert_allclose(found, [36], rtol=1e-6)


def test_sensitivity_of_a_map_of_zeros_is_nan():
    found = metrics.max_sensitivity(
        jax.nn.relu, jnp.array([[-1.0, -2.0]]), key=KEY, radius=0.1, num_samples=1
    )
    assert np.isnan(found)[0]


def test_the_mass_inside_is_of_magnitudes():
    found = metrics.relevance_mass_accuracy(row(3, -1, -1), row(1, 0, 0))
    np.testing.assert_allclose(found, [3 / 5], rtol=1e-6)


def test_negative_cells_are_no_part_of_the_energy():
    found = metrics.energy_pointing_game(row(3, -2), row(1, 0))
    np.testing.assert_array_equal(found, [1])


def test_tied_ranks_share_their_places():
    found = metrics.relevance_rank_accuracy(row(1, 0, 0, 0), row(0, 1, 1, 0))
    np.testing.assert_allclose(found, [1 / 3], rtol=1e-6)


def test_tied_top_cells_share_their_places():
    found = metrics.top_k_agreement(row(1, 0, 0, 0), row(1, 1, 0, 0) > 0, k=2)
    np.testing.assert_allclose(found.precision, [2 / 3], rtol=1e-6)


def test_the_number_of_features_is_weighted():
    found = metrics.effective_number_of_features(row(2, 1, 0))
    np.testing.assert_allclose(found, [3 / 2 ** (2 / 3)], rtol=1e-6)


def test_the_area_is_of_precision():
    found = metrics.average_precision(row(4, 3, 2, 1), row(1, 0, 0, 1))
    np.testing.assert_allclose(found, [3 / 4], rtol=1e-6)


def test_completeness_is_a_number():
    found = attributions.completeness_gap(
        linear(1, 2), jnp.ones((1, 2)), jnp.zeros(1, int), jnp.asarray(row(1, 2.25)),
        baselines=0.0, score_fn=first_logit,
    )  # fmt: skip
    np.testing.assert_allclose(found, [0.25], rtol=1e-6)


def without_effect(predict_fn, maps, score_tolerance):
    return metrics.non_sensitivity(
        predict_fn, jnp.ones((1, 2)), jnp.zeros(1, int), jnp.asarray(maps),
        baselines=0.0, score_fn=first_logit, map_tolerance=1e-5,
        score_tolerance=score_tolerance,
    )  # fmt: skip


def test_a_negative_attribution_is_one():
    found = without_effect(linear(1, -1), row(1, -1), 1e-5)
    np.testing.assert_array_equal(found, [0])


def test_effects_have_a_tolerance_of_their_own():
    for tolerance, expected in ((1e-7, 0), (1e-5, 2)):
        found = without_effect(linear(1e-6, 2e-6), row(1, 2), tolerance)
        np.testing.assert_array_equal(found, [expected])


def test_every_cell_is_shifted():
    gradient = lambda f, x: jax.grad(lambda x: f(x).sum())(x)
    found = metrics.input_invariance(
        gradient, lambda x: jnp.square(x[:, :1]), jnp.ones((1, 2)), shift=-1.0
    )
    np.testing.assert_array_equal(found, [0])


def test_aopc_is_the_mean_over_the_given_shares():
    measure = functools.partial(
        metrics.comprehensiveness, linear(1, 2), jnp.ones((1, 2)), jnp.zeros(1, int),
        jnp.asarray(row(2, 1)), fill=zeros, key=KEY, value=first_logit,
    )  # fmt: skip
    # Without the first the score falls by 1, without both by 3.
    np.testing.assert_allclose(measure(fractions=(0.5, 1.0)), [2], rtol=1e-6)
    np.testing.assert_allclose(measure(fractions=(0.0, 0.5, 1.0)), [4 / 3], rtol=1e-6)


def test_nothing_is_imputed_from_nothing():
    images = jnp.ones((1, 2, 2, 1))
    found = ops.noisy_linear_imputation(
        images, jnp.ones(images.shape, bool), key=KEY, sigma=0.0
    )
    assert np.all(np.isnan(found))
    with pytest.raises(ValueError, match="must be below 1"):
        metrics.road_curve(
            lambda x: x.reshape(1, 4), images, jnp.zeros(1, int), images,
            fractions=(0.0, 1.0), sigma=0.0, key=KEY,
        )  # fmt: skip


def test_road_counts_every_example():
    # Imputed, the pixel of 4 among zeros is 0, and one among ones stays 1.
    images = jnp.asarray([[1.0, 1, 1, 1], [4, 0, 0, 0], [4, 0, 0, 0]])
    found = metrics.road_curve(
        lambda x: x.sum((1, 2)) * jnp.array([1.0, 0]) + jnp.array([0.0, 3]),
        images.reshape(3, 2, 2, 1), jnp.zeros(3, int),
        jnp.tile(jnp.asarray(row(4, 3, 2, 1)), (3, 1)).reshape(3, 2, 2, 1),
        fractions=(0.25,), sigma=0.0, key=KEY,
    )  # fmt: skip
    np.testing.assert_array_equal(found[:, 0], [1, 0, 0])
    np.testing.assert_allclose(found.mean(), 1 / 3, rtol=1e-6)


def test_a_match_counts_once_in_the_recall_of_spans():
    third = functools.partial(metrics.span_agreement, iou_threshold=1 / 3)
    found = third(row(1, 0, 1) > 0, row(1, 1, 1) > 0)
    np.testing.assert_array_equal(np.stack(found), [[1], [1], [1]])


def test_the_f1_is_that_of_each_example():
    predicted = np.array([[1, 0, 0, 0], [1, 0, 1, 0]], bool)
    marks = np.array([[1, 0, 1, 0], [1, 0, 0, 0]], bool)
    found = metrics.span_agreement(predicted, marks, iou_threshold=0.5)
    np.testing.assert_allclose(found.f1, [2 / 3, 2 / 3], rtol=1e-6)
    assert np.mean(found.precision) == np.mean(found.recall) == 3 / 4


def test_the_f1_without_a_mark_is_nan():
    found = metrics.token_agreement(row(1, 0) > 0, row(0, 0) > 0)
    np.testing.assert_array_equal(np.stack(found), [[0], [np.nan], [np.nan]])


def test_average_precision_is_no_trapezoid():
    np.testing.assert_array_equal(
        metrics.average_precision(row(2, 1), row(0, 1)), [0.5]
    )


def test_how_tokens_go_is_said():
    inputs = {"tokens": np.array([[4, 2]], np.int32), "mask": np.ones((1, 2), bool)}
    removals = {
        "deleted": ops.delete_positions(["tokens"], mask="mask"),
        "hidden": ops.hide_positions("mask"),
        "another": ops.fill_leaf(
            "tokens", functools.partial(ops.constant_fill, value=1)
        ),
    }

    def predict_fn(inputs):
        shown = jnp.where(inputs["mask"], inputs["tokens"], 0).astype(jnp.float32)
        return shown @ jnp.array([[1.0], [2.0]])

    found = {
        name: metrics.comprehensiveness(
            predict_fn, inputs, np.zeros(1, int), row(2, 1), fractions=(0.5,),
            fill=removal, key=KEY, value=first_logit,
        )[0]
        for name, removal in removals.items()
    }  # fmt: skip
    assert found == {"deleted": 6, "hidden": 4, "another": 3}


def test_bleu_is_not_smoothed():
    found = metrics.corpus_bleu(["one two three four five"], [["one two three x five"]])
    np.testing.assert_array_equal(found.scores[3], 0)
    np.testing.assert_allclose(found.precisions, [4 / 5, 2 / 4, 1 / 3, 0])


def test_bleu_of_texts_that_are_too_short_is_undefined():
    found = metrics.corpus_bleu(["one two"], [["one two"]])
    np.testing.assert_array_equal(found.scores, [1, 1, np.nan, np.nan])


def test_cider_of_one_example_is_undefined():
    assert np.isnan(metrics.cider_d(["a red bird"], [["a red bird"]]))[0]


def test_a_repeated_word_breaks_no_chunk():
    found = metrics.meteor_exact(["a b x b"], [["a b"]])
    mean = (1 / 2) / (0.9 / 2 + 0.1)
    np.testing.assert_allclose(found, [mean * (1 - 1 / 2 / 8)])
