"""One way to say which map, where; and what stands in place of read signatures."""

import functools
import warnings

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xguide_jax import attributions, guidance, losses, ops, testing, training

LOGIT = attributions.target_logit
BATCH = testing.example_batch(jax.random.key(1))
NOISE = functools.partial(ops.uniform_range_fill, axes=(1, 2))


def gradient_at(layer):
    """In [0, 1], of the input or of a layer."""
    return guidance.explain(
        functools.partial(attributions.input_gradient, score_fn=LOGIT),
        layer=layer,
        normalise=lambda a: ops.min_max_normalise(jnp.sum(a, axis=-1)),
    )


def evaluated(term, batch=BATCH):
    """Loss and gradient of a term on the small network."""
    apply_fn, params, model_state = testing.smooth_network(jax.random.key(0))
    variables, state = training.init_guidance(jax.random.key(3), {"t": term}, batch)

    def loss(params):
        return training.guidance_loss(
            apply_fn, {"t": term}, {"model": params, "guidance": variables},
            model_state, state, batch, key=jax.random.key(2), step=0,
        )[0]  # fmt: skip

    return jax.jit(jax.value_and_grad(loss))(params)


OLD = {
    "gradia": {"layer": "features", "score_fn": LOGIT, "explain_in": "train"},
    "haics": {"frozen_weights": False},
    "res_gaussian": {"score_fn": attributions.target_log_probability},
    "res_learned": {"explain_in": "eval"},
}
MORE = {
    "res_gaussian": {"slack": 0.1},
    "res_learned": {"slack": 0.1, "kernel_size": 4, "stride": 2},
}


@pytest.mark.parametrize("name", sorted(OLD))
def test_the_four_old_keywords_warn_once_and_give_the_same_bits(name):
    build = functools.partial(getattr(guidance, name), **MORE.get(name, {}))
    with pytest.warns(DeprecationWarning, match="guidance.normalised_cam") as caught:
        old = build(**OLD[name])
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = build(explain=guidance.normalised_cam(**OLD[name]))
    chex.assert_trees_all_equal(evaluated(old), evaluated(new))


def test_so_do_those_of_localisation_and_right_reasons():
    explainer = functools.partial(guidance.frozen_grad_cam, score_fn=LOGIT)
    localise = functools.partial(guidance.localisation, loss=losses.energy)
    with pytest.warns(DeprecationWarning, match="guidance.explain") as caught:
        old = localise(explainer=explainer, layer="features", explain_in="train")
    new = localise(
        explain=guidance.explain(explainer, layer="features", explain_in="train")
    )
    chex.assert_trees_all_equal(evaluated(old), evaluated(new))

    with pytest.warns(DeprecationWarning, match="guidance.explain") as caught:
        old = guidance.right_for_right_reasons(score_fn=LOGIT)
    assert len(caught) == 1
    explainer = functools.partial(attributions.input_gradient, score_fn=LOGIT)
    new = guidance.right_for_right_reasons(explain=guidance.explain(explainer))
    chex.assert_trees_all_equal(evaluated(old), evaluated(new))


# Thorough: the other half of a sweep that compiles a double backward pass for each.
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("gradia", None),
        pytest.param("gradia", "features", marks=pytest.mark.thorough),
        ("haics", "features"),
        pytest.param("haics", None, marks=pytest.mark.thorough),
        ("res_gaussian", "features"),
        pytest.param("res_gaussian", None, marks=pytest.mark.thorough),
    ],
)
def test_robust_terms_take_any_map_at_any_place(name, layer):
    term = getattr(guidance, name)(explain=gradient_at(layer), **MORE.get(name, {}))
    testing.check_guidance_term(term)


def test_right_reasons_at_a_layer_count_the_share_that_the_region_covers():
    explain = guidance.explain(
        functools.partial(attributions.input_gradient, score_fn=LOGIT),
        layer="features",
    )
    term = guidance.right_for_right_reasons(explain=explain)
    testing.check_guidance_term(term)
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    forward = functools.partial(apply_fn, params, (), train=False)
    head_fn, features = attributions.split_at(forward, BATCH["inputs"], "features")
    gradient = attributions.input_gradient(
        head_fn, features, BATCH["labels"], score_fn=LOGIT
    )
    outside = 1 - ops.area_resize(BATCH["region"], shape=(3, 3))[..., None]
    by_hand = losses.right_for_right_reasons(gradient, outside)
    expected = jnp.mean(by_hand[BATCH["region_valid"]])
    np.testing.assert_allclose(evaluated(term)[0], expected, rtol=1e-5)


