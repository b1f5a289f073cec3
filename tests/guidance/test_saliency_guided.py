"""Saliency-guided training: what is masked, with what, and who learns from it."""

import functools

import chex
import core_terms
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xguide_jax import attributions, guidance, losses, ops, testing, training
from xguide_jax.types import ModelOutput

INPUT_SHAPE = (6, 6, 2)
NUM_POSITIONS = 36
ZEROS = functools.partial(ops.constant_fill, value=0.0)


def two_pixels(params, model_state, inputs, *, train, key=None, overrides=None):
    """logits = x W for images [B, 1, 2, 1]; W [2, 2]."""
    return ModelOutput(inputs.reshape(len(inputs), 2) @ params), model_state


def guide(term, network, batch, *, seed=0, **arguments):
    """The term's loss, its gradient in the network, and the inputs it masked."""
    apply_fn, params, model_state = network
    terms = {"guided": core_terms.recording(term)}

    def loss_fn(params):
        loss, (states, _) = training.guidance_loss(
            apply_fn, terms, {"model": params}, model_state,
            {"guided": jnp.zeros_like(batch["inputs"])}, batch,
            key=jax.random.key(seed), step=0, **arguments,
        )  # fmt: skip
        return loss, states["guided"]

    (loss, masked), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
    return loss, gradient, masked


def masked_by(**changes):
    """The positions [B, 6, 6] that a term on the smooth network replaces."""
    network = changes.pop("network", None) or testing.smooth_network(jax.random.key(0))
    batch = changes.pop("batch", None) or testing.example_batch(jax.random.key(1))
    seed = changes.pop("seed", 0)
    task_loss = changes.pop("task_loss", training.softmax_cross_entropy)
    # A constant that no input holds, so that what is masked can be seen.
    changes.setdefault("fill", functools.partial(ops.constant_fill, value=99.0))
    term = core_terms.saliency_guided(**changes)
    masked = guide(term, network, batch, seed=seed, task_loss=task_loss)[2]
    changed = masked == 99.0
    np.testing.assert_array_equal(changed[..., 0], changed[..., 1])  # whole positions
    np.testing.assert_array_equal(
        np.where(changed, batch["inputs"], masked), batch["inputs"]
    )
    return np.asarray(changed[..., 0])


@pytest.mark.parametrize("frozen_teacher", [False, True])
def test_a_linear_network_on_two_pixels_by_hand(frozen_teacher):
    # W = [[1, 0], [2, 0]], x = (1, 1), label 0: the logit's gradient is (1, 2), so the
    # first pixel is masked and the logits fall from (3, 0) to (2, 0).
    # p = 1 / (1 + e^-3) = 0.952574, q = 1 / (1 + e^-2) = 0.880797 for class 0, and
    # KL = p log(p / q) + (1 - p) log((1 - p) / (1 - q)) = 0.030915.
    p, q = 1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-2))
    kl = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert kl == pytest.approx(0.030915, abs=1e-6)
    weights = jnp.array([[1.0, 0.0], [2.0, 0.0]])
    batch = {"inputs": jnp.ones((1, 1, 2, 1)), "labels": jnp.array([0])}
    term = guidance.saliency_guided(
        mask_fraction=0.5, fill=ZEROS, rank_fn=ops.signed_channel_mean,
        score_fn=attributions.target_logit, frozen_teacher=frozen_teacher,
    )  # fmt: skip
    loss, gradient, masked = guide(term, (two_pixels, weights, ()), batch)
    np.testing.assert_array_equal(masked.ravel(), [0.0, 1.0])
    np.testing.assert_allclose(loss, kl, rtol=1e-5)
    # Student: dKL/dlogits = q - p, seen through x~ = (0, 1).
    student = (q - p) * np.array([[0.0, 0.0], [1.0, -1.0]])
    # Teacher: dKL/dlogit_0 = p (log(p / q) - KL), minus that for the other class.
    slope = p * (np.log(p / q) - kl)
    teacher = 0.0 if frozen_teacher else slope * np.array([[1.0, -1.0], [1.0, -1.0]])
    np.testing.assert_allclose(gradient, student + teacher, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("mask_fraction", "expected"),
    # floor(0.7 * 36 + 1e-6) = floor(25.2); 0.25 * 36 is 9 exactly.
    [(0.0, 0), (0.25, 9), (0.7, 25), (1.0, 36)],
)
def test_exactly_k_positions_change(mask_fraction, expected):
    changed = masked_by(mask_fraction=mask_fraction)
    np.testing.assert_array_equal(np.sum(changed, axis=(1, 2)), expected)


