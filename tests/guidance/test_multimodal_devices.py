"""Images with texts on one, two and eight devices, maps and texts in few places."""

import functools

import chex
import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import optax
import pytest

from xguide_jax import attributions, guidance, losses, ops, testing, training

ENCODER = guidance.mean_embedding(vocabulary_size=cases.VOCABULARY, width=3)


def terms_of(explain, *, feature_width, shape):
    """One of each, all of them with what they carry."""
    human = np.zeros((3, *shape))
    human[0, 0], human[1, :, 0], human[2, 1:, 1:] = 1, 1, 1
    prior = guidance.map_prior(human, shape=shape)
    return {
        "text": guidance.textual_explanation(
            cases.LinearHead(), explain=explain, feature_width=feature_width
        ),
        "alignment": guidance.image_text_alignment(
            ENCODER, explain=explain, feature_width=feature_width, pseudo=0.5
        ),
        "distribution": guidance.distribution_consistency(
            prior, explain=explain, momentum=0.9
        ),
        "set": guidance.map_set_consistency(
            human,
            explain=explain,
            distance=functools.partial(losses.maximum_mean_discrepancy, bandwidth=0.3),
        ),
    }


def uneven(size, shape):
    """Maps in the first half but for one, texts in a third of the rows and two more."""
    index = jnp.arange(size)
    stripes = (index[:, None, None] + jnp.arange(shape[1])) % 2
    region = jnp.broadcast_to(stripes, (size, *shape)).astype(jnp.float32)
    with_map = (index < size // 2) & (index != 1)
    return {
        "region": jnp.where(with_map[:, None, None], region, 0.0),
        "region_valid": with_map,
        **cases.texts(size, valid=(np.arange(size) % 3 == 2) | (np.arange(size) < 2)),
        "weight": jnp.linspace(0.1, 1.3, size).at[size - 1].set(0.0),
    }


def test_devices_agree_about_losses_gradients_and_what_is_carried(x64):
    """The shares of two and of eight add up to one's, and all end in its state."""
    terms = terms_of(cases.summed, feature_width=2, shape=(2, 3))
    pairs = {name: term.init(jax.random.key(1), {}) for name, term in terms.items()}
    params = {name: pair[0] for name, pair in pairs.items()}
    states = {name: pair[1] for name, pair in pairs.items()}
    features = jnp.asarray(np.random.default_rng(0).uniform(0.2, 1, (16, 2, 3, 2)))
    batch = uneven(16, (2, 3))

    def share(params, features, batch, axis_name=None):
        context = cases.context_of(features, batch, axis_name=axis_name)
        total, moved = jnp.zeros(()), {}
        for name, term in terms.items():
            out = term.apply(params[name], states[name], context)
            weight = out.weight * batch["weight"]
            count = ops.axis_sum(jnp.sum(weight), axis_name)
            total += jnp.sum(weight * out.loss) / count
            moved[name] = out.state
        return total, moved

    slope = functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    (loss, moved), (of_params, of_features) = jax.jit(slope(share))(
        params, features, batch
    )
    assert moved["distribution"]["weight"] > 0
    on_devices = functools.partial(share, axis_name="devices")
    shares = jax.vmap(slope(on_devices), in_axes=(None, 0, 0), axis_name="devices")
    for count in (2, 8):
        part = lambda leaf, count=count: leaf.reshape(count, -1, *leaf.shape[1:])
        (parts, carried), found = jax.jit(shares)(
            params, *jax.tree.map(part, (features, batch))
        )
        np.testing.assert_allclose(jnp.sum(parts), loss, rtol=1e-10)
        summed = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), found[0])
        chex.assert_trees_all_close(summed, of_params, rtol=0, atol=1e-10)
        together = found[1].reshape(features.shape)
        np.testing.assert_allclose(together, of_features, rtol=0, atol=1e-10)
        for device in range(count):
            own = jax.tree.map(lambda leaf, device=device: leaf[device], carried)
            chex.assert_trees_all_close(own, moved, rtol=1e-6)
            first = jax.tree.map(lambda leaf: leaf[0], carried)
            chex.assert_trees_all_equal(own, first)


EXPLAIN = guidance.explain(
    functools.partial(attributions.grad_cam, score_fn=attributions.target_logit),
    layer="features",
)


@pytest.mark.thorough  # programs for one, two and eight devices
def test_training_steps_agree_on_one_two_and_eight_devices(x64):
    terms = terms_of(EXPLAIN, feature_width=4, shape=(3, 3))
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    optimizer = optax.sgd(0.1, momentum=0.0)  # keeps the gradient itself
    batch = testing.example_batch(jax.random.key(5), batch_size=16)
    batch = {**batch, **uneven(16, (6, 6))}
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )

    def stepped(how=None, count=1):
        axis_name = "devices" if how else None
        step = training.make_train_step(apply_fn, terms, optimizer, axis_name=axis_name)
        if how is None:
            return jax.jit(step)(state, batch)
        devices = jax.devices()[:count]
        return training.data_parallel(step, how=how, devices=devices)(state, batch)

    one, metrics = stepped()
    gradient = one.opt_state[0].trace
    assert all(metrics[name] > 0 for name in terms)
    for how, count in (("shard_map", 2), ("pmap", 8)):
        found, logged = stepped(how, count)
        size = cases.largest(gradient)
        trace = found.opt_state[0].trace
        chex.assert_trees_all_close(trace, gradient, rtol=0, atol=1e-10 * size)
        chex.assert_trees_all_close(logged, metrics, rtol=1e-9)
        chex.assert_trees_all_close(found.guidance_state, one.guidance_state, rtol=1e-6)
