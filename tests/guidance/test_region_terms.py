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
    "negatives": guidance.region_contrastive(loss=NEGATIVES, per_box=True),
    "consistency": guidance.region_consistency(fill=guidance.other_backgrounds),
    "replaced": guidance.replaced_background_loss(
        fill=functools.partial(ops.uniform_range_fill, axes=(1, 2))
    ),
    "energy": guidance.localisation(
        loss=losses.energy, explainer=CAM, layer="features"
    ),
    "reasons_published": guidance.right_for_right_reasons_published(),
    "summed": guidance.summed(
        guidance.localisation(
            loss=losses.outside_energy, explainer=FROZEN_CAM, layer="features"
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
    "energy_of_gradient": guidance.localisation(loss=losses.energy, explainer=GRADIENT),
    "l1": guidance.localisation(
        loss=on_normalised(losses.region_l1), explainer=CAM, layer="features"
    ),
    "cross_entropy": guidance.localisation(
        loss=on_normalised(losses.pixel_cross_entropy), explainer=CAM, layer="features"
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
