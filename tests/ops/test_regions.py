import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import ops

SHAPE = (4, 5)
rasterise = jax.jit(lambda boxes, valid: ops.rasterise_boxes(boxes, valid, shape=SHAPE))

# Corners around and beyond the 4 x 5 image, whole and fractional.
COORDINATE = st.sampled_from([-3.0, -0.5, 0.0, 0.5, 1.0, 1.75, 2.0, 3.0, 4.0, 5.0, 9.0])


@st.composite
def boxes_and_validity(draw):
    corners = np.array(draw(st.lists(COORDINATE, min_size=24, max_size=24)), np.float32)
    first, second = corners.reshape(2, 2, 3, 2)
    boxes = np.concatenate([np.minimum(first, second), np.maximum(first, second)], -1)
    valid = np.array(draw(st.lists(st.booleans(), min_size=6, max_size=6)))
    return jnp.asarray(boxes), jnp.asarray(valid.reshape(2, 3))


def rasterise_by_hand(boxes, valid):
    mask = np.zeros((len(boxes), *SHAPE), np.float32)
    for image in range(len(boxes)):
        for (x0, y0, x1, y1), used in zip(boxes[image], valid[image], strict=True):
            for i in range(SHAPE[0]):
                for j in range(SHAPE[1]):
                    if used and y0 <= i < y1 and x0 <= j < x1:
                        mask[image, i, j] = 1
    return mask


class WorkedExampleTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_boxes_become_masks_cells_and_features(self):
        def all_of_them(boxes, valid, features):
            mask = ops.rasterise_boxes(boxes, valid, shape=SHAPE)
            cells = ops.area_resize(mask, shape=(2, 2))
            return {
                "mask": mask,
                "cells": cells,
                "pooled": ops.masked_pool(features, cells),
                "blurred": ops.blur(mask),
                "clipped": ops.clip_boxes(boxes, valid, shape=SHAPE),
            }

        boxes = jnp.array([[[-2, 0, 2, 1], [1, 0, 3, 2], [5, 0, 7, 3], [0, 0, 9, 9]]])
        valid = jnp.array([[True, True, True, False]])
        features = jnp.array([[[[4.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 0.0]]]])
        found = self.variant(all_of_them)(boxes, valid, features)
        # x before y: the first box is columns 0-1 of row 0, the second columns 1-2 of
        # rows 0-1, the third lies right of column 4; the fourth is not valid.
        mask = [[1, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0] * 5, [0] * 5]
        np.testing.assert_array_equal(found["mask"], [mask])
        # A cell is 2 rows of 2.5 columns: (2.5 + 1.5) / 5 and (0.5 + 0.5) / 5.
        np.testing.assert_allclose(
            found["cells"], [[[0.8, 0.2], [0.0, 0.0]]], rtol=1e-6
        )
        # (0.8 · 4 + 0.2 · 2) / 1
        np.testing.assert_allclose(found["pooled"], [[3.6, 0.0]], rtol=1e-6)
        # At row 1, column 2: 1 · 3 + 2 · 3 + 1 · 0, where 3 = 1 · 1 + 2 · 1 + 1 · 0.
        np.testing.assert_allclose(found["blurred"][0, 1, 2], 9 / 16, rtol=1e-6)
        kept, covering, num_clipped = found["clipped"]
        np.testing.assert_array_equal(
            kept, [[[0, 0, 2, 1], [1, 0, 3, 2], [0] * 4, [0] * 4]]
        )
        np.testing.assert_array_equal(covering, [[True, True, False, False]])
        np.testing.assert_array_equal(num_clipped, [2])
        self.assertEqual(kept.dtype, boxes.dtype)


@hypothesis.given(boxes_and_validity())
def test_rasterising_equals_the_loop_over_pixels(case):
    boxes, valid = case
    np.testing.assert_array_equal(
        rasterise(boxes, valid), rasterise_by_hand(np.array(boxes), np.array(valid))
    )


@hypothesis.given(boxes_and_validity())
def test_order_and_repetition_of_boxes_do_not_matter(case):
    boxes, valid = case
    order = jnp.array([2, 0, 1])
    mask = rasterise(boxes, valid)
    np.testing.assert_array_equal(mask, rasterise(boxes[:, order], valid[:, order]))
    first, repeated = jnp.array([0, 0, 1]), jnp.array([1, 0, 1])
    np.testing.assert_array_equal(
        rasterise(boxes[:, first], valid[:, first]),
        rasterise(boxes[:, repeated], valid[:, repeated]),
    )


def test_a_box_over_the_image_covers_its_last_row_and_column():
    boxes, valid = jnp.array([[[0, 0, 5, 4]]]), jnp.ones((1, 1), bool)
    np.testing.assert_array_equal(rasterise(boxes, valid), np.ones((1, *SHAPE)))


def test_entries_that_are_not_valid_may_hold_anything():
    boxes = jnp.array([[[jnp.nan] * 4, [3.0, 3.0, 1.0, 1.0]]])
    mask = ops.rasterise_boxes(boxes, jnp.zeros((1, 2), bool), shape=SHAPE)
    np.testing.assert_array_equal(mask, np.zeros((1, *SHAPE)))


