"""Textual explanation: by hand, which way its gradient goes, which rows count."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import pytest
from jax.test_util import check_grads

from xguide_jax import attributions, guidance, losses, testing, training

HEAD = cases.LinearHead()


def term_of(explain=cases.SECOND_ORDER, *, feature_width=4, **arguments):
    return guidance.textual_explanation(
        HEAD, explain=explain, feature_width=feature_width, **arguments
    )


def told_by_hand(params, features, shares, distribution, decision=None):
    """The prefix of one image, its tokens one by one."""
    matrices = jax.tree.map(np.asarray, params["projector"])
    salient = np.einsum("hw,hwk->k", distribution, features)
    tokens = [
        salient @ matrices["salient"],
        features.mean(axis=(0, 1)) @ matrices["context"],
    ]
    for i, j in np.ndindex(*shares.shape):
        cell = features[i, j] @ matrices["grid"]
        tokens.append(cell + shares[i, j] * matrices["saliency"][0])
    if decision is not None:
        tokens.append(decision @ matrices["decision"])
    return np.stack(tokens)


def likelihood_by_hand(params, prefix, tokens):
    """Mean −log p of all tokens but the first."""
    weights = jax.tree.map(np.asarray, params["head"])
    costs = []
    for before, token in itertools.pairwise(tokens):
        logits = prefix.mean(axis=0) @ weights["prefix"] + weights["token"][before]
        costs.append(np.log(np.sum(np.exp(logits))) - logits[token])
    return np.mean(costs)


@pytest.mark.parametrize(
    ("explain", "num_classes"), [(cases.FIRST_ORDER, None), (cases.SECOND_ORDER, 2)]
)
def test_the_worked_map_tells_its_text(explain, num_classes, x64):
    term = term_of(explain, feature_width=1, num_classes=num_classes)
    params, _ = cases.init(term)
    # Logits 4 · 3/4 and 0, of the mean of the features.
    decision = np.array([np.exp(3.0), 1.0]) / (np.exp(3.0) + 1)
    features = cases.MAP[..., None]
    prefix = told_by_hand(
        params, features, cases.SHARES, cases.DISTRIBUTION,
        decision if num_classes else None,
    )  # fmt: skip
    expected = likelihood_by_hand(params, prefix, [1, 3, 5])
    loss, _, state, metrics = cases.evaluate(term, params, cases.worked_batch())
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    assert state == ()
    assert metrics["term/blank"] == 0
    assert metrics["term/annotated"] == 1


def test_maps_of_other_images_and_of_ones_make_the_prefix_of_controls(x64):
    """Of ones, g is c; the features of every image stay its own."""
    term = term_of(feature_width=2)
    params, _ = cases.init(term)
    features = jax.random.normal(jax.random.key(0), (2, 2, 3, 2))
    maps = jax.random.uniform(jax.random.key(1), (2, 2, 3))
    uniform = guidance.textual_prefix(params, features, jnp.ones_like(maps))
    middle = jnp.mean(features, axis=(1, 2))
    projector = params["projector"]
    np.testing.assert_allclose(uniform[:, 0], middle @ projector["salient"])
    for row, other in ((0, 1), (1, 0)):
        peak = maps[other] / jnp.max(maps[other])
        share = (peak + 0.001) / jnp.sum(peak + 0.001)
        expected = told_by_hand(params, features[row], np.asarray(peak), share)
        found = guidance.textual_prefix(params, features, maps[::-1])[row]
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def value_of(term, params, batch):
    """The loss as a function of the network's parameters."""
    apply_fn, model, _ = testing.smooth_network(jax.random.key(0))

    def value(model):
        return training.guidance_loss(
            apply_fn, {"term": term}, {"model": model, "guidance": {"term": params}},
            (), {}, batch, step=0, key=jax.random.key(0),
        )[0]  # fmt: skip

    return value, model


@pytest.fixture(scope="module")
def gradients():
    """Of the network, by route and explainer."""
    stopped, slopes = cases.stopped(cases.SECOND_ORDER), {}
    for route, name, explain in (
        ("all", "second", cases.SECOND_ORDER),
        ("all", "stopped", stopped),
        ("saliency_only", "second", cases.SECOND_ORDER),
        ("saliency_only", "first", cases.FIRST_ORDER),
        ("saliency_only", "stopped", stopped),
    ):
        term = term_of(explain, route=route, num_classes=3)
        params, _ = cases.init(term)
        value, model = value_of(term, params, cases.batch_of(6))
        slopes[f"{route} {name}"] = jax.grad(value)
    return jax.jit(lambda m: {name: slope(m) for name, slope in slopes.items()})(model)


