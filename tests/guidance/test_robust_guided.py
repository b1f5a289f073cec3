"""GRADIA, HAICS and RES on a network whose Grad-CAM is known in closed form."""

import functools

import chex
import hypothesis
import hypothesis.extra.numpy
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import robust_oracle as oracle

from xguide_jax import attributions, guidance, testing, training
from xguide_jax.guidance import robust_parts

KERNEL_SIZE, STRIDE, SLACK = 5, 2, 0.05
TERMS = {
    "gradia": guidance.gradia(),
    "haics": guidance.haics(),
    "res_gaussian": guidance.res_gaussian(slack=SLACK),
    "res_learned": guidance.res_learned(
        slack=SLACK, kernel_size=KERNEL_SIZE, stride=STRIDE
    ),
}
BUILDERS = {
    "gradia": guidance.gradia,
    "haics": guidance.haics,
    "res_gaussian": functools.partial(guidance.res_gaussian, slack=SLACK),
    "res_learned": functools.partial(
        guidance.res_learned, slack=SLACK, kernel_size=4, stride=2
    ),
}


@pytest.fixture(scope="module")
def guided():
    """All terms at once, in one program, and what the formulas are made of."""
    with jax.enable_x64(True):
        batch, params = oracle.uneven_batch(), oracle.network_params()
        guidance_params = oracle.init_params(TERMS, batch)
        run = jax.jit(functools.partial(oracle.guide, TERMS))
        metrics, gradient = run(params, guidance_params, batch)
        numpy_batch = {name: np.asarray(value) for name, value in batch.items()}
        kernel = np.asarray(guidance_params["res_learned"]["kernel"])
    maps = oracle.cams_by_hand(params, batch)
    return numpy_batch, maps, kernel, metrics, gradient


def test_gradia_is_the_distance_to_softened_evidence(guided):
    batch, maps, _, metrics, _ = guided
    with_evidence = [0, 1, 4]
    distances = [
        np.mean(np.abs(maps[i] - oracle.softened_by_hand(batch["annotations"][i] > 0)))
        for i in with_evidence
    ]
    expected = oracle.weighted_mean(distances, with_evidence, batch)
    # Whole numbers are averaged in float32, the rest is in float64.
    np.testing.assert_allclose(metrics["gradia"], expected, rtol=1e-7)


def test_haics_is_the_cross_entropy_on_marked_cells(guided):
    batch, maps, _, metrics, _ = guided
    valid = [0, 1, 2, 4]
    entropies = []
    for i in valid:
        signs = oracle.signs_by_hand(batch["annotations"][i])
        right = np.where(signs > 0, maps[i], 1 - maps[i])[signs != 0]
        logs = np.maximum(np.log(np.maximum(right, 1e-300)), -100)
        entropies.append(-np.mean(logs))
    expected = oracle.weighted_mean(entropies, valid, batch)
    np.testing.assert_allclose(metrics["haics"], expected, rtol=1e-12)


def test_both_robust_terms_share_one_error_of_the_whole_batch(guided):
    """Neither the invalid row nor the padding counts, and no weight matters."""
    batch, maps, _, metrics, _ = guided
    counted = [0, 1, 2, 4]
    signs = oracle.signs_by_hand(batch["annotations"])
    expected = oracle.robust_by_hand(maps[counted], signs[counted], slack=SLACK)
    for name in ("res_gaussian", "res_learned"):
        np.testing.assert_allclose(metrics[f"{name}/robust"], expected, rtol=1e-12)


