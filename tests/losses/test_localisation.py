import functools

import chex
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import losses, ops

# The worked example that all of these losses are evaluated on.
ATTRIBUTIONS = np.array([[[2.0, -1.0], [1.0, 1.0]]])
REGION = np.array([[[1.0, 0.0], [1.0, 0.0]]])

ALL_LOSSES = (
    losses.energy,
    losses.leaky_energy,
    losses.region_l1,
    losses.pixel_cross_entropy,
    losses.masked_cross_entropy,
    losses.outside_energy,
)
value_and_gradient = {
    loss: jax.jit(jax.value_and_grad(lambda a, m, loss=loss: jnp.sum(loss(a, m))))
    for loss in ALL_LOSSES
}


class WorkedExampleTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_values_are_those_worked_out_by_hand(self):
        def all_of_them(attributions, region):
            maps = ops.normalise_by_max(attributions)
            return {
                "energy": losses.energy(attributions, region),
                "region_l1": losses.region_l1(maps, region),
                "pixel_cross_entropy": losses.pixel_cross_entropy(maps, region),
            }

        found = self.variant(all_of_them)(
            jnp.asarray(ATTRIBUTIONS, jnp.float32), jnp.asarray(REGION, jnp.float32)
        )
        # 1 - (2 + 1) / (2 + 1 + 1)
        np.testing.assert_allclose(found["energy"], [0.25], atol=1e-7)
        # (0 + 0 + 1/2 + 1/2) / 4
        np.testing.assert_allclose(found["region_l1"], [0.25], atol=1e-7)
        # -(log 1 + log 1/2) / 2
        np.testing.assert_allclose(
            found["pixel_cross_entropy"], [np.log(2) / 2], atol=1e-7
        )


def test_the_gradient_of_energy_is_the_one_worked_out_by_hand(x64):
    _, gradient = value_and_gradient[losses.energy](ATTRIBUTIONS, REGION)
    # -(M S - S_in) / S² with S = 4, S_in = 3: -1/16 inside, 3/16 outside, 0 for A < 0.
    np.testing.assert_allclose(
        gradient, [[[-0.0625, 0.0], [-0.0625, 0.1875]]], atol=1e-12
    )


def test_masked_cross_entropy_averages_the_annotated_cells(x64):
    maps = np.array([[[0.9, 0.2], [0.6, 0.4]]])
    annotations = np.array([[[1, -1], [1, 0]]])
    # -(log 0.9 + log(1 - 0.2) + log 0.6) / 3
    expected = -(np.log(0.9) + np.log(0.8) + np.log(0.6)) / 3
    np.testing.assert_allclose(expected, 0.279777, atol=1e-6)
    np.testing.assert_allclose(
        losses.masked_cross_entropy(maps, annotations), [expected], rtol=1e-12
    )


def test_cells_at_zero_have_no_gradient_of_energy():
    maps = np.array([[[2.0, 0.0, 0.0], [1.0, 1.0, -1.0]]], np.float32)
    region = np.array([[[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]], np.float32)
    _, gradient = value_and_gradient[losses.energy](maps, region)
    # -(M S - S_in) / S² with S = 4, S_in = 2, where A > 0.
    expected = [[[-0.125, 0.0, 0.0], [0.125, 0.125, 0.0]]]
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_gradients_equal_their_closed_forms(x64):
    rng = np.random.default_rng(0)
    maps, soft = rng.uniform(0.1, 0.9, (2, 2, 3, 4))
    signs = rng.choice([-1, 0, 1], size=maps.shape)
    total = maps.sum((1, 2), keepdims=True)
    inside = (soft * maps).sum((1, 2), keepdims=True)
    count = np.abs(signs).sum((1, 2), keepdims=True)
    cases = (
        (losses.energy, soft, -(soft * total - inside) / total**2),
        (losses.region_l1, soft, np.sign(maps - soft) / 12),
        (
            losses.pixel_cross_entropy,
            soft,
            -soft / maps / soft.sum((1, 2), keepdims=True),
        ),
        (
            losses.masked_cross_entropy,
            signs,
            ((signs < 0) / (1 - maps) - (signs > 0) / maps) / count,
        ),
    )
    for loss, annotation, expected in cases:
        _, gradient = value_and_gradient[loss](maps, annotation)
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, err_msg=str(loss))


