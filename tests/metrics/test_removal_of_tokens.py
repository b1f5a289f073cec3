"""Curves, comprehensiveness and sufficiency of a network whose inputs are a dict."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, metrics, ops, testing

KEY = jax.random.key(0)
MASK_ID = 1
REMOVALS = {
    "mask": ops.fill_leaf("tokens", functools.partial(ops.constant_fill, value=1)),
    "hide": ops.hide_positions("mask"),
    "delete": ops.delete_positions(("tokens",), mask="mask"),
}
# Token ids are their own evidence; 0 fills up, 1 stands for nothing and is worth 1.
INPUTS = {
    "tokens": np.array([[9, 4, 2, 8, 9, 0], [9, 3, 7, 9, 0, 0]], np.int32),
    "mask": np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]], bool),
}
SPECIAL = INPUTS["tokens"] == 9
COUNTED = INPUTS["mask"] & ~SPECIAL
LABELS = np.array([0, 0])
SCORES = np.where(COUNTED, INPUTS["tokens"], np.nan).astype(np.float32)
FUNCTIONS = {
    "comprehensiveness": metrics.comprehensiveness,
    "sufficiency": metrics.sufficiency,
    "removal": metrics.removal_curve,
    "insertion": metrics.insertion_curve,
}


def total(inputs):
    """The sum of the ids that are not hidden, wherever they stand."""
    counted = jnp.where(inputs["mask"], inputs["tokens"], 0).astype(jnp.float32)
    return jnp.sum(counted, axis=1)[:, None]


def weighted(inputs):
    """The same, each times its position."""
    counted = jnp.where(inputs["mask"], inputs["tokens"], 0).astype(jnp.float32)
    return counted @ jnp.arange(counted.shape[1], dtype=jnp.float32)[:, None]


def measure(function, predict_fn=total, removal="hide", scores=SCORES, **settings):
    settings = {
        "fractions": (0.5,), "key": KEY, "value": attributions.regression_output,
        "where": COUNTED,
    } | settings  # fmt: skip
    return FUNCTIONS[function](
        predict_fn, INPUTS, LABELS, scores, fill=REMOVALS[removal], **settings
    )


@pytest.mark.parametrize(
    ("removal", "worth"), [("mask", 1), ("hide", 0), ("delete", 0)]
)
def test_of_three_tokens_two_are_the_half_that_eraser_takes(removal, worth):
    # 8 and 4 of 4, 2, 8; of 3, 7 the 7. The mask token is worth 1 itself.
    found = measure("comprehensiveness", removal=removal)
    np.testing.assert_array_equal(found, [12 - 2 * worth, 7 - worth])
    found = measure("sufficiency", removal=removal)
    np.testing.assert_array_equal(found, [2 - worth, 3 - worth])


def test_only_a_deleted_token_moves_the_others():
    # Positions 1 to 3 hold 4, 2, 8 and 1, 2 hold 3, 7; the specials stand around them.
    before = np.array([4 + 2 * 2 + 3 * 8 + 4 * 9, 3 + 2 * 7 + 3 * 9])
    np.testing.assert_array_equal(weighted(INPUTS)[:, 0], before)
    after = {
        "mask": [1 + 2 * 2 + 3 * 1 + 4 * 9, 3 + 2 * 1 + 3 * 9],
        "hide": [2 * 2 + 4 * 9, 3 + 3 * 9],
        "delete": [1 * 2 + 2 * 9, 3 + 2 * 9],
    }
    for removal, value in after.items():
        found = measure("comprehensiveness", weighted, removal)
        np.testing.assert_array_equal(found, before - np.array(value))


def test_curves_of_the_tokens_that_count():
    # floor(½ n) of them: 8 of three, 7 of two. 18 of the specials are always there.
    fractions = (0.0, 0.5, 1.0)
    found = measure("removal", fractions=fractions)
    np.testing.assert_array_equal(found, [[32, 24, 18], [28, 21, 18]])
    found = measure("insertion", fractions=fractions)
    np.testing.assert_array_equal(found, [[18, 26, 32], [18, 25, 28]])


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
@pytest.mark.parametrize("removal", sorted(REMOVALS))
def test_padding_changes_nothing_and_specials_never_go(function, removal):
    seen = []

    def record(inputs):
        seen.append(jax.tree.map(np.asarray, inputs))
        return weighted(inputs)

    measure(function, record, removal, fractions=(0.0, 0.3, 1.0))
    for inputs in seen:
        shown = np.where(inputs["mask"], inputs["tokens"], 0)
        np.testing.assert_array_equal(np.sum(shown == 9, axis=1), [2, 2])
        assert not inputs["mask"][0, 5]
        assert not inputs["mask"][1, 4:].any()
        np.testing.assert_array_equal(shown[~inputs["mask"]], 0)
    wide = jax.tree.map(lambda a: np.pad(a, ((0, 0), (0, 3))), INPUTS)
    scores = np.pad(SCORES, ((0, 0), (0, 3)), constant_values=99)
    found = FUNCTIONS[function](
        weighted, wide, LABELS, scores, fractions=(0.3, 0.6), key=KEY,
        fill=REMOVALS[removal], value=attributions.regression_output,
        where=np.pad(COUNTED, ((0, 0), (0, 3))),
    )  # fmt: skip
    expected = measure(function, weighted, removal, fractions=(0.3, 0.6))
    np.testing.assert_array_equal(found, expected)


def test_both_views_and_their_chance_by_one_sort():
    seen = []

    def record(inputs):
        seen.append(jax.tree.map(np.asarray, inputs))
        return weighted(inputs)

    settings = {"fractions": (0.4, 0.7), "key": KEY, "where": COUNTED}
    settings |= {"value": attributions.regression_output, "fill": REMOVALS["delete"]}
    arguments = (INPUTS, LABELS, SCORES)
    found = metrics.removal_and_insertion(
        record, *arguments, num_random_orders=3, **settings
    )
    for function in ("removal", "insertion"):
        expected = measure(function, weighted, "delete", fractions=(0.4, 0.7))
        np.testing.assert_array_equal(getattr(found, function), expected)
    # Removed and left at random are as many as by the map: 1 and 2 of three, 0 and 1
    # of two, with two specials.
    left = np.array([each["mask"].sum(axis=1) for each in seen])
    np.testing.assert_array_equal(left[0::8], [[4, 4], [3, 3]])
    np.testing.assert_array_equal(left[1::8], [[3, 2], [4, 3]])
    for draw in range(3):
        np.testing.assert_array_equal(left[2 + 2 * draw :: 8], left[0::8])
        np.testing.assert_array_equal(left[3 + 2 * draw :: 8], left[1::8])
    assert found.random_removal.shape == found.random_insertion.shape == (3, 2, 2)


def test_a_fill_of_one_array_does_not_fit_inputs_of_several():
    blank = functools.partial(ops.constant_fill, value=0)
    for function in FUNCTIONS.values():
        with pytest.raises(ValueError, match=r"of type dict\) need an `ops.Removal`"):
            function(
                total, INPUTS, LABELS, SCORES, fractions=(0.5,), fill=blank, key=KEY,
                value=attributions.regression_output,
            )  # fmt: skip


def test_steps_and_cells_of_a_series_by_the_same_functions():
    series = np.array([[[1.0, 2], [3, 4], [5, 6]]], np.float32)
    inputs = {"series": series, "mask": np.array([[True, True, False]])}
    where = inputs["mask"][..., None]

    def predict_fn(inputs):
        shown = jnp.where(inputs["mask"][..., None], inputs["series"], 0.0)
        return jnp.sum(shown, axis=(1, 2))[:, None]

    zero = ops.fill_leaf("series", functools.partial(ops.constant_fill, value=0.0))
    of = lambda scores, **settings: metrics.removal_curve(
        predict_fn, inputs, np.array([0]), scores, key=KEY,
        value=attributions.regression_output, **settings,
    )  # fmt: skip
    # Of four cells the highest, then three; of two steps the second.
    found = of(series, fill=zero, fractions=(0.25, 0.75), where=where)
    np.testing.assert_array_equal(found, [[6, 1]])
    steps = series.sum(axis=-1, keepdims=True)
    found = of(steps, fill=zero, fractions=(0.5,), where=where)
    np.testing.assert_array_equal(found, [[3]])
    gone = ops.delete_positions(["series"], mask="mask")
    found = of(steps[..., 0], fill=gone, fractions=(0.5,), where=inputs["mask"])
    np.testing.assert_array_equal(found, [[3]])


@pytest.mark.parametrize("function", ["comprehensiveness", "sufficiency"])
def test_they_keep_what_every_metric_promises(function):
    apply_fn, params, state = testing.token_network(jax.random.key(1))
    batch = testing.token_batch(jax.random.key(2), batch_size=1)

    def metric(maps, tokens, mask, labels):
        return FUNCTIONS[function](
            lambda inputs: apply_fn(params, state, inputs, train=False)[0].logits,
            {"tokens": tokens, "mask": mask}, labels, maps, fractions=(0.2, 0.5),
            fill=REMOVALS["delete"], key=KEY, where=mask,
            value=attributions.target_probability,
        )  # fmt: skip

    examples = [batch["inputs"]["tokens"], batch["inputs"]["mask"], batch["labels"]]
    maps = np.random.default_rng(0).normal(size=(8, 1, 5)).astype(np.float32)
    values = [float(metric(each, *examples)[0]) for each in maps]
    testing.check_metric(
        metric, better=(maps[np.argmax(values)], *examples),
        worse=(maps[np.argmin(values)], *examples), higher_is_better=True,
        bounds=(-1.0, 1.0), scale_invariant=True,
        undefined=[(0 * maps[0], *examples)],
    )  # fmt: skip
