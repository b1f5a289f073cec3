"""Promises of all explainers at once: each can guide, and none is forgotten."""

import functools

import explainer_cases
import jax
import numpy as np
import optax
import pytest

from xguide_jax import attributions, guidance, training

STEP = 0.004  # of the parameters' own length

pytestmark = pytest.mark.usefixtures("standard_promotion")


def test_the_cases_are_all_public_explainers():
    public = set(attributions.__all__) - explainer_cases.NOT_EXPLAINERS
    assert public == set(explainer_cases.CASES)


@pytest.mark.thorough  # a double backward pass is compiled for each
@pytest.mark.parametrize("name", sorted(explainer_cases.CASES))
def test_it_guides_a_network_on_decoys(name):
    """A loss of the map has a gradient in the parameters, and three steps reduce it."""
    case = explainer_cases.CASES[name]
    apply_fn, params = explainer_cases.NETWORKS[case.network]()
    batch = explainer_cases.decoy_batch()

    def explain(context):
        forward = functools.partial(context.forward, train=False)
        return case.explain(forward, context.batch["inputs"], context.batch["labels"])

    terms = {"map": guidance.right_for_right_reasons(explain=explain)}

    @jax.jit
    def step(params):
        def loss(params):
            return training.guidance_loss(
                apply_fn, terms, {"model": params}, (), {}, batch,
                step=0, key=jax.random.key(0),
            )[0]  # fmt: skip

        value, gradient = jax.value_and_grad(loss)(params)
        size = STEP * optax.tree.norm(params) / optax.tree.norm(gradient)
        moved = jax.tree.map(lambda p, g: p - size * g, params, gradient)
        return value, gradient, moved

    values = []
    for _ in range(4):
        value, gradient, params = step(params)
        values.append(float(value))
        assert 0 < float(optax.tree.norm(gradient)) < np.inf
    assert values == sorted(values, reverse=True), values
    assert values[-1] < 0.999 * values[0]