def test_second_derivatives_agree_with_finite_differences(x64):
    rng = np.random.default_rng(1)
    maps, region = rng.uniform(0.1, 0.9, (2, 2, 2, 3))
    region = np.where(np.abs(region - maps) < 0.05, 0.5 * region, region)
    signs = np.round(2 * region - 1)
    annotations = {losses.masked_cross_entropy: signs}
    of_each = jax.jit(
        lambda a: [loss(a, annotations.get(loss, region)) for loss in ALL_LOSSES]
    )
    jax.test_util.check_grads(of_each, (maps,), 2, modes=["rev"])


def test_energy_knows_no_scale_and_regions_that_part_the_image_add_to_one(x64):
    rng = np.random.default_rng(2)
    maps = rng.normal(size=(2, 3, 4))
    region = rng.uniform(size=maps.shape)
    loss = losses.energy(maps, region)
    np.testing.assert_allclose(losses.energy(1e-6 * maps, region), loss, rtol=1e-10)
    np.testing.assert_allclose(losses.energy(maps, 1 - region), 1 - loss, rtol=1e-10)
    assert jnp.all((loss > 0) & (loss < 1))


def test_a_map_without_positive_attribution_has_energy_one_and_no_gradient():
    for maps in (np.zeros((2, 3, 4), np.float32), np.full((2, 3, 4), -1, np.float32)):
        value, gradient = value_and_gradient[losses.energy](maps, np.ones_like(maps))
        assert value == 2.0
        np.testing.assert_array_equal(gradient, 0.0)


def test_energy_of_faint_maps_keeps_its_gradient():
    maps = np.full((2, 3, 4), 1e-25, np.float32)
    region = np.zeros_like(maps)
    region[:, 0] = 1
    value, gradient = value_and_gradient[losses.energy](maps, region)
    # 4 of 12 equal cells lie inside; the gradient is (inside / total - M) / total.
    np.testing.assert_allclose(value, 2 * 8 / 12, rtol=1e-6)
    np.testing.assert_allclose(gradient, (1 / 3 - region) / 12e-25, rtol=1e-5)


@pytest.mark.parametrize("size", [3e38, 1e30, 1e-30, 1e-37])
def test_energy_of_maps_of_any_size(size):
    maps = np.float32(size / 2) * np.float32(ATTRIBUTIONS)
    value, gradient = value_and_gradient[losses.energy](maps, np.float32(REGION))
    np.testing.assert_allclose(value, 0.25, rtol=1e-6)
    if size < 1e30:
        slope = np.array([[[-0.0625, 0.0], [-0.0625, 0.1875]]]) / (size / 2)
        np.testing.assert_allclose(gradient, slope, rtol=1e-5)
    assert np.all(np.isfinite(gradient))


def test_a_map_with_an_infinite_cell_has_no_energy():
    maps = np.float32(ATTRIBUTIONS).copy()
    maps[0, 0, 0] = np.inf
    assert np.isnan(losses.energy(maps, REGION)[0])


def test_perfect_maps_cost_nothing():
    region = np.random.default_rng(3).choice([0.0, 1.0], size=(2, 3, 4))
    region = region.astype(np.float32)
    for loss, annotation in zip(
        ALL_LOSSES,
        (region, region, region, region, 2 * region - 1, region),
        strict=True,
    ):
        np.testing.assert_allclose(loss(region, annotation), 0.0, atol=1e-6)


def test_logarithms_of_zero_count_as_minus_one_hundred():
    maps = jnp.array([[[0.0, 1.0, 0.5]]])
    annotation = jnp.array([[[1.0, -1.0, 0.0]]])
    # The cells at 0 and at 1 are both as wrong as can be: (100 + 100) / 2.
    np.testing.assert_allclose(losses.masked_cross_entropy(maps, annotation), [100.0])
    # Of the region, one cell has log 0 and one log 1: (100 + 0) / 2.
    region = jnp.array([[[1.0, 1.0, 0.0]]])
    np.testing.assert_allclose(losses.pixel_cross_entropy(maps, region), [50.0])