def test_a_fraction_of_a_count_is_not_lost_to_rounding():
    # 0.29 * 100 = 28.999999999999996 in float64, and 29 are meant.
    inputs = jax.random.normal(jax.random.key(0), (1, 10, 10, 1))
    batch = {"inputs": inputs, "labels": jnp.array([1])}
    network = testing.smooth_network(jax.random.key(0), input_shape=(10, 10, 1))
    term = core_terms.saliency_guided(mask_fraction=0.29)
    masked = guide(term, network, batch)[2]
    assert np.sum(masked != inputs) == 29


def test_the_least_salient_positions_change():
    network = testing.smooth_network(jax.random.key(0))
    apply_fn, params, _ = network
    batch = testing.example_batch(jax.random.key(1))
    saliency = attributions.input_gradient(
        lambda inputs: apply_fn(params, (), inputs, train=False)[0].logits,
        batch["inputs"], batch["labels"],
        score_fn=attributions.target_logit,
    )  # fmt: skip
    scores = np.mean(saliency, axis=-1).reshape(8, NUM_POSITIONS)
    expected = np.zeros_like(scores, dtype=bool)
    np.put_along_axis(expected, np.argsort(scores)[:, :9], True, axis=1)
    changed = masked_by(mask_fraction=0.25, score_fn=attributions.target_logit)
    np.testing.assert_array_equal(changed.reshape(8, NUM_POSITIONS), expected)


def test_noise_stays_within_each_examples_range_and_the_rest_keeps_its_bits():
    batch = testing.example_batch(jax.random.key(1))
    scale = jnp.array([1.0, 3.0, 0.1, 9.0, 1.0, 2.0, 5.0, 0.5])[:, None, None, None]
    batch["inputs"] = batch["inputs"] * scale
    _, _, masked = guide(
        core_terms.saliency_guided(), testing.smooth_network(jax.random.key(0)), batch
    )
    changed = np.any(masked != batch["inputs"], axis=-1)
    np.testing.assert_array_equal(np.sum(changed, axis=(1, 2)), 18)
    low = np.min(batch["inputs"], axis=(1, 2, 3), keepdims=True)
    high = np.max(batch["inputs"], axis=(1, 2, 3), keepdims=True)
    assert np.all((low <= masked) & (masked <= high))
    draws = ((masked - low) / (high - low))[changed]
    assert len(np.unique(draws)) == draws.size == 8 * 18 * 2
    assert 0.4 < np.mean(draws) < 0.6


@pytest.mark.parametrize("batch_norm", [False, True])
def test_no_mask_is_unguided_training_exactly(batch_norm):
    """k = 0 on a deterministic network: KL 0, and the gradient of the task alone."""
    apply_fn, params, model_state = testing.smooth_network(
        jax.random.key(0), batch_norm=batch_norm
    )
    batch = testing.example_batch(jax.random.key(1))
    optimizer = optax.sgd(0.1, momentum=0.0)

    def step(terms):
        state = training.init_train_state(
            jax.random.key(2), params, model_state, terms, optimizer, batch
        )
        return training.make_train_step(apply_fn, terms, optimizer)(state, batch)

    unguided, _ = step({})
    guided, metrics = step({"guided": core_terms.saliency_guided(mask_fraction=0.0)})
    assert metrics["guided"] == 0
    chex.assert_trees_all_equal(guided.model_state, unguided.model_state)
    chex.assert_trees_all_close(
        guided.opt_state[0].trace["model"], unguided.opt_state[0].trace["model"],
        atol=1e-7, rtol=0,
    )  # fmt: skip


