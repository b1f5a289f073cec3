"""Localisation: any explainer and loss, which pass, whose gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import region_cases

from xguide_jax import attributions, guidance, losses, ops, testing, training

TARGET = {"score_fn": attributions.target_logit}
CAM = functools.partial(attributions.grad_cam, **TARGET)
SIGNED_CAM = functools.partial(attributions.signed_grad_cam, **TARGET)
FROZEN_CAM = functools.partial(guidance.frozen_grad_cam, **TARGET)
GRADIENT = functools.partial(attributions.input_gradient, **TARGET)

# The worked map A = [[2, -1], [1, 1]] with the left column annotated: one channel,
# features = inputs and d logit / d feature = 1 everywhere, as 4 / (2 x 2).
MAP = np.array([[2.0, -1.0], [1.0, 1.0]])
LEFT = np.array([[[1.0, 0.0], [1.0, 0.0]]])
PARAMS = {"kernel": np.array([[1.0]]), "head": np.array([[4.0, 0.0]])}
WORKED = {
    "inputs": MAP[None, :, :, None],
    "labels": np.array([0]),
    "region": LEFT,
}


def value_of(term, network, batch):
    apply_fn, params, model_state = network

    def objective(params, batch):
        return training.guidance_loss(
            apply_fn, {"term": term}, {"model": params}, model_state, {}, batch,
            step=0, key=jax.random.key(0),
        )[0]  # fmt: skip

    return jax.jit(jax.value_and_grad(objective))(params, batch)


def worked(batch=WORKED, **arguments):
    network = (region_cases.linear_network, PARAMS, ())
    return value_of(guidance.localisation(**arguments), network, batch)


def normalised(loss):
    return lambda maps, region: loss(ops.normalise_by_max(maps), region)


@pytest.mark.parametrize(
    ("loss", "explainer", "expected"),
    [
        (losses.energy, CAM, 0.25),
        (losses.energy, FROZEN_CAM, 0.25),
        (losses.energy, SIGNED_CAM, 0.25),
        (normalised(losses.region_l1), CAM, 0.25),
        (normalised(losses.pixel_cross_entropy), CAM, np.log(2) / 2),
        (losses.outside_energy, SIGNED_CAM, 0.5),
    ],
)
def test_the_worked_map(loss, explainer, expected, x64):
    value, _ = worked(loss=loss, explain=guidance.explain(explainer, layer="features"))
    np.testing.assert_allclose(value, expected, atol=1e-12)


def test_the_region_is_averaged_onto_the_map_and_reaches_the_right_rows(x64):
    """4 x 4 pixels; the second row of cells is half covered, the second image not."""
    region = np.zeros((2, 4, 4))
    region[:, :2, :2] = 1
    region[:, 2, :2] = 1
    batch = {
        "inputs": np.stack([MAP, 5 - MAP]).repeat(2, 1).repeat(2, 2)[..., None],
        "labels": np.array([0, 1]),
        "region": region,
        "region_valid": np.array([True, False]),
    }
    strided = lambda params, state, inputs, **options: region_cases.linear_network(
        params, state, inputs[:, ::2, ::2], **options
    )
    term = guidance.localisation(
        loss=losses.energy, explain=guidance.explain(CAM, layer="features")
    )
    # Positive 2 + 1 + 1, inside 2 + 1 / 2.
    value, _ = value_of(term, (strided, PARAMS, ()), batch)
    np.testing.assert_allclose(value, 1 - 2.5 / 4, atol=1e-12)


def test_attributions_of_inputs_are_summed_over_the_channels(x64):
    """x · g with g = (4, -2) / 4 for the two channels of each of four pixels."""
    params = {"kernel": np.eye(2), "head": np.array([[4.0, 0.0], [-2.0, 0.0]])}
    inputs = np.stack([MAP, 2 * MAP.T], axis=-1)[None]
    batch = {**WORKED, "inputs": inputs}
    term = guidance.localisation(
        loss=losses.energy,
        explain=guidance.explain(
            functools.partial(attributions.gradient_x_input, **TARGET)
        ),
    )
    value, _ = value_of(term, (region_cases.linear_network, params, ()), batch)
    # A = MAP - MAP^T = [[0, -2], [2, 0]]: all that is positive is on the left.
    np.testing.assert_allclose(value, 0.0, atol=1e-12)
    swapped = {**batch, "region": 1 - LEFT}
    value, _ = value_of(term, (region_cases.linear_network, params, ()), swapped)
    np.testing.assert_allclose(value, 1.0, atol=1e-12)


def by_hand(params, batch, *, hold=lambda weights: weights):
    """Mean energy outside of the Grad-CAM of the smooth network's eval pass."""
    apply_fn, _, _ = testing.smooth_network(jax.random.key(0))
    run = lambda overrides=None: apply_fn(
        params, (), batch["inputs"], train=False, overrides=overrides
    )[0]
    features = run().intermediates["features"]
    score = lambda f: jnp.sum(
        jnp.take_along_axis(run({"features": f}).logits, batch["labels"][:, None], 1)
    )
    weights = hold(jnp.mean(jax.grad(score)(features), axis=(1, 2)))
    maps = jax.nn.relu(jnp.einsum("bhwk,bk->bhw", features, weights))
    region = ops.area_resize(batch["region"], shape=(3, 3))
    outside = 1 - jnp.sum(maps * region, (1, 2)) / jnp.sum(maps, (1, 2))
    return jnp.mean(outside[np.asarray(batch["region_valid"])])


