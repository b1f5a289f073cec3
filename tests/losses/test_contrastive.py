"""Properties of the region contrastive loss, on vectors, feature maps and boxes."""

import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from xguide_jax import losses, ops

# The worked example: f_o = (3, 0), f_b = (0, 1.5), f = (1.5, 0.75), hence
# s⁺ = 2 / √5 and s⁻ = 1 / √5.
FEATURES = np.array([[[[4.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 0.0]]]])
MASK = np.array([[[1.0, 1.0], [0.0, 0.0]]])
TAU = 0.5


def pool(features, mask, *, anchor_grad=True):
    image = jnp.mean(features, axis=(1, 2))
    if not anchor_grad:
        image = jax.lax.stop_gradient(image)
    return ops.masked_pool(features, mask), ops.masked_pool(features, 1 - mask), image


@functools.partial(jax.jit, static_argnames=("temperature", "anchor_grad"))
def loss_of(features, mask, temperature=TAU, anchor_grad=True):
    vectors = pool(features, mask, anchor_grad=anchor_grad)
    return losses.region_contrastive(*vectors, temperature=temperature)


@functools.partial(jax.jit, static_argnames="temperature")
def batch_of(features, mask, where=None, temperature=TAU):
    return losses.region_contrastive_batch(
        *pool(features, mask), temperature=temperature, where=where
    )


from_vectors = jax.jit(functools.partial(losses.region_contrastive, temperature=TAU))
gradient_of = jax.jit(
    jax.grad(
        lambda features, mask, anchor_grad=True: jnp.sum(
            loss_of(features, mask, TAU, anchor_grad)
        )
    ),
    static_argnames="anchor_grad",
)


