"""Region consistency and its competitor: what is replaced, by what, who learns."""

import functools

import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import region_cases

from xguide_jax import guidance, losses, ops, testing, training
from xguide_jax.types import ModelOutput

ZEROS = functools.partial(ops.constant_fill, value=0.0)


def two_pixels(params, model_state, inputs, *, train, key=None, overrides=None):
    """logits = x W for images [B, 1, 2, 1]; W [2, 2]."""
    return ModelOutput(inputs.reshape(len(inputs), 2) @ params), model_state


def guide(term, network, batch, *, seed=0):
    """The term's loss, its gradient in the network, and the images it replaced."""
    apply_fn, params, model_state = network
    terms = {"guided": core_terms.recording(term)}

    def loss_fn(params, batch):
        loss, (states, _) = training.guidance_loss(
            apply_fn, terms, {"model": params}, model_state,
            {"guided": jnp.zeros_like(batch["inputs"])}, batch,
            step=0, key=jax.random.key(seed),
        )  # fmt: skip
        return loss, states["guided"]

    compiled = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
    (loss, replaced), gradient = compiled(params, batch)
    return loss, gradient, replaced


# W = [[1, 0], [2, 0]], x = (1, 1), the region is the second pixel: logits fall from
# (3, 0) to (2, 0), p = 1 / (1 + e^-3) and q = 1 / (1 + e^-2).
WEIGHTS = jnp.array([[1.0, 0.0], [2.0, 0.0]])
P, Q = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))
TWO_PIXELS = {
    "inputs": jnp.ones((1, 1, 2, 1)),
    "labels": jnp.array([0]),
    "region": jnp.array([[[0.0, 0.3]]]),  # above 0 is inside
}


def test_the_clean_prediction_is_the_reference_and_both_learn():
    # KL(p || q) = 0.030915; KL(q || p) would be 0.053...
    kl = P * np.log(P / Q) + (1 - P) * np.log((1 - P) / (1 - Q))
    assert kl == pytest.approx(0.030915, abs=1e-6)
    term = guidance.region_consistency(fill=ZEROS)
    loss, gradient, replaced = guide(term, (two_pixels, WEIGHTS, ()), TWO_PIXELS)
    np.testing.assert_array_equal(replaced.ravel(), [0.0, 1.0])
    np.testing.assert_allclose(loss, kl, rtol=1e-5)
    # dKL/dlogits is q - p behind x~ = (0, 1), and p (log(p / q) - KL) behind x.
    student = (Q - P) * np.array([[0.0, 0.0], [1.0, -1.0]])
    teacher = P * (np.log(P / Q) - kl) * np.array([[1.0, -1.0], [1.0, -1.0]])
    np.testing.assert_allclose(gradient, student + teacher, rtol=1e-4, atol=1e-7)


def test_the_competitor_asks_for_the_label_on_the_replaced_image():
    term = guidance.replaced_background_loss(fill=ZEROS)
    loss, gradient, replaced = guide(term, (two_pixels, WEIGHTS, ()), TWO_PIXELS)
    np.testing.assert_array_equal(replaced.ravel(), [0.0, 1.0])
    np.testing.assert_allclose(loss, -np.log(Q), rtol=1e-5)
    expected = (Q - 1) * np.array([[0.0, 0.0], [1.0, -1.0]])
    np.testing.assert_allclose(gradient, expected, rtol=1e-4)


def test_the_competitor_takes_another_task_loss():
    task_loss = lambda output, batch: batch["target"] * output.logits[:, 0]
    term = guidance.replaced_background_loss(fill=ZEROS, task_loss=task_loss)
    batch = {**TWO_PIXELS, "target": jnp.array([3.0])}
    loss, _, _ = guide(term, (two_pixels, WEIGHTS, ()), batch)
    np.testing.assert_allclose(loss, 3.0 * 2.0)


@pytest.fixture(scope="module")
def noisy():
    """A region term on the smooth network with noise of its own."""
    batch = testing.example_batch(jax.random.key(1))
    term = guidance.region_consistency(
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2))
    )
    network = testing.smooth_network(jax.random.key(0))
    return network, batch, *guide(term, network, batch)


def test_the_outside_is_replaced_and_the_region_keeps_its_bits(noisy):
    _, batch, _, _, replaced = noisy
    inputs, inside = np.asarray(batch["inputs"]), np.asarray(batch["region"]) > 0
    valid = np.asarray(batch["region_valid"])
    np.testing.assert_array_equal(replaced[inside], inputs[inside])
    outside = ~inside & valid[:, None, None]
    assert np.all(replaced[outside] != inputs[outside])
    np.testing.assert_array_equal(replaced[~valid], inputs[~valid])
    assert 0 < np.sum(valid) < len(valid)


