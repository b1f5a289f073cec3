"""Image and text alignment: by hand, who is whose negative, pseudo maps, devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import multimodal_cases as cases
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from xguide_jax import guidance, testing

ENCODER = guidance.mean_embedding(vocabulary_size=cases.VOCABULARY, width=3)


def term_of(explain=cases.summed, *, feature_width=2, **arguments):
    return guidance.image_text_alignment(
        ENCODER, explain=explain, feature_width=feature_width, **arguments
    )


def images(size, *, seed=0):
    """Features [B, 2, 3, 2], positive throughout, so that no map is blank."""
    return np.random.default_rng(seed).uniform(0.2, 1, (size, 2, 3, 2))


def vectors_by_hand(params, features, texts):
    """Directions of v and t, and the projected cells with the distribution."""
    params = jax.tree.map(np.asarray, params)
    maps = features.sum(axis=-1)
    lifted = maps / maps.max(axis=(1, 2), keepdims=True) + 0.001
    share = lifted / lifted.sum(axis=(1, 2), keepdims=True)
    cells = features @ params["projection"]
    salient = np.einsum("bhw,bhwd->bd", share, cells)
    mask = np.asarray(texts["text_mask"])[..., None]
    words = params["encoder"]["embedding"][np.asarray(texts["text"])]
    means = np.sum(words * mask, axis=1) / np.sum(mask, axis=1)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    return unit(salient), unit(means), unit(cells), share


def cost_by_hand(queries, keys, admitted, temperature):
    """-log softmax at the own key, over it and those that are admitted."""
    similar = np.exp(queries @ keys.T / temperature)
    own = np.eye(len(queries), dtype=bool)
    total = np.sum(np.where(admitted | own, similar, 0), axis=1)
    return -np.log(np.diag(similar) / total)


def test_the_loss_is_that_of_both_directions(x64):
    term, texts = term_of(temperature=0.5), cases.texts(3, valid=np.ones(3))
    params, _ = cases.init(term)
    features = images(3)
    v, t, _, _ = vectors_by_hand(params, features, texts)
    everyone = np.ones((3, 3), bool)
    cost = functools.partial(cost_by_hand, admitted=everyone, temperature=0.5)
    out = cases.applied(term, params, features, texts)
    np.testing.assert_allclose(out.loss, (cost(v, t) + cost(t, v)) / 2, rtol=1e-10)
    np.testing.assert_array_equal(out.weight, np.ones(3))
    np.testing.assert_allclose(out.metrics["temperature"], 0.5, rtol=1e-6)


def test_texts_of_the_same_tokens_are_no_negatives_and_rows_without_are_nobodys(x64):
    """0 and 2 say the same; 3 has no text; 4 is padding; 1 is everybody's negative."""
    texts = cases.texts(5, valid=np.array([1, 1, 1, 0, 1]))
    ids, mask = np.array(texts["text"]), np.array(texts["text_mask"])
    ids[2], mask[2] = ids[0], mask[0]
    ids[2, -1] = 6  # behind the end nobody reads
    assert not mask[2, -1]
    texts = {**texts, "text": jnp.asarray(ids), "text_mask": jnp.asarray(mask)}
    texts["weight"] = jnp.array([1.0, 1.0, 2.0, 1.0, 0.0])
    admitted = np.zeros((5, 5), bool)
    admitted[[0, 1, 1, 2], [1, 0, 2, 1]] = True
    term = term_of(temperature=0.5)
    params, _ = cases.init(term)
    features = images(5)
    v, t, _, _ = vectors_by_hand(params, features, texts)
    cost = functools.partial(cost_by_hand, admitted=admitted, temperature=0.5)
    expected = (cost(v, t) + cost(t, v)) / 2
    out = cases.applied(term, params, features, texts)
    np.testing.assert_allclose(out.loss[:3], expected[:3], rtol=1e-10)
    assert out.loss[3] == 0
    np.testing.assert_array_equal(out.weight, [1, 1, 1, 0, 1])


def slope_of(term):
    """Gradient of Σ w l in the term's parameters and in the features, compiled."""

    def total(params, features, texts):
        out = term.apply(params, (), cases.context_of(features, texts))
        return jnp.sum(out.weight * out.loss)

    return jax.jit(jax.grad(total, argnums=(0, 1)))