@pytest.mark.parametrize("function", [ops.rasterise_boxes, ops.clip_boxes])
@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ([3.0, 0.0, 2.0, 1.0], "x0 <= x1 and y0 <= y1"),
        ([0.0, 2.0, 2.0, 1.0], "x0 <= x1 and y0 <= y1"),
        ([0.0, 0.0, float("nan"), 1.0], "finite"),
        ([0.0, 0.0, float("inf"), 1.0], "finite"),
    ],
)
def test_an_inverted_or_non_finite_box_is_named(function, box, rule):
    boxes = jnp.array([[[0.0, 0.0, 1.0, 1.0]] * 2, [[0.0, 0.0, 1.0, 1.0], box]])
    with pytest.raises(ValueError, match=rf"`boxes`\[1, 1\] \(=\[.*must.*{rule}"):
        function(boxes, jnp.ones((2, 2), bool), shape=SHAPE)


@pytest.mark.parametrize("shape", [(0, 3), (3, -1), (3,)])
def test_a_shape_without_pixels_is_refused(shape):
    with pytest.raises(ValueError, match=r"`shape` \(=\(.*two positive numbers"):
        ops.area_resize(jnp.ones((1, 4, 4)), shape=shape)


@hypothesis.given(boxes_and_validity())
def test_clipping_keeps_the_mask_and_the_valid_boxes_are_those_with_a_pixel(case):
    boxes, valid = case
    kept, covering, _ = ops.clip_boxes(boxes, valid, shape=SHAPE)
    np.testing.assert_array_equal(rasterise(kept, covering), rasterise(boxes, valid))
    assert jnp.all((kept >= 0) & (kept <= jnp.array([5.0, 4.0, 5.0, 4.0])))
    for box in range(3):
        alone = rasterise(boxes, valid & (jnp.arange(3) == box))
        np.testing.assert_array_equal(covering[:, box], jnp.any(alone > 0, (1, 2)))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize(
    "dtype",
    [jnp.uint8, jnp.int8, jnp.uint16, jnp.int16, jnp.int32, jnp.uint32, jnp.float16],
)
def test_boxes_of_every_dtype_are_clipped_as_those_of_float32(dtype, jit):
    # The limits, 300 and 400, do not fit into 8 bits, and would be 44 and 144.
    boxes = np.array([[[10, 20, 100, 120], [0, 0, 0, 0], [60, 70, 127, 127]]])
    valid = np.ones((1, 3), bool)
    clip = functools.partial(ops.clip_boxes, shape=(300, 400))
    clip = jax.jit(clip) if jit else clip
    kept, covering, num_clipped = clip(jnp.asarray(boxes, dtype), valid)
    expected = jnp.float32 if dtype is jnp.float16 else dtype
    assert kept.dtype == expected
    np.testing.assert_array_equal(kept, boxes)
    np.testing.assert_array_equal(covering, [[True, False, True]])
    np.testing.assert_array_equal(num_clipped, [0])
    kept, _, num_clipped = ops.clip_boxes(
        jnp.asarray(boxes, dtype), valid, shape=(100, 90)
    )
    np.testing.assert_array_equal(kept[0, 0], [10, 20, 90, 100])
    np.testing.assert_array_equal(kept[0, 2], [60, 70, 90, 100])
    np.testing.assert_array_equal(num_clipped, [2])


def test_limits_that_a_narrow_float_does_not_have_are_met_exactly():
    boxes = jnp.asarray([[[0, 0, 512, 512]]], jnp.bfloat16)  # it has 256 and 258
    kept, *_ = ops.clip_boxes(boxes, jnp.ones((1, 1), bool), shape=(257, 259))
    assert kept[0, 0].tolist() == [0, 0, 259, 257]


@pytest.mark.parametrize("function", [ops.rasterise_boxes, ops.clip_boxes])
@pytest.mark.parametrize(
    ("boxes", "valid", "message"),
    [
        ((2, 4), (2,), r"`boxes` \(2, 4\) and `valid` \(2,\) must be \[B, N, 4\]"),
        ((2, 3, 5), (2, 3), r"`boxes` \(2, 3, 5\)"),
        ((2, 3, 4), (2, 1), r"`valid` \(2, 1\) must be"),
    ],
)
def test_boxes_of_other_shapes_are_refused(function, boxes, valid, message):
    with pytest.raises(ValueError, match=message):
        function(jnp.zeros(boxes), jnp.ones(valid, bool), shape=SHAPE)
    with pytest.raises(ValueError, match=r"`valid` \(float32\) must be bool"):
        function(jnp.zeros((2, 3, 4)), jnp.ones((2, 3)), shape=SHAPE)


@pytest.mark.parametrize(("size", "cells"), [((6, 8), (3, 2)), ((7, 5), (3, 2))])
def test_area_resizing_equals_block_means_of_repeated_pixels(size, cells):
    maps = np.random.default_rng(0).uniform(size=(2, *size)).astype(np.float32)
    fine = maps.repeat(cells[0], axis=1).repeat(cells[1], axis=2)
    blocks = fine.reshape(2, cells[0], size[0], cells[1], size[1])
    np.testing.assert_allclose(
        ops.area_resize(maps, shape=cells), blocks.mean((2, 4)), rtol=2e-6
    )