def random_case(seed, *, signed=True):
    """Feature maps [3, 2, 4, 5] and soft masks [3, 2, 4], float64."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(3, 2, 4, 5))
    return features if signed else np.abs(features), rng.uniform(0.05, 0.95, (3, 2, 4))


def cosines_by_hand(features, mask):
    """s⁺ and s⁻, [B] each, in numpy."""
    weight = mask[..., None]
    objects = (weight * features).sum((1, 2)) / weight.sum((1, 2))
    backgrounds = ((1 - weight) * features).sum((1, 2)) / (1 - weight).sum((1, 2))
    images = features.mean((1, 2))

    def cosine(u, v):
        return (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)

    return cosine(objects, images), cosine(backgrounds, images)


class WorkedExampleTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_values_are_those_worked_out_by_hand(self):
        def all_of_them(objects, backgrounds, images):
            vectors = (objects, backgrounds, images)
            return (
                losses.region_contrastive(*vectors, temperature=TAU)[0],
                losses.region_contrastive_triplet(*vectors, margin=0.5)[0],
                losses.region_contrastive_batch(*vectors, temperature=TAU)[0],
            )

        own, triplet, batch = self.variant(all_of_them)(
            jnp.array([[3.0, 0.0], [2.0, 2.0]]),
            jnp.array([[0.0, 1.5], [1.0, 1.0]]),
            jnp.array([[1.5, 0.75], [3.0, 1.0]]),
        )
        # log(1 + exp((1 - 2) / (√5 · 0.5))) and 0.5 - 1 / √5
        np.testing.assert_allclose(own, 0.34276789147362, atol=1e-6)
        np.testing.assert_allclose(triplet, 0.0527864045, atol=1e-6)
        # The second image's background (1, 1) is another negative, s = 0.9486832981:
        # log(1 + exp((s⁻ - s⁺) / 0.5) + exp((s - s⁺) / 0.5))
        np.testing.assert_allclose(batch, 0.9256310717, atol=1e-6)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, 0.49433478576379), (0.5, 0.34276789147362), (0.1, 0.01135814238515)],
)
def test_the_worked_example_at_three_temperatures(temperature, expected, x64):
    found = loss_of(FEATURES, MASK, temperature)
    np.testing.assert_allclose(found, [expected], rtol=1e-12)
    np.testing.assert_allclose(
        expected, np.log1p(np.exp(-1 / np.sqrt(5) / temperature))
    )


def test_the_worked_example_with_a_soft_and_a_swapped_mask(x64):
    soft = np.array([[[1.0, 0.5], [0.0, 0.0]]])
    np.testing.assert_allclose(loss_of(FEATURES, soft), [0.5232695859], rtol=1e-9)
    np.testing.assert_allclose(loss_of(FEATURES, 1 - MASK), [1.2371950825], rtol=1e-9)


@pytest.mark.parametrize(
    ("anchor_grad", "top", "bottom", "after_step"),
    [
        (True, (-0.05191203, 0.06056403), (0.12112806, 0.10382406), 0.336398),
        (False, (0.0, -0.04326002), (0.17304009, 0.0), 0.339120),
    ],
)
def test_the_gradient_of_the_worked_example(anchor_grad, top, bottom, after_step, x64):
    gradient = gradient_of(FEATURES, MASK, anchor_grad)
    np.testing.assert_allclose(gradient, [[[top, top], [bottom, bottom]]], atol=1e-8)
    stepped = loss_of(FEATURES - 0.1 * gradient, MASK)
    np.testing.assert_allclose(stepped, [after_step], atol=1e-6)


@pytest.mark.parametrize("anchor_grad", [True, False])
def test_the_gradient_equals_its_closed_form(anchor_grad, x64):
    features, mask = random_case(0)
    objects, backgrounds, images = (np.array(v) for v in pool(features, mask))
    s_object, s_background = (s[:, None] for s in cosines_by_hand(features, mask))
    unit = lambda v: v / np.linalg.norm(v, axis=-1, keepdims=True)
    norm = lambda v: np.linalg.norm(v, axis=-1, keepdims=True)
    u, o, b = unit(images), unit(objects), unit(backgrounds)
    p = 1 / (1 + np.exp((s_object - s_background) / TAU))
    by_object = -(u - s_object * o) / norm(objects)
    by_background = (u - s_background * b) / norm(backgrounds)
    by_image = (-(o - s_object * u) + (b - s_background * u)) / norm(images) / 8
    share = (mask / mask.sum((1, 2), keepdims=True))[..., None]
    rest = ((1 - mask) / (1 - mask).sum((1, 2), keepdims=True))[..., None]
    spread = lambda v: v[:, None, None, :]
    expected = share * spread(by_object) + rest * spread(by_background)
    expected += anchor_grad * spread(by_image)
    np.testing.assert_allclose(
        gradient_of(features, mask, anchor_grad),
        spread(p / TAU) * expected,
        rtol=1e-6,
        atol=1e-12,
    )


def test_second_derivatives_agree_with_finite_differences(x64):
    vectors = np.random.default_rng(1).normal(size=(3, 2, 3))
    of_each = jax.jit(
        lambda *v: (
            losses.region_contrastive(*v, temperature=TAU),
            losses.region_contrastive_triplet(*v, margin=2.5),  # away from the hinge
            losses.region_contrastive_batch(*v, temperature=TAU),
        )
    )
    jax.test_util.check_grads(of_each, tuple(vectors), 2, modes=["rev"])


# 1 and 2
@pytest.mark.parametrize("signed", [True, False])
def test_the_loss_lies_in_its_range(signed, x64):
    for seed in range(30):
        loss = loss_of(*random_case(seed, signed=signed))
        widest = (2 if signed else 1) / TAU
        assert np.all(loss >= np.log1p(np.exp(-widest)))
        assert np.all(loss <= np.log1p(np.exp(widest)))


def test_the_range_is_reached_by_opposite_vectors():
    image = jnp.array([[1.0, 0.0]])
    loss = from_vectors(image, -image, 3 * image)
    np.testing.assert_allclose(loss, [np.log1p(np.exp(-4.0))], rtol=1e-6)
    loss = from_vectors(-image, image, 3 * image)
    np.testing.assert_allclose(loss, [np.log1p(np.exp(4.0))], rtol=1e-6)


def test_the_two_cosines_are_never_both_negative(x64):
    rng = np.random.default_rng(2)
    features = rng.normal(size=(2000, 2, 2, 3))
    mask = rng.uniform(0.05, 0.95, size=(2000, 2, 2))
    s_object, s_background = cosines_by_hand(features, mask)
    assert np.all((s_object >= 0) | (s_background >= 0))
    expected = np.log1p(np.exp((s_background - s_object) / TAU))
    np.testing.assert_allclose(loss_of(features, mask), expected, rtol=1e-9)


# 3
@pytest.mark.parametrize("anchor_grad", [True, False])
def test_the_scale_of_the_features_does_not_matter(anchor_grad, x64):
    features, mask = random_case(3)
    loss = loss_of(features, mask)
    np.testing.assert_allclose(loss_of(37.0 * features, mask), loss, rtol=1e-12)
    gradient = gradient_of(features, mask, anchor_grad)
    assert np.max(np.abs(gradient)) > 1e-2
    along = jnp.sum(gradient * features, axis=(1, 2, 3))
    np.testing.assert_allclose(along, 0.0, atol=1e-14)


# 4
def test_complementary_masks_differ_by_the_gap_of_the_cosines(x64):
    features, mask = random_case(4)
    s_object, s_background = cosines_by_hand(features, mask)
    difference = loss_of(features, 1 - mask) - loss_of(features, mask)
    np.testing.assert_allclose(difference, (s_object - s_background) / TAU, rtol=1e-10)


# 5
def test_for_orthogonal_regions_the_stronger_one_wins(x64):
    expected = {0.5: 0.693147, 1: 0.342768, 2: 0.209734, 4: 0.162236, 100: 0.128128}
    inside, outside = MASK[..., None], 1 - MASK[..., None]
    stronger = [loss_of(FEATURES * (c * inside + outside), MASK)[0] for c in expected]
    np.testing.assert_allclose(stronger, list(expected.values()), atol=1e-6)
    factors = [*expected, 1e4]
    weaker = [loss_of(FEATURES * (inside + c * outside), MASK)[0] for c in factors]
    assert np.all(np.diff(weaker) > 0)
    # With f_o = (3, 0) and f_b = (0, 1.5 c), s⁺ = 2 / √(4 + c²), s⁻ = c / √(4 + c²),
    # so s⁻ − s⁺ = 1 − 2 / c + O(c⁻²).
    widest = np.log1p(np.exp(1 / TAU))  # 2.126928
    assert weaker[-1] < widest
    np.testing.assert_allclose(weaker[-1], widest, atol=2 * 2e-4 / TAU)


# 6
def test_a_constant_map_is_a_critical_point_at_ln_2(x64):
    _, mask = random_case(5)
    features = np.broadcast_to([2.0, 0.0, 1.0, 0.0, 2.0], (3, 2, 4, 5))
    np.testing.assert_allclose(loss_of(features, mask), np.log(2), rtol=1e-12)
    np.testing.assert_allclose(gradient_of(features, mask), 0.0, atol=1e-15)


# 7
def test_high_temperatures_leave_half_the_gap(x64):
    features, mask = random_case(6)
    s_object, s_background = cosines_by_hand(features, mask)
    expected = np.log(2) + (s_background - s_object) / 2e3
    np.testing.assert_allclose(loss_of(features, mask, 1e3), expected, atol=1e-6)


def test_low_temperatures_approach_the_hinge_without_overflow():
    features, mask = (a.astype(np.float32) for a in random_case(11))
    s_object, s_background = cosines_by_hand(features, mask)
    hinge = np.maximum(0, s_background - s_object)
    assert 0 < np.count_nonzero(hinge) < 3  # one of each kind at least
    for temperature in (1e-3, 1e-6):
        scaled = temperature * loss_of(features, mask, temperature)
        np.testing.assert_allclose(scaled, hinge, atol=temperature + 1e-6)
        chex.assert_tree_all_finite(batch_of(features, mask, None, temperature))


def test_low_temperatures_end_at_zero_at_ln_2_or_at_infinity(x64):
    # Anchor (1, 0): the cosine with (x, y) is x / |(x, y)|. Rows: s⁺ > s⁻, =, <.
    objects = np.array([[4.0, 3.0], [3.0, 4.0], [3.0, 4.0]])
    backgrounds = np.array([[3.0, 4.0], [3.0, -4.0], [4.0, 3.0]])
    images = np.tile([1.0, 0.0], (3, 1))
    temperatures = (0.1, 1e-2, 1e-3, 1e-300)
    below, equal, above = np.transpose(
        [
            losses.region_contrastive(objects, backgrounds, images, temperature=tau)
            for tau in temperatures
        ]
    )
    # The gap is ∓0.2: log(1 + exp(∓0.2 / τ)).
    np.testing.assert_allclose(below[:2], np.log1p(np.exp([-2, -20])), rtol=1e-10)
    assert np.all(np.diff(below[:3]) < 0)
    assert below[2] < 1e-80
    assert below[3] == 0
    np.testing.assert_allclose(equal, np.log(2), rtol=1e-12)
    np.testing.assert_allclose(above[:2], np.log1p(np.exp([2, 20])), rtol=1e-10)
    # Linear in 1 / τ in the end, and as far as the numbers go without an overflow.
    np.testing.assert_allclose(above[2:], [2e2, 2e299], rtol=1e-10)


# 8
def test_the_cosines_pull_equally_and_oppositely(x64):
    # Unit vectors at right angles to their partner turn s⁺ or s⁻ alone.
    def turned(angle_object, angle_background):
        direction = lambda angle: jnp.stack([jnp.cos(angle), jnp.sin(angle)])[None]
        objects, backgrounds = direction(angle_object), direction(angle_background)
        return from_vectors(objects, backgrounds, jnp.array([[1.0, 0.0]]))[0]

    angles = (0.3, 1.1)
    gradients = jax.jit(jax.grad(turned, argnums=(0, 1)))(*angles)
    p = 1 / (1 + np.exp((np.cos(0.3) - np.cos(1.1)) / TAU))
    # d cos(angle) = -sin(angle) d angle, dL/ds⁺ = -p/τ, dL/ds⁻ = p/τ
    np.testing.assert_allclose(gradients[0], p / TAU * np.sin(0.3), rtol=1e-10)
    np.testing.assert_allclose(gradients[1], -p / TAU * np.sin(1.1), rtol=1e-10)


@pytest.mark.parametrize("anchor_grad", [True, False])
def test_a_small_step_down_the_gradient_lowers_the_loss(anchor_grad, x64):
    step = 1e-4
    for seed in range(10):
        features, mask = random_case(seed)
        gradient = gradient_of(features, mask, anchor_grad)
        objects, backgrounds, images = pool(features - step * gradient, mask)
        if not anchor_grad:  # what is held stays where it was
            images = pool(features, mask)[2]
        lowered = loss_of(features, mask) - from_vectors(objects, backgrounds, images)
        # To first order by step |gradient|².
        expected = step * np.sum(np.square(gradient), axis=(1, 2, 3))
        assert np.all(lowered > 0)
        np.testing.assert_allclose(lowered, expected, rtol=1e-2)


# 9
def test_holding_the_anchor_changes_the_gradient_only(x64):
    features, mask = random_case(7)
    np.testing.assert_array_equal(
        loss_of(features, mask, TAU, True), loss_of(features, mask, TAU, False)
    )
    full, held = (gradient_of(features, mask, anchor) for anchor in (True, False))
    assert np.max(np.abs(full - held)) > 1e-3


def test_no_gradient_reaches_the_boxes():
    features = jnp.asarray(FEATURES, jnp.float32)

    def from_boxes(boxes):
        mask = ops.rasterise_boxes(boxes, jnp.ones((1, 1), bool), shape=(2, 2))
        return loss_of(features, mask)[0]

    value, gradient = jax.value_and_grad(from_boxes)(
        jnp.array([[[0.0, 0.0, 2.0, 1.0]]])
    )
    np.testing.assert_allclose(value, 0.34276789, atol=1e-6)
    np.testing.assert_array_equal(gradient, np.zeros((1, 1, 4)))


# 10
def test_permutations_and_rotations_change_nothing(x64):
    features, mask = random_case(8)
    loss = loss_of(features, mask)
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(loss_of(features[order], mask[order]), loss[order])
    batch = batch_of(features, mask)
    np.testing.assert_allclose(batch_of(features[order], mask[order]), batch[order])
    flipped = loss_of(features[:, ::-1, ::-1], mask[:, ::-1, ::-1])
    np.testing.assert_allclose(flipped, loss, rtol=1e-12)
    rotation = np.linalg.qr(np.random.default_rng(9).normal(size=(5, 5)))[0]
    np.testing.assert_allclose(loss_of(features @ rotation, mask), loss, rtol=1e-12)


# 11
def mean_over_annotated(features, boxes, valid):
    mask = ops.rasterise_boxes(boxes, valid, shape=(8, 8))
    mask = ops.area_resize(mask, shape=(2, 2))
    smallest = 1e-6 * 4
    area, rest = jnp.sum(mask, axis=(1, 2)), jnp.sum(1 - mask, axis=(1, 2))
    weight = ((area > smallest) & (rest > smallest)).astype(jnp.float32)
    return ops.weighted_mean(loss_of(features, mask), weight)


mean_and_gradient = jax.jit(jax.value_and_grad(mean_over_annotated))


def test_images_without_usable_boxes_leave_mean_and_gradients_alone():
    features = np.random.default_rng(10).normal(size=(5, 2, 2, 3)).astype(np.float32)
    features[4] = 0
    box, full, outside = [1, 1, 6, 5], [0, 0, 8, 8], [9, 9, 12, 12]
    boxes = jnp.array([[box], [full], [outside], [box], [outside]])
    valid = jnp.array([[True], [True], [True], [False], [True]])
    value, gradient = mean_and_gradient(features, boxes, valid)
    alone, alone_gradient = mean_and_gradient(features[:1], boxes[:1], valid[:1])
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    np.testing.assert_allclose(gradient[:1], alone_gradient, rtol=1e-5)
    assert np.max(np.abs(alone_gradient)) > 1e-3
    np.testing.assert_array_equal(gradient[1:], np.zeros((4, 2, 2, 3)))
    value, gradient = mean_and_gradient(features, boxes, jnp.zeros((5, 1), bool))
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(features))


@hypothesis.given(st.lists(st.sampled_from(range(8)), min_size=3, max_size=3))
def test_zero_vectors_have_cosine_zero_and_no_gradient(patterns):
    vectors = np.random.default_rng(11).normal(size=(3, 3, 4)).astype(np.float32)
    for row, pattern in enumerate(patterns):
        for which in range(3):
            vectors[which, row] *= (pattern >> which) & 1
    value, gradient = vector_value_and_gradient(*vectors)
    chex.assert_tree_all_finite((value, gradient))
    for which in range(3):
        np.testing.assert_array_equal(
            gradient[which][~vectors[which].any(axis=-1)], 0.0
        )
    blank = ~vectors[2].any(axis=-1)  # both cosines are 0
    np.testing.assert_allclose(value[blank], np.log(2), rtol=1e-6)


@jax.jit
def vector_value_and_gradient(*vectors):
    loss = functools.partial(losses.region_contrastive, temperature=TAU)
    total = lambda *v: jnp.sum(
        loss(*v) + losses.region_contrastive_batch(*v, temperature=TAU)
    )
    return loss(*vectors), jax.grad(total, argnums=(0, 1, 2))(*vectors)


# 12
def test_repeated_overlapping_and_reordered_boxes_are_their_union():
    features = np.random.default_rng(12).normal(size=(1, 2, 2, 3)).astype(np.float32)
    a, b, c = [0, 0, 3, 4], [1, 0, 5, 4], [0, 0, 5, 4]
    losses_found = [
        mean_and_gradient(features, jnp.array([boxes]), jnp.ones((1, 3), bool))[0]
        for boxes in ([a, b, b], [b, a, a], [c, c, a])
    ]
    assert losses_found[0] == losses_found[1] == losses_found[2] != 0


def test_more_negatives_never_lower_the_loss(x64):
    features, mask = random_case(13)
    own = loss_of(features, mask)
    assert np.all(batch_of(features, mask) > own)
    for i in range(3):
        single = batch_of(features[i : i + 1], mask[i : i + 1])
        np.testing.assert_allclose(single, own[i : i + 1], rtol=1e-12)


def test_where_keeps_other_images_out_of_the_negatives_but_not_their_own(x64):
    features, mask = random_case(14)
    found = np.array(batch_of(features, mask, np.array([True, False, True])))
    pair = batch_of(features[[0, 2]], mask[[0, 2]])
    np.testing.assert_allclose(found[[0, 2]], pair, rtol=1e-12)
    np.testing.assert_allclose(found[1], batch_of(features, mask)[1], rtol=1e-12)
    nobody = batch_of(features, mask, np.zeros(3, bool))
    np.testing.assert_allclose(nobody, loss_of(features, mask), rtol=1e-12)


# 13
@pytest.mark.parametrize("anchor_grad", [True, False])
def test_gradients_agree_under_jit_and_vmap_and_in_float32(anchor_grad):
    def total(features, mask):
        vectors = pool(features, mask, anchor_grad=anchor_grad)
        return jnp.sum(losses.region_contrastive(*vectors, temperature=TAU))

    def of_one(features, mask):
        return jax.grad(total)(features[None], mask[None])[0]

    ways = {
        "jit": functools.partial(gradient_of, anchor_grad=anchor_grad),
        "neither": jax.grad(total),
        "vmap": jax.jit(jax.vmap(of_one)),
    }
    with jax.enable_x64(True):
        case = random_case(15)
        exact = {name: np.array(way(*case)) for name, way in ways.items()}
    assert np.min(np.max(np.abs(exact["neither"]), axis=(1, 2, 3))) > 1e-2
    narrow = [array.astype(np.float32) for array in case]
    for name, way in ways.items():
        np.testing.assert_allclose(exact[name], exact["neither"], atol=1e-14)
        found = way(*narrow)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, exact["neither"], atol=1e-6, err_msg=name)


def test_jit_vmap_and_float32_agree():
    with jax.enable_x64(True):
        features, mask = random_case(15)
        exact = np.array(loss_of(features, mask))
    features, mask = features.astype(np.float32), mask.astype(np.float32)
    for loss in (
        loss_of(features, mask),
        from_vectors(*pool(features, mask)),
        jax.vmap(lambda f, m: loss_of(f[None], m[None])[0])(features, mask),
    ):
        assert loss.dtype == jnp.float32
        np.testing.assert_allclose(loss, exact, atol=1e-6)


def test_bfloat16_features_are_compared_in_float32():
    vectors = ([[3.0, 0.0]], [[0.0, 1.5]], [[1.5, 0.75]])
    vectors = [jnp.array(vector, jnp.bfloat16) for vector in vectors]
    for loss in (losses.region_contrastive, losses.region_contrastive_batch):
        value = jax.jit(functools.partial(loss, temperature=TAU))(*vectors)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, [0.34276789], atol=1e-6)


def test_the_triplet_is_zero_once_the_margin_is_kept():
    vectors = [np.array([v], np.float32) for v in ([3, 0], [0, 1.5], [1.5, 0.75])]
    value, gradient = jax.jit(
        jax.value_and_grad(
            lambda v: losses.region_contrastive_triplet(*v, margin=0.3)[0]
        )
    )(vectors)
    assert value == 0
    chex.assert_trees_all_equal(gradient, jax.tree.map(np.zeros_like, vectors))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
@pytest.mark.parametrize(
    "loss", [losses.region_contrastive, losses.region_contrastive_batch]
)
def test_a_temperature_that_is_not_positive_is_refused(loss, temperature):
    with pytest.raises(ValueError, match=r"`temperature` \(=.*\) must be positive"):
        loss(*[jnp.ones((1, 2))] * 3, temperature=temperature)


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match=r"`margin` \(=-0.5\) must not be negative"):
        losses.region_contrastive_triplet(*[jnp.ones((1, 2))] * 3, margin=-0.5)


def test_shapes_must_agree():
    with pytest.raises(AssertionError, match="shape"):
        losses.region_contrastive(
            jnp.ones((1, 2)), jnp.ones((1, 2)), jnp.ones((2, 2)), temperature=TAU
        )
    with pytest.raises(AssertionError, match="shape"):
        losses.region_contrastive_batch(
            *[jnp.ones((2, 3))] * 3, temperature=TAU, where=jnp.ones(3, bool)
        )
    with pytest.raises(AssertionError, match="rank"):
        losses.region_contrastive_triplet(*[jnp.ones(2)] * 3, margin=0.5)


@pytest.mark.parametrize("sizes", [(1e20, 1e20, 1e20), (1e36, 1.0, 1e-36)])
@pytest.mark.parametrize("invert", [False, True])
def test_vectors_of_any_size_have_the_value_of_their_directions(sizes, invert):
    """Norms of 1e20 overflow in float32 and of 1e-20 vanish; a cosine knows neither."""
    directions = [[[0.8, 0.1]], [[0.2, 0.7]], [[0.5, 0.4]]]
    sizes = [1 / size if invert else size for size in sizes]
    vectors = [np.float32(v) for v in directions]
    scaled = [np.float32(size) * v for size, v in zip(sizes, vectors, strict=True)]
    for loss in (
        functools.partial(losses.region_contrastive, temperature=TAU),
        functools.partial(losses.region_contrastive_batch, temperature=TAU),
        functools.partial(losses.region_contrastive_triplet, margin=0.5),
    ):
        np.testing.assert_allclose(loss(*scaled), loss(*vectors), rtol=1e-5)


@pytest.mark.parametrize("size", [1e20, 1e-9, 1e-20])
def test_the_gradient_of_vectors_of_any_size_is_that_of_their_directions(size):
    directions = tuple(np.float32([v]) for v in ([0.8, 0.1], [0.2, 0.7], [0.5, 0.4]))
    total = lambda *v: jnp.sum(losses.region_contrastive(*v, temperature=TAU))
    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    found = gradient(*[np.float32(size) * v for v in directions])
    for slope, expected in zip(found, gradient(*directions), strict=True):
        np.testing.assert_allclose(slope * np.float32(size), expected, rtol=1e-4)