def test_the_imputed_targets_are_blurred_or_learned(guided):
    batch, maps, kernel, metrics, _ = guided
    evidence = batch["annotations"] > 0
    targets = {
        "res_gaussian": [oracle.softened_by_hand(evidence[i]) for i in (0, 1, 4)],
        "res_learned": [oracle.imputed_by_hand(evidence[i], kernel) for i in (0, 1, 4)],
    }
    for name, (first, second, fifth) in targets.items():
        # The third example says only what is not evidence: it has no target.
        distances = np.abs(maps[[0, 1, 4]] - [first, second, fifth]).mean(axis=(1, 2))
        expected = oracle.weighted_mean(
            np.insert(distances, 2, 0.0), [0, 1, 2, 4], batch
        )
        np.testing.assert_allclose(metrics[f"{name}/imputation"], expected, rtol=1e-7)
        summands = metrics[f"{name}/robust"] + metrics[f"{name}/imputation"]
        np.testing.assert_allclose(metrics[name], summands, rtol=1e-12)


def test_the_kernel_is_trained_and_is_no_part_of_the_network(guided):
    _, _, _, _, gradient = guided
    assert gradient["guidance"]["res_learned"].keys() == {"kernel"}
    kernel = gradient["guidance"]["res_learned"]["kernel"]
    assert kernel.shape == (KERNEL_SIZE, KERNEL_SIZE)
    assert np.sum(np.abs(kernel) > 1e-4) > 12
    assert gradient["model"].keys() == {"kernel", "head"}
    for name in ("gradia", "haics", "res_gaussian"):
        assert gradient["guidance"][name] == ()


def test_the_published_kernel_is_uniform_in_a_64th():
    kernel = oracle.init_params(
        {"res": guidance.res_learned(slack=0.1)}, oracle.uneven_batch()
    )
    kernel = kernel["res"]["kernel"]
    assert kernel.shape == (64, 64)
    assert np.max(np.abs(kernel)) <= 1 / 64
    # A uniform variable in ±b has the standard deviation b / sqrt(3); 4096 draws give
    # its mean to within 0.03 b in all but 1 of 1000 cases.
    assert np.std(kernel) * 64 == pytest.approx(1 / np.sqrt(3), abs=0.03)
    assert np.abs(np.mean(kernel)) * 64 < 0.03


# Cells 0 and 1 are marked by nobody: they fix the range.
WORKED_MAP = np.array([[0.9, 0.2, 0.0], [0.6, 0.4, 1.0]])
WORKED_SIGNS = np.array([[1, -1, 0], [1, 0, 0]])


def worked_example(terms):
    """One image of 4 x 6 whose Grad-CAM is `WORKED_MAP`, up to a factor and a shift."""
    spread = lambda cells: jnp.asarray(np.kron(cells, np.ones((2, 2)))[None])
    batch = {
        "inputs": 3 * spread(WORKED_MAP)[..., None] - 1,
        "labels": jnp.array([0]),
        "annotations": spread(WORKED_SIGNS),
    }
    params = {"kernel": jnp.ones((1, 1)), "head": jnp.ones((1, 2))}
    run = jax.jit(lambda batch: oracle.guide(terms, params, {}, batch)[0])
    return run(batch)


def test_the_worked_example_of_the_robust_error(x64):
    # a = 0.2 + 1e-4; tanh(5 (M - a)) = .998176, -.0005 and .963992 where marked, so
    # R = (.001824 + .9995 + .036008) / 3 = .345777.
    assert oracle.threshold_by_hand(WORKED_MAP, WORKED_SIGNS) == pytest.approx(0.2001)
    metrics = worked_example(
        {
            "free": guidance.res_gaussian(slack=0.0),
            "slack": guidance.res_gaussian(slack=0.1),
            "within": guidance.res_gaussian(slack=0.35),
            "haics": guidance.haics(),
        }
    )
    assert metrics["free/robust"] == pytest.approx(0.345777, abs=1e-6)
    assert metrics["slack/robust"] == pytest.approx(0.245777, abs=1e-6)
    assert metrics["within/robust"] == 0
    # -(log .9 + log .8 + log .6) / 3
    assert metrics["haics"] == pytest.approx(0.279777, abs=1e-6)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_frozen_weights_change_the_gradient_and_not_the_value(name):
    batch, params = oracle.uneven_batch(), oracle.network_params()
    frozen, live = (
        BUILDERS[name](),
        BUILDERS[name](explain=guidance.normalised_cam(frozen_weights=False)),
    )
    guidance_params = oracle.init_params({name: frozen}, batch)
    run = lambda term: jax.jit(functools.partial(oracle.guide, {name: term}))(
        params, guidance_params, batch
    )
    (metrics, gradient), (live_metrics, live_gradient) = run(frozen), run(live)
    chex.assert_trees_all_close(live_metrics, metrics, rtol=1e-6)
    # The head is where the weights come from, and the map reads it nowhere else.
    np.testing.assert_array_equal(gradient["model"]["head"], np.zeros((3, 2)))
    assert np.max(np.abs(live_gradient["model"]["head"])) > 1e-3
    chex.assert_trees_all_close(
        live_gradient["model"]["kernel"], gradient["model"]["kernel"], rtol=1e-4
    )


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_term_keeps_the_promises_of_the_core(name):
    testing.check_guidance_term(BUILDERS[name]())