def test_masks_of_ones_stay_one():
    resized = ops.area_resize(jnp.ones((1, 28, 28), bool), shape=(7, 7))
    np.testing.assert_array_equal(resized, np.ones((1, 7, 7), np.float32))
    resized = ops.area_resize(jnp.ones((1, 29, 31), bool), shape=(7, 3))
    np.testing.assert_allclose(resized, np.ones((1, 7, 3)), rtol=1e-7)
    assert jnp.all(resized <= 1)


def test_a_small_patch_keeps_its_share():
    mask = np.zeros((1, 224, 224), bool)
    mask[0, 100:110, 100:110] = True
    expected = np.zeros((1, 7, 7))
    expected[0, 3, 3] = 100 / 1024  # 10 x 10 pixels of the cell of 32 x 32
    np.testing.assert_array_equal(ops.area_resize(mask, shape=(7, 7)), expected)
    assert not mask[:, ::32, ::32].any()  # nearest neighbour loses it


def test_area_resizing_refuses_to_enlarge():
    with pytest.raises(ValueError, match=r"`shape` \(=\(2, 5\)\) must not exceed"):
        ops.area_resize(jnp.ones((1, 4, 4)), shape=(2, 5))


def test_bilinear_resizing_interpolates_between_cell_centres():
    resized = ops.bilinear_resize(jnp.array([[[0.0, 1.0]]]), shape=(1, 4))
    # New centres lie at -0.25, 0.25, 0.75 and 1.25 in units of the old cells.
    np.testing.assert_allclose(resized, [[[0.0, 0.25, 0.75, 1.0]]], atol=1e-6)


def test_blur_spreads_a_point_over_its_neighbours():
    maps = jnp.zeros((1, 5, 5)).at[0, 2, 2].set(16.0)
    expected = np.zeros((1, 5, 5))
    expected[0, 1:4, 1:4] = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    np.testing.assert_allclose(jax.jit(ops.blur)(maps), expected, rtol=1e-6)


def test_blur_mirrors_the_border_without_its_own_cell():
    maps = jnp.array([[[8.0, 4.0, 0.0]] * 3])
    # The left neighbour of 8 is the mirrored 4: (4 + 16 + 4) / 4; then (8 + 8 + 0) / 4.
    np.testing.assert_allclose(ops.blur(maps), [[[6.0, 4.0, 2.0]] * 3], rtol=1e-6)
    np.testing.assert_allclose(ops.blur(jnp.array([[[3.0]]])), [[[3.0]]])


def test_pooled_regions_mix_to_the_mean_of_the_image():
    rng = np.random.default_rng(1)
    features = jnp.asarray(rng.normal(size=(3, 2, 4, 5)), jnp.float32)
    mask = jnp.asarray(rng.uniform(size=(3, 2, 4)), jnp.float32)
    area = jnp.mean(mask, axis=(1, 2))[:, None]
    mixture = area * ops.masked_pool(features, mask)
    mixture += (1 - area) * ops.masked_pool(features, 1 - mask)
    np.testing.assert_allclose(mixture, jnp.mean(features, axis=(1, 2)), atol=1e-6)


@jax.jit
def pooled_and_gradients(features, mask):
    total = lambda f, m: jnp.sum(ops.masked_pool(f, m))
    gradients = jax.grad(total, argnums=(0, 1))(features, mask)
    return ops.masked_pool(features, mask), gradients


def test_an_empty_mask_pools_to_zeros_with_zero_gradients():
    features, mask = np.ones((1, 2, 2, 3), np.float32), np.zeros((1, 2, 2), np.float32)
    found = pooled_and_gradients(features, mask)
    chex.assert_trees_all_equal(
        found,
        (np.zeros((1, 3)), (np.zeros_like(features), np.zeros_like(mask))),
    )


def test_gradients_of_pooling_reach_features_and_mask(x64):
    rng = np.random.default_rng(2)
    features, mask = rng.normal(size=(1, 2, 2, 3)), rng.uniform(0.2, 0.8, (1, 2, 2))
    pool = jax.jit(ops.masked_pool)
    jax.test_util.check_grads(pool, (features, mask), 2, modes=["rev"])
    _, (gradient, _) = pooled_and_gradients(features, mask)
    share = np.broadcast_to((mask / np.sum(mask))[..., None], gradient.shape)
    np.testing.assert_allclose(gradient, share, rtol=1e-12)


def test_bfloat16_is_pooled_and_resized_in_float32():
    features = jnp.ones((1, 2, 2, 3), jnp.bfloat16)
    assert ops.masked_pool(features, jnp.ones((1, 2, 2), bool)).dtype == jnp.float32
    assert ops.area_resize(features[..., 0], shape=(1, 1)).dtype == jnp.float32
    assert ops.blur(features[..., 0]).dtype == jnp.float32