def test_frozen_and_live_weights_have_one_value_and_two_gradients():
    network = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    found = [
        value_of(
            guidance.localisation(
                loss=losses.energy,
                explain=guidance.explain(explainer, layer="features"),
            ),
            network,
            batch,
        )
        for explainer in (CAM, FROZEN_CAM)
    ]
    (live, live_gradient), (frozen, frozen_gradient) = found
    np.testing.assert_allclose(live, frozen, rtol=1e-6)
    for hold, value, gradient in (
        (lambda weights: weights, live, live_gradient),
        (jax.lax.stop_gradient, frozen, frozen_gradient),
    ):
        expected, slope = jax.jit(
            jax.value_and_grad(functools.partial(by_hand, batch=batch, hold=hold))
        )(network[1])
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        for name in slope:
            np.testing.assert_allclose(gradient[name], slope[name], atol=1e-6)
    # A logit is linear in the head: its weights are all that the map has of it.
    np.testing.assert_array_equal(
        frozen_gradient["head"], np.zeros_like(frozen_gradient["head"])
    )
    assert np.max(np.abs(live_gradient["head"])) > 1e-3
    difference = live_gradient["kernel"] - frozen_gradient["kernel"]
    assert np.max(np.abs(frozen_gradient["kernel"])) > 1e-3
    assert np.max(np.abs(difference)) < 1e-6  # the weights do not see the kernel


@pytest.mark.parametrize("layer", [None, "features"])
@pytest.mark.parametrize("explain_in", ["eval", "train"])
def test_each_pass_runs_in_its_mode(layer, explain_in):
    modes = []
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))

    def spying(params, model_state, inputs, *, train, key=None, overrides=None):
        modes.append((train, key is not None))
        return apply_fn(params, model_state, inputs, train=train, overrides=overrides)

    term = guidance.localisation(
        loss=losses.energy,
        explain=guidance.explain(
            GRADIENT if layer is None else CAM, layer=layer, explain_in=explain_in
        ),
    )
    batch = testing.example_batch(jax.random.key(1))
    jax.eval_shape(functools.partial(value_of, term, (spying, params, ())), batch)
    clean, *explained = modes
    assert clean == (True, True)
    # In train mode the clean pass has the features already; only the head runs again.
    own_features = layer is not None and explain_in == "eval"
    assert len(explained) == (2 if own_features else 1)
    assert set(explained) == {(explain_in == "train",) * 2}


def test_no_gradient_reaches_the_region_and_none_comes_of_rows_without():
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    term = guidance.localisation(
        loss=losses.energy, explain=guidance.explain(CAM, layer="features")
    )

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1))
    def gradient_of(region, inputs):
        changed = {**batch, "region": region, "inputs": inputs}
        return training.guidance_loss(
            apply_fn, {"term": term}, {"model": params}, (), {}, changed,
            step=0, key=jax.random.key(0),
        )[0]  # fmt: skip

    to_region, to_inputs = gradient_of(batch["region"], batch["inputs"])
    np.testing.assert_array_equal(to_region, np.zeros((8, 6, 6)))
    reached = np.any(np.asarray(to_inputs) != 0, axis=(1, 2, 3))
    np.testing.assert_array_equal(reached, batch["region_valid"])


def test_what_cannot_be_is_refused():
    message = r"^`explain_in` \(='test'\) must be 'eval' or 'train'\.$"
    with pytest.raises(ValueError, match=message):
        guidance.localisation(
            loss=losses.energy, explain=guidance.explain(CAM, explain_in="test")
        )
    with pytest.raises(ValueError, match=r"^`name` \(='conv5'\) must be an activation"):
        worked(loss=losses.energy, explain=guidance.explain(CAM, layer="conv5"))
    batch = {name: leaf for name, leaf in WORKED.items() if name != "region"}
    with pytest.raises(ValueError, match=r"^a batch needs 'region' or 'boxes' with"):
        worked(
            batch, loss=losses.energy, explain=guidance.explain(CAM, layer="features")
        )