def test_the_text_reaches_the_network_through_the_map_alone(gradients):
    only = gradients["saliency_only second"]
    assert cases.largest(only["kernel"]) > 1e-4
    assert cases.largest(only["head"]) > 1e-4
    # The weights of the channels are constants here, and the head is in them alone.
    first = gradients["saliency_only first"]
    assert cases.largest(first["kernel"]) > 1e-4
    assert cases.largest(first["head"]) == 0


def test_a_stopped_map_leaves_the_route_of_saliency_no_gradient_at_all(gradients):
    stopped = gradients["saliency_only stopped"]
    chex.assert_trees_all_equal(stopped, jax.tree.map(jnp.zeros_like, stopped))
    assert cases.largest(gradients["all stopped"]["kernel"]) > 1e-3


def test_both_routes_add_up(gradients):
    """All = through the map + through features and logits, under a constant map."""
    parts = jax.tree.map(
        jnp.add, gradients["saliency_only second"], gradients["all stopped"]
    )
    chex.assert_trees_all_close(gradients["all second"], parts, atol=1e-6)


def test_the_gradient_through_a_second_order_map_is_differentiable_again(x64):
    term = term_of(num_classes=3)
    params, _ = cases.init(term)
    value, model = value_of(term, params, cases.batch_of(2))
    check_grads(jax.jit(value), (model,), order=2, modes=["rev"], rtol=1e-2)


def test_a_step_along_the_map_makes_the_text_likelier():
    """With `saliency_only` the features of the prefix stay: only the map moves."""
    term = term_of(route="saliency_only")
    params, _ = cases.init(term)
    batch = cases.batch_of(6)
    value, model = value_of(term, params, batch)
    apply_fn, _, _ = testing.smooth_network(jax.random.key(0))
    forward = lambda model, inputs, **options: apply_fn(
        model, (), inputs, train=False, **options
    )[0]
    features = forward(model, batch["inputs"]).intermediates["features"]

    @jax.jit
    def told(moved):
        """The text under the map of the network moved, before unmoved features."""
        rest = attributions.split_at(
            functools.partial(forward, moved), batch["inputs"], "features"
        )
        maps = attributions.grad_cam(*rest, batch["labels"], **cases.TARGET)
        prefix = guidance.textual_prefix(params, features, maps)
        said = batch["text"], batch["text_mask"]
        logits = HEAD.apply(params["head"], prefix, *said)
        cost = losses.token_negative_log_likelihood(logits, *said)
        return jnp.mean(cost[batch["text_valid"].nonzero(size=4)])

    before, slope = jax.jit(jax.value_and_grad(value))(model)
    np.testing.assert_allclose(before, told(model), rtol=1e-6)
    moved = jax.tree.map(lambda p, g: p - 0.1 * g, model, slope)
    assert told(moved) < before - 1e-4