def test_only_annotated_examples_count_and_the_replaced_image_is_a_constant(noisy):
    (apply_fn, params, _), batch, loss, gradient, replaced = noisy
    valid = np.asarray(batch["region_valid"])

    @jax.value_and_grad
    def by_hand(params):
        predict = lambda x: apply_fn(params, (), x, train=True)[0].logits
        each = losses.kl_consistency(predict(batch["inputs"]), predict(replaced))
        return jnp.mean(each[valid])

    expected, slope = jax.jit(by_hand)(params)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name in params:
        np.testing.assert_allclose(gradient[name], slope[name], atol=1e-6)


def test_nothing_but_the_clean_prediction_depends_on_the_inputs():
    """With fills that are functions of the inputs, x~ still is a constant."""
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    term = guidance.replaced_background_loss(
        fill=functools.partial(ops.mean_fill, axes=(1, 2))
    )

    @jax.jit
    @jax.grad
    def gradient_of(inputs):
        return training.guidance_loss(
            apply_fn, {"term": term}, {"model": params}, (), {},
            {**batch, "inputs": inputs}, step=0, key=jax.random.key(0),
        )[0]  # fmt: skip

    np.testing.assert_array_equal(gradient_of(batch["inputs"]), np.zeros((8, 6, 6, 2)))


def dropping(params, model_state, inputs, *, train, key=None, overrides=None):
    """Half of the logits are dropped, in train mode."""
    logits = jnp.broadcast_to(params * 5, (len(inputs), 2))
    if train:
        logits = jnp.where(jax.random.bernoulli(key, 0.5, logits.shape), logits, 0.0)
    return ModelOutput(logits), model_state


def test_the_replaced_pass_is_in_train_mode_with_a_draw_of_its_own():
    zeros = lambda key, inputs: jnp.zeros_like(inputs)
    batch = testing.example_batch(jax.random.key(1))
    term = guidance.region_consistency(fill=zeros)
    loss, _, _ = guide(term, (dropping, jnp.array([1.0, -1.0]), ()), batch)
    assert loss > 0.1


def test_a_fill_gets_what_it_has_keywords_for():
    def fill(key, inputs, *, region, present, axis_name):
        assert axis_name is None
        values = jnp.where(present, 30.0, 50.0)[:, None, None] + 7 * region
        return jnp.broadcast_to(values[..., None], inputs.shape)

    batch = {**testing.example_batch(jax.random.key(1)), "weight": jnp.arange(8.0)}
    term = guidance.region_consistency(fill=fill)
    replaced = guide(term, testing.smooth_network(jax.random.key(0)), batch)[2]
    np.testing.assert_array_equal(replaced[:3, 0, 0, 0], [50, 30, 30])


def test_regions_of_another_aspect_are_refused():
    network = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    term = guidance.region_consistency(fill=ZEROS)
    batch["region"] = batch["region"][:, :3]
    message = r"\(8, 3, 6\) does not fit batch\['inputs'\] of shape \(8, 6, 6, 2\)"
    with pytest.raises(ValueError, match=message):
        guide(term, network, batch)


# Images of one value in the region, another outside: who lent is seen at once.
REGION = np.zeros((16, 3, 3), np.float32)
REGION[:13, :2, :2] = 1
REGION[[3, 7]] = 0  # unknown
REGION[5] = 1  # no background
LENDERS = [0, 1, 2, 4, 6, 8, 9, 10, 11, 12]
INPUTS = np.where(REGION > 0, 100.0, np.arange(16.0)[:, None, None])[..., None]
INPUTS = np.asarray(INPUTS * [1, 2], np.float32)


@functools.partial(jax.jit, static_argnames="axis_name")
def others(key, inputs=INPUTS, region=REGION, present=None, axis_name=None):
    return guidance.other_backgrounds(
        key, inputs, region=region, present=present, axis_name=axis_name
    )


def partners(values):
    """The index of the lender of each row; its region is filled by its background."""
    values = np.asarray(values)
    np.testing.assert_array_equal(values, values[:, :1, :1] * np.ones((3, 3, 1)))
    np.testing.assert_array_equal(values[..., 1], 2 * values[..., 0])
    return values[:, 0, 0, 0].astype(int)


def test_every_other_annotated_image_lends_and_never_the_image_itself():
    keys = jax.random.split(jax.random.key(0), 400)
    assert set(partners(others(keys[0]))) <= set(LENDERS)
    found = np.asarray(jax.vmap(others)(keys)[:, :, 0, 0, 0])
    for row in LENDERS:
        lenders, counts = np.unique(found[:, row], return_counts=True)
        assert list(lenders) == [lender for lender in LENDERS if lender != row]
        # 400 / 9 = 44.4 with a standard deviation of 6.3
        assert np.all(np.abs(counts - 400 / 9) < 4 * 6.3)
    assert set(np.unique(found)) == set(LENDERS)
    assert len(np.unique(found[0])) > 3  # each row has a draw of its own


def test_the_region_of_a_lender_is_filled_by_the_mean_of_its_background():
    inputs = np.arange(16.0, dtype=np.float32).reshape(2, 2, 2, 2)
    region = np.zeros((2, 2, 2), np.float32)
    region[:, 0, 1] = 0.5
    found = np.asarray(others(jax.random.key(0), inputs, region))
    for row, lender in ((0, 1), (1, 0)):
        expected = inputs[lender].copy()
        expected[0, 1] = (expected[0, 0] + expected[1, 0] + expected[1, 1]) / 3
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


