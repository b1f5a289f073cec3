"""What all region terms promise: the core's contract, devices, any annotation."""

import functools

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import region_cases

from xguide_jax import attributions, guidance, losses, ops, testing, training

CAM = functools.partial(attributions.grad_cam, score_fn=attributions.target_logit)
FROZEN_CAM = functools.partial(
    guidance.frozen_grad_cam, score_fn=attributions.target_logit
)
GRADIENT = functools.partial(
    attributions.input_gradient, score_fn=attributions.target_logit
)
SOFTMAX = functools.partial(losses.region_contrastive, temperature=0.5)
NEGATIVES = functools.partial(losses.region_contrastive_batch, temperature=0.5)


def on_normalised(loss):
    return lambda maps, region: loss(ops.normalise_by_max(maps), region)


TERMS = {
    "contrast": guidance.region_contrastive(loss=SOFTMAX),
    "negatives": guidance.region_contrastive(
        loss=NEGATIVES, per_box=True, whole_batch=True
    ),
    "consistency": guidance.region_consistency(fill=guidance.other_backgrounds),
    "replaced": guidance.replaced_background_loss(
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2))
    ),
    "energy": guidance.localisation(
        loss=losses.energy, explain=guidance.explain(CAM, layer="features")
    ),
    "reasons_published": guidance.right_for_right_reasons_published(),
    "summed": guidance.summed(
        guidance.localisation(
            loss=losses.outside_energy,
            explain=guidance.explain(FROZEN_CAM, layer="features"),
        )
    ),
}


@pytest.mark.parametrize("name", sorted(TERMS))
def test_a_term_keeps_the_promises_of_the_core(name):
    testing.check_guidance_term(TERMS[name])


# Other images' vectors, other images' pixels, a double backward pass, a sum.
ON_DEVICES = ("negatives", "consistency", "energy", "summed")


def sparse_batch():
    """40 examples, 4 of them annotated: none on some of eight devices."""
    batch = testing.example_batch(jax.random.key(5), batch_size=40)
    annotated = jnp.isin(jnp.arange(40), jnp.array([2, 9, 10, 38]))
    return {
        **batch,
        "region": jnp.roll(batch["region"], 1, axis=0),
        "boxes_valid": batch["boxes_valid"] | annotated[:, None],
        "region_valid": annotated,
        "weight": jnp.linspace(0.1, 1.3, 40),
    }


def stepped(count, how=None):
    """State and metrics after one step of several terms, with batch norm."""
    axis_name = "devices" if how else None
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True, axis_name=axis_name
    )
    optimizer = optax.sgd(0.1, momentum=0.0)  # keeps the gradient itself
    batch = sparse_batch()
    terms = {name: TERMS[name] for name in ON_DEVICES}
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )
    step = training.make_train_step(apply_fn, terms, optimizer, axis_name=axis_name)
    if how is None:
        return jax.jit(step)(state, batch)
    devices = jax.devices()[:count]
    return training.data_parallel(step, how=how, devices=devices)(state, batch)


# Thorough: all terms in one program, compiled for 1, 2 and 8 devices. The default run
# keeps the same law for the core's terms (test_parallel) and for each term on two
# devices (`testing.check_guidance_term`).
@pytest.mark.thorough
def test_devices_agree_about_terms_at_once_on_sparse_annotations(x64):
    one, metrics = stepped(1)
    gradient = one.opt_state[0].trace["model"]
    assert all(metrics[name] > 0 for name in ON_DEVICES)
    size = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient))
    for count, how in ((2, "shard_map"), (8, "pmap")):
        state, found = stepped(count, how)
        chex.assert_trees_all_close(
            state.opt_state[0].trace["model"], gradient, rtol=0, atol=1e-10 * size
        )
        chex.assert_trees_all_close(found, metrics, rtol=1e-10)
        chex.assert_trees_all_close(state.model_state, one.model_state, rtol=1e-10)


# What may blow up: maps of 0, and divisions by an empty region or background.
FRAGILE = {
    **TERMS,
    "energy_of_gradient": guidance.localisation(
        loss=losses.energy, explain=guidance.explain(GRADIENT)
    ),
    "l1": guidance.localisation(
        loss=on_normalised(losses.region_l1),
        explain=guidance.explain(CAM, layer="features"),
    ),
    "cross_entropy": guidance.localisation(
        loss=on_normalised(losses.pixel_cross_entropy),
        explain=guidance.explain(CAM, layer="features"),
    ),
}


