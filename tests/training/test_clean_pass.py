"""What is explained at the inputs in train mode shares the clean pass, both ways.

The same explainer behind a lambda is not known to call the network at its inputs alone:
it has a pass of its own, and is the plain path that the shared one must equal.
"""

import functools

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import optax
import pytest
from flax import linen as nn

from xguide_jax import attributions, guidance, models, testing, training
from xguide_jax.types import ModelOutput

SCORE = {"score_fn": attributions.target_log_probability}
EXPLAINERS = {
    "gradient": functools.partial(attributions.input_gradient, **SCORE),
    "twice_bound": functools.partial(
        functools.partial(attributions.input_gradient), **SCORE
    ),
    "gradient_x_input": functools.partial(attributions.gradient_x_input, **SCORE),
    # Calls the network between the inputs and 0, where the clean pass tells nothing.
    "integrated_gradients": functools.partial(
        attributions.integrated_gradients, baselines=0.0, num_points=3, **SCORE
    ),
}
pytestmark = pytest.mark.usefixtures("standard_promotion")  # Flax's batch norm mixes
SHARED = ("gradient", "twice_bound", "gradient_x_input")
OPTIMIZER = optax.sgd(0.1)


class Network(nn.Module):
    """Smooth, with batch norm and dropout: each mode is a function of its own."""

    @nn.compact
    def __call__(self, inputs, *, train=False, overrides=None):
        hidden = nn.Conv(4, (3, 3))(inputs)
        hidden = nn.softplus(nn.BatchNorm(use_running_average=not train)(hidden))
        hidden = nn.Dropout(0.25, deterministic=not train)(hidden)
        hidden = nn.softplus(nn.Conv(3, (3, 3), strides=2)(hidden))
        return ModelOutput(nn.Dense(3)(hidden.reshape(len(hidden), -1)))


def made(explainer, *, explain_in="train", **options):
    """(objective, params, state, batch) of right reasons by an explainer."""
    term = guidance.right_for_right_reasons(
        explain=guidance.explain(explainer, explain_in=explain_in)
    )
    return of_term(term, **options)


def of_term(term, *, network=None, batch=None):
    batch = testing.example_batch(jax.random.key(1)) if batch is None else batch
    network = Network() if network is None else network
    narrow = batch["inputs"].astype(jnp.float32)
    variables = models.init_linen(network, jax.random.key(0), narrow)
    # Flax draws in float32; the batch is wider where float64 is enabled.
    params, model_state = jax.tree.map(
        lambda leaf: leaf.astype(batch["inputs"].dtype), variables
    )
    apply_fn = models.linen_apply_fn(network)
    terms = {} if term is None else {"t": term}
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, OPTIMIZER, batch
    )
    return apply_fn, terms, state, batch


def unshared(explainer):
    return lambda function, point, targets: explainer(function, point, targets)


def stepped(case, **options):
    apply_fn, terms, state, batch = case
    step = training.make_train_step(apply_fn, terms, OPTIMIZER, **options)
    return jax.jit(step)(state, batch)


def convolutions(case):
    apply_fn, terms, state, batch = case
    step = training.make_train_step(apply_fn, terms, OPTIMIZER)
    return jax.jit(step).lower(state, batch).compile().as_text().count(" convolution(")


@pytest.mark.parametrize(
    ("name", "accumulate"), [*((name, 1) for name in EXPLAINERS), ("gradient", 2)]
)
def test_step_equals_that_of_a_pass_of_its_own(name, accumulate, x64):
    explainer = EXPLAINERS[name]
    new, metrics = stepped(made(explainer), accumulate=accumulate)
    plain, expected = stepped(made(unshared(explainer)), accumulate=accumulate)
    assert metrics["t"] > 0
    np.testing.assert_allclose(metrics["t"], expected["t"], rtol=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
        (new.params, new.model_state),
        (plain.params, plain.model_state),
    )


def test_gradient_is_that_of_finite_differences(x64):
    """The loss holds a gradient, so its own is one of second order."""
    apply_fn, terms, state, batch = made(EXPLAINERS["gradient"])
    objective = training.make_objective(apply_fn, terms)
    loss = jax.jit(
        lambda model: objective({**state.params, "model": model}, state, batch)[0]
    )
    jax.test_util.check_grads(loss, (state.params["model"],), order=1, modes=["rev"])


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_backward_pass_is_shared_where_it_may_be(name):
    explainer = EXPLAINERS[name]
    saved = convolutions(made(unshared(explainer))) - convolutions(made(explainer))
    # Two gradients of weights and one of a hidden layer.
    assert saved == (3 if name in SHARED else 0)


def test_eval_mode_is_a_pass_of_its_own():
    """There the network is another function."""
    explainer = EXPLAINERS["gradient"]
    new, _ = stepped(made(explainer, explain_in="eval"))
    plain, _ = stepped(made(unshared(explainer), explain_in="eval"))
    jax.tree.map(np.testing.assert_array_equal, new.params, plain.params)


def test_a_network_without_a_gradient_in_its_inputs_is_trained_all_the_same():
    """Its first layer is a callback; a term on features needs no pullback."""
    batch = testing.example_batch(jax.random.key(1))
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))

    def called_back(params, model_state, inputs, **rest):
        struct = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
        doubled = jax.pure_callback(lambda x: 2 * np.asarray(x), struct, inputs)
        return apply_fn(params, model_state, doubled, **rest)

    explain = guidance.explain(EXPLAINERS["gradient"], layer="features")
    terms = {"t": guidance.right_for_right_reasons(explain=explain)}
    plain = {**batch, "inputs": 2 * batch["inputs"]}
    metrics = []
    for network, given in ((called_back, batch), (apply_fn, plain)):
        state = training.init_train_state(
            jax.random.key(2), params, model_state, terms, OPTIMIZER, given
        )
        metrics.append(stepped((network, terms, state, given))[1])
    np.testing.assert_allclose(metrics[0]["t"], metrics[1]["t"], rtol=1e-5)


def test_right_reasons_cost_no_more_than_twice_an_unguided_step():
    """Eleven convolutions against five; a pass of its own had three more."""
    key = jax.random.key(0)
    batch = {
        "inputs": jax.random.normal(key, (8, 14, 14, 1)),
        "labels": jnp.arange(8) % 10,
        "region": jnp.ones((8, 14, 14)).at[:, :7].set(0.0),
    }
    network = models.SaliencyGuidedCNN(dropout=(0.0, 0.0))

    def flops(term):
        apply_fn, terms, state, _ = of_term(term, network=network, batch=batch)
        step = training.make_train_step(apply_fn, terms, OPTIMIZER)
        return jax.jit(step).lower(state, batch).compile().cost_analysis()["flops"]

    explain = guidance.explain(EXPLAINERS["gradient"], explain_in="train")
    guided = flops(guidance.right_for_right_reasons(explain=explain))
    assert guided / flops(None) < 2.1