def test_rows_without_a_text_get_no_gradient_and_one_text_alone_teaches_nothing():
    term, features = term_of(), jnp.asarray(images(4), jnp.float32)
    params, _ = cases.init(term)
    texts = cases.texts(4, valid=np.array([1, 0, 1, 0]))
    slope = slope_of(term)
    of_params, of_features = slope(params, features, texts)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(of_params))
    np.testing.assert_array_equal(of_features[1::2], np.zeros((2, 2, 3, 2)))
    assert np.all(np.any(of_features[::2] != 0, axis=(1, 2, 3)))
    for valid in ([1, 0, 0, 0], [0, 0, 0, 0]):
        changed = {**texts, "text_valid": jnp.asarray(valid)}
        gradient = slope(params, features, changed)
        chex.assert_trees_all_equal(gradient, jax.tree.map(jnp.zeros_like, gradient))


def test_the_temperature_is_learned_cut_off_and_comes_back():
    term = term_of(temperature_range=(0.05, 0.5))
    params, _ = cases.init(term)
    np.testing.assert_allclose(params["log_temperature"], np.log(0.07), rtol=1e-6)
    texts = cases.texts(4, valid=np.ones(4))
    features, run = jnp.asarray(images(4), jnp.float32), slope_of(term)
    for beyond, limit in ((-9.0, 0.05), (9.0, 0.5)):
        far = {**params, "log_temperature": jnp.asarray(beyond, jnp.float32)}
        at = {**params, "log_temperature": jnp.asarray(np.log(limit), jnp.float32)}
        out = cases.applied(term, far, features, texts)
        np.testing.assert_allclose(out.metrics["temperature"], limit, rtol=1e-6)
        slope, expected = (
            run(p, features, texts)[0]["log_temperature"] for p in (far, at)
        )
        np.testing.assert_allclose(slope, expected, rtol=1e-4)
        assert np.abs(slope) > 1e-3


def test_the_gradient_is_that_of_the_formula(x64):
    term, texts = term_of(temperature=0.5), cases.texts(3, valid=np.ones(3))
    params, _ = cases.init(term)

    @jax.jit
    def total(params, features):
        out = term.apply(params, (), cases.context_of(features, texts))
        return jnp.sum(out.loss)

    check_grads(total, (params, images(3)), order=1, modes=["rev"], rtol=1e-3)


def pseudo_by_hand(cells, t, share, temperature):
    """KL(S || P) of each row."""
    logits = np.einsum("bhwd,bd->bhw", cells, t) / temperature
    pointed = np.exp(logits) / np.sum(np.exp(logits), axis=(1, 2), keepdims=True)
    return np.sum(pointed * np.log(pointed / share), axis=(1, 2)), pointed


def test_texts_point_at_maps_that_nobody_drew(x64):
    """Row 0 has a map, row 2 no text; the ramp is at 1/2."""
    schedule = optax.linear_schedule(0.0, 1.0, transition_steps=10)
    term = term_of(temperature=0.5, pseudo=schedule, pseudo_temperature=0.2)
    plain = term_of(temperature=0.5)
    params, _ = cases.init(term)
    features, texts = images(3), cases.texts(3, valid=np.array([1, 1, 0]))
    region = np.zeros((3, 2, 3))
    region[0, 0] = 1
    texts["region"] = jnp.asarray(region)
    _, t, cells, share = vectors_by_hand(params, features, texts)
    divergence, pointed = pseudo_by_hand(cells, t, share, 0.2)
    out = cases.applied(term, params, features, texts, step=5)
    without = cases.applied(plain, params, features, texts)
    pointing = np.array([0, divergence[1], 0])
    np.testing.assert_allclose(out.loss, without.loss + pointing / 2, rtol=1e-10)
    np.testing.assert_allclose(out.metrics["pseudo"][:2], [0, divergence[1]])
    np.testing.assert_allclose(
        guidance.pseudo_maps(cells, t, temperature=0.2), pointed, rtol=1e-10
    )
    # Before the warm-up, and where everyone has a map or a batch knows of none.
    first = cases.applied(term, params, features, texts)
    np.testing.assert_array_equal(first.loss, without.loss)
    del texts["region"]
    nobody = cases.applied(term, params, features, texts, step=10)
    expected = without.loss + np.where([1, 1, 0], divergence, 0)
    np.testing.assert_allclose(nobody.loss, expected, rtol=1e-10)


