"""Region contrast through its term: which features, which masks, whose gradient.

The loss itself, with most of its properties, is tested with the losses.
"""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import region_cases

from xguide_jax import guidance, losses, ops, testing, training
from xguide_jax.types import ModelOutput

# The worked example: f_o = (3, 0), f_b = (0, 1.5), f = (1.5, 0.75), hence
# s⁺ = 2 / √5 and s⁻ = 1 / √5. Regions are drawn on 4 x 4 pixels, features on 2 x 2.
FEATURES = np.array([[[[4.0, 0.0], [2.0, 0.0]], [[0.0, 3.0], [0.0, 0.0]]]])
TOP = np.array([[[1, 1, 1, 1]] * 2 + [[0, 0, 0, 0]] * 2])


def softmax(temperature=0.5):
    return functools.partial(losses.region_contrastive, temperature=temperature)


def triplet(margin):
    return functools.partial(losses.region_contrastive_triplet, margin=margin)


def negatives(temperature=0.5):
    return functools.partial(losses.region_contrastive_batch, temperature=temperature)


def apply(term, features, annotation, *, axis_name=None):
    """Loss [B] and weight [B] of the term where the clean pass has these features."""
    size = len(features)
    batch = {
        "inputs": jnp.zeros((size, 4, 4, 1)),
        "labels": jnp.zeros(size, jnp.int32),
        **{name: jnp.asarray(leaf) for name, leaf in annotation.items()},
    }
    output = ModelOutput(jnp.zeros((size, 2)), {"features": jnp.asarray(features)})
    context = region_cases.context_of(batch, output, axis_name=axis_name)
    out = term.apply((), (), context)
    assert out.state == ()
    return out.loss, out.weight


def evaluate(term, features, annotation):
    return jax.jit(functools.partial(apply, term))(features, annotation)


def term_of(loss=None, **arguments):
    return guidance.region_contrastive(loss=loss or softmax(), **arguments)


def value_and_gradient(term, features, annotation):
    def total(features):
        loss, weight = apply(term, features, annotation)
        return jnp.sum(loss), (loss, weight)

    gradient, aux = jax.jit(jax.grad(total, has_aux=True))(jnp.asarray(features))
    return *aux, gradient


@pytest.mark.parametrize(
    ("loss", "region", "expected"),
    [
        (softmax(1.0), TOP, 0.49433478576379),
        (softmax(0.5), TOP, 0.34276789147362),
        (softmax(0.1), TOP, 0.01135814238515),
        (softmax(0.5), 1 - TOP, 1.2371950825),
        (triplet(0.5), TOP, 0.0527864045),
        (triplet(0.3), TOP, 0.0),
    ],
)
def test_the_worked_example(loss, region, expected, x64):
    value, weight = evaluate(term_of(loss), FEATURES, {"region": region})
    np.testing.assert_allclose(value, [expected], atol=1e-9)
    np.testing.assert_array_equal(weight, [1.0])


def test_a_region_is_averaged_over_the_cells_of_the_features(x64):
    # Half of the second cell is covered: f_o = (10/3, 0), f_b = (0.4, 1.2).
    boxes = {
        "boxes": [[[0, 0, 2, 2], [2, 0, 4, 1], [1, 0, 3, 1]]],
        "boxes_valid": [[True, True, True]],
    }
    region = TOP.copy()
    region[0, 1, 2:] = 0
    for annotation in (boxes, {"region": region}):
        value, _ = evaluate(term_of(), FEATURES, annotation)
        np.testing.assert_allclose(value, [0.5232695859], atol=1e-9)


@pytest.mark.parametrize(
    ("anchor_grad", "top", "bottom"),
    [
        (True, (-0.05191203, 0.06056403), (0.12112806, 0.10382406)),
        (False, (0.0, -0.04326002), (0.17304009, 0.0)),
    ],
)
def test_the_anchor_decides_the_gradient_and_not_the_value(
    anchor_grad, top, bottom, x64
):
    term = term_of(anchor_grad=anchor_grad)
    value, _, gradient = value_and_gradient(term, FEATURES, {"region": TOP})
    np.testing.assert_allclose(value, [0.34276789147362], atol=1e-12)
    np.testing.assert_allclose(gradient, [[[top, top], [bottom, bottom]]], atol=1e-8)


