"""Every op takes arrays that are constants of a jitted function.

Inside `jit` a jnp operation on a constant gives a tracer, so a check that looks at
values must look at them with NumPy, or it crashes where nothing is wrong.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import losses, metrics, ops

MAPS = np.linspace(-1, 1, 32, dtype=np.float32).reshape(2, 4, 4)
IMAGES = np.linspace(0, 2, 64, dtype=np.float32).reshape(2, 4, 4, 2)
ROWS = np.array([1.5, -2.5], np.float32)
MASK = MAPS > 0
COUNTS = np.array([3, 99], np.int32)
BOXES = np.array([[[0, 1, 3, 4]], [[1, 0, 2, 9]]], np.float32)
VALID = np.array([[True], [True]])
KERNEL = np.full((3, 3, 2, 1), 0.5, np.float32)
KEY = jax.random.key(0)
SERIES = np.linspace(-1, 2, 24, dtype=np.float32).reshape(2, 4, 3)
MASKED = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)
PLACES = np.array([[0, 1, 0, 0], [1, 0, 0, 1]], bool)

draw = lambda key, example: jax.random.uniform(key, example.shape)


def selecting(select):
    return lambda scores, k, where: select(scores, k, where=where)


def taking(removal):
    """What a removal makes of a series with a mask."""
    return lambda series, mask, removed: removal(KEY, {"series": series, "mask": mask})(
        removed
    )


def filling(fill):
    return lambda x, counted, kept: fill(KEY, x, counted=counted, kept=kept)


# name: (the op with everything that is no array bound, its arrays)
CALLS = {
    "area_resize": (partial(ops.area_resize, shape=(2, 2)), MAPS),
    "at_least_float32": (ops.at_least_float32, MASK),
    "axis_sum": (partial(ops.axis_sum, axis_name=None), MAPS),
    "balanced_threshold": (ops.balanced_threshold, MAPS, np.sign(MAPS)),
    "barriered_sum": (
        lambda x: ops.barriered_sum(
            lambda x, n: x * np.float32(n.sum()), x, count=3
        ),
        MAPS,
    ),
    "batch_size": (lambda x: jnp.asarray(ops.batch_size({"inputs": x})), MAPS),
    "bilinear_resize": (partial(ops.bilinear_resize, shape=(8, 8)), MAPS),
    "blur": (ops.blur, MAPS),
    "bottom_k_mask": (selecting(ops.bottom_k_mask), MAPS, COUNTS, MASK),
    "by_feature": (ops.by_feature(ops.mean_magnitude), SERIES),
    "clamped_log": (ops.clamped_log, MAPS),
    "clip_boxes": (partial(ops.clip_boxes, shape=(4, 4)), BOXES, VALID),
    "constant_fill": (partial(ops.constant_fill, value=ROWS), KEY, IMAGES),
    "conv_general_dilated": (
        lambda x, w: ops.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        IMAGES, KERNEL,
    ),
    "delete_positions": (
        taking(ops.delete_positions(("series",), mask="mask")), SERIES, MASKED, PLACES,
    ),
    "example_indices": (lambda x: ops.example_indices(len(x)), MAPS),
    "example_keys": (lambda k: jax.random.key_data(ops.example_keys(k, 2)), KEY),
    "fill_leaf": (
        taking(ops.fill_leaf("series", partial(ops.constant_fill, value=0.5))),
        SERIES, MASKED, PLACES[..., None],
    ),
    "hide_positions": (taking(ops.hide_positions("mask")), SERIES, MASKED, PLACES),
    "keyed": (lambda x, k: ops.keyed(lambda x, key: x)(x, key=k), IMAGES, KEY),
    "magnitude_of_mean": (ops.magnitude_of_mean, IMAGES),
    "masked_pool": (ops.masked_pool, IMAGES, MASK),
    "max_pool": (partial(ops.max_pool, window=(2, 2)), IMAGES),
    "mean_fill": (partial(ops.mean_fill, axes=(1, 2)), KEY, IMAGES),
    "mean_magnitude": (ops.mean_magnitude, IMAGES),
    "measure_copies": (
        lambda x: ops.measure_copies(
            lambda x, n: x * n.astype(x.dtype), x, count=3, chunk_size=2
        ),
        MAPS,
    ),
    "min_max_normalise": (ops.min_max_normalise, MAPS),
    "noisy_linear_imputation": (
        lambda x, mask, k: ops.noisy_linear_imputation(x, mask, key=k, sigma=0.1),
        IMAGES, IMAGES > 1, KEY,
    ),
    "normalise_by_max": (ops.normalise_by_max, MAPS),
    "normalise_by_max_magnitude": (ops.normalise_by_max_magnitude, MAPS),
    "per_example": (ops.per_example(draw), KEY, IMAGES),
    "permute_within": (ops.permute_within, KEY, SERIES[..., 0], PLACES.astype(int)),
    "previous_salient_token": (
        filling(ops.previous_salient_token), SERIES, MASKED[..., None],
        PLACES[..., None],
    ),
    "random_rank": (lambda x, k: ops.random_rank(x, key=k), IMAGES, KEY),
    "rasterise_boxes": (partial(ops.rasterise_boxes, shape=(4, 4)), BOXES, VALID),
    "replace": (ops.replace, MAPS, MASK, -MAPS),
    "rescale_extremes": (partial(ops.rescale_extremes, axis=1), 1e20 * MAPS),
    "safe_divide": (ops.safe_divide, MAPS, np.maximum(MAPS, 0)),
    "safe_norm": (partial(ops.safe_norm, axis=1), MAPS),
    "sequence_fill": (
        filling(ops.sequence_fill(lambda key, x, counted, kept: x + 1)), SERIES,
        MASKED[..., None], PLACES[..., None],
    ),
    "signed_channel_mean": (ops.signed_channel_mean, IMAGES),
    "top_k_mask": (selecting(ops.top_k_mask), MAPS, COUNTS, MASK),
    "uniform_data_range_fill": (
        lambda k, x, low, high: ops.uniform_data_range_fill(k, x, low=low, high=high),
        KEY, SERIES, np.float32(-1), np.full(3, 2, np.float32),
    ),
    "uniform_example_range_fill": (
        filling(ops.uniform_example_range_fill), SERIES, MASKED[..., None],
        PLACES[..., None],
    ),
    "uniform_feature_range_fill": (
        filling(ops.uniform_feature_range_fill), SERIES, MASKED[..., None],
        PLACES[..., None],
    ),
    "uniform_range_fill": (partial(ops.uniform_range_fill, axes=(1, 2)), KEY, IMAGES),
    "weighted_mean": (ops.weighted_mean, ROWS, np.abs(ROWS)),
}  # fmt: skip
FUNCTIONS = [name for name in ops.__all__ if name[0].islower()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_op_takes_constants_inside_jit(name):
    """All arrays known, as NumPy's and as `jax.Array`s: the values of outside."""
    op, *arrays = CALLS[name]
    expected = op(*arrays)
    for convert in (lambda a: a, jnp.asarray):
        constants = [a if a is KEY else convert(a) for a in arrays]
        inside = jax.jit(lambda constants=constants: op(*constants))()
        chex.assert_trees_all_close(inside, expected, rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_op_takes_constants_beside_traced_arrays(name):
    """One argument traced, the others known: no check may mix the two."""
    op, *arrays = CALLS[name]
    expected = op(*arrays)
    for traced in range(len(arrays)):
        others = [*arrays]

        def call(array, others=others, traced=traced):
            others[traced] = array
            return op(*others)

        chex.assert_trees_all_close(jax.jit(call)(arrays[traced]), expected, rtol=1e-6)


@pytest.mark.parametrize("select", [ops.bottom_k_mask, ops.top_k_mask])
@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_a_bad_constant_is_refused_inside_jit_as_outside(select, convert):
    scores = MAPS.copy()
    scores[1, 0, 0] = np.nan
    scores, valid = convert(scores), convert(~np.isnan(scores))
    with pytest.raises(ValueError, match=r"must not be NaN; it is in rows \[1\]"):
        jax.jit(lambda: select(scores, 1))()
    everywhere = convert(np.ones((1, 1, 4), bool))
    with pytest.raises(ValueError, match=r"must not be NaN; it is in rows \[1\]"):
        jax.jit(lambda: select(scores, 1, where=everywhere))()
    mask = jax.jit(lambda: select(scores, 1, where=valid))()
    np.testing.assert_array_equal(mask.sum((1, 2)), [1, 1])
    negative = convert(np.array([1, -1]))
    with pytest.raises(ValueError, match=r"`k` \(=\[ 1 -1\]\) must not be negative"):
        jax.jit(lambda x: select(x, negative))(MAPS)


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_a_bad_box_that_is_constant_is_refused_inside_jit_as_outside(convert):
    boxes, valid = convert(BOXES[..., ::-1].copy()), convert(VALID)
    with pytest.raises(ValueError, match=r"`boxes`\[0, 0\] .* must have x0 <= x1"):
        jax.jit(lambda: ops.rasterise_boxes(boxes, valid, shape=(4, 4)))()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.int32])