def test_a_pseudo_map_moves_the_map_and_teaches_neither_words_nor_projection(x64):
    """With one text there is no alignment: what is left is of the pseudo map."""
    term = term_of(pseudo=1.0, pseudo_temperature=0.2)
    params, _ = cases.init(term)
    features = jnp.asarray(images(2))
    texts = cases.texts(2, valid=np.array([1, 0]))
    of_params, of_features = slope_of(term)(params, features, texts)
    chex.assert_trees_all_equal(of_params, jax.tree.map(jnp.zeros_like, of_params))
    _, t, cells, _ = vectors_by_hand(params, np.asarray(features), texts)
    _, pointed = pseudo_by_hand(cells, t, np.ones((2, 2, 3)) / 6, 0.2)

    def by_hand(features):
        share = guidance.saliency_distribution(jnp.sum(features, axis=-1))
        return -jnp.sum(pointed[0] * jnp.log(share[0]))

    np.testing.assert_allclose(of_features, jax.grad(by_hand)(features), atol=1e-12)
    assert np.any(of_features[0] != 0)


def test_partners_come_from_all_devices(x64):
    """Eight pairs, some without a text, some alike, on 1, 2 and 8 devices."""
    term = term_of(pseudo=1.0)
    params, _ = cases.init(term)
    features, texts = jnp.asarray(images(8)), cases.texts(8)
    texts["text"] = texts["text"].at[7].set(texts["text"][4])
    texts["text_mask"] = texts["text_mask"].at[7].set(texts["text_mask"][4])
    gradient = slope_of(term)(params, features, texts)

    def share(params, features, texts):
        context = cases.context_of(features, texts, axis_name="devices")
        out = term.apply(params, (), context)
        return jnp.sum(out.weight * out.loss)

    shares = jax.vmap(
        jax.grad(share, argnums=(0, 1)), in_axes=(None, 0, 0), axis_name="devices"
    )
    for count in (2, 8):
        part = lambda leaf, count=count: leaf.reshape(count, -1, *leaf.shape[1:])
        of_params, of_features = jax.jit(shares)(
            params, *jax.tree.map(part, (features, texts))
        )
        of_params = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), of_params)
        found = of_params, of_features.reshape(features.shape)
        chex.assert_trees_all_close(found, gradient, rtol=0, atol=1e-10)


def test_the_term_keeps_the_promises_of_the_core():
    term = term_of(cases.SECOND_ORDER, feature_width=4, pseudo=0.5)
    testing.check_guidance_term(term, batch=cases.batch_of(8))


def test_words_are_averaged_without_padding_and_no_text_is_no_vector():
    params = ENCODER.init(jax.random.key(0))
    tokens = jnp.array([[1, 3, 5, 0], [0, 0, 0, 0]])
    mask = jnp.array([[True, True, True, False], [False] * 4])
    vectors = jax.jit(ENCODER.apply)(params, tokens, mask)
    expected = np.mean(np.asarray(params["embedding"])[[1, 3, 5]], axis=0)
    np.testing.assert_allclose(vectors, [expected, np.zeros(3)], rtol=1e-6)
    assert params["embedding"].shape == (cases.VOCABULARY, 3)


def test_what_cannot_be_is_refused():
    limits = r"^`temperature` \(=0.07\) and `temperature_range` \(=.*must have 0 < low"
    for low, high in ((0.0, 1.0), (0.1, 1.0), (0.01, 0.05), (0.01, np.inf)):
        with pytest.raises(ValueError, match=limits):
            term_of(temperature_range=(low, high))
    with pytest.raises(ValueError, match=r"^`temperature` \(=0\) must be positive\.$"):
        term_of(pseudo_temperature=0)
    with pytest.raises(ValueError, match=r"^`pseudo` \(=-1\) must be finite and at"):
        term_of(pseudo=-1)
    with pytest.raises(ValueError, match=r"^`width` \(=0\) must be at least 1\.$"):
        guidance.mean_embedding(vocabulary_size=3, width=0)
    term = term_of()
    with pytest.raises(ValueError, match=r"^`params` \(=\(\)\) must hold \['encoder',"):
        cases.applied(term, (), images(2), cases.texts(2))
    wide = term_of(feature_width=5)
    params, _ = cases.init(wide)
    with pytest.raises(ValueError, match=r"^`feature_width` \(=5\) must be that of"):
        cases.applied(wide, params, images(2), cases.texts(2))