def test_an_image_without_others_keeps_its_own_background():
    region = np.where(np.arange(16)[:, None, None] == 4, REGION, 0)
    values = others(jax.random.key(0), INPUTS, region)
    assert partners(values[4:5]) == [4]


@pytest.mark.parametrize("num_devices", [2, 8])
def test_partners_depend_neither_on_devices_nor_on_padding(num_devices):
    keys = jax.random.split(jax.random.key(3), 16)
    alone = others(keys[:13], INPUTS[:13], REGION[:13])
    # Padding repeats the last row, which could lend.
    rows = np.minimum(np.arange(16), 12)
    present = np.arange(16) < 13
    shard = lambda leaf: leaf.reshape(num_devices, -1, *leaf.shape[1:])
    lifted = jax.vmap(
        functools.partial(others, axis_name="devices"), axis_name="devices"
    )
    shared = lifted(
        shard(keys), shard(INPUTS[rows]), shard(REGION[rows]), shard(present)
    )
    np.testing.assert_array_equal(np.reshape(shared, (16, 3, 3, 2))[:13], alone)


def test_a_weight_of_zero_in_the_middle_lends_nothing():
    present = np.arange(16) != 4
    keys = jax.random.split(jax.random.key(0), 50)
    draw = jax.vmap(lambda key: others(key, present=present))
    found = np.asarray(draw(keys)[:, :, 0, 0, 0])
    assert set(np.unique(found[:, LENDERS])) == set(LENDERS) - {4}


def test_backgrounds_need_images_and_regions_of_one_size():
    with pytest.raises(AssertionError, match="rank"):
        others(jax.random.key(0), INPUTS[..., 0])
    with pytest.raises(AssertionError, match="shape"):
        others(jax.random.key(0), INPUTS, REGION[:, :2])


def test_an_image_that_lends_nothing_draws_every_lender_alike():
    """Lenders 1 and 3 of five; the others lend nothing, wherever they stand."""
    region = np.zeros((5, 3, 3), np.float32)
    region[[1, 3], :2, :2] = 1
    region[4] = 1
    inputs = np.where(region[..., None] > 0, 100.0, np.arange(5.0)[:, None, None, None])
    inputs = np.float32(inputs * [1, 2])
    keys = jax.random.split(jax.random.key(0), 400)
    draw = jax.vmap(lambda key: others(key, inputs, region))
    found = np.asarray(draw(keys))[:, :, 2, 2, 0]
    np.testing.assert_array_equal(found[:, 1], 3)
    np.testing.assert_array_equal(found[:, 3], 1)
    for row in (0, 2, 4):
        lenders, counts = np.unique(found[:, row], return_counts=True)
        np.testing.assert_array_equal(lenders, [1, 3])
        assert np.all(np.abs(counts - 200) < 4 * 10)


def test_without_any_lender_each_image_keeps_its_own_pixels():
    values = others(jax.random.key(0), INPUTS, np.zeros_like(REGION))
    np.testing.assert_array_equal(values, INPUTS)


def outcome(term, batch):
    """Loss and weight of each example of the two-pixel network."""
    forward = lambda inputs, **_: two_pixels(WEIGHTS, (), inputs, train=True)[0]
    context = region_cases.context_of(batch, forward(batch["inputs"]), forward=forward)
    out = jax.jit(lambda: term.apply((), (), context)[:2])()
    return np.asarray(out[0]), np.asarray(out[1])


@pytest.mark.parametrize(
    "make", [guidance.region_consistency, guidance.replaced_background_loss]
)
def test_images_that_stay_as_they_are_weigh_nothing(make):
    """A region over all of the image; a background that holds the fill already."""
    batch = {
        "inputs": jnp.array([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])[:, None, :, None],
        "labels": jnp.array([0, 0, 0]),
        "region": jnp.array([[[0.0, 1.0]], [[1.0, 1.0]], [[0.0, 1.0]]]),
    }
    loss, weight = outcome(make(fill=ZEROS), batch)
    np.testing.assert_array_equal(weight, [1, 0, 0])
    assert loss[0] > 0
    np.testing.assert_array_equal(loss[1:], 0)
    alone = {name: leaf[:1] for name, leaf in batch.items()}
    _, weight = outcome(make(fill=guidance.other_backgrounds), alone)
    np.testing.assert_array_equal(weight, [0])  # nobody lends


def test_another_consistency_takes_the_place_of_the_divergence():
    squared = lambda own, other: jnp.sum((own - other) ** 2, axis=-1)
    term = guidance.region_consistency(fill=ZEROS, consistency=squared)
    loss, _, _ = guide(term, (two_pixels, WEIGHTS, ()), TWO_PIXELS)
    np.testing.assert_allclose(loss, 1.0)  # logits (3, 0) and (2, 0)