def by_hand(region, background, anchor):
    """softplus((s⁻ - s⁺) / 0.5) of three vectors."""
    cosine = lambda u, v: u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    gap = cosine(background, anchor) - cosine(region, anchor)
    return np.log1p(np.exp(gap / 0.5))


def test_a_balanced_anchor_weighs_region_and_background_alike(x64):
    # One cell of four: f_o = (4, 0), f_b = (2/3, 1); the mean over all is (1.5, 0.75).
    region = np.zeros((1, 4, 4))
    region[:, :2, :2] = 1
    vectors = np.array([4.0, 0.0]), np.array([2 / 3, 1.0])
    value, _ = evaluate(term_of(), FEATURES, {"region": region})
    np.testing.assert_allclose(value, [by_hand(*vectors, np.array([1.5, 0.75]))])
    balanced = np.array([7 / 3, 0.5])
    for anchor_grad in (True, False):
        term = term_of(anchor="balanced", anchor_grad=anchor_grad)
        value, _ = evaluate(term, FEATURES, {"region": region})
        np.testing.assert_allclose(value, [by_hand(*vectors, balanced)])


def test_each_box_is_contrasted_with_what_is_outside_of_all(x64):
    features = np.array([[[[4.0, 0.0], [2.0, 2.0]], [[0.0, 3.0], [0.0, 0.0]]]])
    background, image = np.array([0.0, 1.5]), np.array([1.5, 1.25])
    first = by_hand(np.array([4.0, 0.0]), background, image)
    second = by_hand(np.array([2.0, 2.0]), background, image)
    annotation = {
        "boxes": [[[0, 0, 2, 2], [2, 0, 4, 2], [1, 1, 3, 3], [9, 9, 12, 12]]],
        "boxes_valid": [[True, True, False, True]],  # the last one is outside
        "region": 1 - TOP,  # not looked at
    }
    value, weight = evaluate(term_of(per_box=True), features, annotation)
    np.testing.assert_allclose(value, [(first + second) / 2])
    np.testing.assert_array_equal(weight, [1.0])
    del annotation["region"]
    union, _ = evaluate(term_of(), features, annotation)
    np.testing.assert_allclose(union, [by_hand(np.array([3, 1]), background, image)])


# The second image has f_o = (2, 2) and f_b = (1, 1).
TWO_FEATURES = np.concatenate([FEATURES, np.ones((1, 2, 2, 2)) * [[[2]], [[1]]]])


def test_backgrounds_of_other_images_are_negatives(x64):
    annotation = {"region": np.repeat(TOP, 2, axis=0)}
    value, _ = evaluate(
        term_of(negatives(), whole_batch=True), TWO_FEATURES, annotation
    )
    np.testing.assert_allclose(value[0], 0.9256310717, atol=1e-9)
    own, _ = evaluate(term_of(), TWO_FEATURES, annotation)
    assert np.all(value > own)


@pytest.mark.parametrize("name", ["region_valid", "weight"])
def test_images_without_a_region_and_padding_are_no_negatives(name, x64):
    annotation = {"region": np.repeat(TOP, 2, axis=0), name: np.array([1.0, 0.0])}
    value, _ = evaluate(
        term_of(negatives(), whole_batch=True), TWO_FEATURES, annotation
    )
    np.testing.assert_allclose(value[0], 0.34276789147362, atol=1e-12)