@jax.jit
def fragile(params, batch):
    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(params):
        return training.guidance_loss(
            region_cases.linear_network, FRAGILE, {"model": params}, (), {}, batch,
            step=0, key=jax.random.key(0),
        )  # fmt: skip

    return objective(params)


corners = st.integers(-3, 9)
boxes = st.tuples(corners, corners, corners, corners)
whole, pixel = (0, 0, 6, 6), (2, 3, 3, 4)


@hypothesis.given(
    st.lists(boxes | st.just(whole) | st.just(pixel), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.sampled_from([0.0, 1.0, 1e-20, None]),
    st.sampled_from([0.0, 1.0]),
)
@hypothesis.example([whole] * 6, [True] * 6, 0.0, 1.0)
@hypothesis.example([pixel] * 6, [True] * 6, 0.0, 0.0)
@hypothesis.example([pixel] * 6, [False] * 6, None, 1.0)
def test_any_annotation_and_constant_maps_give_finite_losses_and_gradients(
    drawn, valid, values, head
):
    points = np.array(drawn, np.float32).reshape(3, 2, 2, 2)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(3, 6, 6, 2))
    batch = {
        "inputs": np.float32(noise if values is None else np.full_like(noise, values)),
        "labels": np.array([0, 1, 0]),
        "boxes": np.concatenate([points.min(axis=2), points.max(axis=2)], axis=-1),
        "boxes_valid": np.reshape(valid, (3, 2)),
    }
    params = {
        "kernel": np.float32(rng.normal(size=(2, 3))),
        "head": np.float32(head * rng.normal(size=(3, 2))),
    }
    (loss, (_, metrics)), gradient = fragile(params, batch)
    chex.assert_tree_all_finite((loss, metrics, gradient))
    if not np.any(valid):
        assert loss == 0
        chex.assert_trees_all_equal(gradient, jax.tree.map(np.zeros_like, params))


SIGNED_CAM = functools.partial(
    attributions.signed_grad_cam, score_fn=attributions.target_logit
)
MAP_TERMS = {
    "energy": guidance.localisation(
        loss=losses.energy, explain=guidance.explain(CAM, layer="features")
    ),
    "leaky": guidance.localisation(
        loss=losses.leaky_energy, explain=guidance.explain(SIGNED_CAM, layer="features")
    ),
    "l1": guidance.localisation(
        loss=on_normalised(losses.region_l1),
        explain=guidance.explain(CAM, layer="features"),
    ),
    "contrast": guidance.region_contrastive(loss=SOFTMAX),
    "gradia": guidance.gradia(),
    "haics": guidance.haics(),
    "haics_published": guidance.haics_published(),
    "res": guidance.res_gaussian(slack=0.1),
    "res_published": guidance.res_gaussian_published(),
}


def guided(term, inputs, batch, *, network=region_cases.linear_network):
    """The loss and what is logged, of a network whose features are its inputs."""
    channels = inputs.shape[-1]
    head = np.float32([[4.0, 0.0]] + [[0.0, 4.0]] * (channels - 1))
    params = {"kernel": np.eye(channels, dtype=np.float32), "head": head}
    compute = lambda batch: training.guidance_loss(
        network, {"term": term}, {"model": params}, (), {}, batch,
        key=jax.random.key(0), step=0,
    )  # fmt: skip
    batch = {"labels": np.zeros(len(inputs), int), "inputs": inputs, **batch}
    loss, (_, metrics) = jax.jit(compute)(batch)
    return loss, metrics


@pytest.mark.parametrize("name", sorted(MAP_TERMS))
def test_a_map_of_one_cell_is_refused_by_its_layer_and_shape(name):
    pooled = lambda params, state, inputs, **options: region_cases.linear_network(
        params, state, jnp.mean(inputs, axis=(1, 2), keepdims=True), **options
    )
    batch = {"region": np.ones((2, 4, 4)) * np.eye(4)}
    message = r"^`layer` \(='features'\) gives maps of shape \(2, 1, 1\)"
    with pytest.raises(ValueError, match=message):
        guided(MAP_TERMS[name], np.ones((2, 4, 4, 1)), batch, network=pooled)