def test_pixel_cross_entropy_ignores_what_lies_outside():
    inside = np.random.default_rng(4).uniform(0.1, 1, (2, 3, 4)).astype(np.float32)
    region = (inside > 0.5).astype(np.float32)
    np.testing.assert_array_equal(
        losses.pixel_cross_entropy(inside, region),
        losses.pixel_cross_entropy(np.where(region > 0, inside, 0.01), region),
    )


REGIONS = {
    "empty": np.zeros((3, 4)),
    "full": np.ones((3, 4)),
    "one pixel": np.eye(3, 4) * np.eye(3)[0][:, None],
    "signed": np.arange(12).reshape(3, 4) % 3 - 1,
    "all negative": -np.ones((3, 4)),
    "soft": np.linspace(0, 1, 12).reshape(3, 4),
}
MAPS = st.one_of(
    st.sampled_from([0.0, 0.5, 1.0, -1.0]).map(
        lambda value: np.full((3, 4), value, np.float32)
    ),
    hnp.arrays(np.float32, (3, 4), elements=st.sampled_from([-1.0, 0.0, 1e-30, 1.0])),
)


ROWS = st.tuples(MAPS, st.sampled_from(sorted(REGIONS)))


@hypothesis.given(st.lists(ROWS, min_size=2, max_size=2))
def test_losses_and_gradients_are_finite_whatever_the_annotation(rows):
    maps = np.stack([grid for grid, _ in rows])
    region = np.stack([REGIONS[name] for _, name in rows]).astype(np.float32)
    for loss in ALL_LOSSES:
        chex.assert_tree_all_finite(value_and_gradient[loss](maps, region))