def test_constants_of_other_dtypes_are_selected_inside_jit(dtype):
    scores = jnp.asarray(10 * MAPS).astype(dtype)
    inside = jax.jit(lambda: ops.bottom_k_mask(scores, 3))()
    np.testing.assert_array_equal(inside, ops.bottom_k_mask(scores, 3))


@pytest.mark.parametrize("convert", [float, np.float32, jnp.float32])
def test_a_threshold_may_be_a_constant_of_any_kind_inside_jit(convert):
    region = (MASK).astype(np.float32)
    threshold, beyond = convert(0.25), convert(1.5)
    inside = jax.jit(lambda m: metrics.iou(m, region, threshold=threshold))(MAPS)
    np.testing.assert_allclose(inside, metrics.iou(MAPS, region, threshold=0.25))
    with pytest.raises(ValueError, match=r"`threshold` \(=1.5\) must lie in \[0, 1\]"):
        jax.jit(lambda m: metrics.iou(m, region, threshold=beyond))(MAPS)


@pytest.mark.parametrize("convert", [float, np.float32, jnp.float32])
def test_a_checked_number_may_be_a_constant_of_any_kind_inside_jit(convert):
    half, negative = convert(0.5), convert(-0.5)
    signs = np.sign(MAPS)
    for call, name in (
        (
            lambda x, v: losses.region_contrastive(x, -x, x, temperature=v),
            "temperature",
        ),
        (lambda x, v: losses.region_contrastive_triplet(x, -x, x, margin=v), "margin"),
        (
            lambda x, v: losses.robust_explanation(x, signs, threshold=0.0, slack=v),
            "slack",
        ),
        (lambda x, v: ops.min_max_normalise(x, epsilon=v), "epsilon"),
    ):
        arrays = MAPS if name == "slack" else MAPS[:, 0]
        inside = jax.jit(lambda x, call=call: call(x, half))(arrays)
        np.testing.assert_allclose(inside, call(arrays, 0.5), rtol=1e-6)
        with pytest.raises(ValueError, match=rf"`{name}` \(=-0.5\) must"):
            jax.jit(lambda x, call=call: call(x, negative))(arrays)