@pytest.mark.parametrize("per_box", [False, True])
def test_negatives_come_from_all_devices(per_box, x64):
    """Two devices of two images: values and gradients of one with four."""
    term = term_of(negatives(), per_box=per_box, whole_batch=True)
    features = jax.random.normal(jax.random.key(0), (4, 2, 2, 3), float)
    annotation = {
        "boxes": jnp.tile(jnp.array([[0, 0, 2, 2], [2, 1, 4, 3]]), (4, 1, 1)),
        "boxes_valid": jnp.array([[True, True]] * 3 + [[False, False]]),
    }
    loss, _, gradient = value_and_gradient(term, features, annotation)
    halve = lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:])

    def share(features, annotation):
        loss, _ = apply(term, features, annotation, axis_name="devices")
        return jnp.sum(loss), loss

    shares = jax.vmap(jax.grad(share, has_aux=True), axis_name="devices")
    found, losses_found = jax.jit(shares)(*jax.tree.map(halve, (features, annotation)))
    np.testing.assert_allclose(losses_found.reshape(4), loss, rtol=1e-12)
    np.testing.assert_allclose(found.reshape(gradient.shape), gradient, atol=1e-12)
    assert np.max(np.abs(gradient[1])) > 1e-2
    assert loss[3] == 0


def boxes_term():
    return term_of(per_box=True)