def test_the_threshold_and_the_weights_are_held_constant(x64):
    """A threshold that moved with its cell would change the gradient."""
    batch, params = oracle.uneven_batch(), oracle.network_params()
    terms = {"res": guidance.res_gaussian(slack=SLACK)}
    run = jax.jit(functools.partial(oracle.guide, terms))
    gradient = run(params, {"res": ()}, batch)[1]["model"]["kernel"]

    counted = np.array([0, 1, 2, 4])
    signs = oracle.signs_by_hand(np.asarray(batch["annotations"]))[counted]
    maps = oracle.cams_by_hand(params, batch)[counted]
    threshold = oracle.threshold_by_hand(maps, signs)
    evidence = np.asarray(batch["annotations"])[[0, 1, 4]] > 0
    targets = np.stack([oracle.softened_by_hand(one) for one in evidence])
    share = np.asarray(batch["weight"])[[0, 1, 4]] / 5.0  # of .5 + 1 + 2 + 1.5

    def by_hand(kernel):
        features = oracle.features_of(batch["inputs"][counted], kernel)
        weights = params["head"][:, batch["labels"][counted]]
        cams = jnp.einsum("bhwk,kb->bhw", features, weights)
        low = jnp.min(cams, axis=(1, 2), keepdims=True)
        maps = (cams - low) / (jnp.max(cams, axis=(1, 2), keepdims=True) - low)
        errors = jnp.abs(jnp.tanh(5 * (maps - threshold)) - signs.astype(float))
        distance = jnp.mean(jnp.abs(maps[jnp.array([0, 1, 3])] - targets), axis=(1, 2))
        return jnp.sum(share * distance) + jnp.mean(errors[np.nonzero(signs)])

    np.testing.assert_allclose(
        gradient, jax.jit(jax.grad(by_hand))(params["kernel"]), rtol=1e-6
    )


def tenth_annotated():
    """4 of 40, one of them padding."""
    batch = testing.example_batch(jax.random.key(5), batch_size=40)
    annotated = jnp.isin(jnp.arange(40), jnp.array([4, 13, 14, 22]))
    weight = jnp.linspace(0.1, 1.3, 40).at[13].set(0.0)
    return {**batch, "region_valid": annotated, "weight": weight}


def stepped(terms, *, axis_name):
    """A step of SGD: its gradient is kept as `opt_state[0].trace`."""
    optimizer, batch = optax.sgd(0.1, momentum=0.0), tenth_annotated()
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=True, axis_name=axis_name
    )
    state = training.init_train_state(
        jax.random.key(2), params, model_state, terms, optimizer, batch
    )
    step = training.make_train_step(apply_fn, terms, optimizer, axis_name=axis_name)
    if axis_name is None:
        return jax.jit(step)(state, batch)
    return [
        training.data_parallel(step, how=how, devices=jax.devices()[:count])(
            state, batch
        )
        for how, count in (("pmap", 2), ("shard_map", 8))
    ]


