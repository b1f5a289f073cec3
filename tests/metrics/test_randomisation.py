"""Randomised layers and classes of a network small enough to follow by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import metrics

PARAMS = {
    "encoder": {
        "first": {"kernel": jnp.arange(6.0).reshape(2, 3)},
        "bias": jnp.ones(3),
    },
    "head": {"kernel": jnp.arange(3.0)},
}
LAYERS = (("head",), ("encoder", "first"), ("encoder", "bias"))
KEY = jax.random.key(0)


def init(key):
    """Other values, told apart by their sizes."""
    shift = 10 + jax.random.uniform(key)
    return jax.tree.map(lambda leaf: leaf + shift, PARAMS)


def explain(params):
    """[2, 3]: what each of the three parts adds shows in a column of its own."""
    parts = (
        params["head"]["kernel"][0], params["encoder"]["first"]["kernel"][0, 0],
        params["encoder"]["bias"][0],
    )  # fmt: skip
    return jnp.stack([jnp.stack(parts), 2 * jnp.stack(parts)])


def unchanged(first, second):
    return jnp.mean((first == second).astype(jnp.float32), axis=-1)


def changed_parts(params):
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), PARAMS, params)
    return [
        not same["head"]["kernel"], not same["encoder"]["first"]["kernel"],
        not same["encoder"]["bias"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([("head",)], [True, False, False]),
        ([("head", "kernel")], [True, False, False]),
        ([("encoder", "first")], [False, True, False]),
        ([("encoder",)], [False, True, True]),
        ([("head",), ("encoder", "bias")], [True, False, True]),
        ([()], [True, True, True]),
        ([], [False, False, False]),
    ],
)
def test_a_path_names_all_parameters_below_it(layers, expected):
    found = metrics.randomise_parameters(PARAMS, key=KEY, layers=layers, init_fn=init)
    assert changed_parts(found) == expected
    fresh = jax.tree.leaves(init(KEY))
    for old, new, made in zip(
        jax.tree.leaves(PARAMS), jax.tree.leaves(found), fresh, strict=True
    ):
        assert jnp.all(new == old) or jnp.all(new == made)


def test_cascading_and_independent_by_hand():
    arguments = {
        "key": KEY, "layers": LAYERS, "init_fn": init, "similarity": unchanged,
    }  # fmt: skip
    found = metrics.cascading_randomisation(explain, PARAMS, **arguments)
    np.testing.assert_allclose(found, [[2 / 3, 1 / 3, 0]] * 2, rtol=1e-6)
    found = metrics.independent_randomisation(explain, PARAMS, **arguments)
    np.testing.assert_allclose(found, [[2 / 3] * 3] * 2, rtol=1e-6)


def test_jitted_and_with_a_similarity_of_maps():
    rank = metrics.rank_correlation

    @jax.jit
    def measure(params, key):
        return metrics.cascading_randomisation(
            explain, params, key=key, layers=LAYERS[:1], init_fn=init, similarity=rank
        )

    # The first column, 0, becomes the largest of 0, 0 and 1: ranks 1.5 1.5 3 and 3 1 2.
    expected = (-0.5 * 1 + -0.5 * -1) / np.sqrt(1.5 * 2)
    np.testing.assert_allclose(measure(PARAMS, KEY), [[expected]] * 2, atol=1e-6)


def test_an_explainer_of_the_input_alone_stays_the_same():
    constant = lambda params: jnp.arange(6.0).reshape(2, 3)
    found = metrics.cascading_randomisation(
        constant, PARAMS, key=KEY, layers=LAYERS, init_fn=init,
        similarity=metrics.cosine_similarity,
    )  # fmt: skip
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def test_shuffled_parameters_keep_their_values_and_lose_their_places():
    params = {
        "a": jnp.arange(50.0).reshape(5, 10),
        "b": jnp.arange(50.0),
        "c": jnp.ones(4),
    }
    found = metrics.shuffle_parameters(params, KEY)
    for name, leaf in params.items():
        assert found[name].shape == leaf.shape
        np.testing.assert_array_equal(np.sort(found[name].ravel()), np.ravel(leaf))
    assert np.mean(found["a"] == params["a"]) < 0.2
    assert np.mean(found["a"].ravel() == found["b"]) < 0.2  # a draw for each array
    again = functools.partial(metrics.shuffle_parameters, params)
    assert np.mean(again(jax.random.key(1))["b"] == found["b"]) < 0.2


def test_paths_through_lists_and_tuples():
    params = [{"w": jnp.zeros(2)}, ({"w": jnp.zeros(2)}, jnp.zeros(1))]
    ones = lambda key: jax.tree.map(jnp.ones_like, params)
    found = metrics.randomise_parameters(params, key=KEY, layers=[(1, 0)], init_fn=ones)
    assert [float(leaf[0]) for leaf in jax.tree.leaves(found)] == [0, 1, 0]


def test_layers_that_are_not_there_and_other_networks_are_refused():
    randomise = functools.partial(metrics.randomise_parameters, PARAMS, key=KEY)
    with pytest.raises(ValueError, match=r"`layers` names \('tail',\); the parameters"):
        randomise(layers=[("tail",)], init_fn=init)
    with pytest.raises(ValueError, match=r"paths, as the tuple \('head',\)"):
        randomise(layers=["head"], init_fn=init)
    with pytest.raises(AssertionError):
        randomise(layers=LAYERS, init_fn=lambda key: {"head": jnp.ones(3)})
    with pytest.raises(ValueError, match="`layers` must name at least one"):
        metrics.cascading_randomisation(
            explain, PARAMS, key=KEY, layers=(), init_fn=init, similarity=unchanged
        )
    with pytest.raises(AssertionError):
        metrics.independent_randomisation(
            explain, PARAMS, key=KEY, layers=LAYERS, init_fn=init,
            similarity=lambda a, b: jnp.mean(a),
        )  # fmt: skip


def of_class(targets):
    return jax.nn.one_hot(targets, 4) + 0.5


def test_the_other_class_is_another_one_and_each_as_likely():
    targets = jnp.arange(600) % 3
    seen = []

    def record(classes):
        seen.append(np.asarray(classes))
        return jnp.ones((len(classes), 2))

    metrics.random_logit(
        record, targets, key=KEY, num_classes=3, similarity=metrics.cosine_similarity
    )
    given, others = seen
    np.testing.assert_array_equal(given, targets)
    assert np.all(others != given)
    assert np.all((others >= 0) & (others < 3))
    for target in range(3):
        for other in {0, 1, 2} - {target}:
            assert 0.35 < np.mean(others[given == target] == other) < 0.65


def test_random_logit_by_hand():
    call = functools.partial(
        metrics.random_logit, key=KEY, similarity=metrics.cosine_similarity
    )
    # (1.5, 0.5, 0.5, 0.5) and (0.5, 1.5, 0.5, 0.5): 2 / 3.
    found = call(of_class, jnp.array([0, 1, 3]), num_classes=4)
    np.testing.assert_allclose(found, 2 / 3, rtol=1e-6)
    blind = call(lambda targets: jnp.ones((3, 2)), jnp.array([0, 1, 3]), num_classes=4)
    np.testing.assert_allclose(blind, 1, rtol=1e-6)
    found = call(of_class, jnp.array([-1, 0, 4]), num_classes=4)
    np.testing.assert_array_equal(np.isnan(found), [True, False, True])
    with pytest.raises(ValueError, match=r"`num_classes` \(=1\) must be at least 2"):
        call(of_class, jnp.array([0]), num_classes=1)
    with pytest.raises(AssertionError):
        call(of_class, jnp.ones(2), num_classes=4)
    two = call(of_class, jnp.array([0, 1]), num_classes=2)
    np.testing.assert_allclose(two, 2 / 3, rtol=1e-6)
