"""Right for the right reasons: the formula by hand, on the rows that count."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import region_cases

from xguide_jax import attributions, guidance, testing, training

# logits = (x_1 + 2 x_2, 0, 0) with two pixels, by features = inputs and a mean.
PARAMS = {"kernel": np.array([[1.0]]), "head": np.array([[2.0, 0.0, 0.0]])}


def value_and_gradient(term, params, batch, *, network=region_cases.linear_network):
    def objective(params, batch):
        return training.guidance_loss(
            network, {"term": term}, {"model": params}, (), {}, batch,
            step=0, key=jax.random.key(0),
        )[0]  # fmt: skip

    return jax.jit(jax.value_and_grad(objective))(params, batch)


def test_two_pixels_by_hand(x64):
    # Each pixel's gradient of log p_1 + log p_2 + log p_3 is (1 - 3 p_1) · 1, with
    # logits (x_1 + x_2, 0, 0) = (3, 0, 0) and p_1 = e³ / (e³ + 2); pixel 2 counts.
    batch = {
        "inputs": np.array([[[[1.0], [2.0]]]]),
        "labels": np.array([0]),
        "region": np.array([[[1.0, 0.0]]]),
    }
    p = np.exp(3) / (np.exp(3) + 2)
    term = guidance.right_for_right_reasons()
    value, gradient = value_and_gradient(term, PARAMS, batch)
    np.testing.assert_allclose(value, (1 - 3 * p) ** 2, rtol=1e-12)
    # With s = (k h / 2)(x_1 + x_2), l = (k h / 2)² (1 - 3 p(s))²: at k = 1, h = 2 the
    # slope in k is 2 (1 - 3 p)² + 2 (1 - 3 p)(-3 p (1 - p)) · 3.
    slope = 2 * (1 - 3 * p) ** 2 - 18 * (1 - 3 * p) * p * (1 - p)
    np.testing.assert_allclose(gradient["kernel"], [[slope]], rtol=1e-10)


def test_other_scores_are_explained_at_the_labels_of_all_channels(x64):
    # Two channels: the gradient of logit y is head[:, y] / 2 at each of two pixels.
    params = {"kernel": np.eye(2), "head": np.array([[2.0, 4.0], [6.0, 8.0]])}
    batch = {
        "inputs": np.ones((2, 1, 2, 2)),
        "labels": np.array([0, 1]),
        "region": np.array([[[1.0, 0.0]], [[0.5, 0.0]]]),
    }
    term = guidance.right_for_right_reasons(
        explain=guidance.explain(
            functools.partial(
                attributions.input_gradient, score_fn=attributions.target_logit
            )
        )
    )
    value, _ = value_and_gradient(term, params, batch)
    # First: pixel 2, 1² + 3². Second: (2² + 4²)(0.5² + 1²).
    np.testing.assert_allclose(value, (10 + 25) / 2, rtol=1e-12)


@pytest.fixture(scope="module")
def smooth():
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    return apply_fn, params, testing.example_batch(jax.random.key(1))


def energies(apply_fn, params, batch):
    """Σ ((1 - M) g)² of each row, [B]."""
    score = lambda x: jnp.sum(
        jax.nn.log_softmax(apply_fn(params, (), x, train=False)[0].logits)
    )
    outside = 1 - batch["region"][..., None]
    return jnp.sum(jnp.square(outside * jax.grad(score)(batch["inputs"])), (1, 2, 3))


def test_rows_without_a_region_do_not_count(smooth):
    apply_fn, params, batch = smooth
    term = guidance.right_for_right_reasons()
    value, gradient = value_and_gradient(term, params, batch, network=apply_fn)
    valid = np.asarray(batch["region_valid"])
    assert 0 < valid.sum() < len(valid)
    expected, slope = jax.jit(
        jax.value_and_grad(lambda p: jnp.mean(energies(apply_fn, p, batch)[valid]))
    )(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for name in slope:
        np.testing.assert_allclose(gradient[name], slope[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("explain_in", ["eval", "train"])
def test_each_pass_runs_in_its_mode(smooth, explain_in):
    apply_fn, params, batch = smooth
    modes = []

    def spying(params, model_state, inputs, *, train, key=None, overrides=None):
        modes.append((train, key is not None))
        return apply_fn(params, model_state, inputs, train=train)

    term = guidance.right_for_right_reasons(
        explain=guidance.explain(
            functools.partial(
                attributions.input_gradient, score_fn=attributions.sum_log_probabilities
            ),
            explain_in=explain_in,
        )
    )
    run = functools.partial(value_and_gradient, term, network=spying)
    jax.eval_shape(run, params, batch)
    assert modes == [(True, True), (explain_in == "train",) * 2]


def test_the_published_mean_is_over_all_examples(smooth):
    apply_fn, params, batch = smooth
    batch = {**batch, "weight": jnp.array([1.0] * 6 + [0.0] * 2)}  # two are padding
    term = guidance.right_for_right_reasons_published()
    value, _ = value_and_gradient(term, params, batch, network=apply_fn)
    each = jax.jit(functools.partial(energies, apply_fn))(params, batch)
    total = np.sum(np.where(batch["region_valid"], each, 0)[:6])
    assert np.sum(batch["region_valid"][:6]) == 5
    np.testing.assert_allclose(value, total / 6, rtol=1e-5)


def test_an_unknown_mode_is_refused():
    message = r"^`explain_in` \(='test'\) must be 'eval' or 'train'\.$"
    with pytest.raises(ValueError, match=message):
        guidance.right_for_right_reasons(
            explain=guidance.explain(
                functools.partial(
                    attributions.input_gradient,
                    score_fn=attributions.sum_log_probabilities,
                ),
                explain_in="test",
            )
        )


def test_a_missing_region_is_named(smooth):
    apply_fn, params, batch = smooth
    batch = {name: batch[name] for name in ("inputs", "labels")}
    with pytest.raises(ValueError, match=r"here; it has \['inputs', 'labels'\]\."):
        value_and_gradient(
            guidance.right_for_right_reasons(), params, batch, network=apply_fn
        )