def test_gradia_is_localisation_with_a_softened_region():
    def softened(maps, region):
        return losses.region_l1(maps, ops.normalise_by_max(ops.blur(region)))

    other = guidance.localisation(loss=softened, explain=guidance.normalised_cam())
    batch = {n: leaf for n, leaf in BATCH.items() if n != "annotations"}
    chex.assert_trees_all_close(
        evaluated(guidance.gradia(), batch), evaluated(other, batch), rtol=1e-6
    )


def test_an_unknown_mode_and_a_share_that_nothing_exceeds_are_refused():
    with pytest.raises(ValueError, match="`explain_in`"):
        guidance.explain(attributions.input_gradient, explain_in="test")
    for build in (
        guidance.haics,
        functools.partial(guidance.region_consistency, fill=NOISE),
    ):
        with pytest.raises(ValueError, match=r"`inside_share` \(=1\)"):
            build(inside_share=1)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_what_counts_as_inside_is_a_named_share(share):
    """The region covers one cell, half of two cells and a quarter of one."""
    seen = []

    @guidance.region_fill
    def look(key, inputs, *, region, present, axis_name):
        jax.debug.callback(lambda region: seen.append(np.asarray(region)), region)
        return inputs + 1

    term = guidance.region_consistency(fill=look, layer="features", inside_share=share)
    jax.block_until_ready(evaluated(term))
    jax.effects_barrier()
    cells = ops.area_resize(BATCH["region"], shape=(3, 3))
    np.testing.assert_array_equal(seen[0], cells > share)
    assert np.sum(seen[0][0]) == {0.0: 4, 0.5: 1}[share]


@pytest.mark.parametrize("fill", [NOISE, guidance.other_backgrounds])
def test_backgrounds_are_swapped_at_a_layer(fill):
    term = guidance.region_consistency(fill=fill, layer="features", inside_share=0.4)
    testing.check_guidance_term(term)
    _, gradient = evaluated(term)
    # Into what comes before the layer, by the features inside.
    assert jnp.any(gradient["kernel"] != 0)


def test_a_bound_region_is_kept():
    mine = jnp.zeros_like(BATCH["region"]).at[:, :2, :2].set(1.0)
    bound = functools.partial(guidance.other_backgrounds, region=mine)
    by_hand = lambda key, inputs: guidance.other_backgrounds(key, inputs, region=mine)
    losses_of = [
        evaluated(guidance.region_consistency(fill=fill))
        for fill in (bound, by_hand, guidance.other_backgrounds)
    ]
    chex.assert_trees_all_equal(losses_of[0], losses_of[1])
    assert losses_of[0][0] != losses_of[2][0]


def test_signatures_are_read_for_one_release_more_with_a_warning():
    def fill(key, inputs, *, region):
        return guidance.other_backgrounds(key, inputs, region=region)

    with pytest.warns(DeprecationWarning, match="guidance.region_fill") as caught:
        old = guidance.region_consistency(fill=fill)
    assert [warning.filename for warning in caught] == [__file__]
    new = guidance.region_consistency(fill=guidance.other_backgrounds)
    chex.assert_trees_all_equal(evaluated(old), evaluated(new))

    def rank(attributions_, *, key):
        return ops.random_rank(attributions_, key=key)

    sgt = functools.partial(
        guidance.saliency_guided, mask_fraction=0.5, fill=NOISE, score_fn=LOGIT
    )
    with pytest.warns(DeprecationWarning, match="ops.keyed") as caught:
        old = sgt(rank_fn=rank)
    assert [warning.filename for warning in caught] == [__file__]
    new = evaluated(sgt(rank_fn=ops.keyed(rank)))
    chex.assert_trees_all_equal(evaluated(old), new)
    chex.assert_trees_all_equal(evaluated(sgt(rank_fn=ops.random_rank)), new)
    fixed = functools.partial(ops.random_rank, key=jax.random.key(7))
    assert evaluated(sgt(rank_fn=fixed))[0] != new[0]

    batch_loss = functools.partial(losses.region_contrastive_batch, temperature=0.2)
    with pytest.warns(DeprecationWarning, match="`whole_batch=True`") as caught:
        old = guidance.region_contrastive(loss=batch_loss)
    assert [warning.filename for warning in caught] == [__file__]
    new = guidance.region_contrastive(loss=batch_loss, whole_batch=True)
    chex.assert_trees_all_equal(evaluated(old), evaluated(new))