@pytest.mark.parametrize("make", [term_of, boxes_term])
def test_images_without_region_or_background_change_nothing(make):
    """An empty, a full, an outside and an invalid box, and features that are 0."""
    features = np.random.default_rng(0).normal(size=(6, 2, 2, 3)).astype(np.float32)
    features[5] = 0
    box, full, outside = [0, 1, 2, 3], [0, 0, 4, 4], [5, 5, 9, 9]
    empty = [1, 1, 1, 1]
    annotation = {
        "boxes": np.array([[box], [full], [outside], [empty], [box], [box]]),
        "boxes_valid": np.ones((6, 1), bool),
        "region_valid": np.array([True] * 4 + [False, True]),
    }
    loss, weight, gradient = value_and_gradient(make(), features, annotation)
    np.testing.assert_array_equal(weight, [1, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(loss[1:5], np.zeros(4))
    np.testing.assert_array_equal(gradient[1:], np.zeros((5, 2, 2, 3)))
    np.testing.assert_allclose(loss[5], np.log(2), rtol=1e-6)  # both cosines are 0
    alone = {name: leaf[:1] for name, leaf in annotation.items()}
    value, _, slope = value_and_gradient(make(), features[:1], alone)
    np.testing.assert_allclose(loss[0], value[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[:1], slope, rtol=1e-5, atol=1e-7)
    assert np.max(np.abs(slope)) > 1e-2


def on_eleven_pixels(features, region):
    """11 x 11 ones, averaged onto fewer or as many cells, are 0.99999994."""
    batch = {"inputs": jnp.zeros((1, 11, 11, 1)), "region": region}
    output = ModelOutput(jnp.zeros((1, 2)), {"features": features})
    context = region_cases.context_of(batch, output)
    return jax.jit(lambda: term_of().apply((), (), context))()


def test_one_rounding_below_one_is_no_background():
    full = jnp.ones((1, 11, 11))
    assert np.all(1 - ops.area_resize(full, shape=(2, 2)) > 0)
    features = jax.random.normal(jax.random.key(0), (1, 2, 2, 3))
    out = on_eleven_pixels(features, full)
    assert out.weight == out.loss == 0
    out = on_eleven_pixels(features, full.at[0, 0, 0].set(0.0))
    assert out.weight == 1


def test_a_covered_cell_that_rounds_below_one_lends_nothing_to_the_background():
    """Features of 1e9 in the region, (0, 1) outside: s⁺ = 1 and s⁻ = 0 all but."""
    region = jnp.zeros((1, 11, 11)).at[:, :5].set(1.0)
    inside, outside = jnp.array([1e9, 0.0]), jnp.array([0.0, 1.0])
    features = jnp.where(region[..., None] > 0, inside, outside)
    loss = on_eleven_pixels(features, region).loss
    np.testing.assert_allclose(loss, np.log1p(np.exp(-1 / 0.5)), rtol=1e-5)


def test_no_gradient_reaches_the_region():
    def loss_of(region):
        return apply(term_of(), FEATURES.astype(np.float32), {"region": region})[0][0]

    region = jnp.asarray(TOP, jnp.float32) * 0.7
    np.testing.assert_array_equal(jax.grad(loss_of)(region), np.zeros((1, 4, 4)))


def test_bfloat16_features_are_contrasted_in_float32():
    features = jnp.asarray(FEATURES, jnp.bfloat16)
    value, weight = evaluate(term_of(), features, {"region": TOP})
    assert value.dtype == weight.dtype == jnp.float32
    np.testing.assert_allclose(value, [0.34276789], atol=1e-6)


numbers = st.integers(-3, 7)


@functools.cache
def compiled(per_box):
    def total(features, boxes, valid):
        annotation = {"boxes": boxes, "boxes_valid": valid}
        term = term_of(negatives(), per_box=per_box, whole_batch=True)
        loss, weight = apply(term, features, annotation)
        return jnp.sum(weight * loss), (loss, weight)

    return jax.jit(jax.grad(total, has_aux=True))


@hypothesis.given(
    st.lists(
        st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=2, max_size=2),
        min_size=3, max_size=3,
    ),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.sampled_from([0.0, 1.0, 1e-20, 1e15]),
)  # fmt: skip
def test_any_boxes_give_finite_losses_and_gradients(corners, valid, size):
    points = np.array(corners, np.float32).reshape(3, 2, 2, 2)
    boxes = np.concatenate([np.min(points, axis=2), np.max(points, axis=2)], axis=-1)
    features = size * np.random.default_rng(1).normal(size=(3, 2, 2, 3))
    for per_box in (False, True):
        gradient, (loss, weight) = compiled(per_box)(
            features.astype(np.float32), boxes, np.reshape(valid, (3, 2))
        )
        assert np.all(np.isfinite(gradient))
        assert np.all(np.isfinite(loss))
        assert np.all(loss[weight == 0] == 0)


def test_the_features_are_those_of_the_clean_pass():
    """No pass but the clean one; and its value in a training objective."""
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    passes = []

    def counting(*arguments, **options):
        passes.append(options["train"])
        return apply_fn(*arguments, **options)

    batch = testing.example_batch(jax.random.key(1))
    terms = {"contrast": term_of()}
    objective = lambda batch: training.guidance_loss(
        counting, terms, {"model": params}, (), {}, batch, step=0, key=jax.random.key(0)
    )[0]
    value = jax.jit(objective)(batch)
    assert passes == [True]
    output, _ = apply_fn(params, (), batch["inputs"], train=True)
    features = output.intermediates["features"]
    mask = ops.area_resize(batch["region"], shape=(3, 3))
    vectors = (
        ops.masked_pool(features, mask),
        ops.masked_pool(features, 1 - mask),
        jnp.mean(features, (1, 2)),
    )
    loss = losses.region_contrastive(*vectors, temperature=0.5)
    expected = np.mean(np.asarray(loss)[np.asarray(batch["region_valid"])])
    np.testing.assert_allclose(value, expected, rtol=1e-5)


def refuse(message, term, *, without=()):
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    batch = {name: leaf for name, leaf in batch.items() if name not in without}
    objective = lambda batch: training.guidance_loss(
        apply_fn, {"contrast": term}, {"model": params}, (), {}, batch,
        step=0, key=jax.random.key(0),
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(objective, batch)


def test_missing_layers_and_annotations_are_named():
    refuse(
        r"^term 'contrast' needs the layer 'conv5'; .* exposes \['features'\]\.",
        term_of(layer="conv5"),
    )
    refuse(
        r"^term 'contrast' needs batch\['boxes'\]; batch has \['annotations', 'boxes_v",
        term_of(per_box=True),
        without=["boxes"],
    )
    refuse(
        r"^a batch needs 'region' or 'boxes' with 'boxes_valid' here; it has \[",
        term_of(),
        without=["region", "boxes_valid"],
    )


def test_hyper_parameters_are_refused_when_the_term_is_built():
    message = r"^`anchor` \(='mean'\) must be 'image' or 'balanced'\.$"
    with pytest.raises(ValueError, match=message):
        term_of(anchor="mean")
    with pytest.raises(ValueError, match=r"`temperature` \(=0\) must be positive"):
        term_of(softmax(0))
    with pytest.raises(ValueError, match=r"`margin` \(=-1\) must not be negative"):
        term_of(triplet(-1))