def test_a_frozen_teacher_masks_the_same_and_learns_from_the_masked_pass_only():
    network = testing.smooth_network(jax.random.key(0))
    apply_fn, params, _ = network
    batch = testing.example_batch(jax.random.key(1))
    loss, gradient, masked = guide(core_terms.saliency_guided(), network, batch)
    frozen = core_terms.saliency_guided(frozen_teacher=True)
    frozen_loss, frozen_gradient, frozen_masked = guide(frozen, network, batch)
    np.testing.assert_array_equal(frozen_masked, masked)
    np.testing.assert_allclose(frozen_loss, loss, rtol=1e-6)

    predict = lambda params, x: apply_fn(params, (), x, train=True)[0].logits
    teacher = predict(params, batch["inputs"])
    by_hand = lambda params, teacher: jnp.mean(
        losses.kl_consistency(teacher, predict(params, masked))
    )
    chex.assert_trees_all_close(
        frozen_gradient, jax.grad(by_hand)(params, teacher), atol=1e-6
    )
    both = jax.grad(lambda p: by_hand(p, predict(p, batch["inputs"])))(params)
    chex.assert_trees_all_close(gradient, both, atol=1e-6)
    assert not np.allclose(gradient["head"], frozen_gradient["head"], atol=1e-3)


def test_the_masked_input_is_a_constant():
    """With the teacher frozen too, nothing is left that depends on the inputs."""
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))
    terms = {"guided": core_terms.saliency_guided(frozen_teacher=True)}

    def loss_fn(inputs):
        return training.guidance_loss(
            apply_fn, terms, {"model": params}, (), {}, {**batch, "inputs": inputs},
            step=0, key=jax.random.key(0),
        )[0]  # fmt: skip

    gradient = jax.grad(loss_fn)(batch["inputs"])
    np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


def test_a_frozen_teacher_that_explains_the_logit_masks_by_the_logit():
    changed = functools.partial(masked_by, score_fn=attributions.target_logit)
    np.testing.assert_array_equal(changed(frozen_teacher=True), changed())
    assert np.any(changed() != masked_by(score_fn=attributions.target_log_probability))


def test_a_frozen_teacher_masks_examples_of_any_weight_alike():
    """The shared gradient carries the weight of each example, which ranks nothing."""
    batch = testing.example_batch(jax.random.key(1))
    weighted = {**batch, "weight": jnp.linspace(0.3, 2.0, 8)}
    np.testing.assert_array_equal(
        masked_by(frozen_teacher=True, batch=weighted), masked_by(batch=batch)
    )


def smoothed_cross_entropy(output, batch):
    targets = optax.smooth_labels(jax.nn.one_hot(batch["labels"], 3), 0.9)
    return optax.softmax_cross_entropy(output.logits, targets)


def squared_error(output, batch):
    target = jax.nn.one_hot(batch["labels"], 3)
    return jnp.sum(jnp.square(output.logits - target), axis=-1)


@functools.wraps(training.softmax_cross_entropy)
def wrapped_cross_entropy(output, batch):
    """A loss of one's own that carries all that the wrapped function does."""
    return -training.softmax_cross_entropy(output, batch)


@pytest.mark.parametrize(
    "task_loss", [smoothed_cross_entropy, squared_error, wrapped_cross_entropy]
)
def test_a_frozen_teacher_explains_its_score_whatever_the_task_loss(task_loss):
    """The gradient of such a loss ranks the positions otherwise."""
    expected = masked_by()
    changed = masked_by(frozen_teacher=True, task_loss=task_loss)
    np.testing.assert_array_equal(changed, expected)
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    batch = testing.example_batch(jax.random.key(1))

    def total(inputs):
        return jnp.sum(task_loss(apply_fn(params, (), inputs, train=True)[0], batch))

    scores = -np.mean(jax.grad(total)(batch["inputs"]), axis=-1).reshape(8, -1)
    of_the_task = np.zeros((8, NUM_POSITIONS), bool)
    np.put_along_axis(of_the_task, np.argsort(scores)[:, :18], True, axis=1)
    assert np.any(of_the_task != expected.reshape(8, NUM_POSITIONS))