# Thorough: four terms in one program, compiled for 1, 2 and 8 devices. The default run
# has each of them on two devices (`testing.check_guidance_term`), and a threshold of
# the whole batch on eight (test_parallel).
@pytest.mark.thorough
def test_devices_agree_about_four_terms_with_a_tenth_annotated(x64):
    """Five of eight devices see no annotation."""
    terms = {
        "gradia": guidance.gradia(),
        "haics_published": guidance.haics_published(),
        "gaussian": guidance.res_gaussian(
            slack=0.0, explain=guidance.normalised_cam(explain_in="train")
        ),
        "learned": BUILDERS["res_learned"](),
    }
    one, metrics = stepped(terms, axis_name=None)
    assert all(metrics[name] > 0.01 for name in terms)
    expected = one.opt_state[0].trace, metrics
    for state, metrics in stepped(terms, axis_name="devices"):
        actual = state.opt_state[0].trace, metrics
        chex.assert_trees_all_close(actual, expected, rtol=0, atol=1e-10)


ALL_TERMS = {
    **{name: build() for name, build in BUILDERS.items()},
    "live": guidance.res_gaussian(
        slack=0.0, explain=guidance.normalised_cam(frozen_weights=False)
    ),
    "haics_published": guidance.haics_published(),
    "gaussian_published": guidance.res_gaussian_published(),
    "learned_published": guidance.res_learned_published(kernel_size=4, stride=2),
}


def one_pixel(place):
    marked = np.zeros((6, 6), np.int32)
    marked[place] = 1
    return marked


MARKED = hypothesis.strategies.one_of(
    hypothesis.strategies.sampled_from([-1, 0, 1]).map(
        lambda value: np.full((6, 6), value, np.int32)
    ),
    hypothesis.strategies.tuples(*[hypothesis.strategies.integers(0, 5)] * 2).map(
        one_pixel
    ),
    hypothesis.extra.numpy.arrays(
        np.int32, (6, 6), elements=hypothesis.strategies.integers(-1, 1)
    ),
)


@pytest.fixture(scope="module")
def guide_smooth_network():
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1), batch_size=2)
    guidance_params = oracle.init_params(ALL_TERMS, batch)

    @jax.jit
    def run(inputs, marked):
        marked_batch = {
            "inputs": inputs, "labels": batch["labels"], "annotations": marked,
        }  # fmt: skip
        return oracle.guide(
            ALL_TERMS, params, guidance_params, marked_batch, apply_fn=apply_fn
        )

    return run, batch["inputs"]


@hypothesis.given(
    marked=hypothesis.strategies.tuples(MARKED, MARKED),
    scale=hypothesis.strategies.sampled_from([0.0, 1e-20, 1.0, 100.0]),
    constant=hypothesis.strategies.booleans(),
)
def test_any_annotation_and_any_map_give_finite_gradients(
    guide_smooth_network, marked, scale, constant
):
    run, inputs = guide_smooth_network
    inputs = scale * (jnp.ones_like(inputs) if constant else inputs)
    metrics, gradient = run(inputs, jnp.stack(marked))
    chex.assert_tree_all_finite((metrics, gradient))
    if not np.any(marked):
        zeros = jax.tree.map(np.zeros_like, (metrics, gradient))
        chex.assert_trees_all_equal((metrics, gradient), zeros)


def test_the_mode_of_the_explained_pass():
    """'eval' reads running statistics and no other row, 'train' the whole batch."""
    terms = {
        mode: guidance.gradia(explain=guidance.normalised_cam(explain_in=mode))
        for mode in ("eval", "train")
    }
    apply_fn, params, statistics = testing.smooth_network(
        jax.random.key(0), batch_norm=True
    )
    batch = testing.example_batch(jax.random.key(1))
    batch["region_valid"] = jnp.arange(8) == 0

    @jax.jit
    def run(model_state, inputs):
        return training.guidance_loss(
            apply_fn, terms, {"model": params}, model_state, {},
            {**batch, "inputs": inputs}, step=0, key=jax.random.key(0),
        )[1][1]  # fmt: skip

    inputs = batch["inputs"]
    values = run(statistics, inputs)
    moved = run((statistics[0] + 0.5, statistics[1] * 3), inputs)
    others = run(statistics, inputs.at[1:].multiply(3.0))
    assert abs(values["eval"] - values["train"]) > 1e-4
    assert abs(moved["eval"] - values["eval"]) > 1e-4
    assert moved["train"] == values["train"]
    assert others["eval"] == values["eval"]
    assert abs(others["train"] - values["train"]) > 1e-4