def test_rows_without_a_text_are_read_as_empty():
    """A model of texts sees no id behind the mask, nor any of a row that has none."""
    batch = {
        "text": jnp.array([[1, 3, 2, 9], [1, 999, -5, 2], [1, 7, 7, 7]]),
        "text_mask": jnp.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]], bool),
        "text_valid": jnp.array([1, 0, 1]),
    }
    tokens, mask, valid = guidance.text_of(batch)
    np.testing.assert_array_equal(tokens, [[1, 3, 2, 0], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(mask, [[1, 1, 1, 0], [0] * 4, [0] * 4])
    np.testing.assert_array_equal(valid, [True, False, False])
    del batch["text_valid"]
    np.testing.assert_array_equal(guidance.text_of(batch)[2], [True, True, False])


def test_rows_without_a_text_add_exactly_nothing():
    """Whatever ids they hold, and whatever the network makes of their images."""
    term = term_of()
    params, _ = cases.init(term)
    batch = cases.batch_of(6)
    network = testing.smooth_network(jax.random.key(0))
    run = lambda batch: cases.evaluate(term, params, batch, network=network)
    loss, gradient, _, metrics = run(batch)
    assert metrics["term/annotated"] == 4
    garbage = ~batch["text_valid"]
    other = {
        **batch,
        "text": jnp.where(garbage[:, None], 999, batch["text"]),
        "text_mask": batch["text_mask"] | garbage[:, None],
        "inputs": jnp.where(garbage[:, None, None, None], 1e3, batch["inputs"]),
    }
    same, of_same, _, _ = run(other)
    np.testing.assert_array_equal(same, loss)
    chex.assert_trees_all_equal(of_same, gradient)
    for nobody in (
        {"text_valid": jnp.zeros(6, bool)},
        {"text_mask": batch["text_mask"] & (jnp.arange(cases.LENGTH) < 1)},
    ):
        loss, gradient, _, _ = run({**batch, **nobody})
        assert loss == 0
        chex.assert_trees_all_equal(gradient, jax.tree.map(jnp.zeros_like, gradient))


def test_one_blank_map_dims_no_other_and_is_counted():
    """Maps are over their own maximum: not the batch's, and not its minimum."""
    features = np.random.default_rng(0).uniform(0.1, 1, (3, 2, 2, 1))
    features[1] = 0
    features[2] *= 1e3
    term = term_of(cases.summed, feature_width=1)
    params, _ = cases.init(term)
    texts = cases.texts(3, valid=np.ones(3))
    features = np.float32(features)
    out = cases.applied(term, params, features, texts)
    np.testing.assert_array_equal(out.metrics["blank"], [0, 1, 0])
    # Every other row blank: the same program, and no other neighbour.
    for row in (0, 2):
        alone = np.zeros_like(features)
        alone[row] = features[row]
        loss = cases.applied(term, params, alone, texts).loss
        np.testing.assert_allclose(loss[row], out.loss[row], rtol=1e-6)


def test_patches_of_a_transformer_come_last_and_finer_maps_are_averaged(x64):
    """A class token before 2 x 2 patches; a map of 4 x 4 pixels over the same cells."""
    rng = np.random.default_rng(0)
    tokens, texts = rng.normal(size=(2, 5, 3)), cases.texts(2)
    maps = rng.uniform(size=(2, 2, 2))
    grid = tokens[:, 1:].reshape(2, 2, 2, 3)
    fine = np.kron(maps, np.ones((2, 2)))
    term = term_of(lambda context: jnp.asarray(maps), feature_width=3)
    params, _ = cases.init(term)
    expected = cases.applied(term, params, grid, texts).loss
    found = cases.applied(term, params, tokens, texts).loss
    np.testing.assert_allclose(found, expected)
    term = term_of(lambda context: jnp.asarray(fine), feature_width=3)
    found = cases.applied(term, params, grid, texts).loss
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_text_is_told_in_float32():
    term = term_of(cases.summed, feature_width=2)
    params, _ = cases.init(term)
    features = jnp.ones((2, 2, 2, 2), jnp.bfloat16)
    out = cases.applied(term, params, features, cases.texts(2))
    assert out.loss.dtype == out.weight.dtype == jnp.float32


def test_the_term_keeps_the_promises_of_the_core():
    term = term_of(num_classes=3)
    testing.check_guidance_term(term, batch=cases.batch_of(8))


def refuse(message, term, params=None, features=None, **changes):
    features = jnp.ones((2, 2, 2, 3)) if features is None else features
    params = cases.init(term)[0] if params is None else params
    context = cases.context_of(features, {**cases.texts(2), **changes})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: term.apply(params, (), context)[:2])


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"^`route` \(='text'\) must be one of"):
        term_of(route="text")
    for name in ("feature_width", "num_classes"):
        with pytest.raises(ValueError, match=rf"^`{name}` \(=0\) must be at least 1\."):
            term_of(**{name: 0})
    refuse(r"^`params` \(=\(\)\) must hold \['head', 'projector'\]", term_of(), ())
    term = term_of(cases.summed)
    refuse(r"^`feature_width` \(=4\) must be that of `layer` \(='features'\), 3", term)
    refuse("one cell for the whole", term, features=jnp.ones((2, 1, 1, 4)))
    ones = lambda context: jnp.ones((2, 2, 2))
    refuse(
        r"gives 3 tokens; a map of \(2, 2\)",
        term_of(ones),
        features=jnp.ones((2, 3, 4)),
    )
    refuse("must be.*h, w, K", term_of(ones), features=jnp.ones((2, 4)))
    params, _ = cases.init(term)
    with pytest.raises(ValueError, match=r"^`logits` must be given exactly where"):
        guidance.textual_prefix(
            params, jnp.ones((1, 2, 2, 4)), jnp.ones((1, 2, 2)), jnp.ones((1, 2))
        )


def test_a_missing_text_is_named():
    term = term_of()
    batch = {k: v for k, v in cases.batch_of(2).items() if k != "text"}
    value, model = value_of(term, cases.init(term)[0], batch)
    with pytest.raises(ValueError, match=r"^term 'term' needs batch\['text'\]"):
        jax.eval_shape(value, model)