def test_a_frozen_teacher_explains_the_targets_where_a_batch_has_them():
    batch = testing.example_batch(jax.random.key(1))
    targeted = {**batch, "targets": (batch["labels"] + 1) % 3}
    expected = masked_by(batch=targeted)
    np.testing.assert_array_equal(
        masked_by(batch=targeted, frozen_teacher=True), expected
    )
    assert np.any(expected != masked_by(batch=batch))


def test_a_frozen_teacher_takes_multi_hot_labels_beside_targets():
    batch = testing.example_batch(jax.random.key(1))
    multi_hot = jax.nn.one_hot(batch["labels"], 3).at[:, 0].set(1.0)
    many = {**batch, "labels": multi_hot, "targets": batch["labels"]}
    by_class = lambda output, batch: jnp.mean(
        optax.sigmoid_binary_cross_entropy(output.logits, batch["labels"]), axis=-1
    )
    changed = masked_by(batch=many, frozen_teacher=True, task_loss=by_class)
    np.testing.assert_array_equal(changed, masked_by(batch=batch))


def test_adding_to_all_logits_moves_the_mask_of_the_logit_only():
    """log p is blind to what all classes share, here <x, v> with a random v."""
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))
    common = jax.random.normal(jax.random.key(9), INPUT_SHAPE)

    def shifted(params, model_state, inputs, **arguments):
        output, model_state = apply_fn(params, model_state, inputs, **arguments)
        extra = jnp.einsum("bhwc,hwc->b", inputs, common)
        return output._replace(logits=output.logits + extra[:, None]), model_state

    def same(score_fn):
        plain = masked_by(score_fn=score_fn)
        moved = masked_by(score_fn=score_fn, network=(shifted, params, ()))
        return np.array_equal(plain, moved)

    assert same(attributions.target_log_probability)
    assert not same(attributions.target_logit)


def test_explaining_in_eval_mode_keeps_examples_apart():
    """With batch norm, the mask of an example depends on the others in train mode."""
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0), batch_norm=True)
    statistics = (jnp.full(4, 0.3), jnp.full(4, 2.0))
    network = (apply_fn, params, statistics)
    batch = testing.example_batch(jax.random.key(1))
    others = {**batch, "inputs": batch["inputs"].at[1:].add(2.0)}
    first = lambda mode, batch: masked_by(explain_in=mode, network=network, batch=batch)
    np.testing.assert_array_equal(first("eval", batch)[0], first("eval", others)[0])
    assert np.any(first("train", batch)[0] != first("train", others)[0])
    assert np.any(first("train", batch) != first("eval", batch))


@pytest.mark.parametrize("frozen_teacher", [False, True])
@pytest.mark.parametrize("explain_in", ["eval", "train"])
def test_each_pass_runs_in_its_mode(explain_in, frozen_teacher):
    modes = []
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))

    def spying(params, model_state, inputs, *, train, key=None, overrides=None):
        modes.append((train, key is not None))
        return apply_fn(params, model_state, inputs, train=train)

    masked_by(
        explain_in=explain_in,
        frozen_teacher=frozen_teacher,
        network=(spying, params, ()),
    )
    train = explain_in == "train"
    clean, explained, masked = modes
    assert clean == masked == (True, True)
    assert explained == (train, train)


def test_the_masked_pass_draws_its_own_dropout():
    """As published; so with dropout even an empty mask has a loss."""
    apply_fn, params, _ = testing.smooth_network(jax.random.key(0))

    def dropping(params, model_state, inputs, *, train, key=None, overrides=None):
        output, state = apply_fn(params, model_state, inputs, train=train)
        if train:
            keep = jax.random.bernoulli(key, 0.5, output.logits.shape)
            output = output._replace(logits=jnp.where(keep, output.logits, 0.0))
        return output, state

    loss, _, _ = guide(
        core_terms.saliency_guided(mask_fraction=0.0),
        (dropping, params, ()),
        testing.example_batch(jax.random.key(1)),
    )
    assert loss > 0.01