def test_the_explained_score_is_a_choice():
    batch, params = oracle.uneven_batch(), oracle.network_params()
    terms = {
        "logit": guidance.gradia(),
        "all": guidance.gradia(
            explain=guidance.normalised_cam(score_fn=attributions.sum_log_probabilities)
        ),
    }
    run = jax.jit(lambda batch: oracle.guide(terms, params, {}, batch)[0])
    metrics = run(batch)
    assert abs(metrics["all"] - metrics["logit"]) > 1e-3


def test_a_region_or_its_boxes_mark_evidence_alone():
    batch = testing.example_batch(jax.random.key(0), batch_size=4)
    signed = batch.pop("annotations")
    from_region = robust_parts.by_area(batch, shape=(3, 3))
    del batch["region"]
    from_boxes = robust_parts.by_area(batch, shape=(3, 3))
    chex.assert_trees_all_equal(from_boxes, from_region)
    # Rows 1 to 3 and columns 2 to 4 are evidence in the first three examples.
    expected = np.array([[0, 1, 1], [0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(from_region.signs[0], expected)
    np.testing.assert_array_equal(from_region.signs[3], np.zeros((3, 3)))
    np.testing.assert_array_equal(from_region.valid, [True, True, True, False])
    both = robust_parts.by_area({**batch, "annotations": signed}, shape=(3, 3))
    np.testing.assert_array_equal(both.signs[0], 2 * expected - 1)
    np.testing.assert_array_equal(both.evidence, from_region.evidence)


@pytest.mark.parametrize("slack", [-0.1, float("nan")])
@pytest.mark.parametrize("build", [guidance.res_gaussian, guidance.res_learned])
def test_a_negative_slack_is_refused(build, slack):
    with pytest.raises(ValueError, match=r"`slack` \(=.*\) must not be negative\."):
        build(slack=slack)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_an_unknown_mode_is_refused(name):
    message = r"`explain_in` \(='test'\) must be 'eval' or 'train'\."
    with pytest.raises(ValueError, match=message):
        BUILDERS[name](explain=guidance.normalised_cam(explain_in="test"))


@pytest.mark.parametrize("stride", [0, 65])
def test_a_stride_that_skips_pixels_is_refused(stride):
    message = rf"`stride` \(={stride}\) must lie in \[1, kernel_size \(=64\)\]\."
    with pytest.raises(ValueError, match=message):
        guidance.res_learned(slack=0.1, stride=stride)


def test_strides_must_lead_to_the_map():
    terms = {"res": guidance.res_learned(slack=0.1, kernel_size=4, stride=3)}
    batch, params = oracle.uneven_batch(), oracle.network_params()
    guidance_params = oracle.init_params(terms, batch)
    message = (
        r"`stride` \(=3\) leads from images of \(6, 8\) to \(2, 2\) cells; it must "
        r"lead to those of the map, \(3, 4\)\."
    )
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(
            functools.partial(oracle.guide, terms), params, guidance_params, batch
        )


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_batch_without_annotations_is_refused(name):
    terms, batch = {name: BUILDERS[name]()}, oracle.uneven_batch()
    del batch["annotations"]
    with pytest.raises(ValueError, match="a batch needs 'annotations' or 'region'"):
        jax.eval_shape(
            functools.partial(oracle.guide, terms),
            oracle.network_params(), oracle.init_params(terms, batch), batch,
        )  # fmt: skip