@pytest.mark.parametrize("name", sorted({**MAP_TERMS, "consistency": 0, "reasons": 0}))
def test_a_mask_of_255_makes_the_loss_nan_and_one_in_a_row_of_no_interest_does_not(
    name,
):
    terms = {
        **MAP_TERMS,
        "consistency": guidance.region_consistency(fill=guidance.other_backgrounds),
        "reasons": guidance.right_for_right_reasons(),
    }
    inputs = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    mask = np.float32(np.ones((3, 4, 4)) * np.tri(4))
    mask[1] *= 255
    valid = np.array([True, True, True])
    loss, _ = guided(terms[name], inputs, {"region": mask, "region_valid": valid})
    assert np.isnan(loss)
    valid = np.array([True, False, True])
    loss, _ = guided(terms[name], inputs, {"region": mask, "region_valid": valid})
    assert np.isfinite(loss)


@pytest.mark.parametrize("name", sorted(set(MAP_TERMS) - {"contrast"}))
def test_blank_maps_are_counted_among_the_annotated(name):
    """Of three annotated maps one is blank; so is the fourth, which does not count."""
    values = np.random.default_rng(0).uniform(0.5, 1, (4, 4, 4, 1)).astype(np.float32)
    values[[1, 3]] = -1
    batch = {
        "region": np.ones((4, 4, 4)) * np.tri(4),
        "region_valid": np.array([True, True, True, False]),
    }
    _, metrics = guided(MAP_TERMS[name], values, batch)
    np.testing.assert_allclose(metrics["term/blank"], 1 / 3, rtol=1e-6)


def test_a_map_with_swapped_axes_is_refused():
    turned = lambda params, state, inputs, **options: region_cases.linear_network(
        params, state, jnp.swapaxes(inputs, 1, 2), **options
    )
    batch = {"region": np.ones((1, 4, 8))}
    for name in sorted(MAP_TERMS):
        with pytest.raises(ValueError, match=r"\(8, 4\) cells .* \(4, 8\) pixels"):
            guided(MAP_TERMS[name], np.ones((1, 4, 8, 1)), batch, network=turned)


def test_leaky_energy_revives_a_dead_map_and_energy_does_not():
    """All evidence is negative; a few steps later all of it is inside, positive."""
    rng = np.random.default_rng(0)
    inputs = rng.uniform(0.2, 1, (4, 4, 4, 2)).astype(np.float32)
    region = np.zeros((4, 4, 4), np.float32)
    region[:, :2, :2] = 1
    inputs[..., 1] = np.where(region > 0, 1.0, 0.1)  # says where the object is
    batch = {"inputs": inputs, "labels": np.zeros(4, int), "region": region}
    dead = {
        "kernel": -np.eye(2, dtype=np.float32),
        "head": np.float32([[1, 0], [1, 0]]),
    }

    def after(term):
        loss = lambda params: training.guidance_loss(
            region_cases.linear_network, {"t": term}, {"model": params}, (), {}, batch,
            key=jax.random.key(0), step=0,
        )  # fmt: skip
        step = jax.jit(jax.grad(loss, has_aux=True))
        params, blanks = dead, []
        for _ in range(30):
            gradient, (_, metrics) = step(params)
            blanks.append(float(metrics["t/blank"]))
            params = jax.tree.map(lambda p, g: p - 3.0 * g, params, gradient)
        return params, blanks

    _, blanks = after(MAP_TERMS["leaky"])
    assert blanks[0] == 1
    assert blanks[-1] == 0
    energy = guidance.localisation(
        loss=losses.energy, explain=guidance.explain(SIGNED_CAM, layer="features")
    )
    params, blanks = after(energy)
    assert blanks[-1] == 1
    chex.assert_trees_all_equal(params, dead)


def test_learned_imputation_says_whose_params_are_missing():
    term = guidance.res_learned(slack=0.1, kernel_size=1, stride=1)
    message = r"^`params` \(=\(\)\) must be {'kernel': \[1, 1\]}.*`init`"
    with pytest.raises(ValueError, match=message):
        guided(term, np.ones((1, 4, 4, 1)), {"region": np.ones((1, 4, 4))})