def test_a_random_rank_follows_the_key_and_not_the_network():
    random = functools.partial(masked_by, rank_fn=ops.random_rank)
    other = testing.smooth_network(jax.random.key(7))
    np.testing.assert_array_equal(random(), random(network=other))
    np.testing.assert_array_equal(np.sum(random(), axis=(1, 2)), 18)
    assert np.any(random() != random(seed=1))
    assert np.any(random()[0] != random()[1])  # each example has its own
    assert np.any(masked_by() != masked_by(network=other))
    np.testing.assert_array_equal(masked_by(), masked_by(seed=1))


def test_rank_and_fill_draw_from_different_keys():
    seen = []

    def rank(attributions_, *, key):
        seen.append(jax.random.key_data(key))
        return ops.random_rank(attributions_, key=key)

    def fill(key, inputs):
        seen.append(jax.random.key_data(key))
        return inputs

    guide(
        core_terms.saliency_guided(rank_fn=rank, fill=fill),
        testing.smooth_network(jax.random.key(0)),
        testing.example_batch(jax.random.key(1)),
    )
    rank_keys, fill_keys = seen
    assert rank_keys.shape == fill_keys.shape == (8, 2)
    assert len({tuple(row) for row in np.concatenate(seen).tolist()}) == 16


@pytest.mark.parametrize("fraction", [-0.1, 1.2, float("nan")])
def test_a_fraction_outside_the_unit_interval_is_refused(fraction):
    message = rf"^`mask_fraction` \(={fraction}\) must lie in \[0, 1\]\.$"
    with pytest.raises(ValueError, match=message):
        core_terms.saliency_guided(mask_fraction=fraction)


def linear_on_vectors(params, model_state, inputs, **unused):
    return ModelOutput(inputs @ params), model_state


@pytest.mark.parametrize("rank_fn", [ops.signed_channel_mean, ops.random_rank])
def test_a_rank_that_leaves_nothing_to_mask_is_refused(rank_fn):
    """Of vectors [B, 10] the channel ranks make one score: floor(0.5 * 1) = 0."""
    network = (linear_on_vectors, jnp.ones((10, 3)), ())
    batch = {"inputs": jnp.ones((4, 10)), "labels": jnp.array([0, 1, 2, 0])}
    message = (
        r"`mask_fraction` \(=0\.5\) must mask at least one of the n = 1 scores an "
        rf"example that `rank_fn` \(={rank_fn.__name__}\) gives \(shape \(4, 1\)\)"
    )
    named = functools.partial(
        core_terms.saliency_guided,
        rank_fn=rank_fn,
        fill=ZEROS,
        score_fn=attributions.target_logit,
    )
    with pytest.raises(ValueError, match=message):
        guide(named(), network, batch)
    # No mask is what 0 asks for, and one score can be masked as a whole.
    no_mask = guide(named(mask_fraction=0.0), network, batch)[2]
    np.testing.assert_array_equal(no_mask, batch["inputs"])
    np.testing.assert_array_equal(guide(named(mask_fraction=1.0), network, batch)[2], 0)


def test_a_rank_with_a_score_for_each_feature_masks_vectors():
    # Logit 0 weighs the features 0, 1, ..., 9: the five lightest are masked.
    weights = jnp.stack([jnp.arange(10.0), jnp.ones(10), jnp.ones(10)], axis=1)
    batch = {"inputs": jnp.ones((1, 10)), "labels": jnp.array([0])}
    term = core_terms.saliency_guided(
        rank_fn=lambda gradient: gradient,
        fill=ZEROS,
        score_fn=attributions.target_logit,
    )
    masked = guide(term, (linear_on_vectors, weights, ()), batch)[2]
    np.testing.assert_array_equal(masked, [[0.0] * 5 + [1.0] * 5])


def test_an_unknown_mode_is_refused():
    message = r"^`explain_in` \(='test'\) must be 'eval' or 'train'\.$"
    with pytest.raises(ValueError, match=message):
        core_terms.saliency_guided(explain_in="test")


def test_the_term_keeps_the_promises_of_the_core():
    testing.check_guidance_term(core_terms.saliency_guided(frozen_teacher=True))