@pytest.mark.parametrize(
    "loss", [losses.pixel_cross_entropy, losses.masked_cross_entropy]
)
def test_without_annotation_cross_entropies_and_their_gradients_are_zero(loss):
    maps = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    value, gradient = value_and_gradient[loss](maps, np.zeros_like(maps))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_examples_do_not_touch_each_other(loss):
    rng = np.random.default_rng(5)
    maps, region = rng.uniform(size=(2, 3, 3, 4)).astype(np.float32)
    region = np.round(region) if loss is losses.masked_cross_entropy else region
    together = loss(maps, region)
    chex.assert_shape(together, (3,))
    alone = [loss(maps[i : i + 1], region[i : i + 1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_bfloat16_maps_and_bool_regions_give_float32(loss):
    maps = jnp.asarray([[[0.75, 0.5], [0.25, 1.0]]], jnp.bfloat16)
    region = jnp.array([[[True, False], [True, True]]])
    value = loss(maps, region)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(
        value, loss(maps.astype(jnp.float32), region.astype(jnp.float32)), rtol=1e-6
    )


@pytest.mark.parametrize("loss", ALL_LOSSES)
def test_shapes_must_agree(loss):
    with pytest.raises(AssertionError, match="shape"):
        loss(jnp.ones((2, 3, 4)), jnp.ones((2, 3, 1)))
    with pytest.raises(AssertionError, match="rank"):
        loss(jnp.ones(4), jnp.ones(4))


@functools.partial(jax.jit, static_argnums=2)
def leaky(maps, region, leak):
    """Value and gradient."""
    total = lambda maps: jnp.sum(losses.leaky_energy(maps, region, leak=leak))
    return jax.value_and_grad(total)(maps)


@pytest.mark.parametrize(
    ("leak", "left", "right"),
    # σ = 3 / (4 + λ) with the left column marked, (1 - λ²) / (4 + λ) with the right.
    [(0.0, 0.25, 0.75), (0.5, 2 / 9, 5 / 9), (1.0, 0.2, 0.5)],
)
def test_leaky_energy_by_hand(leak, left, right, x64):
    for region, expected in ((REGION, left), (1 - REGION, right)):
        value = losses.leaky_energy(ATTRIBUTIONS, region, leak=leak)
        np.testing.assert_allclose(value, [expected], rtol=1e-12)


def test_leaky_energy_is_energy_in_the_limit_and_where_nothing_is_negative(x64):
    rng = np.random.default_rng(7)
    maps, region = rng.normal(size=(2, 3, 4)), rng.uniform(size=(2, 3, 4))
    energy = losses.energy(maps, region)
    np.testing.assert_array_equal(losses.leaky_energy(maps, region, leak=0), energy)
    found = losses.leaky_energy(maps, region, leak=1e-7)
    np.testing.assert_allclose(found, energy, rtol=1e-5)
    energy = losses.energy(np.abs(maps), region)
    found = losses.leaky_energy(np.abs(maps), region, leak=0.5)
    np.testing.assert_allclose(found, energy / 1.5, rtol=1e-12)


def test_leaky_energy_lies_in_the_unit_interval_and_knows_no_scale(x64):
    """What is negative inside costs most, 1; a blank map at least 1 / (1 + λ)."""
    rng = np.random.default_rng(8)
    maps, region = rng.normal(size=(50, 3, 4)), rng.uniform(size=(50, 3, 4))
    region = np.where(rng.uniform(size=(50, 1, 1)) < 0.5, np.round(region), region)
    for leak in (0.1, 0.5, 1.0):
        loss = functools.partial(losses.leaky_energy, leak=leak)
        value = loss(maps, region)
        assert np.all((value > 0) & (value < 1))
        np.testing.assert_allclose(loss(1e-6 * maps, region), value, rtol=1e-10)
        blank = loss(-np.abs(maps), region)
        assert np.all(blank >= 1 / (1 + leak) - 1e-12)
        np.testing.assert_allclose(loss(-region, region > 0), 1.0, rtol=1e-12)
        nothing = 1 / (1 + leak)
        np.testing.assert_allclose(loss(0 * maps, region), nothing, rtol=1e-12)
        np.testing.assert_allclose(loss(maps, 0 * region), nothing, rtol=1e-12)


def test_the_gradient_of_leaky_energy_moves_a_blank_map(x64):
    """A = -1 everywhere: σ = -λ² 2 / 4 λ = -λ / 2, and so by hand."""
    value, gradient = leaky(-np.ones((1, 2, 2)), REGION, 0.5)
    np.testing.assert_allclose(value, (1 + 0.25) / 1.5, rtol=1e-12)
    # dσ / dA = (λ² M + λ σ) / 4 λ at A < 0: 1/16 inside, -1/16 outside.
    slope = np.where(REGION > 0, -1, 1) / 16 / 1.5
    np.testing.assert_allclose(gradient, slope, rtol=1e-12)
    _, published = value_and_gradient[losses.energy](-np.ones((1, 2, 2)), REGION)
    np.testing.assert_array_equal(published, 0.0)


@pytest.mark.parametrize("outside", [-1.0, 0.0, 1.0])
def test_leaky_energy_pushes_up_what_is_negative_inside(outside):
    """Also where all that is positive lies outside: there `energy` is silent."""
    maps = np.where(REGION > 0, [[-1.0, 0.0], [-0.5, 0.0]], outside).astype(np.float32)
    region = REGION.astype(np.float32)
    _, gradient = leaky(maps, region, 0.5)
    if outside == 0:  # negative inside alone: the worst map of all, and a maximum
        np.testing.assert_allclose(gradient, 0.0, atol=1e-7)
    else:
        assert np.all(gradient[REGION > 0] < -1e-2)
    _, published = value_and_gradient[losses.energy](maps, region)
    np.testing.assert_array_equal(published, 0.0)


def test_leaky_energy_has_second_derivatives(x64):
    rng = np.random.default_rng(9)
    maps = rng.choice([-1, 1], (2, 2, 3)) * rng.uniform(0.2, 1, (2, 2, 3))
    maps[1] = -np.abs(maps[1])
    region = rng.uniform(size=maps.shape)
    loss = jax.jit(lambda a: losses.leaky_energy(a, region))
    jax.test_util.check_grads(loss, (maps,), 2, modes=["rev"])


@pytest.mark.parametrize("leak", [-0.1, 1.1, float("nan")])
def test_a_leak_outside_the_unit_interval_is_refused(leak):
    with pytest.raises(ValueError, match=r"^`leak` \(=.*\) must lie in \[0, 1\]\.$"):
        losses.leaky_energy(ATTRIBUTIONS, REGION, leak=leak)


PNG = np.array([[[255, 0], [0, 255]]], np.uint8)  # a mask as image files hold it


@pytest.mark.parametrize(
    "loss",
    [
        losses.energy,
        losses.leaky_energy,
        losses.region_l1,
        losses.pixel_cross_entropy,
        losses.outside_energy,
    ],
)
@pytest.mark.parametrize("bad", [PNG, -0.5 * REGION, REGION * np.nan, 1.01 * REGION])
def test_a_region_that_holds_no_shares_is_refused(loss, bad):
    with pytest.raises(
        ValueError, match=r"^`region`\[0, \d, \d\] \(=.*lie in \[0, 1\]"
    ):
        loss(np.float32(ATTRIBUTIONS), np.asarray(bad))


def test_what_converts_a_mask_of_255_is_named():
    message = (
        r"`region`\[0, 0, 0\] \(=255\) must lie in \[0, 1\]; `data.region_from_labels`"
    )
    with pytest.raises(ValueError, match=message):
        losses.energy(np.float32(ATTRIBUTIONS), PNG)
    value = losses.energy(np.array([[[1.0, 3.0], [2.0, 2.0]]]), PNG == 255)
    np.testing.assert_allclose(value, [0.625])  # 1 - (1 + 2) / 8


def test_a_share_that_rounds_to_just_above_one_is_none_the_worse():
    region = np.float32(REGION) * np.float32(1 + 2e-7)
    assert region.max() > 1
    value = losses.energy(np.float32(ATTRIBUTIONS), region)
    np.testing.assert_allclose(value, [0.25], rtol=1e-5)


@pytest.mark.parametrize("bad", [PNG, 0.5 * REGION, REGION * np.nan, -2 * REGION])
def test_signs_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"^`annotations`\[0, .* must be -1, 0 or 1"):
        losses.masked_cross_entropy(np.float32(REGION), np.asarray(bad))


def test_a_traced_sign_counts_by_its_sign_alone():
    """Y = .3 is evidence as whole as Y = 1: -(log .9 + log(1 - .2)) / 2."""
    maps, signs = np.array([[[0.9, 0.2]]]), np.array([[[0.3, -0.4]]])
    found = jax.jit(losses.masked_cross_entropy)(maps, signs)
    np.testing.assert_allclose(found, -(np.log(0.9) + np.log(0.8)) / 2, rtol=1e-6)


@pytest.mark.parametrize("loss", ALL_LOSSES)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("region_dtype", [np.uint8, np.int8, bool, np.float16])
def test_sums_of_narrow_maps_and_regions_are_wide(loss, dtype, region_dtype):
    """4,096 cells: a sum in float16 stops at 2,048, in uint8 at 255."""
    rng = np.random.default_rng(6)
    raw = (losses.energy, losses.leaky_energy, losses.outside_energy)
    size = 40.0 if loss in raw else 1.0
    maps = jnp.asarray(size * rng.uniform(0.1, 0.9, (1, 64, 64)), dtype)
    region = (rng.uniform(size=(1, 64, 64)) < 0.6).astype(region_dtype)
    wide = loss(maps.astype(jnp.float32), region.astype(np.float32))
    found = loss(maps, region)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, wide, rtol=1e-6)


def test_a_mean_distance_is_over_the_cells_that_count(x64):
    maps = np.array([[0.25, 1.0, 0.5], [0.25, 1.0, 0.5]])
    region = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    where = np.array([[True, False, True], [False, False, False]])
    loss = lambda maps: losses.region_l1(maps, region, where=where)
    np.testing.assert_allclose(loss(maps), [(0.75 + 0.5) / 2, 0], rtol=1e-12)
    gradient = jax.grad(lambda maps: jnp.sum(loss(maps)))(maps)
    np.testing.assert_allclose(gradient, [[-0.5, 0, 0.5], [0, 0, 0]], rtol=1e-12)
    everywhere = losses.region_l1(maps, region, where=np.array([[True]]))
    np.testing.assert_allclose(everywhere, losses.region_l1(maps, region), rtol=1e-12)
