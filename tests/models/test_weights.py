"""What an experiment kept of a network comes back, whole and in its place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from xguide_jax import models

NETWORK = models.SmallCNN(num_classes=3, channels=(2,), strides=(2,), normalise="batch")
IMAGES = jax.random.normal(jax.random.key(1), (2, 6, 6, 1))


@pytest.fixture(scope="module")
def initial():
    return models.init_linen(NETWORK, jax.random.key(0), IMAGES)


def save(path, arrays):
    safetensors.numpy.save_file({n: np.asarray(a) for n, a in arrays.items()}, path)
    return path


def named(params, model_state):
    """As `experiments` names the leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(
        {"params": params, "model_state": model_state}
    )
    return {
        jax.tree_util.keystr(place, simple=True, separator="."): leaf
        for place, leaf in leaves
    }


@pytest.mark.parametrize("with_like", [False, True])
def test_a_network_predicts_what_it_did(tmp_path, initial, with_like):
    path = save(tmp_path / "model.safetensors", named(*initial))
    loaded = models.load_weights(path, like=initial if with_like else None)
    assert jax.tree.structure(loaded) == jax.tree.structure(initial)
    jax.tree.map(np.testing.assert_array_equal, loaded, initial)
    apply_fn = models.linen_apply_fn(NETWORK)
    logits = lambda weights: apply_fn(*weights, IMAGES, train=False)[0].logits
    np.testing.assert_array_equal(logits(loaded), logits(initial))


def test_shapes_of_a_network_are_enough(tmp_path, initial):
    path = save(tmp_path / "model.safetensors", named(*initial))
    shapes = jax.eval_shape(lambda: initial)
    jax.tree.map(
        np.testing.assert_array_equal, models.load_weights(path, like=shapes), initial
    )


def test_structures_that_are_no_dicts_need_the_network(tmp_path):
    like = ({"layers": [jnp.ones(2), jnp.zeros((), jnp.int32)], "a.b": jnp.ones(1)}, {})
    path = save(tmp_path / "model.safetensors", named(*like))
    loaded = models.load_weights(path, like=like)
    assert jax.tree.structure(loaded) == jax.tree.structure(like)
    assert models.load_weights(path)[0].keys() == {"layers", "a"}


def test_narrow_types_stay(tmp_path):
    leaf = jnp.arange(3, dtype=jnp.bfloat16)
    path = save(tmp_path / "model.safetensors", {"params.a": leaf})
    (params, model_state) = models.load_weights(path)
    assert params["a"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(params["a"], leaf)
    assert model_state == {}


def test_what_is_missing_unknown_or_of_another_form_is_listed(tmp_path, initial):
    arrays = named(*initial)
    kernel, other = [name for name in arrays if name.endswith("kernel")]
    gone = {name: a for name, a in arrays.items() if name != kernel}
    gone |= {"params.extra": jnp.ones(1), other: jnp.ones(99)}
    path = save(tmp_path / "model.safetensors", gone)
    with pytest.raises(ValueError, match="does not fit the network") as error:
        models.load_weights(path, like=initial)
    assert f"missing: {kernel};" in str(error.value)
    assert "not of this network: params.extra" in str(error.value)
    assert f"of another form: {other} is float32[99] and not" in str(error.value)


@pytest.mark.parametrize(
    "names", [["opt_state.mu"], ["params"], ["params.a", "params.a.b"], ["other"]]
)
def test_arrays_that_belong_nowhere_are_refused(tmp_path, names):
    path = save(tmp_path / "m.safetensors", dict.fromkeys(names, jnp.ones(1)))
    with pytest.raises(ValueError, match="neither to 'params' nor to 'model_state'"):
        models.load_weights(path)
